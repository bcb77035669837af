//! A call in memory: real sessions, and the plainest relay that could serve them.

use conclave_shared::{
    frame::Frames,
    id::{
        CallName, Epoch, Fingerprint, Joined, RelayInstance, RelayNonce, Role, Seat, Sequence, Term, Transcript,
        UserName,
    },
    identity::device::{Device, DevicePickle},
    session::{
        Profile, Session,
        config::Config,
        error::SecurityEvent,
        input::{Command, Input},
        output::{EndReason, EpochInfo, Event, Output},
        timer::Timer,
    },
    time::Timestamp,
    wire::{
        self, Acked, At, BodyFrom, Challenge, Claimed, ClaimedKey, Committed, Lead, LeftReason, MemberClaim,
        MemberJoined, MemberLeft, OlmFrom, ToClient, ToRelay, Token, Welcome,
        signed::{Body, JoinProof, KeyBatch},
    },
};
use cpu_time::ThreadTime;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

const RELAY: RelayInstance = RelayInstance::new([9; 16]);
/// How far ahead the ratchet of a kept session is tried: more than there are joins.
#[cfg(feature = "audit")]
const STEPS: u32 = 64;

pub struct Member {
    pub session: Session,
    pub events: Vec<Event>,
    /// When each event was told.
    pub times: Vec<Timestamp>,
    /// The device as it was when it joined, with all its one-time keys.
    pub stored: Option<DevicePickle>,
    /// Every media secret that it was given.
    #[cfg(feature = "audit")]
    pub media: Vec<[u8; 32]>,
    pub epochs: BTreeMap<Epoch, (Fingerprint, Transcript)>,
    pub closed: bool,
    pub frames: Frames,
    /// What its session has computed so far, idle work aside.
    pub spent: Duration,
    nonce: RelayNonce,
    role: Role,
}

impl Member {
    pub fn infos(&self) -> Vec<&EpochInfo> {
        self.events.iter().filter_map(|event| if let Event::Epoch(info) = event { Some(info) } else { None }).collect()
    }

    pub fn alarms(&self) -> Vec<SecurityEvent> {
        self.events.iter().filter_map(|e| if let Event::Security(event) = e { Some(*event) } else { None }).collect()
    }

    /// When something of this kind was first told.
    pub fn told(&self, wanted: impl Fn(&Event) -> bool) -> Option<Timestamp> {
        self.events.iter().zip(&self.times).find(|(event, _)| wanted(event)).map(|(_, at)| *at)
    }

    pub fn ended(&self) -> Option<EndReason> {
        self.events.iter().find_map(|event| if let Event::Ended(reason) = event { Some(*reason) } else { None })
    }
}

struct Seated {
    claim: MemberClaim,
    keys: KeyBatch,
    used: u16,
    at: usize,
}

/// What one member computed for one thing.
pub struct Cost {
    pub who: usize,
    /// The name of the message that came; `send` and the name of one for writing it down; `timer` or `command`.
    pub what: (&'static str, &'static str),
    pub spent: Duration,
}

/// Changes or drops what the relay is about to deliver to a member (by its index in the world).
pub type Tamper = Box<dyn FnMut(usize, ToClient) -> Vec<ToClient>>;

pub struct World {
    pub now: Timestamp,
    pub call: CallName,
    pub config: Config,
    pub members: Vec<Member>,
    pub tamper: Tamper,
    pub wire: Vec<(usize, ToClient)>,
    /// Everything that the relay was told.
    pub said: Vec<(usize, ToRelay)>,
    seats: BTreeMap<Joined, Seated>,
    /// The life of the relay.
    pub relay: RelayInstance,
    sequence: u64,
    joins: u64,
    pub lead: Option<(Term, Joined)>,
    term: u32,
    /// A relay that splits a call takes the commits of a second lead as well.
    pub also: Option<(Term, Joined)>,
    /// This member's socket closes just before the next commit is sequenced.
    pub crossing: Option<usize>,
    /// What these members' sessions say goes nowhere: somebody else speaks on their connections.
    pub muted: BTreeSet<usize>,
    /// So many commits are refused.
    pub refuse_commits: usize,
    /// Joiners and bytes of each commit.
    pub commits: Vec<(usize, usize)>,
    /// What everybody's session has computed, in order, idle work aside.
    pub costs: Vec<Cost>,
    queue: VecDeque<(usize, ToRelay)>,
    inbox: VecDeque<(usize, ToClient)>,
}

