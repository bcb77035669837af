//! Opus in Ogg (RFC 3533, RFC 7845): one stream of packets, read whole and written page by page.
//!
//! ```text
//! page: "OggS" ‖ version 0 ‖ flags ‖ samples so far (i64) ‖ serial (u32) ‖ page number (u32) ‖ CRC (u32)
//!       ‖ segments (u8) ‖ length of each segment (u8) ‖ bytes                                  all little-endian
//! ```
//!
//! A packet is as many segments as it needs, of which all but the last have 255 bytes.

use std::io::{self, Write};
use thiserror::Error;

use super::cursor::Cursor;

/// Why bytes are no Ogg file that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OggError {
    /// It does not begin with a page, or ends within one.
    #[error("this is no Ogg file, or it is cut short")]
    Page,
    /// A page is damaged.
    #[error("the Ogg file is damaged")]
    Damaged,
    /// The stream is not Opus.
    #[error("the Ogg file holds something other than Opus")]
    Codec,
}

/// The Opus packets of a file, in their order. Pages of other streams in it are passed over.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, OggError> {
    let mut cursor = Cursor(bytes);
    let mut packets = Vec::new();
    let mut packet = Vec::new();
    let mut stream = None;
    while !cursor.0.is_empty() {
        let page = page(&mut cursor)?;
        if *stream.get_or_insert(page.serial) != page.serial {
            continue;
        }
        let mut body = Cursor(page.body);
        for length in page.segments {
            packet.extend_from_slice(body.take(usize::from(*length)).ok_or(OggError::Page)?);
            if *length < 255 {
                packets.push(std::mem::take(&mut packet));
            }
        }
    }
    let mut packets = packets.into_iter();
    let head = packets.next().ok_or(OggError::Page)?;
    if !head.starts_with(HEAD) || !packets.next().is_some_and(|tags| tags.starts_with(TAGS)) {
        return Err(OggError::Codec);
    }
    Ok(packets.filter(|packet| !packet.is_empty()).collect())
}

struct Page<'a> {
    serial: u32,
    segments: &'a [u8],
    body: &'a [u8],
}

fn page<'a>(cursor: &mut Cursor<'a>) -> Result<Page<'a>, OggError> {
    let whole = cursor.0;
    let (page, expected) = parse_page(cursor).ok_or(OggError::Page)?;
    let length = whole.len() - cursor.0.len();
    let (start, rest) = whole.split_at_checked(CRC_AT).ok_or(OggError::Page)?;
    let rest = rest.get(4..length - CRC_AT).ok_or(OggError::Page)?;
    let found = [start, &[0; 4], rest].into_iter().fold(0, crc);
    if found == expected { Ok(page) } else { Err(OggError::Damaged) }
}

fn parse_page<'a>(cursor: &mut Cursor<'a>) -> Option<(Page<'a>, u32)> {
    let magic: [u8; 4] = cursor.array()?;
    let version = cursor.byte()?;
    let _flags = cursor.byte()?;
    let _samples: [u8; 8] = cursor.array()?;
    let serial = u32::from_le_bytes(cursor.array()?);
    let _number: [u8; 4] = cursor.array()?;
    let expected = u32::from_le_bytes(cursor.array()?);
    let count = cursor.byte()?;
    let segments = cursor.take(usize::from(count))?;
    let body = cursor.take(segments.iter().map(|length| usize::from(*length)).sum())?;
    (magic == *MAGIC && version == 0).then_some((Page { serial, segments, body }, expected))
}

/// How many samples at 48 kHz an Opus packet holds (RFC 6716 section 3.1); `None` when it is none.
pub(super) fn samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frame = match toc >> 3 {
        config @ 0..=11 => [480, 960, 1920, 2880].get(usize::from(config % 4)).copied()?,
        config @ 12..=15 => [480, 960].get(usize::from(config % 2)).copied()?,
        config => [120, 240, 480, 960].get(usize::from(config % 4)).copied()?,
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(*packet.get(1)? & 0x3f),
    };
    // RFC 6716 section 3.2.5: 120 ms at most.
    Some(frame * frames).filter(|samples| (1..=5760).contains(samples))
}

/// Writes one stream. Packets wait until a page is full, so that the last page can say that it is the last.
pub(super) struct OggWriter<W> {
    out: W,
    serial: u32,
    number: u32,
    /// Samples up to the end of the waiting packets.
    end: u64,
    segments: Vec<u8>,
    body: Vec<u8>,
    packets: usize,
}

impl<W: Write> OggWriter<W> {
    /// Begins a file of sound in stereo.
    pub(super) fn new(out: W, serial: u32) -> io::Result<Self> {
        let mut writer = Self { out, serial, number: 0, end: 0, segments: Vec::new(), body: Vec::new(), packets: 0 };
        let mut head = HEAD.to_vec();
        head.extend([1, 2]);
        head.extend(PRE_SKIP.to_le_bytes());
        head.extend(48_000_u32.to_le_bytes());
        head.extend([0, 0, 0]);
        writer.append(&head);
        writer.page(FIRST, 0)?;
        let mut tags = TAGS.to_vec();
        tags.extend(8_u32.to_le_bytes());
        tags.extend(b"conclave");
        tags.extend(0_u32.to_le_bytes());
        writer.append(&tags);
        writer.page(0, 0)?;
        Ok(writer)
    }

