//! H.264: everything behind the beginning of the first slice is disguised as the content of that slice.
//!
//! RTP packetizers for H.264 cut an access unit at its start codes; receivers read the parameter sets, and in the header of
//! the first slice which of them it uses. All that stays readable, up to the byte that ends the third number of that
//! header (`first_mb_in_slice`, `slice_type`, `pic_parameter_set_id`): one byte behind the NAL header, two with some
//! encoders. The rest, further slices and their start codes too, is one ciphertext, written so that no start code is in
//! it (ITU-T H.264, section 7.4.1):
//!
//! ```text
//! sealed frame = clear bytes ‖ escaped (SFrame ciphertext ‖ 0x80)
//! escaped      = 0x03 put before every byte of 0 to 3 that comes behind two zero bytes
//! ```
//!
//! The last byte keeps the NAL unit from ending in zero, which a parser would take for padding. Depacketizers write
//! every start code with four bytes, whatever was sent: so what is authenticated, and what is sent, has four.

use memchr::memmem;
use std::borrow::Cow;

use super::FrameError;

const START_CODE: &[u8] = &[0, 0, 1];
const LONG_START_CODE: &[u8] = &[0, 0, 0, 1];
/// Ends the sealed part. Any byte above 3 would do; this is how the content of a NAL unit ends in the standard.
const STOP: u8 = 0x80;
const ESCAPE: u8 = 3;
/// What an escape stands behind.
const ZEROS: &[u8] = &[0, 0];
/// Zeros before the longest number that the standard has.
const LONGEST_NUMBER: u32 = 32;

// Table 7-1 of the standard.
const SLICE: u8 = 1;
const IDR_SLICE: u8 = 5;
const FORBIDDEN: u8 = 0b1000_0000;
const TYPE_MASK: u8 = 0b1_1111;

/// Whether a plain access unit begins a picture that needs no other one.
pub(super) fn is_key_frame(plain: &[u8]) -> bool {
    first_slice(plain).is_ok_and(|slice| slice.kind == IDR_SLICE)
}

/// Splits an access unit, plain or sealed, behind what stays readable of it. The clear bytes have long start codes.
pub(super) fn cut(frame: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), FrameError> {
    let slice = first_slice(frame)?;
    let behind_header = slice.begins + 1;
    let header = frame.get(behind_header..).and_then(readable).ok_or(FrameError::NoSlice)?;
    let (clear, rest) = frame.split_at_checked(behind_header + header).ok_or(FrameError::NoSlice)?;
    let clear = if slice.long_start_codes { clear.into() } else { with_long_start_codes(clear).into() };
    Ok((clear, rest))
}

/// Escapes what comes behind the clear bytes, after a last byte that is not zero.
pub(super) fn escape(mut sealed: Vec<u8>, clear: usize) -> Vec<u8> {
    sealed.push(STOP);
    let mut escaped = Vec::new();
    let mut done = 0;
    // The zeros may begin within the clear bytes.
    let mut from = clear.saturating_sub(ZEROS.len());
    while let Some(place) = behind_zeros(&sealed, from) {
        from = place;
        if sealed.get(place).is_some_and(|byte| *byte <= ESCAPE) {
            escaped.extend_from_slice(sealed.get(done..place).unwrap_or_default());
            escaped.push(ESCAPE);
            done = place;
        }
    }
    if done == 0 {
        return sealed;
    }
    escaped.extend_from_slice(sealed.get(done..).unwrap_or_default());
    escaped
}

/// The SFrame ciphertext behind the clear bytes of a sealed frame. There is one way only to write each.
pub(super) fn unescape(frame: &[u8], clear: usize) -> Result<Cow<'_, [u8]>, FrameError> {
    let mut plain = Vec::new();
    let mut done = clear;
    let mut from = clear.saturating_sub(ZEROS.len());
    while let Some(place) = behind_zeros(frame, from) {
        match (frame.get(place), frame.get(place + 1)) {
            (Some(&ESCAPE), Some(0..=ESCAPE)) => {
                plain.extend_from_slice(frame.get(done..place).unwrap_or_default());
                done = place + 1;
                from = done;
            }
            (Some(0..=ESCAPE) | None, _) => return Err(FrameError::NotEscaped),
            (Some(_), _) => from = place,
        }
    }
    match frame.get(done..).and_then(<[u8]>::split_last) {
        Some((&STOP, last)) if done == clear => Ok(last.into()),
        Some((&STOP, last)) => {
            plain.extend_from_slice(last);
            Ok(plain.into())
        }
        _ => Err(FrameError::NotEscaped),
    }
}

