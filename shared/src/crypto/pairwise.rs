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

use super::{random, seal::WrappingKey, secret::Secret};
use crate::{
    id::{Curve25519Key, JoinId},
    identity::device::Device,
    time::Timestamp,
    wire::{Blob, OlmMessage, SEALED_KEY, sealed::OLM_HEADER},
};

/// Sessions that one peer may open within [`OPEN_WINDOW`]: each costs three Diffie-Hellman steps.
const OPEN_LIMIT: usize = 3;
/// Messages that may fail to open one in the same time: junk in a peer's name must not use up the peer's own sessions.
const TRY_LIMIT: usize = 30;
/// The time in which [`OPEN_LIMIT`] and [`TRY_LIMIT`] count.
const OPEN_WINDOW: Duration = Duration::from_secs(60);
/// Ready grants that are made in one idle step: some 300 microseconds.
const READY_PER_STEP: usize = 16;
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
    ours: BTreeMap<JoinId, olm::Session>,
    /// The ready grants of those peers that have answered. They lie apart from the sessions, which are large: a change that
    /// uses a thousand of them touches no session.
    ready: BTreeMap<JoinId, Option<Ready>>,
    /// Those of them that have none, each once.
    unready: Vec<JoinId>,
    /// Sessions that peers opened.
    theirs: BTreeMap<JoinId, Theirs>,
}

/// A grant that was made before there was anything to grant. All that costs is done: the Olm message carries a key that
/// nobody else has, and what is granted will be sealed under that.
struct Ready {
    wrapping: WrappingKey,
    message: Vec<u8>,
}

/// Sessions that one peer opened.
#[derive(Default)]
struct Theirs {
    newest: Option<olm::Session>,
    older: Option<(Timestamp, olm::Session)>,
    opened: VecDeque<Timestamp>,
    tried: VecDeque<Timestamp>,
}

impl Pairwise {
    /// Opens a session to a peer, replacing one that was open.
    ///
    /// # Errors
    /// [`PairwiseError::LowOrder`].
    pub fn open(
        &mut self,
        device: &Device,
        peer: JoinId,
        identity: &Curve25519Key,
        one_time: &Curve25519Key,
    ) -> Result<(), PairwiseError> {
        let session = device
            .account()
            .create_outbound_session(SessionConfig::version_2(), curve25519(identity), curve25519(one_time))
            .map_err(|_| PairwiseError::LowOrder)?;
        self.ours.insert(peer, session);
        if let Some(None) = self.ready.remove(&peer) {
            self.unready.retain(|unready| *unready != peer);
        }
        Ok(())
    }

    /// Whether this device has opened a session to a peer.
    #[must_use]
    pub fn is_open(&self, peer: JoinId) -> bool {
        self.ours.contains_key(&peer)
    }

    /// Seals a small payload to a peer, on the session that this device opened.
    ///
    /// # Errors
    /// [`PairwiseError::NoSession`], or [`PairwiseError::Message`] if the library refuses.
    pub fn seal(&mut self, peer: JoinId, payload: &[u8]) -> Result<OlmMessage, PairwiseError> {
        encrypt(self.ours.get_mut(&peer).ok_or(PairwiseError::NoSession)?, payload)
    }

    /// Seals the key of a broadcast to a peer by its ready grant, if there is one: it is used up.
    pub fn seal_ready(&mut self, peer: JoinId, aad: &[u8], key: &Secret<32>) -> Option<OlmMessage> {
        let Ready { wrapping, message } = self.ready.get_mut(&peer)?.take()?;
        self.unready.push(peer);
        Some(OlmMessage::ready(message, &wrapping.seal(aad, key)))
    }

    /// Makes ready grants for some of the peers that have none, each behind the header that binds it to its peer; a peer
    /// without one gets none.
    pub fn prepare_some(&mut self, header: impl Fn(JoinId) -> Option<[u8; OLM_HEADER]>) {
        for _ in 0..READY_PER_STEP {
            let Some(peer) = self.unready.pop() else { break };
            let made = header(peer).and_then(|header| Ready::new(self.ours.get_mut(&peer)?, &header));
            match made {
                Some(ready) => drop(self.ready.insert(peer, Some(ready))),
                None => drop(self.ready.remove(&peer)),
            }
        }
    }

