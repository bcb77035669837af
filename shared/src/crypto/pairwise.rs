//! Olm sessions between two devices, named by who opened them.
//!
//! Two devices that open to each other simply have two sessions and nothing needs resolving: what a lead grants goes on
//! the session that it opened, answers come back on the same one. Sessions live in memory for one join.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};
use thiserror::Error;
use vodozemac::{
    Curve25519PublicKey,
    olm::{self, SessionConfig},
};
use zeroize::Zeroizing;

use crate::{
    id::{Curve25519Key, Joined},
    identity::device::Device,
    time::Timestamp,
    wire::{Blob, OlmMessage},
};

/// Sessions that one peer may open within [`OPEN_WINDOW`]: each costs three Diffie-Hellman steps.
const OPEN_LIMIT: usize = 3;
/// The time in which [`OPEN_LIMIT`] counts.
const OPEN_WINDOW: Duration = Duration::from_secs(60);
/// How long an older session of the same opener can still open messages that were on their way.
const OLDER_TIME: Duration = Duration::from_secs(10);

/// Why an Olm session or message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PairwiseError {
    /// A key is of low order: no secret can come of it.
    #[error("a key of low order")]
    LowOrder,
    /// Not an Olm message of version 2, or it does not open.
    #[error("the Olm message does not open")]
    Message,
    /// No session with this peer.
    #[error("no Olm session")]
    NoSession,
    /// The peer opened too many sessions.
    #[error("too many new Olm sessions")]
    TooMany,
}

/// What came out of an Olm message.
pub struct Opened {
    /// The plaintext.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// It used up a one-time key: the device changed.
    pub device_changed: bool,
}

/// All Olm sessions of one join.
#[derive(Default)]
pub struct Pairwise {
    /// Sessions that this device opened.
    ours: BTreeMap<Joined, olm::Session>,
    /// Sessions that peers opened.
    theirs: BTreeMap<Joined, Theirs>,
}

/// Sessions that one peer opened.
#[derive(Default)]
struct Theirs {
    newest: Option<olm::Session>,
    older: Option<(Timestamp, olm::Session)>,
    opened: VecDeque<Timestamp>,
}

impl Pairwise {
    /// Opens a session to a peer, replacing one that was open.
    ///
    /// # Errors
    /// [`PairwiseError::LowOrder`].
    pub fn open(
        &mut self,
        device: &Device,
        peer: Joined,
        identity: &Curve25519Key,
        one_time: &Curve25519Key,
    ) -> Result<(), PairwiseError> {
        let session = device
            .account()
            .create_outbound_session(SessionConfig::version_2(), curve25519(identity), curve25519(one_time))
            .map_err(|_| PairwiseError::LowOrder)?;
        self.ours.insert(peer, session);
        Ok(())
    }

    /// Whether this device has opened a session to a peer.
    #[must_use]
    pub fn is_open(&self, peer: Joined) -> bool {
        self.ours.contains_key(&peer)
    }

    /// Seals a small payload to a peer, on the session that this device opened.
    ///
    /// # Errors
    /// [`PairwiseError::NoSession`], or [`PairwiseError::Message`] if the library refuses.
    pub fn seal(&mut self, peer: Joined, payload: &[u8]) -> Result<OlmMessage, PairwiseError> {
        encrypt(self.ours.get_mut(&peer).ok_or(PairwiseError::NoSession)?, payload)
    }

    /// Seals an answer to a peer, on the session that the peer opened.
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub fn answer(&mut self, peer: Joined, payload: &[u8]) -> Result<OlmMessage, PairwiseError> {
        let session = self.theirs.get_mut(&peer).and_then(|theirs| theirs.newest.as_mut());
        encrypt(session.ok_or(PairwiseError::NoSession)?, payload)
    }

    /// Opens a message from a peer, whichever of the two opened its session.
    ///
    /// # Errors
    /// [`PairwiseError`]. A message that does not open changes nothing: no one-time key is used up.
    pub fn decrypt(
        &mut self,
        now: Timestamp,
        device: &mut Device,
        peer: (Joined, &Curve25519Key),
        message: &OlmMessage,
    ) -> Result<Opened, PairwiseError> {
        let (peer, identity) = peer;
        let message =
            olm::OlmMessage::from_parts(usize::from(message.0), &message.1.0).map_err(|_| PairwiseError::Message)?;
        if let olm::OlmMessage::PreKey(pre_key) = &message {
            let theirs = self.theirs.entry(peer).or_default();
            return theirs.decrypt_pre_key(now, device, curve25519(identity), pre_key);
        }
        let theirs = self.theirs.get_mut(&peer).into_iter().flat_map(|theirs| theirs.usable(now));
        let mut sessions = self.ours.get_mut(&peer).into_iter().chain(theirs);
        let plaintext = sessions.find_map(|session| session.decrypt(&message).ok()).ok_or(PairwiseError::Message)?;
        Ok(Opened { plaintext: Zeroizing::new(plaintext), device_changed: false })
    }

    /// Forgets everything about a peer.
    pub fn forget(&mut self, peer: Joined) {
        self.ours.remove(&peer);
        self.theirs.remove(&peer);
    }
}

impl Theirs {
    fn usable(&mut self, now: Timestamp) -> impl Iterator<Item = &mut olm::Session> {
        self.older.take_if(|(replaced, _)| now.since(*replaced) > OLDER_TIME);
        self.newest.iter_mut().chain(self.older.as_mut().map(|(_, session)| session))
    }

    fn decrypt_pre_key(
        &mut self,
        now: Timestamp,
        device: &mut Device,
        identity: Curve25519PublicKey,
        message: &olm::PreKeyMessage,
    ) -> Result<Opened, PairwiseError> {
        let known = self.usable(now).find(|session| session.session_keys() == message.session_keys());
        if let Some(session) = known {
            let message = olm::OlmMessage::PreKey(message.clone());
            let plaintext = session.decrypt(&message).map_err(|_| PairwiseError::Message)?;
            return Ok(Opened { plaintext: Zeroizing::new(plaintext), device_changed: false });
        }
        self.opened.retain(|opened| now.since(*opened) <= OPEN_WINDOW);
        if self.opened.len() >= OPEN_LIMIT {
            return Err(PairwiseError::TooMany);
        }
        self.opened.push_back(now);
        let created = device
            .account_mut()
            .create_inbound_session(SessionConfig::version_2(), identity, message)
            .map_err(|_| PairwiseError::Message)?;
        self.older = self.newest.replace(created.session).map(|older| (now, older));
        Ok(Opened { plaintext: Zeroizing::new(created.plaintext), device_changed: true })
    }
}

fn encrypt(session: &mut olm::Session, payload: &[u8]) -> Result<OlmMessage, PairwiseError> {
    let (kind, bytes) = session.encrypt(payload).map_err(|_| PairwiseError::Message)?.to_parts();
    Ok(OlmMessage(u8::from(kind == 1), Blob(bytes)))
}

fn curve25519(key: &Curve25519Key) -> Curve25519PublicKey {
    Curve25519PublicKey::from_bytes(*key.as_bytes())
}
