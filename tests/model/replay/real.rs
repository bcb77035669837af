//! Real sessions, to whom a relay says what the model's relay says.

use conclave_shared::{
    id::{CallName, Fingerprint, RelayInstance, RelayNonce, Seat, Sequence, Transcript, UserName},
    identity::device::Device,
    session::{
        Profile, Session,
        config::Config,
        input::{Command, Input},
        output::{Event as Told, Output},
    },
    time::Timestamp,
    wire::{
        self, At, AwayReason, BodyFrom, Challenge, Claimed, ClaimedKey, Commit, Committed, Lead, LeftReason,
        MemberAway, MemberBack, MemberClaim, MemberJoined, MemberLeft, OlmFrom, OlmMessage, Refusal, ToClient, ToRelay,
        Token, Welcome,
        code::Code,
        sealed::Content,
        signed::{Body, JoinProof, KeyBatch, Signed},
    },
};
use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::{
    explore::Calls,
    member::{Event, Life, Member, Said},
    state::{Action, State},
    symbols::{self, CommitId, Key, Set, Who},
};

const RELAY: RelayInstance = RelayInstance::new([9; 16]);
/// How far ahead the ratchet of a kept session is tried: more than there are joins.
const STEPS: u32 = 64;
const NONCE: RelayNonce = RelayNonce::new([7; 32]);
const LONG: Duration = Duration::from_secs(1_000_000);

/// Every commit is active at once, and no timer of a session fires.
const STILL: Config = Config {
    activate_session: Duration::ZERO,
    activate_ratchet: Duration::ZERO,
    switch_margin: Duration::ZERO,
    retire: Duration::ZERO,
    rotation: LONG,
    presence: LONG,
    claim: LONG,
    beat: LONG,
    alive: LONG,
    hidden: LONG,
    leave: LONG,
    lease_warning: LONG,
    lease: LONG,
    behind: LONG,
    absent: LONG,
};

/// What a session said that the model says as well.
#[derive(Clone)]
enum Spoken {
    Commit(Box<Commit>),
    Request(Box<Signed>),
    Regrant(OlmMessage),
    Decline,
}

/// One real session.
struct Seated {
    session: Session,
    claim: MemberClaim,
    keys: KeyBatch,
    used: u16,
    lead: Option<(conclave_shared::id::Term, conclave_shared::id::Joined)>,
    spoken: VecDeque<Spoken>,
    /// Requests and answers that wait for it, in their order.
    signed: VecDeque<(Who, Spoken)>,
    fingerprint: Option<Fingerprint>,
    over: bool,
}

/// All of them.
pub(super) struct Real<'a> {
    calls: &'a Calls,
    now: Timestamp,
    sequence: u64,
    seated: Vec<Option<Seated>>,
    commits: Vec<Option<Commit>>,
    /// Which real things stand for which symbols.
    known: Vec<((Key, symbols::Transcript), (Fingerprint, Transcript))>,
}

impl<'a> Real<'a> {
    pub(super) fn new(calls: &'a Calls) -> Self {
        let seated = (0..calls.bounds.members).map(|_| None).collect();
        let now = Timestamp::from_millis(1);
        Self { calls, now, sequence: 0, seated, commits: Vec::new(), known: Vec::new() }
    }