    /// Wipes all ready grants: what they were bound to is over.
    pub fn unprepare(&mut self) {
        self.unready = self.ready.keys().copied().collect();
        self.ready.values_mut().for_each(|ready| *ready = None);
    }

    /// Whether [`prepare_some`](Self::prepare_some) has something to do.
    #[must_use]
    pub fn is_unready(&self) -> bool {
        !self.unready.is_empty()
    }

    /// Seals an answer to a peer, on the session that the peer opened.
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub fn answer(&mut self, peer: JoinId, payload: &[u8]) -> Result<OlmMessage, PairwiseError> {
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
        peer: (JoinId, &Curve25519Key),
        message: &OlmMessage,
    ) -> Result<Opened, PairwiseError> {
        let (peer, identity) = peer;
        let message =
            olm::OlmMessage::from_parts(usize::from(message.0), &message.1.0).map_err(|_| PairwiseError::Message)?;
        if let olm::OlmMessage::PreKey(pre_key) = &message {
            let theirs = self.theirs.entry(peer).or_default();
            return theirs.decrypt_pre_key(now, device, curve25519(identity), pre_key);
        }
        if let Some(session) = self.ours.get_mut(&peer)
            && let Ok(plaintext) = session.decrypt(&message)
        {
            // The peer's answer turned the ratchet: the next grant comes from the new chain.
            if !matches!(self.ready.insert(peer, None), Some(None)) {
                self.unready.push(peer);
            }
            return Ok(Opened { plaintext: Zeroizing::new(plaintext), device_changed: false });
        }
        let mut theirs = self.theirs.get_mut(&peer).into_iter().flat_map(|theirs| theirs.usable(now));
        let plaintext = theirs.find_map(|session| session.decrypt(&message).ok()).ok_or(PairwiseError::Message)?;
        Ok(Opened { plaintext: Zeroizing::new(plaintext), device_changed: false })
    }

    /// What the Olm library would store of every session, private keys included.
    #[cfg(feature = "audit")]
    pub(crate) fn pickles(&self) -> Vec<serde_json::Value> {
        let theirs = self.theirs.values();
        let theirs = theirs.flat_map(|theirs| theirs.newest.iter().chain(theirs.older.iter().map(|(_, older)| older)));
        self.ours.values().chain(theirs).filter_map(|session| serde_json::to_value(session.pickle()).ok()).collect()
    }

    /// Forgets everything about those that are not kept.
    pub fn retain(&mut self, keep: impl Fn(&JoinId) -> bool) {
        self.ours.retain(|peer, _| keep(peer));
        self.ready.retain(|peer, _| keep(peer));
        self.unready.retain(|peer| keep(peer));
        self.theirs.retain(|peer, _| keep(peer));
    }
}