impl World {
    pub fn new() -> Self {
        Self {
            now: Timestamp::from_millis(1),
            call: CallName::new("demo").unwrap(),
            config: Config::default(),
            members: Vec::new(),
            tamper: Box::new(|_, message| vec![message]),
            wire: Vec::new(),
            said: Vec::new(),
            seats: BTreeMap::new(),
            relay: RELAY,
            sequence: 0,
            joins: 0,
            lead: None,
            term: 0,
            also: None,
            crossing: None,
            muted: BTreeSet::new(),
            refuse_commits: 0,
            commits: Vec::new(),
            costs: Vec::new(),
            queue: VecDeque::new(),
            inbox: VecDeque::new(),
        }
    }

    /// A call of so many members, three seconds after the last of them came.
    pub fn of(members: usize) -> Self {
        let mut world = Self::new();
        for _ in 0..members {
            world.join(Role::Member);
            world.settle();
        }
        world.advance(3_000);
        world
    }

    /// A device connects and asks to join; nothing moves until [`settle`](Self::settle).
    pub fn join(&mut self, role: Role) -> usize {
        self.join_with(Device::generate().unwrap(), role)
    }

    pub fn join_with(&mut self, device: Device, role: Role) -> usize {
        let user = format!("user {}", self.members.len());
        self.join_as(device, role, &user)
    }

    pub fn join_as(&mut self, device: Device, role: Role, user: &str) -> usize {
        let index = self.members.len();
        let name = |text: &str| UserName::new(text).unwrap();
        let profile =
            Profile { call: self.call.clone(), user: name(user), name: name("device"), token: Token("token".into()) };
        let frames = Frames::new(device.ed25519());
        let session = Session::new(device, profile, self.config);
        #[cfg(feature = "audit")]
        let session = hoarding(session);
        let nonce = RelayNonce::new([u8::try_from(index % 256).unwrap(); 32]);
        let member = Member {
            session,
            events: vec![],
            times: vec![],
            stored: None,
            #[cfg(feature = "audit")]
            media: vec![],
            epochs: BTreeMap::new(),
            closed: false,
            frames,
            spent: Duration::ZERO,
            nonce,
            role,
        };
        self.members.push(member);
        let challenge = Challenge { versions: vec![1], nonce, relay: self.relay };
        self.inbox.push_back((index, challenge.into()));
        index
    }

    pub fn command(&mut self, index: usize, command: Command) {
        self.input(index, Input::Command(command));
    }

    /// The socket closes; the session does not know.
    pub fn cut(&mut self, index: usize) {
        self.members[index].closed = true;
        if let Some(joined) = self.seats.iter().find(|(_, s)| s.at == index && s.claim.present).map(|(j, _)| *j) {
            self.gone(joined, LeftReason::Closed);
        }
    }

    /// Delivers everything until nothing moves.
    pub fn settle(&mut self) {
        loop {
            if let Some((index, message)) = self.inbox.pop_front() {
                self.wire.push((index, message.clone()));
                for message in (self.tamper)(index, message) {
                    self.input(index, Input::Received(message));
                }
            } else if let Some((index, message)) = self.queue.pop_front() {
                self.relay(index, message);
            } else {
                break;
            }
        }
    }

    /// Lets time pass, waking sessions when they want it.
    pub fn advance(&mut self, millis: u64) {
        let end = Timestamp::from_millis(self.now.as_millis() + millis);
        loop {
            self.settle();
            let live = self.members.iter().enumerate().filter(|(_, member)| !member.closed);
            let next = live.filter_map(|(i, member)| Some((member.session.next_timeout()?, i))).min();
            let Some((at, index)) = next.filter(|(at, _)| *at <= end) else { break };
            self.now = self.now.max(at);
            self.input(index, Input::Timeout);
        }
        self.now = end;
    }

