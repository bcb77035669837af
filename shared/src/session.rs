//! The life of one device in one call.
//!
//! A [`Session`] is handed a device, a profile and one [`Config`] of times; it is then moved by [`Session::handle`]
//! alone, and says by [`Session::next_timeout`] when it wants to be woken. It goes through these states:
//!
//! ```text
//! Fresh --challenge--> Joining --welcome--> Seated --leave, removal, lost seat--> Ended
//!                                             |
//!                               disconnected  |  asks for another connection and takes its seat again
//!                                 no key yet  |  grant, or genesis  ->  holds a group: roster, epochs, keys
//!                                             |  lead event         ->  leads it: commits, grants, activates
//! ```
//!
//! The file `call` is a device with a seat, `group` what it holds once it has a key, `lead` what it does while it leads.

mod alive;
mod bodies;
mod call;
mod claims;
pub mod config;
mod epoch;
pub mod error;
mod grants;
mod group;
pub mod input;
mod lead;
mod lease;
mod line;
mod mailbox;
mod member;
pub mod output;
mod owing;
mod pulse;
mod reign;
mod request;
mod resume;
mod roster;
#[cfg(not(feature = "audit"))]
mod rules;
#[cfg(feature = "audit")]
pub mod rules;
mod succession;
pub mod timer;
mod unsaid;

#[cfg(feature = "audit")]
pub mod audit;

use call::{Call, Ctx};
use config::Config;
use error::{CommandError, InternalError};
use input::{Command, Input};
use output::{EndReason, Event, KeyUpdate, MemberInfo, Output};
use std::sync::Arc;
use timer::Timer;

use crate::{
    crypto::random,
    id::{CallName, Epoch, Instance, JoinNonce, Joined, Transcript, UserName},
    identity::device::Device,
    limits,
    time::Timestamp,
    wire::{
        Challenge, Join, Proof, Refusal, ToClient, Token, Welcome,
        code::{Code, Retry},
        signed::{JoinProof, Signed, join_bytes},
    },
};

/// Who joins what.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The call.
    pub call: CallName,
    /// The user, as the access token names them.
    pub user: UserName,
    /// The device's own name.
    pub name: UserName,
    /// The access token: seen by the relay alone.
    pub token: Token,
}

/// One device in one call.
pub struct Session {
    device: Device,
    profile: Profile,
    config: Config,
    state: State,
    #[cfg(feature = "audit")]
    hoard: audit::Hoard,
}

/// Where a session stands.
enum State {
    Fresh,
    Joining(Box<(Signed, JoinProof)>),
    Seated(Box<Call>),
    Ended,
}

impl Session {
    /// A session that waits for the relay's challenge.
    #[must_use]
    pub fn new(device: Device, profile: Profile, config: Config) -> Self {
        Self {
            device,
            profile,
            config,
            state: State::Fresh,
            #[cfg(feature = "audit")]
            hoard: audit::Hoard::default(),
        }
    }

