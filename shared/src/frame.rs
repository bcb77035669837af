//! Media frames: sealed and opened under the keys of epochs (SFrame, RFC 9605).
//!
//! ```text
//! sealed frame = clear bytes ‖ SFrame header (KID, counter) ‖ ciphertext ‖ tag (16)
//! authenticated = SFrame header ‖ clear bytes           suite AES_128_GCM_SHA256_128
//! ```
//!
//! [`Frames`] is fed the [`KeyUpdate`]s of a session and then seals and opens. It fails closed: without a key there is
//! no frame, in both directions, and what comes out of it is never what went in. Its parts: [`kid`] names the key of a
//! frame, [`clear_bytes`] holds what differs between codecs, [`sealer`] and [`opener`] do the work.

pub mod clear_bytes;
pub mod kid;
pub mod opener;
pub mod sealer;

mod cipher;
mod epochs;
mod held;

use sframe::CipherSuite;

use self::{
    clear_bytes::Codec,
    epochs::Epochs,
    opener::{OpenError, Opened, Opener, SeatStats},
    sealer::{SealError, SealStats, Sealer},
};
use crate::{
    id::{Ed25519Key, Seat},
    session::output::KeyUpdate,
    time::Timestamp,
};

/// The suite of protocol version 1, as [`policy`](crate::crypto::schedule::policy) commits to it.
const SUITE: CipherSuite = CipherSuite::AesGcm128Sha256;
/// Bytes of that suite's base key.
const KEY_LENGTH: usize = SUITE.key_len();

/// The frame keys of one device in one join: of all its tracks, layers and connections, so that one counter serves them.
///
/// A join has one of these and a new join has a new one: counters must never start again under a key that was used.
///
/// Which key is the own one is found by the device's fingerprint among the senders that the lead committed. The seat
/// that the relay names has no part in it: under the wrong one, two devices would seal with one key and one counter.
pub struct Frames {
    epochs: Epochs,
    sealer: Sealer,
    opener: Opener,
}

impl Frames {
    /// The frames of the device with this fingerprint. No keys yet: nothing can be sealed or opened.
    #[must_use]
    pub fn new(own: Ed25519Key) -> Self {
        Self { epochs: Epochs::default(), sealer: Sealer::new(own), opener: Opener::default() }
    }

    /// Takes what a session says of its epochs.
    ///
    /// Call [`release`](Self::release) afterwards: frames may have waited for this.
    pub fn apply(&mut self, update: KeyUpdate) {
        match update {
            KeyUpdate::Install { epoch, media, senders } => {
                let changed = self.epochs.install(epoch, media, senders);
                self.opener.installed(epoch, &changed);
            }
            KeyUpdate::Activate(epoch) => self.sealer.activate(epoch),
            KeyUpdate::Retire(epoch) => self.epochs.retire(epoch),
            KeyUpdate::Pause => self.sealer.pause(true),
            KeyUpdate::Resume => self.sealer.pause(false),
            KeyUpdate::Clear => {
                self.epochs.clear();
                self.sealer.clear();
                self.opener.cleared();
            }
        }
    }

    /// Seals a frame of this device under the active epoch.
    ///
    /// # Errors
    /// [`SealError`]: the frame must be dropped, never sent as it is.
    pub fn seal(&mut self, codec: Codec, frame: &[u8]) -> Result<Vec<u8>, SealError> {
        self.sealer.seal(&mut self.epochs, codec, frame)
    }

    /// Opens a frame that came through the receiver of the member on the seat `from`.
    ///
    /// A frame of an epoch still to come is held; it comes back from [`release`](Self::release) under its `ticket`,
    /// a number of the caller's choice.
    #[must_use]
    // Five besides `self`, each of its own type: none can be taken for another.
    #[allow(clippy::too_many_arguments)]
    pub fn open(&mut self, now: Timestamp, from: Seat, codec: Codec, frame: &[u8], ticket: u64) -> Opened {
        self.opener.open(&mut self.epochs, now, opener::Arrived { from, codec, frame, ticket })
    }

    /// The held frames whose key came, or that waited too long, in the order in which each sender's came.
    ///
    /// All but [`OpenError::Duplicate`] and [`OpenError::TooOld`], which are copies, mean that a frame is missing: a decoder
    /// of video goes on from the next key frame only ([`Codec::is_key_frame`]), and should ask for one as soon as another
    /// frame opens, for then the key is here. The same holds for what [`open`](Self::open) drops.
    #[must_use]
    pub fn release(&mut self, now: Timestamp) -> Vec<(u64, Result<Vec<u8>, OpenError>)> {
        self.opener.release(&mut self.epochs, now)
    }

    /// When [`release`](Self::release) has something to do; a time that is past when it has already.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.opener.next_timeout()
    }

    /// What became of the frames of the member on a seat. Starts anew when somebody else takes the seat.
    #[must_use]
    pub fn stats(&self, seat: Seat) -> SeatStats {
        self.opener.stats().get(&seat).copied().unwrap_or_default()
    }

    /// The same for all seats that frames came from.
    pub fn all_stats(&self) -> impl Iterator<Item = (Seat, SeatStats)> {
        self.opener.stats().iter().map(|(seat, stats)| (*seat, *stats))
    }

    /// What became of this device's own frames.
    #[must_use]
    pub fn seal_stats(&self) -> SealStats {
        self.sealer.stats()
    }
}

#[cfg(test)]
mod tests;
