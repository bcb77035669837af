//! A device with a seat: takes in the relay's events in their order and hands each to what it concerns.

use std::sync::Arc;

use super::{
    claims::Claims,
    config::Config,
    error::{CommandError, InternalError, SecurityEvent},
    group::Group,
    input::{Command, Input},
    mailbox::Mailbox,
    output::{EndReason, Event, KeyUpdate, MemberInfo, Output},
    reign::Reign,
};
use crate::{
    crypto::pairwise::Pairwise,
    id::{CallName, Epoch, Joined, Role, Sequence, Term, Transcript},
    identity::device::Device,
    time::Timestamp,
    wire::{
        At, Keys, Lead, LeftReason, MemberClaim, ToClient, ToRelay, Welcome,
        sealed::Cause,
        sealed::OlmEnd,
        signed::{JoinProof, Signed, keys_bytes},
    },
};

/// What a step may use besides the call itself.
pub(super) struct Ctx<'a> {
    pub(super) now: Timestamp,
    pub(super) device: &'a mut Device,
    pub(super) config: &'a Config,
    pub(super) out: &'a mut Vec<Output>,
    #[cfg(feature = "audit")]
    pub(super) hoard: &'a mut super::audit::Hoard,
}

impl Ctx<'_> {
    pub(super) fn send(&mut self, message: impl Into<ToRelay>) {
        self.out.push(Output::Send(message.into()));
    }

    pub(super) fn event(&mut self, event: Event) {
        self.out.push(Output::Event(event));
    }

    pub(super) fn keys(&mut self, update: KeyUpdate) {
        self.out.push(Output::Keys(update));
    }

    pub(super) fn alarm(&mut self, event: SecurityEvent) {
        self.out.push(Output::Event(Event::Security(event)));
    }
}

/// The device's own place in the call.
#[derive(Clone, Debug)]
pub(super) struct Me {
    pub(super) joined: Joined,
    pub(super) end: OlmEnd,
}

/// A device with a seat.
pub(super) struct Call {
    pub(super) name: CallName,
    pub(super) me: Me,
    pub(super) claims: Claims,
    pub(super) olm: Pairwise,
    /// The reign and who holds it: the relay's word until a roster can check it.
    pub(super) lead: Option<(Term, Joined)>,
    /// What is held since the first key came.
    pub(super) group: Option<Group>,
    /// What is done while leading.
    pub(super) reign: Option<Reign>,
    /// Application messages that wait for their epoch.
    pub(super) mailbox: Mailbox,
    /// The number of the last body that this join signed.
    pub(super) n: u64,
    /// The newest event taken in, and of which life of the relay.
    at: At,
}

impl Call {
    /// Takes the seat that the relay gave.
    pub(super) fn seated(
        ctx: &mut Ctx<'_>,
        name: &CallName,
        (card, proof): (Signed, JoinProof),
        welcome: Welcome,
    ) -> Result<Self, EndReason> {
        let mut claims = Claims::new(name.clone());
        for member in welcome.members {
            if let Err(event) = claims.insert(member) {
                ctx.alarm(event);
            }
        }
        // The own claim is the device's own: whatever the relay lists under this number, this is what it joined with.
        let own = MemberClaim {
            seat: welcome.seat,
            joined: welcome.joined,
            role: claims.get(welcome.joined).map_or(Role::Member, |claim| claim.added.role),
            card,
            proof,
            committed: false,
            present: true,
        };
        let own = claims.insert(own).map_err(|_| EndReason::Internal(InternalError::Crypto))?;
        let me = Me { joined: welcome.joined, end: OlmEnd { ed25519: own.info.ed25519, join: own.join } };
        ctx.event(Event::Seated {
            seat: welcome.seat,
            joined: welcome.joined,
            members: claims.iter().map(|claim| Arc::clone(&claim.info)).collect(),
            ice_servers: welcome.ice_servers,
        });
        if let Some((term, joined)) = welcome.lead {
            ctx.event(Event::LeadChanged { term, joined, me: false });
        }
        Ok(Self {
            name: name.clone(),
            me,
            claims,
            olm: Pairwise::default(),
            lead: welcome.lead,
            group: None,
            reign: None,
            mailbox: Mailbox::default(),
            n: 0,
            at: welcome.at,
        })
    }