    /// Takes the step that the model took, and compares.
    pub(super) fn follow(&mut self, action: Action, before: &State, after: &State) -> Result<(), String> {
        self.now = self.now + Duration::from_millis(1);
        match action {
            Action::Join(who) => self.join(who, before),
            Action::Deliver(who) | Action::Repeat(who) => {
                let event = before.members[who.index()].down.front().copied().ok_or("nothing to deliver")?;
                self.tell(who, event, after)?;
            }
            Action::LieLead { to, term, who, genesis } => self.tell(to, Event::Lead { term, who, genesis }, after)?,
            Action::LieGone { to, who, away } => {
                self.tell(to, if away { Event::Away(who) } else { Event::Left(who) }, after)?;
            }
            Action::Take(who) | Action::Force(who) => self.take(who, before)?,
            Action::Rotate(who) => self.input(who, Input::Command(Command::Rotate)),
            _ => {}
        }
        for (who, member) in after.who() {
            // What the model ends from outside: a leave, a crash, a seat that the relay closes.
            let heard = matches!(action, Action::Deliver(told) | Action::Repeat(told) if told == who);
            let ends = matches!(member.life, Life::Ended | Life::Gone);
            if let Some(seated) = self.seated[who.index()].as_mut().filter(|_| ends && !heard) {
                seated.over = true;
                seated.spoken.clear();
                seated.signed.clear();
            }
            self.compare(who, member, after).map_err(|what| format!("{who:?}: {what}"))?;
        }
        Ok(())
    }

    fn at(&mut self) -> At {
        self.sequence += 1;
        At(RELAY, Sequence(self.sequence))
    }

    fn join(&mut self, who: Who, before: &State) {
        let device = Device::generate().expect("random bytes");
        let name = |text: &str| UserName::new(text).expect("a name");
        let user = name(&format!("user {}", who.0));
        let call = CallName::new("modelled").expect("a name");
        let profile = Profile { call: call.clone(), user, name: name("device"), token: Token("token".into()) };
        let mut session = Session::new(device, profile, STILL);
        session.hoard(STEPS);
        let challenge = Challenge { versions: vec![1], nonce: NONCE, relay: RELAY };
        let outputs = session.handle(self.now, Input::Received(challenge.into()));
        let join = outputs.into_iter().find_map(|output| match output {
            Output::Send(ToRelay::Join(join)) => Some(join),
            _ => None,
        });
        let join = join.expect("it joins");
        let hash = join.keys.hash().expect("keys");
        let proof =
            JoinProof { relay_nonce: NONCE, nonce: join.proof.nonce, keys: hash, signature: join.proof.signature };
        let (seat, joined, role) = (Seat(u16::from(who.0)), who.joined(), self.calls.rosters.role(who));
        let claim =
            MemberClaim { seat, joined, role, card: join.card, proof, committed: false, present: true, away: None };
        let mut members: Vec<_> = before.relay.members.known.iter().filter_map(|who| self.claim(who, before)).collect();
        members.push(claim.clone());
        let lead = before.relay.reign.map(|reign| (reign.term, reign.who.joined()));
        let (spoken, signed) = (VecDeque::new(), VecDeque::new());
        let keys = join.keys;
        let seated = Seated { session, claim, keys, used: 0, lead, spoken, signed, fingerprint: None, over: false };
        self.seated[who.index()] = Some(seated);
        let at = self.at();
        let welcome = Welcome { at, call, seat, joined, lead, members, ice_servers: vec![] };
        self.input(who, Input::Received(welcome.into()));
    }

    /// A member as the relay of the model knows it.
    fn claim(&self, who: Who, state: &State) -> Option<MemberClaim> {
        let claims = state.relay.members;
        let away = claims.away.has(who).then_some(AwayReason::Silent);
        let claim = self.seated[who.index()].as_ref()?.claim.clone();
        Some(MemberClaim { committed: claims.committed.has(who), present: claims.present.has(who), away, ..claim })
    }