    /// Takes in one thing that happened and says what to do, in order.
    #[must_use]
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        let state = std::mem::replace(&mut self.state, State::Ended);
        self.state = match self.step(now, state, input, &mut out) {
            Ok(state) => state,
            Err(reason) => {
                out.extend([Output::Keys(KeyUpdate::Clear), Output::Event(Event::Ended(reason)), Output::Close]);
                State::Ended
            }
        };
        out
    }

    /// When this session wants `Input::Timeout`, if at all.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.next_timer().map(|(at, _)| at)
    }

    /// The same, and why.
    #[must_use]
    pub fn next_timer(&self) -> Option<(Timestamp, Timer)> {
        self.call().and_then(|call| call.next_timer(&self.config))
    }

    /// The own order number, once there is a seat.
    #[must_use]
    pub fn joined(&self) -> Option<Joined> {
        self.call().map(Call::joined)
    }

    /// Whether this device leads.
    #[must_use]
    pub fn is_lead(&self) -> bool {
        self.call().is_some_and(Call::is_lead)
    }

    /// The newest epoch that this device holds.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.call().and_then(Call::epoch)
    }

    /// The life of the call that this device is in: the same for all who hold an epoch of it.
    #[must_use]
    pub fn instance(&self) -> Option<Instance> {
        self.call().and_then(Call::instance)
    }

    /// The transcript after the commit of that epoch: equal on all members.
    #[must_use]
    pub fn transcript(&self) -> Option<Transcript> {
        self.call().and_then(Call::transcript)
    }

    /// The epoch that this device seals under.
    #[must_use]
    pub fn active(&self) -> Option<Epoch> {
        self.call().and_then(Call::active)
    }

    /// The committed members, by order number.
    #[must_use]
    pub fn members(&self) -> Vec<Arc<MemberInfo>> {
        self.call().map(Call::members).unwrap_or_default()
    }

    /// Whether a committed member has shown this device, by its own key, that it holds the call by the same history. The own
    /// device has; somebody who is in no roster has not.
    #[must_use]
    pub fn is_confirmed(&self, joined: Joined) -> bool {
        self.call().is_some_and(|call| call.is_confirmed(joined))
    }

    /// Whether answering this challenge needs a token that is still good: a seat that the relay holds needs none.
    #[must_use]
    pub fn needs_token(&self, challenge: &Challenge) -> bool {
        self.call().is_none_or(|call| call.relay() != challenge.relay)
    }

    /// Replaces the access token: for connections to come.
    pub fn set_token(&mut self, token: Token) {
        self.profile.token = token;
    }

    /// The device, for storing it or ending with it.
    #[must_use]
    pub fn into_device(self) -> Device {
        self.device
    }

    fn ctx<'a>(&'a mut self, now: Timestamp, out: &'a mut Vec<Output>) -> Ctx<'a> {
        Ctx {
            now,
            device: &mut self.device,
            config: &self.config,
            out,
            #[cfg(feature = "audit")]
            hoard: &mut self.hoard,
        }
    }

    fn call(&self) -> Option<&Call> {
        match &self.state {
            State::Seated(call) => Some(call),
            State::Fresh | State::Joining(_) | State::Ended => None,
        }
    }

    fn step(&mut self, now: Timestamp, state: State, input: Input, out: &mut Vec<Output>) -> Result<State, EndReason> {
        match (state, input) {
            (State::Ended, Input::Command(_)) => {
                out.push(Output::Event(Event::CommandFailed(CommandError::Ended)));
                Ok(State::Ended)
            }
            (State::Ended, Input::Received(_) | Input::Timeout | Input::Disconnected) => Ok(State::Ended),
            (State::Seated(mut call), Input::Disconnected) => {
                resume::disconnected(&mut call, now, out);
                Ok(State::Seated(call))
            }
            (_, Input::Disconnected) => Err(EndReason::Disconnected),
            (state, Input::Received(ToClient::Error(refusal))) => refuse(state, refusal, out),
            (State::Fresh, Input::Received(ToClient::Challenge(challenge))) => self.join(&challenge, out),
            (State::Joining(joining), Input::Received(ToClient::Welcome(welcome))) => {
                self.seat(now, *joining, welcome, out)
            }
            (State::Seated(mut call), Input::Received(ToClient::Challenge(challenge))) => {
                speaks(&challenge)?;
                resume::answer(&mut call, (&mut self.device, &self.profile), &challenge, out)?;
                Ok(State::Seated(call))
            }
            (State::Seated(mut call), input) => {
                let mut ctx = self.ctx(now, out);
                call.handle(&mut ctx, input)?;
                Ok(State::Seated(call))
            }
            (State::Fresh | State::Joining(_), Input::Command(Command::Leave)) => Err(EndReason::Left),
            (state, Input::Command(_)) => {
                out.push(Output::Event(Event::CommandFailed(CommandError::NoKey)));
                Ok(state)
            }
            // Nothing else belongs here yet: a message out of turn changes nothing.
            (state, Input::Received(_) | Input::Timeout) => Ok(state),
        }
    }

    fn join(&mut self, challenge: &Challenge, out: &mut Vec<Output>) -> Result<State, EndReason> {
        speaks(challenge)?;
        let internal = EndReason::Internal;
        let nonce = JoinNonce::new(random::bytes().map_err(|_| internal(InternalError::Random))?);
        let Profile { call, user, name, token } = &self.profile;
        let card = self.device.card(user, name).map_err(|_| internal(InternalError::Crypto))?;
        let keys = self.device.new_keys();
        let mut proof = JoinProof {
            relay_nonce: challenge.nonce,
            nonce,
            keys: keys.hash().map_err(|_| internal(InternalError::Crypto))?,
            signature: crate::id::Signature::new([0; 64]),
        };
        let hash = crate::id::CardHash::new(card.text_hash());
        proof.signature = self.device.sign(&join_bytes(call, hash, &proof));
        let join = Join {
            version: limits::VERSION,
            call: call.clone(),
            token: token.clone(),
            card: card.clone(),
            proof: Proof { nonce, signature: proof.signature },
            keys,
        };
        out.push(Output::Persist(self.device.pickle()));
        out.push(Output::Send(join.into()));
        Ok(State::Joining(Box::new((card, proof))))
    }

    fn seat(
        &mut self,
        now: Timestamp,
        joining: (Signed, JoinProof),
        welcome: Welcome,
        out: &mut Vec<Output>,
    ) -> Result<State, EndReason> {
        let name = self.profile.call.clone();
        let call = Call::seated(&mut self.ctx(now, out), &name, joining, welcome)?;
        Ok(State::Seated(Box::new(call)))
    }
}

/// Whether the relay speaks a version that this device speaks.
fn speaks(challenge: &Challenge) -> Result<(), EndReason> {
    if challenge.versions.contains(&limits::VERSION) {
        return Ok(());
    }
    let relay = challenge.versions.iter().max().copied().unwrap_or_default();
    Err(EndReason::Version { relay, ours: limits::VERSION })
}

/// The relay refused something: it ends the session when its code closes the connection.
fn refuse(state: State, Refusal { code, message }: Refusal, out: &mut Vec<Output>) -> Result<State, EndReason> {
    out.push(Output::Event(Event::Refused { code, message }));
    // A seat outlives its connection, unless the relay says that it does not.
    let seat_stays = matches!(state, State::Seated(_)) && code.retry() == Retry::Later && code != Code::LostSeat;
    if code.retry() != Retry::GoOn && !seat_stays {
        return Err(EndReason::Closed(code));
    }
    // A commit of a passed term was never sequenced: whoever leads the next term, this device too, begins without it.
    let refusal_of_a_commit = matches!(code, Code::NotLead | Code::OutOfOrder);
    match &state {
        // Some members may hold the commit that the relay refuses now: nothing can be built beside it.
        State::Seated(call) if refusal_of_a_commit && call.has_staged() => Err(EndReason::OutOfStep),
        State::Fresh | State::Joining(_) | State::Seated(_) | State::Ended => Ok(state),
    }
}
