//! A sealed frame as the payloads of RTP packets, and back.
//!
//! Packetizers of browsers read the beginning of a frame; here nothing is read but what stays clear under the codec's
//! rule, because the rest is ciphertext. What comes in is read with distrust: any member may have made it.

use bytes::Bytes;

use super::{
    bitstream::{self, SPS, START_CODE, nal_type},
    cursor::Cursor,
    format::Format,
};

/// Bytes of payload in one packet: with headers and SRTP's tag below what every path takes.
const PAYLOAD: usize = 1150;

/// Cuts the frames of one stream.
pub(super) struct Payloader {
    format: Format,
    /// Numbers pictures, 15 bits.
    picture: u16,
}

impl Payloader {
    pub(super) const fn new(format: Format) -> Self {
        Self { format, picture: 0 }
    }

    /// The payloads of one frame, in order.
    pub(super) fn split(&mut self, key: bool, frame: &[u8]) -> Vec<Bytes> {
        self.picture = (self.picture + 1) & 0x7fff;
        let [high, low] = (self.picture | 0x8000).to_be_bytes();
        match self.format {
            Format::Opus => vec![Bytes::copy_from_slice(frame)],
            // RFC 7741 section 4.2: X, S in the first; I; the picture's number.
            Format::Vp8 => cut(frame, 4, |first, _| vec![0x80 | (u8::from(first) << 4), 0x80, high, low]),
            // RFC 9628 section 4.2, flexible mode: a delta frame refers to the picture before.
            Format::Vp9 => cut(frame, 4, |first, last| {
                let flags = 0x90 | u8::from(!key) << 6 | u8::from(first) << 3 | u8::from(last) << 2;
                let mut descriptor = vec![flags, high, low];
                if !key {
                    descriptor.push(1 << 1);
                }
                descriptor
            }),
            // AV1 RTP section 4.4: Z, Y, one element, N. The frame is one OBU without a length.
            Format::Av1 => cut(frame, 1, |first, last| {
                vec![u8::from(!first) << 7 | u8::from(!last) << 6 | 1 << 4 | u8::from(key && first) << 3]
            }),
            Format::H264 => bitstream::nal_units(frame).flat_map(split_nal).collect(),
        }
    }
}

/// Cuts a frame into pieces that each get a descriptor of at most `room` bytes.
fn cut(frame: &[u8], room: usize, descriptor: impl Fn(bool, bool) -> Vec<u8>) -> Vec<Bytes> {
    let pieces = frame.chunks(PAYLOAD - room);
    let count = pieces.len();
    let described = pieces.enumerate().map(|(n, piece)| {
        let mut payload = descriptor(n == 0, n + 1 == count);
        payload.extend_from_slice(piece);
        Bytes::from(payload)
    });
    described.collect()
}

/// RFC 6184 sections 5.6 and 5.8: as it is, or in fragments.
fn split_nal(nal: &[u8]) -> Vec<Bytes> {
    let Some((header, body)) = nal.split_first().filter(|_| nal.len() > PAYLOAD) else {
        return vec![Bytes::copy_from_slice(nal)];
    };
    cut(body, 2, |first, last| vec![header & 0xe0 | FRAGMENT, u8::from(first) << 7 | u8::from(last) << 6 | header & 31])
}

/// Whether a frame begins with this payload, as far as it tells by itself.
///
/// H.264 does not tell: only a parameter set cannot come later in a frame of ours.
pub(super) fn begins(format: Format, payload: &[u8]) -> bool {
    match (format, payload) {
        (Format::Opus, [_, ..]) => true,
        (Format::Vp8, [first, ..]) => first & 0x17 == 0x10,
        (Format::Vp9, [first, ..]) => first & 0x08 != 0,
        (Format::Av1, [first, ..]) => first & 0x80 == 0,
        (Format::H264, [first, _, _, inner, ..]) if first & 31 == AGGREGATE => inner & 31 == SPS,
        (Format::H264, [first, ..]) => first & 31 == SPS,
        (Format::Opus | Format::Vp8 | Format::Vp9 | Format::Av1 | Format::H264, []) => false,
    }
}

