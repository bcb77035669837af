//! What must hold after every step, whatever happens. Each check is a function of its own, so that tests can show it
//! something wrong and see that it notices.

use conclave_shared::{
    frame::{kid::Header, opener::OpenError},
    id::{Epoch, Fingerprint, Joined, RosterHash, Transcript},
    limits,
    session::{
        Session,
        error::SecurityEvent,
        output::{EpochInfo, KeyUpdate},
    },
    time::Timestamp,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use thiserror::Error;

use crate::{
    PeerId,
    model::Model,
    peer::{Line, Peer, Sealed},
};

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// The relay did what its reference would not.
    #[error("the relay: {0}")]
    Relay(&'static str),
    /// The relay named another lead than the reference.
    #[error("the relay named {named} as lead, the reference says {expected:?}")]
    WrongLead {
        /// By the reference.
        expected: Option<Joined>,
        /// By the relay.
        named: Joined,
    },
    /// A commit does not follow the last one.
    #[error("epoch {epoch} does not follow {newest:?}")]
    EpochOrder {
        /// The newest before.
        newest: Option<Epoch>,
        /// What came.
        epoch: Epoch,
    },
    /// Two hold different things under one epoch.
    #[error("{peer:?} holds another {what} of epoch {epoch} than others")]
    Disagreement {
        /// Who.
        peer: PeerId,
        /// Which epoch.
        epoch: Epoch,
        /// What differs.
        what: &'static str,
    },
    /// One secret serves two epochs.
    #[error("epochs {0} and {1} have one secret")]
    SecretTwice(Epoch, Epoch),
    /// Two epochs have one transcript: a commit did not go into it.
    #[error("epochs {0} and {1} have one transcript")]
    TranscriptTwice(Epoch, Epoch),
    /// The secret of an epoch does not depend on its transcript.
    #[error("epoch {0} has the same secret with another transcript")]
    Unbound(Epoch),
    /// Somebody holds an epoch that they are not in.
    #[error("{peer:?} holds epoch {epoch} without being in it")]
    OutsiderHolds {
        /// Who.
        peer: PeerId,
        /// Which epoch.
        epoch: Epoch,
    },
    /// The check for outsiders finds nothing in somebody who is in.
    #[error("{peer:?} was granted epoch {epoch} and could not derive it: the check is blind")]
    BlindCheck {
        /// Who.
        peer: PeerId,
        /// Which epoch.
        epoch: Epoch,
    },
    /// An epoch was made for somebody who was known to be gone.
    #[error("epoch {epoch} still has member {joined}, who went at {since:?}")]
    LateExclusion {
        /// Which epoch.
        epoch: Epoch,
        /// Who.
        joined: Joined,
        /// Since when.
        since: Timestamp,
    },
    /// A key and a counter were used for two frames.
    #[error("key {kid:#x} of epoch {epoch} sealed two frames with counter {counter}")]
    CounterTwice {
        /// The key id.
        kid: u64,
        /// The epoch.
        epoch: Epoch,
        /// The counter.
        counter: u64,
    },
    /// Two live keys under one key id.
    #[error("{peer:?} installed epoch {epoch} while {live} with the same key id was live")]
    KidTwice {
        /// Who.
        peer: PeerId,
        /// The newer epoch.
        epoch: Epoch,
        /// The older one.
        live: Epoch,
    },
    /// More epochs than may be live.
    #[error("{peer:?} holds {live} epochs")]
    TooManyEpochs {
        /// Who.
        peer: PeerId,
        /// How many.
        live: usize,
    },
    /// A security event where everybody is honest.
    #[error("{peer:?} raised: {event}")]
    Alarm {
        /// Who.
        peer: PeerId,
        /// What.
        event: SecurityEvent,
    },
    /// Somebody whose own connection was in order all the while lost their seat.
    #[error("{peer:?} lost its seat although nothing was wrong with it")]
    Unseated {
        /// Who.
        peer: PeerId,
    },
    /// A member did not open a frame of an epoch that it is in.
    #[error("{to:?} did not open a frame of {from:?} in epoch {epoch}: {error}")]
    FrameLost {
        /// The receiver.
        to: PeerId,
        /// The sender.
        from: PeerId,
        /// The epoch.
        epoch: Epoch,
        /// Why.
        error: OpenError,
    },
    /// Somebody opened a frame that they must not, or got other bytes than were sealed.
    #[error("{to:?} opened a frame of {from:?} in epoch {epoch} that it must not, or other bytes came out")]
    StrayFrame {
        /// The receiver.
        to: PeerId,
        /// The sender.
        from: PeerId,
        /// The epoch.
        epoch: Epoch,
    },
    /// A message came twice, or to somebody whom it is not for.
    #[error("{peer:?} was given message {id} that is not for it, or a second time")]
    StrayMessage {
        /// Who.
        peer: PeerId,
        /// Which.
        id: u64,
    },
    /// A message did not come.
    #[error("member {joined} never got message {id}")]
    MessageLost {
        /// Who.
        joined: Joined,
        /// Which.
        id: u64,
    },
    /// The network is quiet and something is still not as it should be.
    #[error("{peer:?} has not settled: {what}")]
    NotSettled {
        /// Who.
        peer: PeerId,
        /// What is missing.
        what: String,
    },
    /// A session asks to be woken and does nothing, for ever.
    #[error("{0:?} asks to be woken again and again")]
    Spins(PeerId),
}

/// What everybody who holds an epoch must agree on.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The roster's hash.
    pub roster: RosterHash,
    /// The secret's fingerprint.
    pub fingerprint: Fingerprint,
    /// The transcript.
    pub transcript: Transcript,
    /// Who is in.
    pub members: BTreeSet<Joined>,
    /// When somebody first held it.
    pub since: Timestamp,
}

