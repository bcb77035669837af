//! The key id of a frame: which sender, which epoch.
//!
//! ```text
//! KID = seat (16 bits) ‖ term modulo 4 (2 bits) ‖ count modulo 64 (6 bits)
//! ```
//!
//! At most [`LIVE_EPOCHS`](crate::limits::LIVE_EPOCHS) epochs are un-wiped at any time, and an epoch that comes with the
//! bits of a live one wipes it first: so a key id names one live key, or none.

#[cfg(doc)]
use sframe::header::SframeHeader;
use std::fmt;
use thiserror::Error;

use crate::id::{Epoch, Seat};

const COUNT_BITS: u32 = 6;
const COUNT_MASK: u8 = (1 << COUNT_BITS) - 1;
const TERM_MASK: u8 = 0b11;
const EPOCH_BITS: u32 = 8;

/// What a key id says of an epoch: the two lowest bits of the term, the six lowest of the count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochBits(u8);

impl EpochBits {
    /// The bits of an epoch.
    #[must_use]
    pub const fn of(epoch: Epoch) -> Self {
        let [.., term] = epoch.term().0.to_be_bytes();
        let [.., count] = epoch.count().to_be_bytes();
        Self((term & TERM_MASK) << COUNT_BITS | count & COUNT_MASK)
    }

    /// Whether these bits, taken as an epoch near `newest`, are that epoch or one before it.
    ///
    /// Near means: up to 32 epochs back in the same term, or anywhere in the term before. So frames of an epoch that is
    /// over, or that began before this device came, do not wait for a key that cannot come.
    #[must_use]
    pub const fn not_after(self, newest: Epoch) -> bool {
        let newest = Self::of(newest).0;
        let terms_back = (newest >> COUNT_BITS).wrapping_sub(self.0 >> COUNT_BITS) & TERM_MASK;
        let counts_back = newest.wrapping_sub(self.0) & COUNT_MASK;
        match terms_back {
            0 => counts_back <= COUNT_MASK.div_ceil(2),
            1 => true,
            _ => false,
        }
    }
}

impl fmt::Debug for EpochBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EpochBits({}.{})", self.0 >> COUNT_BITS, self.0 & COUNT_MASK)
    }
}

/// The key id of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kid {
    seat: Seat,
    epoch: EpochBits,
}

impl Kid {
    /// The key id of a sender in an epoch.
    #[must_use]
    pub const fn new(seat: Seat, epoch: Epoch) -> Self {
        Self { seat, epoch: EpochBits::of(epoch) }
    }

    /// Whose key it is.
    #[must_use]
    pub const fn seat(self) -> Seat {
        self.seat
    }

    /// In which epoch.
    #[must_use]
    pub const fn epoch(self) -> EpochBits {
        self.epoch
    }
}

impl From<Kid> for u64 {
    fn from(kid: Kid) -> Self {
        Self::from(kid.seat.0) << EPOCH_BITS | Self::from(kid.epoch.0)
    }
}

impl TryFrom<u64> for Kid {
    type Error = HeaderError;

    fn try_from(kid: u64) -> Result<Self, HeaderError> {
        let [0, 0, 0, 0, 0, high, low, epoch] = kid.to_be_bytes() else { return Err(HeaderError::Kid) };
        Ok(Self { seat: Seat(u16::from_be_bytes([high, low])), epoch: EpochBits(epoch) })
    }
}

/// What an SFrame header says (RFC 9605 section 4.3). Nothing of it is authentic before the frame has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The key id.
    pub kid: Kid,
    /// The counter.
    pub counter: u64,
    /// Bytes of the header itself.
    pub length: usize,
}

