//! A device with a seat: takes in the relay's events in their order and hands each to what it concerns.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    claims::{Claim, Claims},
    config::Config,
    error::{CommandError, InternalError, SecurityEvent},
    group::Group,
    input::{Command, Input},
    lease::Lease,
    line::{Line, Stage},
    mailbox::Mailbox,
    output::{EndReason, Event, KeyMissing, KeyUpdate, MemberInfo, Output},
    reign::Reign,
    request::Wanting,
    succession::Elections,
    timer::{Deadline, Timer},
    unsaid::Unsaid,
};
use crate::{
    crypto::pairwise::Pairwise,
    id::{CallName, Epoch, Instance, Joined, RelayInstance, RequestNonce, Role, Sequence, Term, Transcript},
    identity::device::Device,
    time::Timestamp,
    wire::{
        At, AwayReason, Keys, LeftReason, MemberClaim, Pong, ToClient, ToRelay, Welcome,
        sealed::Cause,
        sealed::OlmEnd,
        signed::{JoinProof, Signed, keys_bytes},
    },
};

/// Batches of one-time keys that are sent when the relay asks: one in this time, for each replaces the fallback key.
const KEYS_INTERVAL: Duration = Duration::from_secs(5);

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
    /// Application messages of this device that the relay may not have, or that wait for a connection.
    pub(super) unsaid: Unsaid,
    /// The number of the last body that this join signed.
    pub(super) n: u64,
    /// A commit of the lawful lead was sequenced that this device could not follow.
    pub(super) out_of_step: bool,
    /// The own connection.
    pub(super) line: Line,
    /// What is to be said again on it, ahead of everything else.
    pub(super) again: Vec<ToRelay>,
    /// What is known of the lead's life.
    pub(super) lease: Lease,
    /// Who left, and when, whom the lead has not committed out yet.
    pub(super) left: BTreeMap<Joined, Timestamp>,
    /// The newest epoch is wanted of the lead.
    pub(super) wanting: Option<Wanting>,
    /// The seat was brought to a relay that has named no lead since.
    pub(super) awaits_lead: bool,
    /// A relay that was restarted took this seat, and nothing since has shown that no epoch was missed.
    pub(super) unsure: bool,
    /// The term whose lead spoke last of an epoch that this device lacked.
    pub(super) spoken_in: Option<Term>,
    /// The newest requests, oldest first.
    pub(super) asked: VecDeque<RequestNonce>,
    /// The number under which the newest message of each member that was told of was first said.
    pub(super) told: BTreeMap<Joined, u64>,
    /// When the connection was last taken up again.
    pub(super) up_since: Timestamp,
    /// What outlasts a reign.
    pub(super) elections: Elections,
    /// The newest event that is said again on this connection.
    pub(super) missed_until: Sequence,
    /// The application knows that it is missing.
    pub(super) told_missing: bool,
    /// When a relay that was restarted took this seat.
    pub(super) settled_at: Option<Timestamp>,
    /// The number of the next ping, whatever for: answers to those of before a change of lead may still be on their way.
    pub(super) pings: u32,
    keys_sent: Option<Timestamp>,
    /// When the last input came: what was due then is done.
    woken: Timestamp,
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
        // The own claim comes first and is the device's own: whatever the relay lists under this number, this is what it
        // joined with.
        let listed = welcome.members.iter().find(|member| member.joined == welcome.joined);
        let own = MemberClaim {
            seat: welcome.seat,
            joined: welcome.joined,
            role: listed.map_or(Role::Member, |member| member.role),
            card,
            proof,
            committed: false,
            present: true,
            away: None,
        };
        let own = claims.insert(ctx.now, own, true).map_err(|_| EndReason::Internal(InternalError::Crypto))?;
        let me = Me { joined: welcome.joined, end: own.entry().end() };
        for member in welcome.members {
            if let Err(event) = claims.insert(ctx.now, member, true) {
                ctx.alarm(event);
            }
        }
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
            unsaid: Unsaid::default(),
            n: 0,
            out_of_step: false,
            line: Line::default(),
            again: Vec::new(),
            lease: Lease::new(ctx.now),
            left: BTreeMap::new(),
            wanting: None,
            awaits_lead: false,
            unsure: false,
            spoken_in: None,
            asked: VecDeque::new(),
            told: BTreeMap::new(),
            up_since: ctx.now,
            elections: Elections::default(),
            missed_until: Sequence(0),
            told_missing: false,
            settled_at: None,
            pings: 0,
            keys_sent: None,
            woken: ctx.now,
            at: welcome.at,
        })
    }

    /// Whether commits of this device are on their way to the relay.
    pub(super) fn has_staged(&self) -> bool {
        self.reign.as_ref().is_some_and(|reign| !reign.staged.is_empty())
    }

    /// The life of the relay that knows this seat.
    pub(super) fn relay(&self) -> RelayInstance {
        self.at.0
    }

    /// The newest event taken in.
    pub(super) fn at(&self) -> At {
        self.at
    }

    /// Events are numbered anew, by another relay.
    pub(super) fn set_at(&mut self, at: At) {
        self.at = at;
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

    pub(super) fn instance(&self) -> Option<Instance> {
        self.group.as_ref().map(|group| group.instance)
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

    pub(super) fn is_confirmed(&self, joined: Joined) -> bool {
        let group = self.group.as_ref().filter(|group| group.roster.contains(joined));
        group.is_some_and(|group| joined == self.me.joined || group.trail.confirmed.contains(&joined))
    }

    /// What is due next, whoever it concerns.
    pub(super) fn next_timer(&self, config: &Config) -> Option<Deadline> {
        let cards = self.claims.has_unchecked().then_some((Timestamp::ZERO, Timer::Cards));
        let message = self.mailbox.next_timeout().map(|at| (at, Timer::Message));
        let group = self.group.iter().flat_map(|group| group.epochs.deadlines());
        let keeps = self.unsaid.keeps_until().unwrap_or(Timestamp::ZERO);
        let group = group.map(|(at, timer)| if timer == Timer::Retire { (at.max(keeps), timer) } else { (at, timer) });
        let reigns = self.reign.iter().filter(|reign| reign.is_confirmed() && self.line.is_up());
        let reign = reigns.flat_map(|reign| reign.deadlines(config));
        // Nobody's time is over while the relay stands still: its next answer says so.
        let waits = |timer| matches!(timer, Timer::Presence | Timer::Absent);
        let reign = reign.filter(|(at, timer)| *at > self.woken || !waits(*timer));
        let idle =
            self.reign.iter().filter(|reign| reign.is_idle()).flat_map(|reign| self.idle_deadlines(reign, config));
        let live = self.live_deadlines(config).into_iter().chain(self.ask_deadline());
        // What was due when this device last looked is done, or waits for something else.
        let live = live.filter(|(at, _)| *at > self.woken || planted!(WakeForNothing));
        cards.into_iter().chain(message).chain(group).chain(reign).chain(idle).chain(live).min()
    }

    /// What a lead does while no epoch is on its way.
    fn idle_deadlines(&self, reign: &Reign, config: &Config) -> impl Iterator<Item = Deadline> {
        let keys = self.olm.is_unready().then_some((Timestamp::ZERO, Timer::ReadyGrants));
        let live = self.group.as_ref().map_or(0, |group| group.epochs.len());
        let pace = reign.has_wishes().then(|| reign.paced(live, config)).filter(|at| *at > self.woken);
        keys.into_iter().chain(pace.map(|at| (at, Timer::Pace)))
    }

    /// Takes in one input; then the lead does whatever has become possible.
    pub(super) fn handle(&mut self, ctx: &mut Ctx<'_>, input: Input) -> Result<(), EndReason> {
        self.woken = ctx.now;
        match input {
            Input::Received(message) => self.receive(ctx, message)?,
            Input::Command(command) => self.command(ctx, command)?,
            Input::Timeout => self.timeout(ctx),
            Input::Disconnected => {}
        }
        if self.line.is_up() {
            self.reign_on(ctx).map_err(EndReason::Internal)?;
        }
        self.live(ctx).map_err(EndReason::Internal)?;
        self.ask(ctx)?;
        self.speak(ctx);
        Ok(())
    }

    /// What this step says goes out now, behind what has to be said again, or waits for a connection.
    fn speak(&mut self, ctx: &mut Ctx<'_>) {
        self.line.carry(ctx.out);
        let again = std::mem::take(&mut self.again);
        ctx.out.splice(0..0, again.into_iter().map(Output::Send));
    }

    fn receive(&mut self, ctx: &mut Ctx<'_>, message: ToClient) -> Result<(), EndReason> {
        match message {
            ToClient::Joined(event) if self.follows(event.at) => self.on_joined(ctx, event.member),
            ToClient::Left(event) if self.follows(event.at) => self.on_left(ctx, event.joined, event.reason),
            ToClient::Lead(event) if self.follows(event.at) => self.on_lead(ctx, event)?,
            ToClient::Away(event) if self.follows(event.at) => self.on_away(ctx, event.joined, event.reason),
            ToClient::Back(event) if self.follows(event.at) => self.on_back(ctx, event.joined),
            ToClient::Commit(event) if self.follows(event.at) => self.on_commit(ctx, event)?,
            ToClient::Ack(event) if self.follows(event.at) => self.on_ack(ctx, event.from, event.epoch, &event.mac),
            ToClient::Olm(event) if self.follows(event.at) => self.on_olm(ctx, event.from, &event.message),
            ToClient::Body(event) if self.follows(event.at) => self.on_body(ctx, event.from, &event.signed),
            ToClient::Claimed(claimed) => self.on_claimed(ctx, claimed),
            ToClient::KeysLow(_) => self.on_keys_low(ctx),
            ToClient::Pong(Pong { n }) => self.on_pong(ctx, n),
            ToClient::Resumed(resumed) => self.on_resumed(ctx, resumed),
            ToClient::Welcome(welcome) if self.line.stage() == Stage::Restoring => self.on_restored(ctx, welcome)?,
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
            | ToClient::Away(_)
            | ToClient::Back(_)
            | ToClient::Welcome(_)
            | ToClient::Error(_) => {}
        }
        Ok(())
    }

    /// Whether an event is one that was not taken in yet, of the same life of the relay.
    fn follows(&mut self, at: At) -> bool {
        let At(relay, Sequence(number)) = at;
        let follows = relay == self.at.0 && (number > self.at.1.0 || planted!(ReplayTwice));
        if follows {
            self.at = at;
        }
        follows
    }

    fn command(&mut self, ctx: &mut Ctx<'_>, command: Command) -> Result<(), EndReason> {
        let done = match command {
            Command::Leave => return Err(self.leave(ctx)),
            Command::MissingKey => self.missing_key(ctx.now),
            Command::Rotate => self.rotate(ctx),
            Command::Remove(joined) => self.remove(joined),
            Command::Send { to, payload } => self.say(ctx, to, payload),
        };
        if let Err(error) = done {
            ctx.event(Event::CommandFailed(error));
        }
        Ok(())
    }

    /// Frames came whose key is not here. A lead has every key there is.
    fn missing_key(&mut self, now: Timestamp) -> Result<(), CommandError> {
        if self.group.is_none() {
            return Err(CommandError::NoKey);
        }
        if self.reign.is_none() {
            self.want(now, Some(KeyMissing::Frames), false);
        }
        Ok(())
    }

    /// The lead cannot remove itself: it leaves.
    fn remove(&mut self, joined: Joined) -> Result<(), CommandError> {
        let reign = self.reign.as_mut().ok_or(CommandError::NotLead)?;
        if joined == self.me.joined {
            return Err(CommandError::UnknownMember(joined));
        }
        reign.remove(joined).ok_or(CommandError::UnknownMember(joined))
    }

    fn timeout(&mut self, ctx: &mut Ctx<'_>) {
        for event in self.claims.check_some() {
            ctx.alarm(event);
        }
        self.mailbox.expire(ctx.now);
        self.prepare();
        let keeps = self.unsaid.keeps_until().is_some_and(|until| ctx.now < until);
        if let Some(group) = &mut self.group
            && group.timeout(ctx, keeps)
        {
            self.forget_sessions();
        }
    }

    /// Forgets the Olm sessions of those who are neither in the roster nor here.
    fn forget_sessions(&mut self) {
        let claimed = self.claims.iter().map(|claim| claim.added.join);
        let committed = self.group.iter().flat_map(|group| group.roster.iter()).map(|entry| entry.added.join);
        let keep: BTreeSet<_> = claimed.chain(committed).collect();
        self.olm.retain(|join| keep.contains(join));
    }

    /// A lead hears of somebody who is here, and whom the relay names as committed or not.
    pub(super) fn arrived(&mut self, ctx: &Ctx<'_>, joined: Joined, named: bool) {
        let (Some(reign), Some(claim)) = (&mut self.reign, self.claims.get(joined)) else { return };
        let keyless = !self.olm.is_open(claim.added.join);
        reign.replace(joined, &claim.info.ed25519);
        reign.arrive(joined, ctx.now + ctx.config.claim, keyless);
        if named && !reign.tip.roster.contains(joined) {
            // It holds a seat and no place in the roster: the next commit tells the relay, and it joins afresh.
            reign.request_rotation();
        }
    }

    fn on_joined(&mut self, ctx: &mut Ctx<'_>, member: MemberClaim) {
        if member.joined == self.me.joined {
            return;
        }
        let (known, named) = (self.claims.get(member.joined).map(Claim::away), member.committed);
        let committed = self.group.as_ref().is_none_or(|group| group.roster.contains(member.joined));
        match self.claims.insert(ctx.now, MemberClaim { present: true, ..member }, committed) {
            Ok(claim) => {
                let (joined, info) = (claim.added.joined, Arc::clone(&claim.info));
                self.arrived(ctx, joined, named);
                match known {
                    None => ctx.event(Event::MemberArrived(info)),
                    Some(true) => ctx.event(Event::MemberBack(joined)),
                    Some(false) => {}
                }
            }
            Err(event) => ctx.alarm(event),
        }
    }

    /// Somebody is gone: the roster keeps them until the lead commits it, succession and the lead do not.
    pub(super) fn on_left(&mut self, ctx: &mut Ctx<'_>, joined: Joined, reason: LeftReason) {
        let committed = self.group.as_ref().is_some_and(|group| group.roster.contains(joined));
        // The roster is what counts: a relay may have taken back its word on somebody.
        let here = self.claims.is_present(joined) || committed && !self.left.contains_key(&joined);
        if joined == self.me.joined || !here {
            return;
        }
        self.claims.leave(ctx.now, joined);
        if committed {
            self.left.insert(joined, ctx.now);
        }
        if let Some(reign) = &mut self.reign {
            reign.depart(joined, Cause::Leave);
        }
        ctx.event(Event::MemberLeft { joined, reason });
    }

    fn on_pong(&mut self, ctx: &Ctx<'_>, n: u32) {
        self.lease.proven(ctx.now, n);
        if let Some(reign) = &mut self.reign {
            reign.answered(ctx.now, n, ctx.config);
        }
    }

    /// Somebody keeps their seat and cannot lead for now, as the relay says.
    fn on_away(&mut self, ctx: &mut Ctx<'_>, joined: Joined, reason: AwayReason) {
        if self.claims.set_away(joined, true) && joined != self.me.joined {
            ctx.event(Event::MemberAway { joined, reason });
            if let Some(reign) = &mut self.reign {
                reign.wait_not_for(|missing| missing == joined);
            }
        }
    }

    fn on_back(&mut self, ctx: &mut Ctx<'_>, joined: Joined) {
        if self.claims.set_away(joined, false) && joined != self.me.joined {
            ctx.event(Event::MemberBack(joined));
        }
        // One from before belongs to a connection that is gone as well.
        if joined == self.me.joined && self.at.1 > self.missed_until {
            self.catch_up(ctx);
        }
    }

    fn on_keys_low(&mut self, ctx: &mut Ctx<'_>) {
        if self.keys_sent.is_some_and(|sent| ctx.now.since(sent) < KEYS_INTERVAL) {
            return;
        }
        self.keys_sent = Some(ctx.now);
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
