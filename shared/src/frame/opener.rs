//! Opening the frames of others.
//!
//! Every check that costs nothing comes before the one that costs: a frame is cut by its codec's rule, its header is
//! read, its seat compared with the receiver it came through, its epoch looked up. Only then is it decrypted, under the one
//! key that its key id names, and only when that succeeds is its counter recorded.
//!
//! Networks deliver frames twice: a retransmission overtakes its packet, padding repeats an old one. Such a copy is
//! authentic and its counter was seen. Whatever is not authentic is an attack, or damage, whatever counter it names.

use serde::{Serialize, Serializer};
use sframe::{
    crypto::DecryptionBufferView,
    frame::validation::{
        FrameValidation, ReplayAttackProtection, ReplayAttackProtectionError, Tolerance, UnvalidatedFrame,
    },
    header::SframeHeader,
};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

use super::{
    KEY_LENGTH, SUITE,
    cipher::{DecryptionKey, TAG},
    clear_bytes::{Codec, FrameError, Unwrapped},
    epochs::{Epochs, Missing},
    held::{Held, HeldFrame},
    kid::{EpochBits, Header, HeaderError, Kid},
};
use crate::{
    crypto::schedule::MediaSecret,
    id::{Ed25519Key, Epoch, Seat},
    limits,
    time::Timestamp,
};

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// The plain frame.
    Frame(Vec<u8>),
    /// Its epoch is still to come: it will be released under its ticket.
    Held,
    /// It must be dropped: a decoder that is given it plays noise.
    Dropped(OpenError),
}

/// Why a frame is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The bytes are no frame of the codec.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The bytes are no SFrame ciphertext of ours.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// It names another sender than the receiver it came through.
    #[error("the frame is of seat {0}, not of the sender it came from")]
    WrongSeat(Seat),
    /// Nobody on its seat may send in its epoch.
    #[error("its sender is not in its epoch")]
    NotASender,
    /// Its epoch is over, or began before this device came.
    #[error("its epoch is over")]
    Past,
    /// Its epoch is still to come, and too many frames wait already.
    #[error("too many frames wait for a key")]
    HoldFull,
    /// It waited and its key did not come.
    #[error("its key did not come in time")]
    TimedOut,
    /// It is authentic and was opened before. Networks deliver some frames twice, so this alone is no attack.
    #[error("the frame was opened before")]
    Duplicate,
    /// It is authentic and lies further back than the replay window.
    #[error("the frame is older than the replay window")]
    TooOld,
    /// It does not open under the one key that it names: a wrong key, or a byte was changed.
    #[error("the frame does not open")]
    Undecryptable,
}

/// What became of the frames of one sender. All counts are of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SeatStats {
    /// Opened.
    pub opened: u64,
    /// Did not open under the key that they name.
    pub undecryptable: u64,
    /// Had to wait for their key; each of them counts once more for what became of it.
    pub held: u64,
    /// Copies of frames that came before, each of them authentic.
    pub duplicates: u64,
    /// Of an epoch that is over or began before this device came, or older than the replay window.
    pub late: u64,
    /// Of an epoch whose key did not come in time, or for which there was no room to wait.
    pub expired: u64,
    /// No frames of this sender at all: malformed, of another seat, or of an epoch that it may not send in.
    pub refused: u64,
    /// Since when frames have been coming that there is no key for, in milliseconds of the driver's clock; absent when
    /// the last one opened.
    #[serde(serialize_with = "as_millis")]
    pub waiting_since: Option<Timestamp>,
}

/// A frame as it arrives.
#[derive(Clone, Copy)]
pub(super) struct Arrived<'a> {
    pub(super) from: Seat,
    pub(super) codec: Codec,
    pub(super) frame: &'a [u8],
    pub(super) ticket: u64,
}

/// Opens frames, holds those that came before their key, and counts.
#[derive(Default)]
pub(super) struct Opener {
    held: Held,
    stats: BTreeMap<Seat, SeatStats>,
}

impl Opener {
    /// Opens one frame, or holds it.
    pub(super) fn open(&mut self, epochs: &mut Epochs, now: Timestamp, arrived: Arrived<'_>) -> Opened {
        let Arrived { from, codec, frame, ticket } = arrived;
        let error = match open(epochs, from, codec, frame) {
            Ok(plain) => {
                self.count(from, now, None);
                return Opened::Frame(plain);
            }
            Err(Refused::Ahead(epoch)) => {
                let due = now + limits::HELD_FRAME_TIME;
                if self.held.push(HeldFrame { from, codec, epoch, frame: frame.to_vec(), ticket, due }) {
                    let stats = self.stats.entry(from).or_default();
                    stats.held += 1;
                    stats.waiting_since.get_or_insert(now);
                    return Opened::Held;
                }
                OpenError::HoldFull
            }
            Err(Refused::For(error)) => error,
        };
        self.count(from, now, Some(error));
        Opened::Dropped(error)
    }

    /// Opens the held frames that are due.
    pub(super) fn release(&mut self, epochs: &mut Epochs, now: Timestamp) -> Vec<(u64, Result<Vec<u8>, OpenError>)> {
        let due = self.held.take_due(now).into_iter();
        due.map(|HeldFrame { from, codec, frame, ticket, .. }| {
            let opened = open(epochs, from, codec, &frame).map_err(|refused| match refused {
                Refused::Ahead(_) => OpenError::TimedOut,
                Refused::For(error) => error,
            });
            self.count(from, now, opened.as_ref().err().copied());
            (ticket, opened)
        })
        .collect()
    }