    pub fn input(&mut self, index: usize, input: Input) {
        if self.members[index].closed {
            return;
        }
        // Idle work (other people's cards, keys for the next change) stands in nobody's way.
        let due = self.members[index].session.next_timer().map(|(_, timer)| timer);
        let idle = matches!(input, Input::Timeout) && matches!(due, Some(Timer::Cards | Timer::ReadyGrants));
        let what = match &input {
            Input::Received(message) => ("receive", message.name()),
            Input::Command(_) => ("command", ""),
            Input::Timeout | Input::Disconnected => ("timer", ""),
        };
        let began = ThreadTime::now();
        let outputs = self.members[index].session.handle(self.now, input);
        if !idle {
            let spent = began.elapsed();
            self.members[index].spent += spent;
            self.costs.push(Cost { who: index, what, spent });
        }
        for output in outputs {
            let member = &mut self.members[index];
            match output {
                Output::Send(_) if self.muted.contains(&index) => {}
                Output::Send(message) => {
                    let began = ThreadTime::now();
                    let text = wire::encode(&message);
                    self.costs.push(Cost { who: index, what: ("send", message.name()), spent: began.elapsed() });
                    self.queue.push_back((index, wire::decode(&text, 1 << 20).expect("its own message")));
                }
                Output::Event(event) => {
                    if let Event::Epoch(info) = &event {
                        let transcript = member.session.transcript();
                        member
                            .epochs
                            .insert(info.epoch, (info.fingerprint, transcript.unwrap_or(Transcript::new([0; 32]))));
                    }
                    member.events.push(event);
                    member.times.push(self.now);
                }
                // The socket closes behind what was said on it: no real claim names member 0.
                Output::Close => self.queue.push_back((index, ToRelay::Claim(wire::Claim { of: vec![Joined(0)] }))),
                Output::Keys(update) => {
                    #[cfg(feature = "audit")]
                    if let conclave_shared::session::output::KeyUpdate::Install { media, .. } = &update {
                        member.media.push(*media.expose());
                    }
                    member.frames.apply(update);
                }
                Output::Persist(pickle) => drop(member.stored.get_or_insert(pickle)),
                Output::Connect => {}
            }
        }
        // The transcript is known once the step is over.
        let member = &mut self.members[index];
        if let (Some(epoch), Some(transcript)) = (member.session.epoch(), member.session.transcript())
            && let Some(entry) = member.epochs.get_mut(&epoch)
        {
            entry.1 = transcript;
        }
    }

    /// The relay makes up a member that is nobody: the same device as another.
    pub fn make_up(&mut self, joined: Joined, of: Joined) {
        let of = &self.seats[&of];
        let claim = MemberClaim { joined, present: false, ..of.claim.clone() };
        let seated = Seated { claim, keys: of.keys.clone(), used: 9, at: 0 };
        self.seats.insert(joined, seated);
    }

    /// Something is said on a member's connection, by whoever holds it.
    pub fn say(&mut self, index: usize, message: impl Into<ToRelay>) {
        self.queue.push_back((index, message.into()));
    }

    /// How the relay described a member when it came.
    pub fn claimed(&self, joined: Joined) -> MemberClaim {
        let described = self.wire.iter().find_map(|(_, message)| match message {
            ToClient::Joined(event) if event.member.joined == joined => Some(event.member.clone()),
            ToClient::Welcome(welcome) => welcome.members.iter().find(|member| member.joined == joined).cloned(),
            _ => None,
        });
        described.expect("somebody was told")
    }

    /// The place of the next event in the relay's order.
    pub fn at(&mut self) -> At {
        self.sequence += 1;
        At(self.relay, Sequence(self.sequence))
    }

    /// Every member that is connected, but this one, is told.
    pub fn all(&mut self, except: Option<Joined>, message: &ToClient) {
        for (joined, seated) in self.seats.iter().filter(|(_, seated)| seated.claim.present) {
            if Some(*joined) != except {
                self.inbox.push_back((seated.at, message.clone()));
            }
        }
    }