/// An application message that is under way.
#[derive(Clone, Debug)]
struct Message {
    from: PeerId,
    life: u64,
    to: Option<Joined>,
    expected: BTreeSet<Joined>,
    got: BTreeSet<Joined>,
    /// It may have waited for a connection, and was sealed for those who had come in by then as well.
    waited: bool,
    /// It was looked at when the network was quiet.
    done: bool,
}

/// Looks at everything.
#[derive(Default)]
pub struct Checker {
    /// What is known of each epoch, by life of the call.
    pub facts: BTreeMap<(u64, Epoch), Facts>,
    fingerprints: BTreeMap<Fingerprint, Epoch>,
    transcripts: BTreeMap<Transcript, Epoch>,
    sealed: BTreeMap<(Fingerprint, u64), BTreeSet<u64>>,
    messages: BTreeMap<u64, Message>,
}

impl Checker {
    /// Somebody holds an epoch: all who do agree on it, no other has its secret, its holder is in it.
    ///
    /// # Errors
    /// [`Violation::Disagreement`], [`Violation::SecretTwice`], [`Violation::TranscriptTwice`],
    /// [`Violation::OutsiderHolds`].
    pub fn holds(
        &mut self,
        now: Timestamp,
        peer: &Peer,
        info: &EpochInfo,
        transcript: Transcript,
    ) -> Result<(), Violation> {
        let (id, epoch) = (peer.id, info.epoch);
        let members: BTreeSet<_> = info.members.iter().map(|member| member.joined).collect();
        if peer.joined.is_none_or(|joined| !members.contains(&joined)) {
            return Err(Violation::OutsiderHolds { peer: id, epoch });
        }
        let facts = Facts { roster: info.roster, fingerprint: info.fingerprint, transcript, members, since: now };
        let known = self.facts.entry((peer.life, epoch)).or_insert_with(|| facts.clone());
        let differs = [
            (known.roster != facts.roster || known.members != facts.members, "roster"),
            (known.fingerprint != facts.fingerprint, "key"),
            (known.transcript != facts.transcript, "transcript"),
        ];
        if let Some((_, what)) = differs.into_iter().find(|(differs, _)| *differs) {
            return Err(Violation::Disagreement { peer: id, epoch, what });
        }
        if known.since == now {
            let first = *self.fingerprints.entry(facts.fingerprint).or_insert(epoch);
            if first != epoch {
                return Err(Violation::SecretTwice(first, epoch));
            }
            let first = *self.transcripts.entry(facts.transcript).or_insert(epoch);
            if first != epoch {
                return Err(Violation::TranscriptTwice(first, epoch));
            }
        }
        Ok(())
    }