    /// Appends a packet that begins at this sample of the stream and has that many. What is missing before it is a gap.
    pub(super) fn write(&mut self, begin: u64, samples: u32, packet: &[u8]) -> io::Result<()> {
        if self.packets >= PAGE_PACKETS || begin > self.end || packet.len() / 255 + 1 + self.segments.len() > 255 {
            self.flush(0)?;
        }
        if packet.len() / 255 + 1 > 255 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "an Opus packet of more than 60 KB"));
        }
        self.append(packet);
        self.packets += 1;
        // Time never goes back, or players give up.
        self.end = self.end.max(begin).saturating_add(u64::from(samples));
        Ok(())
    }

    /// Writes what waits, as the last page.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.page(LAST, self.end)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn flush(&mut self, flags: u8) -> io::Result<()> {
        if self.packets > 0 { self.page(flags, self.end) } else { Ok(()) }
    }

    fn append(&mut self, packet: &[u8]) {
        let mut chunks = packet.chunks_exact(255);
        self.segments.extend(chunks.by_ref().map(|_| 255));
        self.segments.extend(u8::try_from(chunks.remainder().len()));
        self.body.extend_from_slice(packet);
    }

    fn page(&mut self, flags: u8, end: u64) -> io::Result<()> {
        let mut start = MAGIC.to_vec();
        start.extend([0, flags]);
        start.extend(end.to_le_bytes());
        start.extend(self.serial.to_le_bytes());
        start.extend(self.number.to_le_bytes());
        let count = [u8::try_from(self.segments.len()).map_err(|_| io::ErrorKind::InvalidData)?];
        let sum = [&start[..], &[0; 4], &count, &self.segments, &self.body].into_iter().fold(0, crc);
        for part in [&start[..], &sum.to_le_bytes(), &count, &self.segments, &self.body] {
            self.out.write_all(part)?;
        }
        self.number = self.number.wrapping_add(1);
        self.segments.clear();
        self.body.clear();
        self.packets = 0;
        Ok(())
    }
}

/// CRC-32 without reflection, polynomial 0x04c11db7, begun with zero: RFC 3533 section 6.
fn crc(sum: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(sum, |sum, byte| {
        (0..8).fold(sum ^ (u32::from(*byte) << 24), |sum, _| (sum << 1) ^ if sum >> 31 == 1 { POLYNOMIAL } else { 0 })
    })
}

const POLYNOMIAL: u32 = 0x04c1_1db7;
const MAGIC: &[u8; 4] = b"OggS";
const HEAD: &[u8] = b"OpusHead";
const TAGS: &[u8] = b"OpusTags";
/// Where the checksum stands in a page.
const CRC_AT: usize = 22;
const FIRST: u8 = 2;
const LAST: u8 = 4;
/// Samples that a decoder needs before its output is right: what encoders of browsers write.
const PRE_SKIP: u16 = 312;
/// Packets in a page: a second of sound is what a killed process loses.
const PAGE_PACKETS: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_over_many_pages() {
        let packets: Vec<Vec<u8>> = (0..130_u8).map(|n| vec![n; 10 + usize::from(n) * 4]).collect();
        let mut writer = OggWriter::new(Vec::new(), 7).expect("a file");
        for (n, packet) in (0..).zip(&packets) {
            writer.write(n * 960, 960, packet).expect("written");
        }
        let bytes = writer.finish().expect("finished");
        assert_eq!(read(&bytes), Ok(packets));
        let flags: Vec<u8> = bytes.windows(6).filter(|w| w.starts_with(MAGIC)).map(|w| w[5]).collect();
        assert_eq!((flags.first(), flags.last()), (Some(&FIRST), Some(&LAST)));
    }

    #[test]
    fn damage_is_found() {
        let mut writer = OggWriter::new(Vec::new(), 7).expect("a file");
        writer.write(0, 960, &[1; 300]).expect("written");
        let mut bytes = writer.finish().expect("finished");
        *bytes.last_mut().expect("bytes") ^= 1;
        assert_eq!(read(&bytes), Err(OggError::Damaged));
        bytes.pop();
        assert_eq!(read(&bytes), Err(OggError::Page));
        assert_eq!(read(b""), Err(OggError::Page));
        assert_eq!(read(b"RIFF and so on"), Err(OggError::Page));
    }

    #[test]
    fn the_length_of_a_packet_is_in_its_first_bytes() {
        for (packet, expected) in [
            (&[0x78_u8][..], Some(960)),  // CELT, 20 ms
            (&[0x79][..], Some(1920)),    // two of them
            (&[0x08][..], Some(960)),     // SILK, 20 ms
            (&[0x18][..], Some(2880)),    // SILK, 60 ms
            (&[0x80][..], Some(120)),     // CELT, 2.5 ms
            (&[0x7b, 3][..], Some(2880)), // three of 20 ms
            (&[0x1b, 3][..], None),       // 180 ms
            (&[0x7b][..], None),
            (&[][..], None),
        ] {
            assert_eq!(samples(packet), expected, "{packet:?}");
        }
    }
}
