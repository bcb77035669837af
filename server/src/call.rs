//! One call as the relay sees it: who is here, who is committed, who leads, and the order of all events.
//!
//! [`Call::handle`] takes what happened and returns what to do, in order. No clock, no randomness, no socket: the
//! driver hands in the time, and a connection brings its own nonce. What a member may do is decided here; what a
//! socket may do (sizes, rates, time-outs) is decided before.
//!
//! The relay is trusted for order and admission alone. Members verify every card, proof and signature again; the
//! checks here only keep rubbish away from them.

mod commit;
mod io;
mod join;
mod lead;
mod log;
mod member;
mod pool;
#[cfg(test)]
mod tests;

pub use io::{Admission, CallConfig, CallInput, CallOutput, ConnectionId, JoinRequest};
#[cfg(feature = "net")]
pub(crate) use join::version_sentence;
pub use log::{LOG_BYTES, LOG_EVENTS, LOG_TIME};
pub use member::LINGER;
pub use pool::BATCHES;

use conclave_shared::{
    id::{CallName, Joined, Sequence, Term},
    time::Timestamp,
    wire::{
        Ack, Acked, At, BodyFrom, Keys, LeftReason, MemberLeft, Olm, OlmFrom, Pong, Refusal, ToClient, ToRelay,
        code::Code,
        encode,
        sealed::Content,
        signed::{Body, Signed, keys_bytes, verify},
    },
};
use std::{collections::BTreeMap, sync::Arc};

use self::{
    lead::Reign,
    log::{Audience, Log},
    member::{Member, Presence},
};

/// The machine of one call.
#[derive(Debug)]
pub struct Call {
    name: CallName,
    config: CallConfig,
    members: BTreeMap<Joined, Member>,
    connections: BTreeMap<ConnectionId, Joined>,
    last_joined: Joined,
    last_sequence: Sequence,
    last_term: Term,
    reign: Option<Reign>,
    log: Log,
}

/// What one input leads to, and when it came.
#[derive(Debug)]
struct Step {
    now: Timestamp,
    out: Vec<CallOutput>,
}

impl Call {
    /// A call that nobody is in.
    #[must_use]
    pub fn new(name: CallName, config: CallConfig) -> Self {
        Self {
            name,
            config,
            members: BTreeMap::new(),
            connections: BTreeMap::new(),
            last_joined: Joined(0),
            last_sequence: Sequence(0),
            last_term: Term(0),
            reign: None,
            log: Log::default(),
        }
    }

    /// Takes one input in; the outputs are to be carried out in order.
    #[must_use = "outputs are what the call wants done"]
    pub fn handle(&mut self, now: Timestamp, input: CallInput) -> Vec<CallOutput> {
        let mut step = Step { now, out: Vec::new() };
        self.expire(now);
        match input {
            CallInput::Join(connection, request) => self.join(&mut step, connection, *request),
            CallInput::Received(connection, message) => self.received(&mut step, connection, *message),
            CallInput::Refused(connection, code, message) => self.refuse(&mut step, connection, code, &message),
            CallInput::Closed(connection) => self.depart(&mut step, connection, LeftReason::Closed),
            CallInput::Timeout => {}
        }
        step.out
    }