    /// One event, as the relay words it.
    fn tell(&mut self, to: Who, event: Event, after: &State) -> Result<(), String> {
        let at = self.at();
        let message: ToClient = match event {
            Event::Joined(who) => {
                let member = self.seated[who.index()].as_ref().ok_or("nobody joined")?.claim.clone();
                MemberJoined { at, member }.into()
            }
            Event::Left(who) => MemberLeft { at, joined: who.joined(), reason: LeftReason::Closed }.into(),
            Event::Away(who) => MemberAway { at, joined: who.joined(), reason: AwayReason::Silent }.into(),
            Event::Back(who) => MemberBack { at, joined: who.joined() }.into(),
            Event::Lead { term, who, genesis } => Lead { at, term, joined: who.joined(), genesis }.into(),
            Event::Commit(id) => self.committed(at, to, id, after)?.into(),
            Event::Refused { passed } => {
                let code = if passed { Code::PassedTerm } else { Code::NotLead };
                Refusal { code, message: String::new() }.into()
            }
            Event::Request { .. } | Event::Regrant { .. } => {
                let next = self.seated[to.index()].as_mut().and_then(|seated| seated.signed.pop_front());
                match next.ok_or("nothing was said to it")? {
                    (from, Spoken::Request(signed)) => BodyFrom { at, from: from.joined(), signed: *signed }.into(),
                    (from, Spoken::Regrant(message)) => OlmFrom { at, from: from.joined(), message }.into(),
                    (_, Spoken::Commit(_) | Spoken::Decline) => return Err("that is not said to a member".into()),
                }
            }
        };
        self.input(to, Input::Received(message));
        if let Event::Joined(who) = event
            && self.seated[to.index()].as_ref().is_some_and(|seated| seated.session.is_lead())
        {
            self.give_keys(to, &[who.joined()]);
        }
        Ok(())
    }

    fn committed(&self, at: At, to: Who, id: CommitId, state: &State) -> Result<Committed, String> {
        let commit = self.commits.get(usize::from(id.0)).and_then(Option::as_ref).ok_or("a commit that nobody sent")?;
        let grant = commit.grants.iter().find(|(of, _)| *of == to.joined()).map(|(_, grant)| grant.clone());
        let Commit { epoch, add, remove, lost, broadcast, .. } = commit.clone();
        let from = state.made[usize::from(id.0)].from.joined();
        Ok(Committed { at, from, epoch, add, remove, lost, broadcast, grant })
    }

    fn give_keys(&mut self, to: Who, of: &[conclave_shared::id::Joined]) {
        let keys = of.iter().filter_map(|joined| {
            let seated = self.seated[Who::of(*joined).index()].as_mut()?;
            let index = (usize::from(seated.used) < seated.keys.one_time_keys.len()).then_some(seated.used);
            seated.used += 1;
            Some(ClaimedKey { joined: *joined, batch: seated.keys.clone(), index, signature: None })
        });
        let keys = keys.collect();
        self.input(to, Input::Received(Claimed { keys }.into()));
    }

    fn input(&mut self, who: Who, input: Input) {
        let now = self.now;
        let Some(seated) = self.seated[who.index()].as_mut().filter(|seated| !seated.over) else { return };
        let mut claims = Vec::new();
        for output in seated.session.handle(now, input) {
            match output {
                Output::Send(ToRelay::Claim(claim)) => claims.extend(claim.of),
                Output::Send(message) => seated.spoken.extend(spoken(message, seated.session.is_lead())),
                Output::Event(Told::LeadChanged { term, joined, .. }) => seated.lead = Some((term, joined)),
                Output::Event(Told::Epoch(info)) => seated.fingerprint = Some(info.fingerprint),
                Output::Event(Told::Ended(_)) => {
                    seated.over = true;
                    seated.spoken.clear();
                }
                _ => {}
            }
        }
        if !claims.is_empty() {
            self.give_keys(who, &claims);
        }
    }

