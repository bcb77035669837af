//! One call as the relay sees it: who is here, who is committed, who leads, and the order of all events.
//!
//! [`Call::handle`] takes what happened and returns what to do, in order. No clock, no randomness, no socket: the
//! driver hands in the time, and a connection brings its own nonce. What a member may do is decided here; what a
//! socket may do (sizes, rates, time-outs) is decided before.
//!
//! The relay is trusted for order and admission alone. Members verify every card, proof and signature again; the
//! checks here only keep rubbish away from them.

mod commit;
mod events;
mod io;
mod join;
mod lead;
mod log;
mod member;
mod pool;
mod presence;
mod restore;
mod resume;
mod silence;
#[cfg(test)]
mod tests;

pub use io::{Admission, CallConfig, CallInput, CallOutput, ConnectionId, JoinRequest, RestoreRequest, ResumeRequest};
#[cfg(feature = "net")]
pub(crate) use join::version_sentence;
pub use lead::{Last, Standing, successor};
pub use log::{LOG_BYTES, LOG_EVENTS, LOG_TIME};
pub use member::{GRACE, LINGER};
pub use pool::BATCHES;
pub use restore::{HIGHEST_JOINED, HIGHEST_TERM, REMOVED, RESTORE_UNTIL, SETTLE};
pub use resume::{RESUMES, RESUMES_WITHIN};
pub use silence::{DEPOSAL_PAUSE, DEPOSALS_WITHIN, FROZEN, LEAD_SILENCE, SUSPECTS};

use conclave_shared::{
    id::{CallName, Joined, Sequence, Term},
    time::Timestamp,
    wire::{
        Ack, Acked, BodyFrom, Decline, Keys, LeftReason, Olm, OlmFrom, Ping, Pong, Suspect, ToRelay,
        code::{Code, Retry},
        sealed::Content,
        signed::{Body, Signed, keys_bytes, verify},
    },
};
use std::{collections::BTreeMap, sync::Arc};