    /// When [`CallInput::Timeout`] is due: something remembered may be forgotten.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let lingering = self.members.values().filter_map(Member::forget_at).min();
        lingering.into_iter().chain(self.log.expires_at()).min()
    }

    /// Nobody is connected: the call is over and its machine to be dropped.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.connections.is_empty()
    }

    /// The connection of the current lead, which has larger limits.
    #[must_use]
    pub fn lead_connection(&self) -> Option<ConnectionId> {
        self.members.get(&self.reign.as_ref()?.joined)?.connection()
    }

    /// The events after `after` as they went to `joined`, oldest first; `None` when some of them are forgotten already.
    #[must_use]
    pub fn replay(&self, after: Sequence, joined: Joined) -> Option<Vec<Arc<str>>> {
        self.log.after(after, joined)
    }

    fn received(&mut self, step: &mut Step, connection: ConnectionId, message: ToRelay) {
        let Some(joined) = self.connections.get(&connection).copied() else {
            return;
        };
        let result = match message {
            ToRelay::Join(_) | ToRelay::Resume(_) | ToRelay::Restore(_) => Err(Refused::plain(Code::AlreadyJoined)),
            ToRelay::Keys(keys) => self.keys(joined, keys),
            ToRelay::Claim(claim) => self.claim(step, joined, &claim.of),
            ToRelay::Commit(commit) => self.commit(step, joined, commit),
            ToRelay::Ack(ack) => self.ack(step, joined, ack),
            ToRelay::Olm(olm) => self.olm(step, joined, olm),
            ToRelay::Body(signed) => self.body(step, joined, signed),
            ToRelay::Ping(_) => {
                step.send(connection, &Pong {}.into());
                Ok(())
            }
            ToRelay::Suspect(_) | ToRelay::Decline(_) => Ok(()),
        };
        if let Err(Refused { code, message }) = result {
            self.refuse(step, connection, code, &message);
        }
    }

    /// More one-time keys, signed for this join.
    fn keys(&mut self, joined: Joined, keys: Keys) -> Result<(), Refused> {
        let member = self.members.get_mut(&joined).ok_or(Refused::plain(Code::JoinFirst))?;
        let refused = |error| Refused::because(Code::BadKeys, &error);
        let hash = keys.keys.hash().map_err(refused)?;
        let bytes = keys_bytes(&self.name, &member.join, &hash);
        verify(&member.ed25519, &bytes, &keys.signature).map_err(refused)?;
        member.pool.add(keys.keys, Some(keys.signature));
        Ok(())
    }

    /// Proof that a member holds an epoch: for the lead alone.
    fn ack(&mut self, step: &mut Step, from: Joined, Ack { epoch, mac }: Ack) -> Result<(), Refused> {
        if let Some(lead) = self.reign.as_ref().map(|reign| reign.joined) {
            let at = self.next_at();
            self.tell(step, lead, &Acked { at, from, epoch, mac }.into());
        }
        Ok(())
    }

    /// An Olm message: for the member that it names.
    fn olm(&mut self, step: &mut Step, from: Joined, Olm { to, message }: Olm) -> Result<(), Refused> {
        self.require_present(to)?;
        let at = self.next_at();
        self.tell(step, to, &OlmFrom { at, from, message }.into());
        Ok(())
    }

    /// A signed body: only whom it is for, and that somebody leaves, is read here; the signature is for its receivers to
    /// check. Who says that they leave is gone at once, in the same place of the order for all: between the word and the
    /// socket's end nobody who is leaving may be named as lead.
    fn body(&mut self, step: &mut Step, from: Joined, signed: Signed) -> Result<(), Refused> {
        let body = Body::parse(&signed).map_err(|error| Refused::because(Code::Malformed, &error))?;
        if let Some(to) = body.to {
            self.require_present(to)?;
        }
        let at = self.next_at();
        let message = BodyFrom { at, from, signed }.into();
        match body.to {
            Some(to) => self.tell(step, to, &message),
            None => self.tell_all_but(step, from, &message),
        }
        let leaves = body.to.is_none() && matches!(Content::parse(&body.content), Ok(Content::Leave(_)));
        if let Some(connection) = self.members.get(&from).and_then(Member::connection).filter(|_| leaves) {
            self.depart(step, connection, LeftReason::Left);
        }
        Ok(())
    }

    fn require_present(&self, joined: Joined) -> Result<(), Refused> {
        let present = self.members.get(&joined).is_some_and(Member::is_present);
        if present { Ok(()) } else { Err(Refused::unknown(joined)) }
    }

    /// Says what was wrong; a code that closes also ends the membership.
    fn refuse(&mut self, step: &mut Step, connection: ConnectionId, code: Code, message: &str) {
        step.error(connection, code, message);
        if code.closes() {
            step.out.push(CallOutput::Close { connection, code });
            self.depart(step, connection, LeftReason::Refused);
        }
    }

    /// A connection is gone: tells the others, and names another lead if it was the lead's.
    fn depart(&mut self, step: &mut Step, connection: ConnectionId, reason: LeftReason) {
        let Some(joined) = self.disconnect(step.now, connection, reason) else {
            return;
        };
        self.tell_left(step, joined, reason);
        self.ensure_lead(step);
    }

    /// Takes a connection out; the member stays as long as it is committed, or a commit under way may still add it.
    fn disconnect(&mut self, now: Timestamp, connection: ConnectionId, reason: LeftReason) -> Option<Joined> {
        let joined = self.connections.remove(&connection)?;
        if let Some(member) = self.members.get_mut(&joined) {
            member.presence = Presence::Gone { since: now, reason };
        }
        if self.reign.as_ref().is_some_and(|reign| reign.joined == joined) {
            self.reign = None;
        }
        Some(joined)
    }

    fn tell_left(&mut self, step: &mut Step, joined: Joined, reason: LeftReason) {
        let at = self.next_at();
        self.tell_all(step, &MemberLeft { at, joined, reason }.into());
    }

    fn next_at(&mut self) -> At {
        self.last_sequence = Sequence(self.last_sequence.0.saturating_add(1));
        At(self.config.relay, self.last_sequence)
    }

    /// An event for one member.
    fn tell(&mut self, step: &mut Step, to: Joined, event: &ToClient) {
        let text: Arc<str> = encode(event).into();
        if let Some(to) = self.members.get(&to).and_then(Member::connection) {
            step.out.push(CallOutput::Send { to, text: Arc::clone(&text) });
        }
        self.log.push(step.now, self.last_sequence, Audience::One(to), text);
    }

    /// An event for everybody who is connected, encoded once.
    fn tell_all(&mut self, step: &mut Step, event: &ToClient) {
        let text: Arc<str> = encode(event).into();
        let to: Vec<_> = self.connections.keys().copied().collect();
        step.broadcast(to, &text);
        self.log.push(step.now, self.last_sequence, Audience::All, text);
    }

    /// An event for everybody but the member that it comes from.
    fn tell_all_but(&mut self, step: &mut Step, from: Joined, event: &ToClient) {
        let text: Arc<str> = encode(event).into();
        let others = self.connections.iter().filter(|(_, joined)| **joined != from);
        let to: Vec<_> = others.map(|(connection, _)| *connection).collect();
        step.broadcast(to, &text);
        self.log.push(step.now, self.last_sequence, Audience::AllBut(from), text);
    }

    /// Forgets what is too old to matter.
    fn expire(&mut self, now: Timestamp) {
        self.members.retain(|_, member| member.forget_at().is_none_or(|at| at > now));
        self.log.expire(now);
    }
}

impl Step {
    /// A message that is no event: it has no number and is never replayed.
    fn send(&mut self, to: ConnectionId, message: &ToClient) {
        self.out.push(CallOutput::Send { to, text: encode(message).into() });
    }

    fn error(&mut self, to: ConnectionId, code: Code, message: &str) {
        self.send(to, &Refusal { code, message: message.to_owned() }.into());
    }

    fn broadcast(&mut self, to: Vec<ConnectionId>, text: &Arc<str>) {
        if !to.is_empty() {
            self.out.push(CallOutput::Broadcast { to, text: Arc::clone(text) });
        }
    }
}

/// Why a message was refused: always its sender's fault.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused {
    code: Code,
    message: String,
}

impl Refused {
    fn plain(code: Code) -> Self {
        Self { code, message: code.sentence().to_owned() }
    }

    fn because(code: Code, reason: &dyn std::fmt::Display) -> Self {
        Self { code, message: format!("{} ({reason})", code.sentence()) }
    }

    fn unknown(joined: Joined) -> Self {
        Self::because(Code::UnknownMember, &format_args!("member {joined}"))
    }
}