    /// What a session said reaches the relay.
    fn take(&mut self, who: Who, before: &State) -> Result<(), String> {
        let said = *before.members[who.index()].up.front().ok_or("nothing was said")?;
        if said == Said::Ack {
            return Ok(());
        }
        let seated = self.seated[who.index()].as_mut().ok_or("nobody is there")?;
        let spoken = seated.spoken.pop_front().ok_or("the session did not say that")?;
        let to = match (&said, &spoken) {
            (Said::Commit(id), Spoken::Commit(commit)) => {
                let place = usize::from(id.0);
                self.commits.resize(self.commits.len().max(place + 1), None);
                self.commits[place] = Some((**commit).clone());
                return Ok(());
            }
            (Said::Decline(_), Spoken::Decline) => return Ok(()),
            (Said::Request { to, .. }, Spoken::Request(_)) | (Said::Regrant { to, .. }, Spoken::Regrant(_)) => *to,
            _ => return Err(format!("the session said something else than {said:?}")),
        };
        let hears = matches!(before.members[to.index()].life, Life::Here | Life::Down);
        if let Some(other) = self.seated[to.index()].as_mut().filter(|_| hears && before.relay.members.present.has(to))
        {
            other.signed.push_back((who, spoken));
        }
        Ok(())
    }

    fn compare(&mut self, who: Who, member: &Member, state: &State) -> Result<(), String> {
        let Some(seated) = &self.seated[who.index()] else { return Ok(()) };
        let here = matches!(member.life, Life::Here | Life::Down);
        same("being there", here, !seated.over)?;
        if !here {
            return Ok(());
        }
        let session = &seated.session;
        same("epoch", member.held.map(|held| held.epoch), session.epoch())?;
        let mut roster = Set::default();
        session.members().iter().for_each(|member| roster.set(Who::of(member.joined), true));
        same("roster", member.held.map(|held| held.roster.members).unwrap_or_default(), roster)?;
        same("lead", member.lead.map(|(term, lead)| (term, lead.joined())), seated.lead)?;
        same("leading", member.reign.is_some(), session.is_lead())?;
        let said = member.up.iter().filter(|said| **said != Said::Ack).count();
        same("what was said", said, seated.spoken.len())?;
        for (said, spoken) in member.up.iter().filter(|said| **said != Said::Ack).zip(&seated.spoken) {
            if let (Said::Commit(id), Spoken::Commit(commit)) = (said, spoken) {
                let made = state.made[usize::from(id.0)];
                same("commit", (made.epoch, made.add.joined()), (commit.epoch, commit.add.clone()))?;
            }
        }
        if let (Some(held), Some(fingerprint), Some(transcript)) =
            (member.held, seated.fingerprint, session.transcript())
        {
            let (symbol, thing) = ((held.key, held.transcript), (fingerprint, transcript));
            match self.known.iter().find(|(known, real)| *known == symbol || *real == thing) {
                Some(known) => same("key", *known, (symbol, thing))?,
                None => self.known.push((symbol, thing)),
            }
        }
        Ok(())
    }

    /// Whether each can derive exactly the keys that the model says.
    pub(super) fn audit(&mut self, state: &State) -> Result<(), String> {
        for (who, member) in state.who() {
            let Some(seated) = &mut self.seated[who.index()] else { continue };
            for ((key, _), (fingerprint, transcript)) in &self.known {
                let derives = seated.session.could_derive(transcript, fingerprint);
                same(&format!("{who:?} holding {key:?}"), member.can_derive(*key), derives)?;
            }
        }
        Ok(())
    }
}

/// What of a message the model has.
fn spoken(message: ToRelay, leads: bool) -> Option<Spoken> {
    match message {
        ToRelay::Commit(commit) => Some(Spoken::Commit(Box::new(Arc::unwrap_or_clone(commit)))),
        ToRelay::Decline(_) => Some(Spoken::Decline),
        ToRelay::Olm(wire::Olm { message, .. }) if leads => Some(Spoken::Regrant(message)),
        ToRelay::Body(signed) => {
            let body = Body::parse(&signed).ok()?;
            matches!(Content::parse(&body.content), Ok(Content::KeyRequest(_)))
                .then(|| Spoken::Request(Box::new(signed)))
        }
        _ => None,
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, model: T, real: T) -> Result<(), String> {
    if model == real { Ok(()) } else { Err(format!("{what}: the model has {model:?}, the session {real:?}")) }
}