    /// No epoch is made for somebody whom the relay reported gone that long ago.
    ///
    /// # Errors
    /// [`Violation::LateExclusion`].
    pub fn excludes(&self, life: u64, epoch: Epoch, model: &Model, bound: Duration) -> Result<(), Violation> {
        let Some(facts) = self.facts.get(&(life, epoch)) else { return Ok(()) };
        for joined in &facts.members {
            if let Some(since) = model.gone_since(*joined)
                && facts.since.since(since) > bound
            {
                return Err(Violation::LateExclusion { epoch, joined: *joined, since });
            }
        }
        Ok(())
    }

    /// A session told its frame layer something: never two live keys under one key id, never too many.
    ///
    /// # Errors
    /// [`Violation::KidTwice`], [`Violation::TooManyEpochs`].
    pub fn keys(peer: PeerId, live: &mut BTreeSet<Epoch>, update: &KeyUpdate) -> Result<(), Violation> {
        match update {
            KeyUpdate::Install { epoch, .. } => {
                let bits = |epoch: &Epoch| (epoch.term().0 % 4, epoch.count() % 64);
                if let Some(same) = live.iter().copied().find(|live| bits(live) == bits(epoch)) {
                    return Err(Violation::KidTwice { peer, epoch: *epoch, live: same });
                }
                live.insert(*epoch);
            }
            KeyUpdate::Retire(epoch) => {
                live.remove(epoch);
            }
            KeyUpdate::Clear => live.clear(),
            KeyUpdate::Activate(_) | KeyUpdate::Pause | KeyUpdate::Resume => {}
        }
        if live.len() > limits::LIVE_EPOCHS {
            return Err(Violation::TooManyEpochs { peer, live: live.len() });
        }
        Ok(())
    }

    /// Somebody sealed a frame: its key never sealed another with this counter.
    ///
    /// # Errors
    /// [`Violation::CounterTwice`].
    pub fn sealed(&mut self, frame: &Sealed) -> Result<(), Violation> {
        let Ok(header) = Header::read(&frame.bytes) else {
            return Err(Violation::Relay("a frame that is none"));
        };
        let (kid, counter) = (u64::from(header.kid), header.counter);
        if self.sealed.entry((frame.fingerprint, kid)).or_default().insert(counter) {
            Ok(())
        } else {
            Err(Violation::CounterTwice { kid, epoch: frame.epoch, counter })
        }
    }

    /// Whether a peer is in an epoch.
    #[must_use]
    pub fn is_in(&self, peer: &Peer, life: u64, epoch: Epoch) -> bool {
        let facts = self.facts.get(&(life, epoch)).filter(|_| life == peer.life);
        facts.zip(peer.joined).is_some_and(|(facts, joined)| facts.members.contains(&joined))
    }

    /// A frame was opened, or not: members of its epoch must open it, nobody else can.
    ///
    /// # Errors
    /// [`Violation::FrameLost`], [`Violation::StrayFrame`].
    pub fn opened(&self, to: &Peer, frame: &Sealed, result: Result<Vec<u8>, OpenError>) -> Result<(), Violation> {
        let (from, epoch) = (frame.from, frame.epoch);
        let known = self.facts.get(&(frame.life, epoch)).map(|facts| facts.fingerprint);
        let is_in = if known == Some(frame.fingerprint) {
            self.is_in(to, frame.life, epoch)
        } else {
            // It was lost with a relay, another took its number, and it lives on at those who are not back yet.
            to.fingerprint(epoch) == Some(frame.fingerprint)
        };
        match (is_in, result) {
            (true, Ok(plain)) if plain == frame.plain => Ok(()),
            (_, Ok(_)) => Err(Violation::StrayFrame { to: to.id, from, epoch }),
            (true, Err(error)) => Err(Violation::FrameLost { to: to.id, from, epoch, error }),
            (false, Err(_)) => Ok(()),
        }
    }

