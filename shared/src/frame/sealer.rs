//! Sealing the frames of this device.

use serde::Serialize;
use sframe::{
    crypto::EncryptionBufferView,
    frame::{FrameCounter, MonotonicCounter},
    header::SframeHeader,
};
use thiserror::Error;

use super::{
    KEY_LENGTH, SUITE,
    cipher::{EncryptionKey, TAG},
    clear_bytes::{Codec, Cut, FrameError},
    epochs::Epochs,
    kid::Kid,
};
use crate::{
    crypto::schedule::MediaSecret,
    id::{Ed25519Key, Epoch},
};

/// Chooses the key that frames are sealed under.
pub(super) struct Sealer {
    own: Ed25519Key,
    active: Option<Epoch>,
    paused: bool,
    stats: SealStats,
}

/// What became of this device's own frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SealStats {
    /// Sealed.
    pub sealed: u64,
    /// Refused, whatever the reason: these must not have been sent.
    pub refused: u64,
}

/// Why a frame was not sealed. It must be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// No epoch is active, or this device may not send in it.
    #[error("there is no key to seal under")]
    NoKey,
    /// Sealing is paused: the key may be one that somebody holds who was shut out.
    #[error("sealing is paused")]
    Paused,
    /// The bytes are no frame of the codec.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The counter of the key is used up: it stops rather than wraps.
    #[error("the key has sealed as many frames as it may")]
    Exhausted,
    /// The cryptographic library refused.
    #[error("sealing failed")]
    Crypto,
}

impl Sealer {
    /// Nothing is active.
    pub(super) fn new(own: Ed25519Key) -> Self {
        Self { own, active: None, paused: false, stats: SealStats::default() }
    }

    /// Seals under this epoch from here on. Never goes back: whoever an epoch shut out stays shut out.
    pub(super) fn activate(&mut self, epoch: Epoch) {
        self.active = self.active.max(Some(epoch));
    }

    /// Seals nothing until it is told to go on.
    pub(super) fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Forgets what was active: another join may come, in which epochs mean something else.
    pub(super) fn clear(&mut self) {
        self.active = None;
        self.paused = false;
    }

    /// Seals one frame.
    pub(super) fn seal(&mut self, epochs: &mut Epochs, codec: Codec, frame: &[u8]) -> Result<Vec<u8>, SealError> {
        let sealed = self.try_seal(epochs, codec, frame);
        let count = if sealed.is_ok() { &mut self.stats.sealed } else { &mut self.stats.refused };
        *count += 1;
        sealed
    }

    pub(super) fn stats(&self) -> SealStats {
        self.stats
    }

    #[cfg(test)]
    pub(super) fn active(&self) -> Option<Epoch> {
        self.active
    }

    fn try_seal(&self, epochs: &mut Epochs, codec: Codec, frame: &[u8]) -> Result<Vec<u8>, SealError> {
        let Cut { clear, secret } = codec.cut(frame)?;
        let active = self.active.ok_or(SealError::NoKey)?;
        if self.paused {
            return Err(SealError::Paused);
        }
        let sealed = epochs.sealing(active, &self.own).ok_or(SealError::NoKey)?.seal(&clear, secret)?;
        Ok(codec.wrap(sealed, clear.len()))
    }
}

/// The own key of one epoch and its only counter.
pub(super) struct SealingKey {
    key: EncryptionKey,
    counter: MonotonicCounter,
    /// What is authenticated of a frame, kept so that no frame has to allocate it.
    authenticated: Vec<u8>,
}

impl SealingKey {
    /// Makes the key of a sender; `None` only if the library cannot.
    pub(super) fn derive(media: &MediaSecret, kid: Kid, sender: &Ed25519Key) -> Option<Self> {
        let base = media.sender::<KEY_LENGTH>(kid.seat(), sender);
        let key = EncryptionKey::derive_from(SUITE, kid, base.expose()).ok()?;
        Some(Self { key, counter: MonotonicCounter::new(LAST_COUNTER), authenticated: Vec::new() })
    }

    /// Clear bytes ‖ header ‖ ciphertext ‖ tag. Laid out here rather than by the crate's frames, which fill their buffers
    /// with zeros before they copy.
    fn seal(&mut self, clear: &[u8], secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let counter = self.counter.try_next().map_err(|_| SealError::Exhausted)?;
        let header = SframeHeader::new(self.key.key_id(), counter);
        let mut bytes = [0; LONGEST_HEADER];
        header.serialize(&mut bytes).map_err(|_| SealError::Crypto)?;
        let header = bytes.get(..header.len()).ok_or(SealError::Crypto)?;
        self.authenticated.clear();
        self.authenticated.extend_from_slice(header);
        self.authenticated.extend_from_slice(clear);

        let mut sealed = Vec::with_capacity(clear.len() + header.len() + secret.len() + TAG + WRAPPING);
        sealed.extend_from_slice(clear);
        sealed.extend_from_slice(header);
        let begins = sealed.len();
        sealed.extend_from_slice(secret);
        sealed.extend_from_slice(&[0; TAG]);
        let body = sealed.get_mut(begins..).and_then(<[u8]>::split_last_chunk_mut::<TAG>);
        let (data, tag) = body.ok_or(SealError::Crypto)?;
        let view = EncryptionBufferView { aad: &mut self.authenticated, data, tag };
        self.key.encrypt(view, counter).map_err(|_| SealError::Crypto)?;
        Ok(sealed)
    }
}

/// Bytes of the longest SFrame header: one, and twice eight.
const LONGEST_HEADER: usize = 17;
/// Bytes that [`Codec::wrap`] may add without another allocation.
const WRAPPING: usize = 1;

/// The last counter of a key. A counter must never come twice (RFC 9605 section 9.1), and AES-GCM is far from its bounds
/// at this one. A thousand frames a second reach it after seven weeks, while an epoch lasts minutes.
const LAST_COUNTER: u64 = u32::MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::secret::Secret,
        frame::kid::Header,
        id::{Seat, Term},
    };

    #[test]
    fn a_counter_stops_and_never_wraps() {
        let media = MediaSecret::new(Secret::take(&mut [1; 32]).expect("32 bytes"));
        let kid = Kid::new(Seat(1), Epoch::first(Term(0)));
        let mut key = SealingKey::derive(&media, kid, &Ed25519Key::new([2; 32])).expect("a key");
        key.counter = MonotonicCounter::with_start_value(LAST_COUNTER - 1, LAST_COUNTER);
        for counter in [LAST_COUNTER - 1, LAST_COUNTER] {
            let sealed = key.seal(&[], b"frame").expect("counters left");
            assert_eq!(Header::read(&sealed).expect("a header").counter, counter);
        }
        assert_eq!(key.seal(&[], b"frame"), Err(SealError::Exhausted));
        assert_eq!(key.seal(&[], b"frame"), Err(SealError::Exhausted));
    }
}
