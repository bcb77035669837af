//! What must be known of a plain frame: whether decoding can begin with it, and how large the picture is.

use super::{
    cursor::{Bits, Cursor},
    format::Format,
};

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// Decoding can begin here.
    pub(super) key: bool,
    /// Width and height, where the frame names them and they are needed for a file.
    pub(super) size: Option<(u16, u16)>,
}

/// Looks at a frame. One that is damaged is no key frame.
pub(super) fn shape(format: Format, frame: &[u8]) -> Shape {
    match format {
        Format::Opus => Shape { key: true, size: None },
        Format::Vp8 => keyed(vp8(frame)),
        Format::Vp9 => keyed(vp9(frame)),
        Format::Av1 => keyed(av1(frame)),
        Format::H264 => Shape { key: nal_units(frame).any(|nal| nal_type(nal) == Some(IDR)), size: None },
    }
}

fn keyed(size: Option<(u16, u16)>) -> Shape {
    Shape { key: size.is_some(), size }
}

/// RFC 6386 section 9.1.
fn vp8(frame: &[u8]) -> Option<(u16, u16)> {
    let mut cursor = Cursor(frame);
    let [tag, _, _] = cursor.array()?;
    let start: [u8; 3] = cursor.array()?;
    let width = u16::from_le_bytes(cursor.array()?);
    let height = u16::from_le_bytes(cursor.array()?);
    (tag & 1 == 0 && start == [0x9d, 0x01, 0x2a]).then_some((width & 0x3fff, height & 0x3fff))
}

/// VP9 bitstream specification, section 6.2: `uncompressed_header`.
fn vp9(frame: &[u8]) -> Option<(u16, u16)> {
    let mut bits = Bits::new(frame);
    if bits.read(2)? != 2 {
        return None;
    }
    let profile = bits.read(1)? | bits.read(1)? << 1;
    if profile == 3 {
        bits.flag()?;
    }
    let shown_again = bits.flag()?;
    let delta = bits.flag()?;
    let _shown = bits.flag()?;
    let _resilient = bits.flag()?;
    if shown_again || delta || bits.read(24)? != 0x49_8342 {
        return None;
    }
    if profile >= 2 {
        bits.flag()?;
    }
    let rgb = bits.read(3)? == 7;
    if !rgb {
        bits.flag()?;
    }
    if profile == 1 || profile == 3 {
        bits.read(if rgb { 1 } else { 3 })?;
    }
    let width = bits.read(16)?.checked_add(1)?;
    let height = bits.read(16)?.checked_add(1)?;
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

/// AV1 bitstream specification, section 5.5: encoders put a sequence header before each key frame.
fn av1(frame: &[u8]) -> Option<(u16, u16)> {
    let mut cursor = Cursor(frame);
    while let Some(header) = cursor.byte() {
        if header & AV1_EXTENSION != 0 {
            cursor.byte()?;
        }
        let length = if header & AV1_SIZE != 0 { cursor.leb128()? } else { cursor.0.len() };
        let body = cursor.take(length)?;
        if (header >> 3) & 15 == AV1_SEQUENCE_HEADER {
            return av1_size(&mut Bits::new(body));
        }
    }
    None
}

fn av1_size(bits: &mut Bits<'_>) -> Option<(u16, u16)> {
    bits.read(3)?;
    let _still = bits.flag()?;
    if bits.flag()? {
        bits.read(5)?;
    } else {
        av1_operating_points(bits)?;
    }
    let width_bits = usize::try_from(bits.read(4)?).ok()? + 1;
    let height_bits = usize::try_from(bits.read(4)?).ok()? + 1;
    let width = bits.read(width_bits)?.checked_add(1)?;
    let height = bits.read(height_bits)?.checked_add(1)?;
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

fn av1_operating_points(bits: &mut Bits<'_>) -> Option<()> {
    let mut delay_bits = None;
    if bits.flag()? {
        bits.read(32)?;
        bits.read(32)?;
        if bits.flag()? {
            unsigned_exp_golomb(bits)?;
        }
        if bits.flag()? {
            delay_bits = Some(usize::try_from(bits.read(5)?).ok()? + 1);
            bits.read(32)?;
            bits.read(10)?;
        }
    }
    let delays = bits.flag()?;
    for _ in 0..=bits.read(5)? {
        bits.read(12)?;
        if bits.read(5)? > 7 {
            bits.flag()?;
        }
        if let Some(width) = delay_bits
            && bits.flag()?
        {
            bits.read(width)?;
            bits.read(width)?;
            bits.flag()?;
        }
        if delays && bits.flag()? {
            bits.read(4)?;
        }
    }
    Some(())
}

fn unsigned_exp_golomb(bits: &mut Bits<'_>) -> Option<()> {
    let mut zeros = 0;
    while !bits.flag()? {
        zeros += 1;
        if zeros >= 32 {
            return None;
        }
    }
    bits.read(zeros).map(|_| ())
}

/// The NAL units of H.264 in Annex B, without their start codes.
pub(super) fn nal_units(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes = start_code(bytes).map_or(&[][..], |(_, after)| bytes.get(after..).unwrap_or_default());
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let (end, next) = start_code(bytes).unwrap_or((bytes.len(), bytes.len()));
        let unit = bytes.get(..end)?;
        bytes = bytes.get(next..)?;
        Some(unit)
    })
}