/// The place behind the next two zero bytes.
fn behind_zeros(bytes: &[u8], from: usize) -> Option<usize> {
    Some(from + memmem::find(bytes.get(from..)?, ZEROS)? + ZEROS.len())
}

/// Where the first slice of an access unit stands.
struct FirstSlice {
    /// The type of its NAL unit.
    kind: u8,
    /// The place of its NAL header.
    begins: usize,
    /// Every start code up to it has four bytes, and no padding stands before one.
    long_start_codes: bool,
}

fn first_slice(frame: &[u8]) -> Result<FirstSlice, FrameError> {
    let padding = memmem::find(frame, START_CODE).ok_or(FrameError::NoStartCode)?;
    if zeros_at_end(frame.get(..padding).unwrap_or_default()) != padding {
        return Err(FrameError::NoStartCode);
    }
    let mut long_start_codes = padding == 1;
    let mut begins = padding + START_CODE.len();
    loop {
        let unit = frame.get(begins..).unwrap_or_default();
        let header = *unit.first().ok_or(FrameError::NoSlice)?;
        let kind = header & TYPE_MASK;
        match kind {
            _ if header & FORBIDDEN != 0 => return Err(FrameError::NalUnit(kind)),
            SLICE | IDR_SLICE => return Ok(FirstSlice { kind, begins, long_start_codes }),
            // Supplemental information, parameter sets, delimiter, filler, and what extends them: no picture.
            6..=9 | 12..=15 => {}
            _ => return Err(FrameError::NalUnit(kind)),
        }
        let length = memmem::find(unit, START_CODE).ok_or(FrameError::NoSlice)?;
        long_start_codes &= zeros_at_end(unit.get(..length).unwrap_or_default()) == 1;
        begins += length + START_CODE.len();
    }
}

fn zeros_at_end(bytes: &[u8]) -> usize {
    bytes.iter().rev().take_while(|byte| **byte == 0).count()
}

/// The same NAL units, each behind a start code of four bytes and nothing else.
fn with_long_start_codes(clear: &[u8]) -> Vec<u8> {
    let mut long = Vec::with_capacity(clear.len() + 8);
    let mut rest = clear;
    while let Some((before, behind)) =
        memmem::find(rest, START_CODE).and_then(|place| Some((rest.get(..place)?, rest.get(place + 3..)?)))
    {
        long.extend_from_slice(before.get(..before.len() - zeros_at_end(before)).unwrap_or_default());
        long.extend_from_slice(LONG_START_CODE);
        rest = behind;
    }
    long.extend_from_slice(rest);
    long
}

/// Bytes of a slice header up to the one in which its third number ends; `None` when it is cut off.
fn readable(slice: &[u8]) -> Option<usize> {
    let mut bits = Bits { bytes: slice, read: 0, zeros: 0, byte: 0, left: 0 };
    for _ in 0..3 {
        bits.skip_number()?;
    }
    Some(bits.read)
}

/// Bits of a NAL unit, escapes apart.
struct Bits<'a> {
    bytes: &'a [u8],
    /// Bytes taken so far.
    read: usize,
    /// Zero bytes before the next one, one behind the other.
    zeros: usize,
    byte: u8,
    /// Bits of `byte` that are still to come.
    left: u32,
}

impl Bits<'_> {
    /// Passes over an unsigned Exp-Golomb number, section 9.1: as many zeros as bits follow the one behind them.
    fn skip_number(&mut self) -> Option<()> {
        let mut length = 0;
        while !self.bit()? {
            length += 1;
        }
        (length <= LONGEST_NUMBER).then_some(())?;
        for _ in 0..length {
            self.bit()?;
        }
        Some(())
    }

    fn bit(&mut self) -> Option<bool> {
        if self.left == 0 {
            self.byte = self.next_byte()?;
            self.left = u8::BITS;
        }
        self.left -= 1;
        Some(self.byte >> self.left & 1 == 1)
    }

    fn next_byte(&mut self) -> Option<u8> {
        let mut byte = self.raw_byte()?;
        if self.zeros >= ZEROS.len() {
            match byte {
                ESCAPE => {
                    self.zeros = 0;
                    byte = self.raw_byte()?;
                }
                // A start code: the slice is over.
                0..ESCAPE => return None,
                _ => {}
            }
        }
        self.zeros = if byte == 0 { self.zeros + 1 } else { 0 };
        Some(byte)
    }

    fn raw_byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.read)?;
        self.read += 1;
        Some(byte)
    }
}

#[cfg(test)]
mod tests;