use self::{
    events::Step,
    lead::Reign,
    log::Log,
    member::{Member, Unfit},
    restore::Origin,
    resume::Expelled,
    silence::Deposals,
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
    deposals: Deposals,
    origin: Origin,
    expelled: Expelled,
    log: Log,
    /// The time of the last input.
    seen: Timestamp,
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
            deposals: Deposals::default(),
            origin: Origin::Fresh,
            expelled: Expelled::default(),
            log: Log::default(),
            seen: Timestamp::ZERO,
        }
    }

    /// Takes one input in; the outputs are to be carried out in order.
    #[must_use = "outputs are what the call wants done"]
    pub fn handle(&mut self, now: Timestamp, input: CallInput) -> Vec<CallOutput> {
        let mut step = Step::new(now);
        self.thaw(now);
        self.pass_time(&mut step);
        match input {
            CallInput::Join(connection, request) => self.join(&mut step, connection, *request),
            CallInput::Resume(connection, request) => self.resume(&mut step, connection, *request),
            CallInput::Restore(connection, request) => self.restore(&mut step, connection, *request),
            CallInput::Received(connection, message) => self.received(&mut step, connection, *message),
            CallInput::Refused(connection, code, message) => self.refused(&mut step, connection, code, &message),
            CallInput::Closed(connection) => self.lose(&mut step, connection),
            // Not before any other input: after a pause, what a lead has said is still to be read.
            CallInput::Timeout => self.watch_lead(&mut step),
        }
        step.out
    }

    /// When [`CallInput::Timeout`] is due: somebody's time to come back is over, a lead is silent for too long, or something
    /// remembered may be forgotten. A machine that is woken much later holds that its relay was stopped.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let of_members = self.members.values().filter_map(Member::expires_at).min();
        let others = [of_members, self.log.expires_at(), self.origin.settles_at(), self.deposal_due()];
        others.into_iter().flatten().min()
    }

    /// Nobody is connected or may still come back: the call is over and its machine to be dropped.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.connections.is_empty() && !self.members.values().any(Member::is_present)
    }

    /// The connection of the current lead, which has larger limits.
    #[must_use]
    pub fn lead_connection(&self) -> Option<ConnectionId> {
        self.members.get(&self.reign.as_ref()?.joined)?.connection()
    }

    fn received(&mut self, step: &mut Step, connection: ConnectionId, message: ToRelay) {
        let Some(joined) = self.hear(step.now, connection) else {
            return;
        };
        let result = match message {
            ToRelay::Join(_) | ToRelay::Resume(_) | ToRelay::Restore(_) => Err(Refused::plain(Code::AlreadyJoined)),
            ToRelay::Keys(keys) => self.keys(joined, keys),
            ToRelay::Claim(claim) => self.claim(step, joined, &claim.of),
            ToRelay::Commit(commit) => self.commit(step, joined, Arc::unwrap_or_clone(commit)),
            ToRelay::Ack(ack) => self.ack(step, joined, ack),
            ToRelay::Olm(olm) => self.olm(step, joined, olm),
            ToRelay::Body(signed) => self.body(step, joined, signed),
            ToRelay::Ping(Ping { n }) => {
                step.send(connection, &Pong { n }.into());
                Ok(())
            }
            ToRelay::Decline(Decline { term }) => {
                self.decline(step, joined, term);
                Ok(())
            }
            ToRelay::Suspect(Suspect { term }) => {
                self.suspect(step, joined, term);
                Ok(())
            }
        };
        if let Err(Refused { code, message }) = result {
            self.refuse(step, connection, code, &message);
        }
        // After what it said: who says that they leave is not named once more for having spoken.
        self.fit_again(step, joined, Unfit::Silent);
    }

    /// Whose connection this is. What they said is a sign of life and counts as taken in, whatever becomes of it: they
    /// never send it again.
    fn hear(&mut self, now: Timestamp, connection: ConnectionId) -> Option<Joined> {
        let joined = self.connections.get(&connection).copied()?;
        if let Some(reign) = self.reign.as_mut().filter(|reign| reign.joined == joined) {
            reign.heard = now;
        }
        if let Some(member) = self.members.get_mut(&joined) {
            member.received = member.received.saturating_add(u64::from(!conclave_shared::planted!(CountNothing)));
        }
        Some(joined)
    }

    /// The driver refused a message. One that leaves the connection open was taken in all the same.
    fn refused(&mut self, step: &mut Step, connection: ConnectionId, code: Code, message: &str) {
        let joined = if code.closes() { None } else { self.hear(step.now, connection) };
        self.refuse(step, connection, code, message);
        if let Some(joined) = joined {
            self.fit_again(step, joined, Unfit::Silent);
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

    /// Proof that a member holds an epoch: for the lead alone. Not logged: a lead that drops is the lead no more, and in a
    /// large call these would push everything else out. Who could not lead for want of an epoch can, with the next one.
    fn ack(&mut self, step: &mut Step, from: Joined, Ack { epoch, mac }: Ack) -> Result<(), Refused> {
        if let Some(lead) = self.lead_connection() {
            let at = self.next_at();
            step.send(lead, &Acked { at, from, epoch, mac }.into());
        }
        self.fit_again(step, from, Unfit::Declined);
        self.fit_again(step, from, Unfit::Behind);
        Ok(())
    }

    /// An Olm message: for the member that it names.
    fn olm(&mut self, step: &mut Step, from: Joined, Olm { to, message }: Olm) -> Result<(), Refused> {
        self.require_present(from, to)?;
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
            self.require_present(from, to)?;
        }
        let at = self.next_at();
        let message = BodyFrom { at, from, signed }.into();
        match body.to {
            Some(to) => self.tell(step, to, &message),
            None => self.tell_all_but(step, from, &message),
        }
        if body.to.is_none() && matches!(Content::parse(&body.content), Ok(Content::Leave(_))) {
            self.depart(step, from, LeftReason::Left);
        }
        Ok(())
    }

    fn require_present(&self, from: Joined, to: Joined) -> Result<(), Refused> {
        let present = self.members.get(&to).is_some_and(Member::is_present);
        let known = self.origin.life_of(from).is_none_or(|life| life.contains(&to));
        if present && known { Ok(()) } else { Err(Refused::unknown(to)) }
    }

    /// Says what was wrong. A code that closes ends the membership, unless trying again helps: then the seat is kept.
    fn refuse(&mut self, step: &mut Step, connection: ConnectionId, code: Code, message: &str) {
        step.error(connection, code, message);
        if code.closes() {
            step.out.push(CallOutput::Close { connection, code });
        }
        match code.retry() {
            Retry::GoOn => {}
            Retry::Later => self.lose(step, connection),
            Retry::No | Retry::FreshToken => {
                if let Some(joined) = self.connections.get(&connection).copied() {
                    self.depart(step, joined, LeftReason::Refused);
                }
            }
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