    /// An epoch was installed, and these seats changed hands.
    pub(super) fn installed(&mut self, epoch: Epoch, changed: &BTreeSet<Seat>) {
        self.held.expedite(EpochBits::of(epoch));
        self.stats.retain(|seat, _| !changed.contains(seat));
    }

    /// All keys are gone.
    pub(super) fn cleared(&mut self) {
        self.held.expedite_all();
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        self.held.next_due()
    }

    pub(super) fn stats(&self) -> &BTreeMap<Seat, SeatStats> {
        &self.stats
    }

    fn count(&mut self, from: Seat, now: Timestamp, error: Option<OpenError>) {
        let stats = self.stats.entry(from).or_default();
        let count = match error {
            None => {
                stats.waiting_since = None;
                &mut stats.opened
            }
            Some(OpenError::Undecryptable) => &mut stats.undecryptable,
            Some(OpenError::Duplicate) => &mut stats.duplicates,
            Some(OpenError::TooOld) => &mut stats.late,
            Some(OpenError::Past) => {
                if stats.opened == 0 {
                    stats.waiting_since.get_or_insert(now);
                }
                &mut stats.late
            }
            Some(OpenError::HoldFull | OpenError::TimedOut) => {
                stats.waiting_since.get_or_insert(now);
                &mut stats.expired
            }
            Some(OpenError::Frame(_) | OpenError::Header(_) | OpenError::WrongSeat(_) | OpenError::NotASender) => {
                &mut stats.refused
            }
        };
        *count += 1;
    }
}

/// The key of one sender in one epoch, and the counters seen under it.
pub(super) struct OpeningKey {
    key: DecryptionKey,
    window: ReplayAttackProtection,
    /// What is authenticated of a frame, kept so that no frame has to allocate it.
    authenticated: Vec<u8>,
}

impl OpeningKey {
    /// Makes the key of a sender; `None` only if the library cannot.
    pub(super) fn derive(media: &MediaSecret, kid: Kid, sender: &Ed25519Key) -> Option<Self> {
        let base = media.sender::<KEY_LENGTH>(kid.seat(), sender);
        let key = DecryptionKey::derive_from(SUITE, kid, base.expose()).ok()?;
        let window = ReplayAttackProtection::new(kid.into(), Tolerance::try_new(limits::REPLAY_WINDOW).ok()?);
        Some(Self { key, window, authenticated: Vec::new() })
    }

    /// Opens a frame whose counter is new. One whose counter is not is opened too, to tell a copy from an attack.
    fn open(&mut self, sealed: &Sealed<'_>) -> Result<Vec<u8>, OpenError> {
        let header = SframeHeader::new(sealed.header.kid.into(), sealed.header.counter);
        let screened = self.window.screen(UnvalidatedFrame::new(&header, sealed.clear)).map_err(|error| match error {
            ReplayAttackProtectionError::DuplicatedFrame { .. } => OpenError::Duplicate,
            ReplayAttackProtectionError::CounterTooOld { .. } => OpenError::TooOld,
            ReplayAttackProtectionError::KeyIdMismatch { .. } => OpenError::Undecryptable,
        });
        let plain = self.decrypt(sealed).ok_or(OpenError::Undecryptable)?;
        self.window.record(screened?);
        Ok(plain)
    }

    /// The plain frame; `None` when it is not authentic. Laid out here rather than by the crate's frames, which move what
    /// they decrypted.
    fn decrypt(&mut self, sealed: &Sealed<'_>) -> Option<Vec<u8>> {
        let (header, encrypted) = sealed.sframe.split_at_checked(sealed.header.length)?;
        self.authenticated.clear();
        self.authenticated.extend_from_slice(header);
        self.authenticated.extend_from_slice(sealed.clear);

        let kept = if sealed.codec.keeps_clear_bytes() { sealed.clear } else { &[] };
        let mut plain = Vec::with_capacity(kept.len() + encrypted.len());
        plain.extend_from_slice(kept);
        plain.extend_from_slice(encrypted);
        let view = DecryptionBufferView { aad: &mut self.authenticated, data: plain.get_mut(kept.len()..)? };
        self.key.decrypt(view, sealed.header.counter).ok()?;
        plain.truncate(plain.len() - TAG);
        Some(plain)
    }
}

/// A sealed frame, as its codec's rule takes it apart.
struct Sealed<'a> {
    codec: Codec,
    clear: &'a [u8],
    sframe: &'a [u8],
    /// What is read at the beginning of `sframe`.
    header: Header,
}

/// Why a frame was not opened now.
enum Refused {
    /// Its epoch is still to come.
    Ahead(EpochBits),
    /// For good.
    For(OpenError),
}

impl<E: Into<OpenError>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::For(error.into())
    }
}

fn open(epochs: &mut Epochs, from: Seat, codec: Codec, frame: &[u8]) -> Result<Vec<u8>, Refused> {
    let Unwrapped { clear, sframe } = codec.unwrap(frame)?;
    let header = Header::read(&sframe)?;
    if sframe.len() < header.length + TAG {
        return Err(HeaderError::Truncated.into());
    }
    if header.kid.seat() != from {
        return Err(OpenError::WrongSeat(header.kid.seat()).into());
    }
    match epochs.opening(header.kid) {
        Ok(key) => Ok(key.open(&Sealed { codec, clear: &clear, sframe: &sframe, header })?),
        Err(Missing::Ahead) => Err(Refused::Ahead(header.kid.epoch())),
        Err(Missing::Past) => Err(OpenError::Past.into()),
        Err(Missing::NotASender) => Err(OpenError::NotASender.into()),
    }
}

fn as_millis<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(Timestamp::as_millis).serialize(serializer)
}
