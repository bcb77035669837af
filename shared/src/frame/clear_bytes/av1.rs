//! AV1: the whole sealed frame is the content of one OBU.
//!
//! RTP packetizers for AV1 cut a frame at its OBUs, and mark a packet as the beginning of a key frame when its first OBU is
//! a sequence header. So a sealed frame is *one* OBU: a header byte that says "sequence header" on key frames and "frame"
//! on all others, and then the ciphertext of the whole frame.
//!
//! ```text
//! sealed frame = 0x08 (key frame) or 0x30 (any other) ‖ SFrame ciphertext
//! ```
//!
//! On the way a depacketizer may put a temporal delimiter in front and may write the size behind the header byte: both
//! are taken away. What is authenticated is the header byte as the sender wrote it.

use super::FrameError;

/// The header byte of the OBU that a key frame is sealed in: `OBU_SEQUENCE_HEADER`, without a size.
const KEY: &[u8] = &[SEQUENCE_HEADER << TYPE_SHIFT];
/// The one that any other frame is sealed in: `OBU_FRAME`, without a size.
const DELTA: &[u8] = &[FRAME << TYPE_SHIFT];

// AV1 bitstream specification, section 5.3.2 (obu_header) and table of obu_type.
const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const FRAME: u8 = 6;
const TYPE_SHIFT: u32 = 3;
const TYPE_MASK: u8 = 0b1111;
const FORBIDDEN: u8 = 0b1000_0000;
const EXTENSION: u8 = 0b0000_0100;
const HAS_SIZE: u8 = 0b0000_0010;
const RESERVED: u8 = 0b0000_0001;
/// Bytes of the longest `leb128()`, section 4.10.5.
const LONGEST_SIZE: usize = 8;

/// Whether a plain frame begins with a sequence header, temporal delimiters apart.
pub(super) fn is_key_frame(plain: &[u8]) -> bool {
    Obu::read(after_delimiters(plain)).is_some_and(|obu| obu.kind == SEQUENCE_HEADER)
}

/// The byte that goes before the ciphertext of a plain frame.
pub(super) fn wrapper(plain: &[u8]) -> &'static [u8] {
    if is_key_frame(plain) { KEY } else { DELTA }
}

/// The header byte as the sender wrote it, and the SFrame ciphertext.
pub(super) fn unwrap(sealed: &[u8]) -> Result<(&'static [u8], &[u8]), FrameError> {
    let obu = Obu::read(after_delimiters(sealed)).ok_or(FrameError::NotOneObu)?;
    let wrapper = match obu.kind {
        SEQUENCE_HEADER => KEY,
        FRAME => DELTA,
        _ => return Err(FrameError::NotOneObu),
    };
    if obu.rest.is_empty() { Ok((wrapper, obu.content)) } else { Err(FrameError::NotOneObu) }
}

/// One OBU and what comes behind it.
struct Obu<'a> {
    kind: u8,
    content: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Obu<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (header, mut rest) = bytes.split_first()?;
        if header & (FORBIDDEN | RESERVED) != 0 {
            return None;
        }
        if header & EXTENSION != 0 {
            (_, rest) = rest.split_first()?;
        }
        let (content, rest) = if header & HAS_SIZE == 0 { (rest, &[][..]) } else { sized(rest)? };
        Some(Self { kind: header >> TYPE_SHIFT & TYPE_MASK, content, rest })
    }
}

/// Splits behind as many bytes as the size in front says.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut size = 0_u64;
    for (place, byte) in bytes.iter().enumerate().take(LONGEST_SIZE) {
        size |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return bytes.get(place + 1..)?.split_at_checked(usize::try_from(size).ok()?);
        }
    }
    None
}

/// Encoders and depacketizers write a temporal delimiter in front of a frame; RTP carries none.
fn after_delimiters(mut bytes: &[u8]) -> &[u8] {
    while let Some(obu) = Obu::read(bytes).filter(|obu| obu.kind == TEMPORAL_DELIMITER) {
        bytes = obu.rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_frame_begins_with_a_sequence_header() {
        for (plain, key) in [
            (&[0x0a, 1, 7, 0x32, 1, 9][..], true),
            (&[0x12, 0, 0x0a, 1, 7, 0x32, 1, 9], true),
            (&[0x16, 0x20, 0, 0x0e, 0x20, 1, 7], true),
            (&[0x08, 7], true),
            (&[0x12, 0, 0x32, 1, 9], false),
            (&[0x30, 9], false),
            (&[0x12, 0], false),
            (&[0x12, 5, 0x0a], false),
            (&[0x8a, 1, 7], false),
            (&[], false),
        ] {
            assert_eq!(is_key_frame(plain), key, "{plain:02x?}");
            assert_eq!(wrapper(plain), if key { &[0x08] } else { &[0x30] });
        }
    }

    #[test]
    fn what_depacketizers_add_is_taken_away() {
        for (sealed, wrapper) in [
            (&[0x08, 1, 2, 3][..], 0x08),
            (&[0x0a, 3, 1, 2, 3], 0x08),
            (&[0x12, 0, 0x0a, 3, 1, 2, 3], 0x08),
            (&[0x12, 0, 0x0e, 0x28, 3, 1, 2, 3], 0x08),
            (&[0x30, 1, 2, 3], 0x30),
            (&[0x34, 0x28, 1, 2, 3], 0x30),
            (&[0x12, 0, 0x32, 0x83, 0, 1, 2, 3], 0x30),
        ] {
            assert_eq!(unwrap(sealed), Ok((&[wrapper][..], &[1, 2, 3][..])), "{sealed:02x?}");
        }
    }

    #[test]
    fn what_is_not_one_obu_is_refused() {
        for sealed in [
            &[0x12, 0][..],
            &[0x88, 1, 2],
            &[0x09, 1, 2],
            &[0x18, 1, 2],
            &[0x34],
            &[0x32],
            &[0x32, 3, 1, 2],
            &[0x32, 1, 1, 2],
            &[0x32, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0],
            &[0x32, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1],
        ] {
            assert_eq!(unwrap(sealed), Err(FrameError::NotOneObu), "{sealed:02x?}");
        }
    }
}