/// Where the next start code begins, with the zeros before it, and where it ends.
fn start_code(bytes: &[u8]) -> Option<(usize, usize)> {
    let at = bytes.windows(3).position(|three| three == [0, 0, 1])?;
    let zeros = bytes.get(..at)?.iter().rev().take_while(|byte| **byte == 0).count();
    Some((at - zeros, at + 3))
}

/// What a NAL unit is.
pub(super) fn nal_type(nal: &[u8]) -> Option<u8> {
    nal.first().map(|header| header & 31)
}

/// A slice of a key frame.
pub(super) const IDR: u8 = 5;
/// A slice of another frame.
pub(super) const SLICE: u8 = 1;
/// A sequence parameter set.
pub(super) const SPS: u8 = 7;
/// An access unit delimiter, which RTP does without.
pub(super) const DELIMITER: u8 = 9;
/// Filler, the same.
pub(super) const FILLER: u8 = 12;
/// What begins each NAL unit of a frame that travels.
pub(super) const START_CODE: [u8; 4] = [0, 0, 0, 1];

const AV1_SEQUENCE_HEADER: u8 = 1;
const AV1_EXTENSION: u8 = 4;
const AV1_SIZE: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vp8_names_its_size_in_key_frames() {
        let key = [0x10, 2, 0, 0x9d, 1, 0x2a, 0x40, 1, 0xb4, 0, 9];
        assert_eq!(shape(Format::Vp8, &key), Shape { key: true, size: Some((320, 180)) });
        assert!(!shape(Format::Vp8, &[0x11, 2, 0, 0x9d, 1, 0x2a, 0x40, 1, 0xb4, 0]).key);
        assert!(!shape(Format::Vp8, &[0x10]).key);
    }

    #[test]
    fn nal_units_are_what_stands_between_start_codes() {
        let stream = [0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 1, 0x65, 4];
        let units: Vec<&[u8]> = nal_units(&stream).collect();
        assert_eq!(units, [&[0x67, 1, 2][..], &[0x68, 3], &[0x65, 4]]);
        assert!(shape(Format::H264, &stream).key);
        assert_eq!(nal_units(&[1, 2, 3]).count(), 0);
    }

    #[test]
    fn what_is_damaged_is_no_key_frame() {
        for format in [Format::Vp8, Format::Vp9, Format::Av1, Format::H264] {
            for byte in 0..=255_u8 {
                for length in 0..40 {
                    let _ = shape(format, &vec![byte; length]);
                }
            }
            assert!(!shape(format, &[0xff; 30]).key, "{format:?}");
        }
    }
}