impl Header {
    /// Reads the header at the beginning of an SFrame ciphertext, without any cryptography.
    ///
    /// It reads what [`SframeHeader::deserialize`] reads, but allocates nothing: that is a third of what opening a frame of
    /// sound costs beside its decryption.
    ///
    /// # Errors
    /// [`HeaderError`] when there is none, or when its key id is none of ours.
    pub fn read(sframe: &[u8]) -> Result<Self, HeaderError> {
        let (config, rest) = sframe.split_first().ok_or(HeaderError::Truncated)?;
        let (kid, rest) = number(config >> 4, rest).ok_or(HeaderError::Truncated)?;
        let (counter, rest) = number(config & 0b1111, rest).ok_or(HeaderError::Truncated)?;
        Ok(Self { kid: Kid::try_from(kid)?, counter, length: sframe.len() - rest.len() })
    }
}

/// One of the two numbers of a header: four bits say its value, or how many bytes hold it, less one.
fn number(bits: u8, rest: &[u8]) -> Option<(u64, &[u8])> {
    let value = bits & 0b111;
    if bits & 0b1000 == 0 {
        return Some((value.into(), rest));
    }
    let (bytes, rest) = rest.split_at_checked(usize::from(value) + 1)?;
    Some((bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)), rest))
}

/// Why a header was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// The bytes end within the header, or within the tag.
    #[error("the SFrame ciphertext is cut off")]
    Truncated,
    /// The key id has more than 24 bits.
    #[error("the key id is none of a seat and an epoch")]
    Kid,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Term;
    use proptest::prelude::*;
    use sframe::header::SframeHeader;

    const fn epoch(term: u32, count: u32) -> Epoch {
        Epoch(Term(term), count)
    }

    #[test]
    fn the_layout_is_seat_term_count() {
        assert_eq!(u64::from(Kid::new(Seat(0x1234), epoch(0b1_01, 0b1_000011))), 0x1234 << 8 | 0b01 << 6 | 0b000011);
        assert_eq!(Kid::try_from(1 << 24), Err(HeaderError::Kid));
        assert_eq!(Kid::try_from(u64::MAX), Err(HeaderError::Kid));
    }

    #[test]
    fn bits_come_round() {
        assert_eq!(EpochBits::of(epoch(1, 3)), EpochBits::of(epoch(5, 67)));
        assert_ne!(EpochBits::of(epoch(1, 3)), EpochBits::of(epoch(1, 4)));
        assert_ne!(EpochBits::of(epoch(1, 3)), EpochBits::of(epoch(2, 3)));
    }

    #[test]
    fn near_epochs_are_told_apart_from_those_to_come() {
        let newest = epoch(6, 2);
        for past in [epoch(6, 2), epoch(6, 1), epoch(6, 0), epoch(5, 0), epoch(5, 40)] {
            assert!(EpochBits::of(past).not_after(newest), "{past}");
        }
        for ahead in [epoch(6, 3), epoch(6, 4), epoch(6, 20), epoch(7, 0), epoch(7, 9), epoch(8, 0)] {
            assert!(!EpochBits::of(ahead).not_after(newest), "{ahead}");
        }
    }

    proptest! {
        #[test]
        fn a_kid_survives_its_header(seat: u16, term: u32, count: u32, counter: u64) {
            let kid = Kid::new(Seat(seat), epoch(term, count));
            prop_assert_eq!(Kid::try_from(u64::from(kid)), Ok(kid));
            let bytes = Vec::from(&SframeHeader::new(kid.into(), counter));
            prop_assert_eq!(Header::read(&bytes), Ok(Header { kid, counter, length: bytes.len() }));
            prop_assert_eq!(Header::read(&bytes[..bytes.len() - 1]), Err(HeaderError::Truncated));
        }

        /// The library's reader and ours agree on every header.
        #[test]
        fn any_bytes_are_read_or_refused(config: u8, bytes in prop::collection::vec(0_u8..4, 0..20)) {
            let bytes = [&[config][..], &bytes].concat();
            let theirs = SframeHeader::deserialize(&bytes).map_err(|_| HeaderError::Truncated).and_then(|header| {
                Ok(Header { kid: Kid::try_from(header.key_id())?, counter: header.counter(), length: header.len() })
            });
            prop_assert_eq!(Header::read(&bytes), theirs);
            prop_assert_eq!(Header::read(&[]), Err(HeaderError::Truncated));
        }
    }
}