/// The frame that these payloads hold, all of them and in order; `None` when they hold none.
pub(super) fn join(format: Format, payloads: &[Bytes]) -> Option<Vec<u8>> {
    match format {
        Format::Opus => payloads.first().map(|payload| payload.to_vec()),
        Format::Vp8 => concat(payloads, vp8),
        Format::Vp9 => concat(payloads, vp9),
        Format::Av1 => join_av1(payloads),
        Format::H264 => join_h264(payloads),
    }
}

fn concat(payloads: &[Bytes], body: impl Fn(&[u8]) -> Option<&[u8]>) -> Option<Vec<u8>> {
    let mut frame = Vec::with_capacity(payloads.iter().map(Bytes::len).sum());
    for payload in payloads {
        frame.extend_from_slice(body(payload)?);
    }
    Some(frame)
}

/// What comes after a VP8 payload descriptor (RFC 7741 section 4.2).
fn vp8(payload: &[u8]) -> Option<&[u8]> {
    let mut cursor = Cursor(payload);
    if cursor.byte()? & 0x80 != 0 {
        let extensions = cursor.byte()?;
        if extensions & 0x80 != 0 {
            picture_id(&mut cursor)?;
        }
        if extensions & 0x40 != 0 {
            cursor.byte()?;
        }
        if extensions & 0x30 != 0 {
            cursor.byte()?;
        }
    }
    Some(cursor.0)
}

/// What comes after a VP9 payload descriptor (RFC 9628 section 4.2).
fn vp9(payload: &[u8]) -> Option<&[u8]> {
    let mut cursor = Cursor(payload);
    let flags = cursor.byte()?;
    let flexible = flags & 0x10 != 0;
    if flags & 0x80 != 0 {
        picture_id(&mut cursor)?;
    }
    if flags & 0x20 != 0 {
        cursor.take(if flexible { 1 } else { 2 })?;
    }
    if flexible && flags & 0x40 != 0 {
        // At most three references, each of which says whether another follows.
        for _ in 0..3 {
            if cursor.byte()? & 1 == 0 {
                break;
            }
        }
    }
    if flags & 0x02 != 0 {
        vp9_layers(&mut cursor)?;
    }
    Some(cursor.0)
}

fn vp9_layers(cursor: &mut Cursor<'_>) -> Option<()> {
    let layers = cursor.byte()?;
    if layers & 0x10 != 0 {
        cursor.take(4 * (usize::from(layers >> 5) + 1))?;
    }
    if layers & 0x08 != 0 {
        for _ in 0..cursor.byte()? {
            let picture = cursor.byte()?;
            cursor.take(usize::from((picture >> 2) & 3))?;
        }
    }
    Some(())
}

/// 7 or 15 bits, as the first one says.
fn picture_id(cursor: &mut Cursor<'_>) -> Option<()> {
    if cursor.byte()? & 0x80 != 0 {
        cursor.byte()?;
    }
    Some(())
}

/// Joins fragments of OBUs and gives each its length, as receivers of browsers do (AV1 RTP section 4.4).
fn join_av1(payloads: &[Bytes]) -> Option<Vec<u8>> {
    let mut units: Vec<Vec<u8>> = Vec::new();
    for payload in payloads {
        let mut cursor = Cursor(payload);
        let header = cursor.byte()?;
        let elements = usize::from((header >> 4) & 3);
        let mut continues = header & 0x80 != 0;
        let mut number = 0;
        while !cursor.0.is_empty() {
            number += 1;
            let length = if elements == number { cursor.0.len() } else { cursor.leb128()? };
            let element = cursor.take(length)?;
            if std::mem::take(&mut continues) {
                units.last_mut()?.extend_from_slice(element);
            } else {
                units.push(element.to_vec());
            }
        }
    }
    let mut frame = Vec::new();
    for unit in units {
        let mut cursor = Cursor(&unit);
        let header = cursor.byte()?;
        frame.push(header | OBU_SIZE);
        if header & OBU_EXTENSION != 0 {
            frame.push(cursor.byte()?);
        }
        if header & OBU_SIZE != 0 {
            cursor.leb128()?;
        }
        put_leb128(&mut frame, cursor.0.len());
        frame.extend_from_slice(cursor.0);
    }
    Some(frame)
}