    fn relay(&mut self, index: usize, message: ToRelay) {
        self.said.push((index, message.clone()));
        if let ToRelay::Join(join) = message {
            return self.seat(index, join);
        }
        if matches!(&message, ToRelay::Claim(claim) if claim.of == [Joined(0)]) {
            self.members[index].closed = true;
        }
        let Some(from) = self.seats.iter().find(|(_, s)| s.at == index && s.claim.present).map(|(j, _)| *j) else {
            return;
        };
        match message {
            ToRelay::Claim(claim) if claim.of == [Joined(0)] => {
                self.gone(from, LeftReason::Closed);
            }
            ToRelay::Claim(claim) => {
                let keys = claim.of.into_iter().filter_map(|joined| self.take_key(joined)).collect();
                self.inbox.push_back((index, Claimed { keys }.into()));
            }
            ToRelay::Commit(commit) if [self.lead, self.also].contains(&Some((commit.epoch.term(), from))) => {
                if self.refuse_commits > 0 {
                    self.refuse_commits -= 1;
                    let refusal = wire::Refusal { code: wire::code::Code::OutOfOrder, message: String::new() };
                    return self.inbox.push_back((index, refusal.into()));
                }
                if let Some(index) = self.crossing.take() {
                    self.cut(index);
                }
                let bytes = wire::encode(&ToRelay::Commit(commit.clone())).len();
                self.commits.push((commit.add.len(), bytes));
                self.commit(from, &commit);
            }
            ToRelay::Ack(ack) => {
                let event = Acked { at: self.at(), from, epoch: ack.epoch, mac: ack.mac };
                let lead = self.lead.map(|(_, lead)| self.seats[&lead].at);
                self.inbox.extend(lead.map(|lead| (lead, event.into())));
            }
            ToRelay::Olm(olm) => {
                let event = OlmFrom { at: self.at(), from, message: olm.message };
                let to = self.seats.get(&olm.to).map(|seated| seated.at);
                self.inbox.extend(to.map(|to| (to, event.into())));
            }
            ToRelay::Body(signed) => {
                let to = Body::parse(&signed).expect("a body").to;
                let event: ToClient = BodyFrom { at: self.at(), from, signed }.into();
                match to {
                    Some(to) => self.inbox.extend(self.seats.get(&to).map(|seated| (seated.at, event))),
                    None => self.all(Some(from), &event),
                }
            }
            ToRelay::Ping(ping) => self.inbox.push_back((index, wire::Pong { n: ping.n }.into())),
            ToRelay::Commit(_)
            | ToRelay::Keys(_)
            | ToRelay::Join(_)
            | ToRelay::Resume(_)
            | ToRelay::Restore(_)
            | ToRelay::Suspect(_)
            | ToRelay::Decline(_) => {}
        }
    }

    fn seat(&mut self, index: usize, join: wire::Join) {
        self.joins += 1;
        let joined = Joined(self.joins);
        let taken: BTreeSet<_> = self.seats.values().map(|seated| seated.claim.seat).collect();
        let seat = (0..).map(Seat).find(|seat| !taken.contains(seat)).unwrap();
        let member = &self.members[index];
        let proof = JoinProof {
            relay_nonce: member.nonce,
            nonce: join.proof.nonce,
            keys: join.keys.hash().unwrap(),
            signature: join.proof.signature,
        };
        let role = member.role;
        let claim =
            MemberClaim { seat, joined, role, card: join.card, proof, committed: false, present: true, away: None };
        self.seats.insert(joined, Seated { claim: claim.clone(), keys: join.keys, used: 0, at: index });
        let listed = self.seats.values().map(|seated| &seated.claim).filter(|claim| claim.present || claim.committed);
        let members = listed.cloned().collect();
        let welcome = Welcome {
            at: At(self.relay, Sequence(self.sequence)),
            call: self.call.clone(),
            seat,
            joined,
            lead: self.lead,
            members,
            ice_servers: vec![],
        };
        self.inbox.push_back((index, welcome.into()));
        let event = MemberJoined { at: self.at(), member: claim };
        self.all(Some(joined), &event.into());
        match self.lead {
            Some((_, lead)) => {
                let keys = vec![self.take_key(joined).unwrap()];
                self.inbox.push_back((self.seats[&lead].at, Claimed { keys }.into()));
            }
            None => self.name_lead(),
        }
    }