impl Ready {
    fn new(session: &mut olm::Session, header: &[u8; OLM_HEADER]) -> Option<Self> {
        let key: Secret<32> = Secret::take(&mut random::bytes::<32>().ok()?)?;
        let payload = Zeroizing::new([header.as_slice(), key.expose()].concat());
        let mut message = session.next_message_key()?.encrypt(&payload).to_bytes();
        message.reserve_exact(SEALED_KEY);
        Some(Self { wrapping: WrappingKey::new(&key), message })
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
        self.tried.retain(|tried| now.since(*tried) <= OPEN_WINDOW);
        self.opened.retain(|opened| now.since(*opened) <= OPEN_WINDOW);
        if self.opened.len() >= OPEN_LIMIT || self.tried.len() >= TRY_LIMIT {
            return Err(PairwiseError::TooMany);
        }
        self.tried.push_back(now);
        let created = device
            .account_mut()
            .create_inbound_session(SessionConfig::version_2(), identity, message)
            .map_err(|_| PairwiseError::Message)?;
        self.opened.push_back(now);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::seal::{OpenError, unwrap_key};
    use std::collections::BTreeSet;

    const NOW: Timestamp = Timestamp::ZERO;
    const LEAD: JoinId = JoinId::new([1; 32]);
    const MEMBER: JoinId = JoinId::new([2; 32]);

    struct Pair {
        lead: (Device, Pairwise),
        member: (Device, Pairwise),
    }

    /// The lead has opened a session to the member, who has answered.
    fn pair() -> Pair {
        let device = || Device::generate().expect("random bytes");
        let mut pair = Pair { lead: (device(), Pairwise::default()), member: (device(), Pairwise::default()) };
        let keys = pair.member.0.new_keys();
        let identity = pair.member.0.curve25519();
        pair.lead.1.open(&pair.lead.0, MEMBER, &identity, &keys.one_time_keys[0]).expect("a usable key");
        assert_eq!(pair.grant(b"first").0, 0, "nothing was heard yet: a pre-key message");
        pair.answer();
        pair
    }

    const HEADER: [u8; OLM_HEADER] = [6; OLM_HEADER];
    const AAD: &[u8] = b"this epoch";

    impl Pair {
        fn prepare(&mut self) {
            self.lead.1.prepare_some(|peer| (peer == MEMBER).then_some(HEADER));
        }

        /// The ready grant of a key, if there is one.
        fn ready(&mut self, key: &Secret<32>) -> Option<OlmMessage> {
            self.lead.1.seal_ready(MEMBER, AAD, key)
        }

        /// The wrapping key that came in a ready grant.
        fn wrapping(&mut self, message: &OlmMessage) -> Result<Secret<32>, PairwiseError> {
            let identity = self.lead.0.curve25519();
            let opened = self.member.1.decrypt(NOW, &mut self.member.0, (LEAD, &identity), message)?;
            let (header, wrapping) = opened.plaintext.split_first_chunk().expect("a header");
            assert_eq!(*header, HEADER);
            Ok(Secret::take(&mut wrapping.to_vec()).expect("32 bytes"))
        }

        fn grant(&mut self, payload: &[u8]) -> OlmMessage {
            let message = self.lead.1.seal(MEMBER, payload).expect("a session");
            self.receive(&message, payload);
            message
        }

        fn receive(&mut self, message: &OlmMessage, payload: &[u8]) {
            let identity = self.lead.0.curve25519();
            let opened = self.member.1.decrypt(NOW, &mut self.member.0, (LEAD, &identity), message);
            assert_eq!(opened.map(|opened| opened.plaintext.to_vec()), Ok(payload.to_vec()));
        }

        fn answer(&mut self) {
            let message = self.member.1.answer(LEAD, b"present").expect("their session");
            let identity = self.member.0.curve25519();
            let opened = self.lead.1.decrypt(NOW, &mut self.lead.0, (MEMBER, &identity), &message);
            assert!(opened.is_ok());
        }
    }

    fn key(byte: u8) -> Secret<32> {
        Secret::take(&mut [byte; 32]).expect("32 bytes")
    }

    #[test]
    fn ready_grants_and_ordinary_messages_mix_on_one_session() {
        let mut pair = pair();
        for round in 0..6 {
            if round % 2 == 0 {
                pair.prepare();
            }
            pair.grant(b"not ready");
            let granted = key(round);
            assert_eq!(pair.ready(&granted).is_some(), round % 2 == 0);
            pair.prepare();
            let grant = pair.ready(&granted).expect("made in time");
            pair.grant(b"overtaken");
            let (message, sealed) = grant.split_ready().expect("a ready grant");
            let wrapping = pair.wrapping(&message).expect("it opens");
            assert_eq!(unwrap_key(&wrapping, AAD, sealed), Ok(granted));
            if round % 3 == 0 {
                pair.answer();
            }
        }
    }

    #[test]
    fn a_ready_grant_is_used_once_and_opens_only_whole() {
        let mut pair = pair();
        let mut seen = BTreeSet::new();
        let mut grants = Vec::new();
        for _ in 0..4 {
            pair.prepare();
            let grant = pair.ready(&key(7)).expect("made in time");
            assert!(pair.ready(&key(7)).is_none(), "it is used up");
            assert!(seen.insert(grant.1.0.clone()), "the same key never gives the same grant");
            grants.push(grant);
        }
        let parts: Vec<_> = grants.iter().map(|grant| grant.split_ready().expect("a ready grant")).collect();
        let first = pair.wrapping(&parts[0].0).expect("it opens");
        let second = pair.wrapping(&parts[1].0).expect("it opens");
        assert_ne!(first, second);
        assert_eq!(unwrap_key(&first, AAD, parts[1].1), Err(OpenError), "sealed for another grant");
        assert_eq!(unwrap_key(&first, b"another epoch", parts[0].1), Err(OpenError));
        assert_eq!(unwrap_key(&first, AAD, parts[0].1), Ok(key(7)));
        assert_eq!(pair.wrapping(&parts[0].0), Err(PairwiseError::Message), "its Olm message opens once");
        assert_eq!(pair.wrapping(&grants[2]), Err(PairwiseError::Message), "a ready grant is no Olm message");
    }

    #[test]
    fn a_ready_grant_is_wiped_when_the_ratchet_turns_or_the_reign_ends() {
        let mut pair = pair();
        for wipe in [Pair::answer, |pair: &mut Pair| pair.lead.1.unprepare()] {
            pair.prepare();
            assert!(!pair.lead.1.is_unready());
            wipe(&mut pair);
            assert!(pair.lead.1.is_unready());
            assert!(pair.ready(&key(1)).is_none());
        }
        pair.prepare();
        pair.lead.1.retain(|peer| *peer != MEMBER);
        assert!(pair.ready(&key(1)).is_none(), "whoever is gone is granted nothing");
    }

    #[test]
    fn whoever_is_bound_to_nothing_gets_no_ready_grant() {
        let mut pair = pair();
        pair.lead.1.prepare_some(|_| None);
        assert!(!pair.lead.1.is_unready());
        assert!(pair.ready(&key(1)).is_none());
        pair.answer();
        pair.prepare();
        assert!(pair.ready(&key(1)).is_some());
    }

    #[test]
    fn a_replayed_or_changed_message_does_not_open() {
        let mut pair = pair();
        let message = pair.grant(b"once");
        let identity = pair.lead.0.curve25519();
        let mut changed = pair.lead.1.seal(MEMBER, b"whole").expect("a session");
        let whole = changed.clone();
        changed.1.0[50] ^= 1;
        for refused in [message, changed] {
            let opened = pair.member.1.decrypt(NOW, &mut pair.member.0, (LEAD, &identity), &refused);
            assert_eq!(opened.map(|_| ()), Err(PairwiseError::Message));
        }
        pair.receive(&whole, b"whole");
    }

    #[test]
    fn keys_of_low_order_are_refused_in_both_places() {
        let device = Device::generate().expect("random bytes");
        let good = device.curve25519();
        for low in [[0; 32], {
            let mut one = [0; 32];
            one[0] = 1;
            one
        }] {
            let low = Curve25519Key::new(low);
            let mut pairwise = Pairwise::default();
            assert_eq!(pairwise.open(&device, MEMBER, &low, &good), Err(PairwiseError::LowOrder));
            assert_eq!(pairwise.open(&device, MEMBER, &good, &low), Err(PairwiseError::LowOrder));
        }
    }

    #[test]
    fn a_peer_opens_three_sessions_a_minute() {
        let mut member = Device::generate().expect("random bytes");
        let lead = Device::generate().expect("random bytes");
        let keys = member.new_keys();
        let mut sessions = Pairwise::default();
        let identity = member.curve25519();
        let results: Vec<_> = keys
            .one_time_keys
            .iter()
            .map(|key| {
                let mut opener = Pairwise::default();
                opener.open(&lead, MEMBER, &identity, key).expect("a usable key");
                let message = opener.seal(MEMBER, b"hello").expect("a session");
                sessions.decrypt(NOW, &mut member, (LEAD, &lead.curve25519()), &message).map(|_| ())
            })
            .collect();
        assert_eq!(results[..3], [Ok(()); 3]);
        assert_eq!(results[3], Err(PairwiseError::TooMany));
    }
}