fn put_leb128(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let group = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        out.push(if value == 0 { group } else { group | 0x80 });
        if value == 0 {
            return;
        }
    }
}

/// Joins fragments of NAL units and takes aggregates apart (RFC 6184 sections 5.7 and 5.8).
fn join_h264(payloads: &[Bytes]) -> Option<Vec<u8>> {
    let mut frame = Vec::new();
    for payload in payloads {
        let mut cursor = Cursor(payload);
        match nal_type(payload)? {
            1..=23 => {
                frame.extend(START_CODE);
                frame.extend_from_slice(payload);
            }
            AGGREGATE => {
                cursor.byte()?;
                while !cursor.0.is_empty() {
                    let length = u16::from_be_bytes(cursor.array()?);
                    frame.extend(START_CODE);
                    frame.extend_from_slice(cursor.take(usize::from(length))?);
                }
            }
            FRAGMENT => {
                let [indicator, header] = cursor.array()?;
                if header & 0x80 != 0 {
                    frame.extend(START_CODE);
                    frame.push(indicator & 0xe0 | header & 31);
                }
                frame.extend_from_slice(cursor.0);
            }
            _ => return None,
        }
    }
    Some(frame)
}

const AGGREGATE: u8 = 24;
const FRAGMENT: u8 = 28;
const OBU_SIZE: u8 = 2;
const OBU_EXTENSION: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as it comes out of the frame layer; AV1's is one OBU without its length.
    fn frame(format: Format, length: usize) -> Vec<u8> {
        let body: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).expect("below 251") | 4).collect();
        match format {
            Format::Av1 => [&[0x08][..], &body].concat(),
            Format::H264 => [&START_CODE[..], &[0x67, 9, 9], &START_CODE, &[0x65], &body].concat(),
            Format::Opus | Format::Vp8 | Format::Vp9 => body,
        }
    }

    #[test]
    fn a_frame_comes_out_as_it_went_in_whatever_its_length() {
        for format in Format::ALL {
            let mut payloader = Payloader::new(format);
            for (length, key) in [(1, true), (1145, false), (1146, true), (1150, false), (5000, true), (60_000, false)]
            {
                let frame = frame(format, length);
                let payloads = payloader.split(key, &frame);
                let joined = join(format, &payloads).expect("a frame");
                if format == Format::Av1 {
                    let mut cursor = Cursor(&joined);
                    assert_eq!((cursor.byte(), cursor.leb128()), (Some(0x0a), Some(length)));
                    assert_eq!(cursor.0, &frame[1..]);
                } else {
                    assert_eq!(joined, frame, "{format:?} {length}");
                }
                assert!(begins(format, &payloads[0]), "{format:?} {length}");
                if format != Format::Opus {
                    assert!(payloads.iter().all(|payload| payload.len() <= PAYLOAD));
                    assert!(payloads.iter().skip(1).all(|payload| !begins(format, payload)));
                }
            }
        }
    }

    #[test]
    fn what_others_send_never_breaks_anything() {
        for format in Format::ALL {
            for first in 0..=255_u8 {
                for length in 0..12 {
                    for rest in [0, 1, 0x80, 0xff] {
                        let mut payload = vec![rest; length];
                        payload.insert(0, first);
                        let payload = Bytes::from(payload);
                        let _ = begins(format, &payload);
                        let _ = join(format, &[payload.clone(), payload]);
                    }
                }
            }
            assert_eq!(join(format, &[]).unwrap_or_default(), Vec::<u8>::new());
        }
    }

    #[test]
    fn descriptors_of_browsers_are_read() {
        // VP8 with temporal layers: X; I, L, T, K; 15-bit picture; TL0; TID.
        assert_eq!(vp8(&[0x90, 0xf0, 0x81, 2, 3, 4, 9]), Some(&[9][..]));
        // VP9, not flexible, with layers and their sizes: I, L, B, V.
        let layers = [0xaa, 0x81, 2, 0, 0, 0x18, 1, 0x40, 0, 0xb4, 1, 0x04, 1, 9];
        assert_eq!(vp9(&layers), Some(&[9][..]));
    }
}