    /// One one-time key of a member, as its lead would be given it.
    pub fn take_key(&mut self, joined: Joined) -> Option<ClaimedKey> {
        let seated = self.seats.get_mut(&joined)?;
        seated.used += 1;
        let index = (usize::from(seated.used) <= seated.keys.one_time_keys.len()).then_some(seated.used - 1);
        Some(ClaimedKey { joined, batch: seated.keys.clone(), index, signature: None })
    }

    fn commit(&mut self, from: Joined, commit: &wire::Commit) {
        let at = self.at();
        for seated in self.seats.values().filter(|seated| seated.claim.present) {
            let own = seated.claim.joined;
            let grant = commit.grants.iter().find(|(to, _)| *to == own).map(|(_, grant)| grant.clone());
            let event = Committed {
                at,
                from,
                epoch: commit.epoch,
                add: commit.add.clone(),
                remove: commit.remove.clone(),
                lost: commit.lost.clone(),
                broadcast: commit.broadcast.clone(),
                grant,
            };
            let text = wire::encode(&ToClient::from(event));
            self.inbox.push_back((seated.at, wire::decode(&text, 1 << 20).expect("its own message")));
        }
        for joined in &commit.add {
            self.seats.entry(*joined).and_modify(|seated| seated.claim.committed = true);
        }
        // A relay that splits a call has an ear for everybody.
        for joined in commit.remove.iter().filter(|_| self.also.is_none()) {
            self.seats.remove(joined);
        }
    }

    fn gone(&mut self, joined: Joined, reason: LeftReason) {
        let seated = self.seats.get_mut(&joined).unwrap();
        seated.claim.present = false;
        let event = MemberLeft { at: self.at(), joined, reason };
        self.all(None, &event.into());
        if self.lead.is_some_and(|(_, lead)| lead == joined) {
            self.name_lead();
        }
    }

    fn name_lead(&mut self) {
        let order = |claim: &MemberClaim| (claim.role, claim.joined);
        let present = || self.seats.values().map(|seated| &seated.claim).filter(|claim| claim.present);
        let committed = present().filter(|claim| claim.committed).min_by_key(|claim| order(claim));
        let genesis = committed.is_none();
        let next = committed.or_else(|| present().min_by_key(|claim| order(claim))).map(|claim| claim.joined);
        if genesis {
            self.seats.retain(|_, seated| seated.claim.present);
        }
        self.lead = None;
        if let Some(joined) = next {
            self.term += 1;
            let term = Term(self.term);
            self.lead = Some((term, joined));
            let event = Lead { at: self.at(), term, joined, genesis };
            self.all(None, &event.into());
        }
    }

    /// Everybody who is connected holds the same newest epoch and seals under it.
    pub fn assert_agreement(&self) -> Epoch {
        let live: Vec<_> = self.members.iter().filter(|member| !member.closed).collect();
        let first = live.first().expect("somebody is here");
        let epoch = first.session.epoch().expect("it holds an epoch");
        for member in &live {
            assert_eq!(member.session.epoch(), Some(epoch));
            assert_eq!(member.session.active(), Some(epoch));
            assert_eq!(member.epochs[&epoch], first.epochs[&epoch]);
            assert_eq!(member.session.members().len(), live.len());
        }
        epoch
    }

    pub fn assert_no_alarm_of(&self, index: usize) {
        assert_eq!(self.members[index].alarms(), [], "member {index}");
    }

    pub fn assert_no_alarm(&self) {
        for (index, member) in self.members.iter().enumerate() {
            assert_eq!(member.alarms(), [], "member {index}");
        }
    }
}

#[cfg(feature = "audit")]
fn hoarding(mut session: Session) -> Session {
    session.hoard(STEPS);
    session
}