    pub(super) fn joined(&self) -> Joined {
        self.me.joined
    }

    pub(super) fn is_lead(&self) -> bool {
        self.reign.is_some()
    }

    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.group.as_ref().map(|group| group.epoch)
    }

    pub(super) fn transcript(&self) -> Option<Transcript> {
        self.group.as_ref().map(|group| group.transcript)
    }

    pub(super) fn active(&self) -> Option<Epoch> {
        self.group.as_ref().and_then(|group| group.epochs.active())
    }

    pub(super) fn members(&self) -> Vec<Arc<MemberInfo>> {
        self.group.as_ref().map(|group| group.roster.infos()).unwrap_or_default()
    }

    /// When something is due next, whoever it concerns.
    pub(super) fn next_timeout(&self, config: &Config) -> Option<Timestamp> {
        let cards = self.claims.has_unchecked().then_some(Timestamp::ZERO);
        let group = self.group.as_ref().and_then(|group| group.epochs.next_timeout());
        let reign = self.reign.as_ref().and_then(|reign| self.reign_timeout(reign, config));
        [cards, group, reign, self.mailbox.next_timeout()].into_iter().flatten().min()
    }

    /// Takes in one input; then the lead does whatever has become possible.
    pub(super) fn handle(&mut self, ctx: &mut Ctx<'_>, input: Input) -> Result<(), EndReason> {
        match input {
            Input::Received(message) => self.receive(ctx, message)?,
            Input::Command(command) => self.command(ctx, command)?,
            Input::Timeout => self.timeout(ctx),
            Input::Disconnected => return Err(EndReason::Disconnected),
        }
        self.reign_on(ctx).map_err(EndReason::Internal)
    }

    fn receive(&mut self, ctx: &mut Ctx<'_>, message: ToClient) -> Result<(), EndReason> {
        match message {
            ToClient::Joined(event) if self.follows(event.at) => self.on_joined(ctx, event.member),
            ToClient::Left(event) if self.follows(event.at) => self.on_left(ctx, event.joined, event.reason),
            ToClient::Lead(event) if self.follows(event.at) => self.on_lead(ctx, event)?,
            ToClient::Commit(event) if self.follows(event.at) => self.on_commit(ctx, event)?,
            ToClient::Ack(event) if self.follows(event.at) => self.on_ack(ctx, event.from, event.epoch, &event.mac),
            ToClient::Olm(event) if self.follows(event.at) => self.on_olm(ctx, event.from, &event.message),
            ToClient::Body(event) if self.follows(event.at) => self.on_body(ctx, event.from, &event.signed),
            ToClient::Claimed(claimed) => self.on_claimed(ctx, claimed),
            ToClient::KeysLow(_) => self.on_keys_low(ctx),
            ToClient::Closing(closing) => ctx.event(Event::Closing(closing.retry_after)),
            // An event that was taken in already, or a message out of turn: nothing to do.
            ToClient::Joined(_)
            | ToClient::Left(_)
            | ToClient::Lead(_)
            | ToClient::Commit(_)
            | ToClient::Ack(_)
            | ToClient::Olm(_)
            | ToClient::Body(_)
            | ToClient::Challenge(_)
            | ToClient::Welcome(_)
            | ToClient::Error(_) => {}
        }
        Ok(())
    }

    /// Whether an event is one that was not taken in yet, of the same life of the relay.
    fn follows(&mut self, at: At) -> bool {
        let At(relay, Sequence(number)) = at;
        let follows = relay == self.at.0 && number > self.at.1.0;
        if follows {
            self.at = at;
        }
        follows
    }

    fn command(&mut self, ctx: &mut Ctx<'_>, command: Command) -> Result<(), EndReason> {
        let done = match command {
            Command::Leave => return Err(self.leave(ctx)),
            Command::Rotate => self.rotate(ctx),
            Command::Remove(joined) => self.remove(joined),
            Command::Send { to, payload } => self.send_message(ctx, to, &payload),
        };
        if let Err(error) = done {
            ctx.event(Event::CommandFailed(error));
        }
        Ok(())
    }

    fn remove(&mut self, joined: Joined) -> Result<(), CommandError> {
        let reign = self.reign.as_mut().ok_or(CommandError::NotLead)?;
        reign.remove(joined).ok_or(CommandError::UnknownMember(joined))
    }

    fn timeout(&mut self, ctx: &mut Ctx<'_>) {
        for event in self.claims.check_some() {
            ctx.alarm(event);
        }
        self.mailbox.expire(ctx.now);
        if let Some(group) = &mut self.group {
            group.timeout(ctx);
        }
    }

    fn on_joined(&mut self, ctx: &mut Ctx<'_>, member: MemberClaim) {
        if member.joined == self.me.joined {
            return;
        }
        // A newcomer is never committed, whatever the relay says of it.
        match self.claims.insert(MemberClaim { committed: false, present: true, ..member }) {
            Ok(claim) => {
                if let Some(reign) = &mut self.reign {
                    reign.arrive(claim.added.joined, ctx.now + ctx.config.claim);
                }
                ctx.event(Event::MemberArrived(Arc::clone(&claim.info)));
            }
            Err(event) => ctx.alarm(event),
        }
    }

    /// Somebody is gone: the roster keeps them until the lead commits it, succession and the lead do not.
    pub(super) fn on_left(&mut self, ctx: &mut Ctx<'_>, joined: Joined, reason: LeftReason) {
        if joined == self.me.joined || self.claims.get(joined).is_none_or(|claim| !claim.present) {
            return;
        }
        self.claims.leave(joined);
        if let Some(reign) = &mut self.reign {
            reign.depart(joined, Cause::Leave);
        }
        ctx.event(Event::MemberLeft { joined, reason });
    }

    /// Succession is computed from the roster; the relay only says that it is time.
    fn on_lead(&mut self, ctx: &mut Ctx<'_>, event: Lead) -> Result<(), EndReason> {
        let Lead { term, joined, genesis, .. } = event;
        let wrong = SecurityEvent::WrongLead { term, named: joined };
        let current = self.lead.map_or(Term(0), |(term, _)| term);
        if let Some(group) = &self.group {
            if Some(term) != current.0.checked_add(1).map(Term) {
                ctx.alarm(SecurityEvent::WrongTerm { term, current });
                return Ok(());
            }
            let live = |joined| self.claims.get(joined).is_some_and(|claim| claim.present);
            if genesis || group.roster.first(live) != Some(joined) {
                ctx.alarm(wrong);
                return Ok(());
            }
        } else if term <= current || (joined == self.me.joined && !genesis) {
            ctx.alarm(wrong);
            return Ok(());
        }
        self.lead = Some((term, joined));
        self.reign = None;
        if genesis {
            self.claims.forget_commits();
        }
        let me = joined == self.me.joined;
        ctx.event(Event::LeadChanged { term, joined, me });
        if me {
            self.begin_reign(ctx, term).map_err(EndReason::Internal)?;
        }
        Ok(())
    }

    fn on_keys_low(&mut self, ctx: &mut Ctx<'_>) {
        let keys = ctx.device.new_keys();
        if let Ok(hash) = keys.hash() {
            let signature = ctx.device.sign(&keys_bytes(&self.name, &self.me.end.join, &hash));
            ctx.out.push(Output::Persist(ctx.device.pickle()));
            ctx.send(Keys { keys, signature });
        }
    }

    /// The next number for a signed body.
    pub(super) fn next_n(&mut self) -> Result<u64, InternalError> {
        // Above 2^53 - 1 a JSON number is no longer exact everywhere.
        let n = self.n.checked_add(1).filter(|n| *n < 1 << 53).ok_or(InternalError::Counter)?;
        self.n = n;
        Ok(n)
    }
}