    /// Somebody sends an application message.
    pub fn sent(&mut self, id: u64, from: &Peer, (epoch, disturbed): (Epoch, bool), to: Option<Joined>) {
        let Some(facts) = self.facts.get(&(from.life, epoch)) else { return };
        let waited = disturbed;
        let mut expected = facts.members.clone();
        expected.retain(|joined| Some(*joined) != from.joined && to.is_none_or(|to| to == *joined));
        self.messages.insert(
            id,
            Message { from: from.id, life: from.life, to, expected, got: BTreeSet::new(), waited, done: false },
        );
    }

    /// What is under way may be sealed again, for those who are in by then.
    pub fn hold_up_messages(&mut self) {
        self.messages.values_mut().filter(|message| !message.done).for_each(|message| message.waited = true);
    }

    /// The relay is gone, and with it what was under way.
    pub fn lose_messages(&mut self) {
        self.messages.values_mut().for_each(|message| message.done = true);
    }

    /// Somebody was given an application message.
    ///
    /// # Errors
    /// [`Violation::StrayMessage`].
    pub fn delivered(&mut self, peer: &Peer, payload: &[u8]) -> Result<(), Violation> {
        let id = payload.get(..8).and_then(|id| id.try_into().ok()).map_or(u64::MAX, u64::from_be_bytes);
        let stray = Violation::StrayMessage { peer: peer.id, id };
        let (Some(message), Some(joined)) = (self.messages.get_mut(&id), peer.joined) else { return Err(stray) };
        let may = message.waited && message.to.is_none_or(|to| to == joined);
        let meant = message.life == peer.life && (may || message.expected.contains(&joined));
        // Somebody who is gone may still read what was said to it, as often as it likes.
        let first = message.got.insert(joined) || peer.line == Line::Ghost;
        if meant && first { Ok(()) } else { Err(stray) }
    }

    /// The network is quiet: all messages between those who are still here have come.
    ///
    /// # Errors
    /// [`Violation::MessageLost`].
    pub fn messages_came(&mut self, life: u64, here: &BTreeMap<Joined, PeerId>) -> Result<(), Violation> {
        for (id, message) in &mut self.messages {
            if std::mem::replace(&mut message.done, true)
                || message.life != life
                || !here.values().any(|peer| *peer == message.from)
            {
                continue;
            }
            let lost = message.expected.difference(&message.got).find(|joined| here.contains_key(joined));
            if let Some(joined) = lost {
                return Err(Violation::MessageLost { joined: *joined, id: *id });
            }
        }
        Ok(())
    }

    /// Somebody who keeps everything cannot derive an epoch that it is not in; and can derive one that it is in, or this
    /// check would see nothing. With another transcript nobody can.
    ///
    /// # Errors
    /// [`Violation::OutsiderHolds`], [`Violation::BlindCheck`], [`Violation::Unbound`].
    pub fn could_derive(
        peer: PeerId,
        session: &mut Session,
        inside: bool,
        epoch: Epoch,
        facts: &Facts,
    ) -> Result<(), Violation> {
        let other = Transcript::new(facts.transcript.as_bytes().map(|byte| !byte));
        if inside && session.could_derive(&other, &facts.fingerprint) {
            return Err(Violation::Unbound(epoch));
        }
        match (session.could_derive(&facts.transcript, &facts.fingerprint), inside) {
            (true, false) => Err(Violation::OutsiderHolds { peer, epoch }),
            (false, true) => Err(Violation::BlindCheck { peer, epoch }),
            (true, true) | (false, false) => Ok(()),
        }
    }
}
