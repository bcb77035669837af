//! A whole call in virtual time: sessions, the relay's machine, the network between them, and every check on every step.

mod faults;
mod steps;

use conclave_shared::{
    frame::Frames,
    id::{CallName, Epoch, Instance, Joined, Role, UserName},
    identity::device::Device,
    session::{
        Profile, Session,
        config::Config,
        input::{Command, Input},
    },
    time::Timestamp,
    wire::ToClient,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use conclave_server::call::ConnectionId;

use self::faults::Faults;
use crate::{
    PeerId,
    invariants::{Checker, Violation},
    model::Model,
    network::{Latency, Link, Network},
    peer::{Line, Peer, Sealed},
    random::Dice,
    relay::{Relay, token},
    transcript::Trace,
};

/// How often every member seals a frame, unless a scenario wants more.
const FRAME_INTERVAL: Duration = Duration::from_millis(500);

/// More than there are joins in a call of a few.
const STEPS: u32 = 64;

/// Changes what the relay sends to one peer: it may be altered, kept back or multiplied.
pub type Tamper = Box<dyn FnMut(PeerId, ToClient) -> Vec<ToClient>>;

/// Something that will happen.
enum Happening {
    ToRelay(ConnectionId, String),
    ToPeer(ConnectionId, PeerId, Arc<str>),
    RelayLoses(ConnectionId),
    PeerLoses(ConnectionId, PeerId),
    Reconnect(PeerId),
    Rejoin(PeerId),
    ToGhost(PeerId, Arc<str>),
    Frame(PeerId, Arc<Sealed>),
    Tick,
}

/// A call and everybody in it.
pub struct World {
    /// The time.
    pub now: Timestamp,
    /// Everybody who ever connected.
    pub peers: BTreeMap<PeerId, Peer>,
    /// What the relay should do.
    pub model: Model,
    /// What must hold.
    pub checker: Checker,
    /// What happened.
    pub trace: Trace,
    /// The times of every session.
    pub config: Config,
    /// Everybody is honest: any security event is a violation.
    pub honest: bool,
    /// Members seal frames.
    pub media: bool,
    /// How often every member seals a frame.
    pub frame_interval: Duration,
    /// How far ahead those who kept everything try each ratchet: more than there are joins.
    pub steps: u32,
    /// What was found.
    pub violations: Vec<Violation>,
    name: CallName,
    relay: Relay,
    network: Network,
    tamper: Option<Tamper>,
    queue: BTreeMap<(Timestamp, u64), Happening>,
    numbers: Numbers,
    /// The lives that the call has had.
    lives: BTreeMap<Instance, u64>,
    /// Which of the relay's machines speaks.
    machine: u64,
    /// Those who lost their seat join afresh by themselves, as the drivers do.
    pub rejoins: bool,
    faults: Faults,
    dice: Dice,
}

/// Numbers that are never used twice.
#[derive(Default)]
struct Numbers {
    happening: u64,
    peer: u64,
    frame: u64,
    message: u64,
    ghost: u64,
}

fn next(number: &mut u64) -> u64 {
    *number += 1;
    *number
}

impl World {
    /// An empty call. Dice for the network and the relay come from the seed.
    ///
    /// # Panics
    /// Never: the name is a good one.
    #[must_use]
    pub fn new(seed: u64, latency: Latency) -> Self {
        let name = CallName::new("simulated").expect("a good name");
        let mut world = Self {
            now: Timestamp::from_millis(1),
            peers: BTreeMap::new(),
            model: Model::default(),
            checker: Checker::default(),
            trace: Trace::default(),
            config: Config::default(),
            honest: true,
            media: true,
            frame_interval: FRAME_INTERVAL,
            steps: STEPS,
            violations: Vec::new(),
            relay: Relay::new(name.clone(), Dice::new(seed, 1)),
            name,
            network: Network::new(latency, Dice::new(seed, 2)),
            tamper: None,
            queue: BTreeMap::new(),
            numbers: Numbers::default(),
            lives: BTreeMap::new(),
            machine: 0,
            rejoins: false,
            faults: Faults::default(),
            dice: Dice::new(seed, 3),
        };
        world.at(world.now + FRAME_INTERVAL, Happening::Tick);
        world
    }

    /// Somebody with a new device connects.
    ///
    /// # Panics
    /// When there is no randomness, or the name is no user name.
    pub fn connect(&mut self, user: &str, role: Role) -> PeerId {
        let user = UserName::new(user).expect("a user name");
        self.connect_device(Device::generate().expect("random bytes"), user, role)
    }

    /// The device of a peer connects once more, in a new session.
    ///
    /// # Panics
    /// When the stored device cannot be read.
    pub fn reconnect(&mut self, peer: PeerId) -> PeerId {
        let Peer { stored, user, role, .. } = self.peer(peer);
        let (device, user, role) = (Device::from_pickle(stored).expect("what it stored"), user.clone(), *role);
        self.connect_device(device, user, role)
    }

    fn connect_device(&mut self, device: Device, user: UserName, role: Role) -> PeerId {
        let id = PeerId(next(&mut self.numbers.peer));
        let profile =
            Profile { call: self.name.clone(), token: token(&user, role), name: user.clone(), user: user.clone() };
        let (stored, fingerprint) = (device.pickle(), device.ed25519());
        let mut session = Session::new(device, profile, self.config);
        session.hoard(self.steps);
        let peer = Peer {
            id,
            user,
            role,
            session,
            frames: Frames::new(fingerprint),
            stored,
            line: Line::Up,
            socket: None,
            due: None,
            paused_until: Timestamp::ZERO,
            offline_until: Timestamp::ZERO,
            life: 0,
            joined: None,
            seat: None,
            events: Vec::new(),
            live: BTreeSet::new(),
            held: BTreeMap::new(),
            silent: false,
            deaf_to_activate: false,
        };
        self.peers.insert(id, peer);
        self.open_socket(id);
        id
    }

    /// An application wants something.
    pub fn command(&mut self, peer: PeerId, command: Command) {
        if self.peer(peer).line == Line::Up {
            self.input(peer, Input::Command(command));
        }
    }

    /// Somebody sends an application message, numbered so that its way can be followed.
    pub fn send(&mut self, from: PeerId, to: Option<Joined>) -> u64 {
        let id = next(&mut self.numbers.message);
        let peer = self.peers.get(&from).expect("a peer");
        if let Some(epoch) = peer.session.epoch()
            && peer.line == Line::Up
        {
            // What is said before all are back at a relay that was restarted does not reach all, and what waits for longer than
            // its key lives cannot be read.
            self.checker.sent(id, peer, (epoch, self.faults.any(self.now)), to);
            let sleeps = self.peers.values().any(|peer| peer.paused_until > self.now);
            if sleeps || self.faults.loses_messages(self.now) {
                self.checker.lose_messages();
            }
            self.command(from, Command::Send { to, payload: id.to_be_bytes().to_vec() });
        }
        id
    }

    /// Somebody's machine dies: they say nothing more, and the relay notices after a while.
    pub fn kill(&mut self, peer: PeerId, notice: Duration) {
        if self.peer(peer).line != Line::Ghost {
            self.hang_up(peer, notice);
        }
    }

    /// Somebody's connection breaks, and they keep everything and are shown everything that is said from here on.
    pub fn haunt(&mut self, peer: PeerId, notice: Duration) {
        if self.peer(peer).line == Line::Up {
            self.hang_up(peer, notice);
            self.peer_mut(peer).line = Line::Ghost;
        }
    }

    fn hang_up(&mut self, peer: PeerId, notice: Duration) {
        self.peer_mut(peer).line = Line::Down;
        self.relay_loses(peer, notice);
    }

    /// Changes what the relay sends from here on.
    pub fn tamper(&mut self, tamper: impl FnMut(PeerId, ToClient) -> Vec<ToClient> + 'static) {
        self.honest = false;
        self.tamper = Some(Box::new(tamper));
    }

    /// The relay is honest again.
    pub fn untamper(&mut self) {
        self.tamper = None;
    }

    /// A peer.
    ///
    /// # Panics
    /// When there is none of this number.
    #[must_use]
    pub fn peer(&self, peer: PeerId) -> &Peer {
        self.peers.get(&peer).expect("a peer")
    }

    /// A peer.
    ///
    /// # Panics
    /// When there is none of this number.
    pub fn peer_mut(&mut self, peer: PeerId) -> &mut Peer {
        self.peers.get_mut(&peer).expect("a peer")
    }

    /// Those who are in the call, connected or about to be again.
    #[must_use]
    pub fn connected(&self) -> Vec<PeerId> {
        self.peers.values().filter(|peer| peer.line == Line::Up).map(|peer| peer.id).collect()
    }

    /// The connected peer that leads.
    #[must_use]
    pub fn lead(&self) -> Option<PeerId> {
        self.peers.values().find(|peer| peer.line == Line::Up && peer.session.is_lead()).map(|peer| peer.id)
    }

    /// The life of the call that goes on: that of whoever leads.
    fn life(&self) -> u64 {
        let newest = || self.lives.len() as u64;
        self.lead().map_or_else(newest, |lead| self.peer(lead).life)
    }

    /// The newest epoch that anybody who is connected holds in this life of the call. What was made last before a relay was
    /// lost may be lost with the only one who made it.
    #[must_use]
    pub fn newest(&self) -> Option<Epoch> {
        let life = self.life();
        let here = self.peers.values().filter(|peer| peer.line == Line::Up && peer.life == life);
        here.filter_map(|peer| peer.session.epoch()).max()
    }

    /// Goes on for some time.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.violations.is_empty() && self.step(until) {}
        self.now = self.now.max(until);
    }

    /// Goes on until something holds.
    ///
    /// # Panics
    /// When it does not within the time.
    pub fn run_until(&mut self, within: Duration, what: &str, holds: impl Fn(&Self) -> bool) {
        let until = self.now + within;
        while !holds(self) {
            self.assert_clean();
            assert!(self.step(until), "within {within:?}: {what}");
        }
    }

    /// Nothing was found.
    ///
    /// # Panics
    /// When something was.
    pub fn assert_clean(&self) {
        assert!(self.violations.is_empty(), "at {:?}: {}", self.now, self.violations.first().expect("one"));
    }

    /// Everybody who is connected holds the newest epoch, seals under it, and agrees on who is here.
    ///
    /// # Errors
    /// [`Violation::NotSettled`], [`Violation::MessageLost`].
    pub fn settled(&mut self) -> Result<(), Violation> {
        let here: BTreeMap<Joined, PeerId> =
            self.connected().into_iter().filter_map(|id| Some((self.peer(id).joined?, id))).collect();
        let newest = self.newest();
        for id in self.connected() {
            let peer = self.peer(id);
            let not = |what: String| Err(Violation::NotSettled { peer: id, what });
            if peer.session.epoch() != newest || newest.is_none() {
                return not(format!("it holds {:?}, the newest epoch is {newest:?}", peer.session.epoch()));
            }
            if peer.session.active() != newest {
                return not(format!("it seals under {:?}, the newest epoch is {newest:?}", peer.session.active()));
            }
            if peer.live.len() > 1 {
                return not(format!("it keeps the keys of {} epochs", peer.live.len()));
            }
            let members: Vec<_> = peer.session.members().iter().map(|member| member.joined).collect();
            let expected: Vec<_> = here.keys().copied().collect();
            let told = self.model.here();
            if members != expected || told != expected {
                return not(format!("its roster is {members:?}, here are {expected:?}, as told {told:?}"));
            }
            if peer.session.is_lead() != (self.model.lead() == peer.joined) {
                return not(format!("it leads: {}; the lead is {:?}", peer.session.is_lead(), self.model.lead()));
            }
        }
        let life = self.life();
        self.checker.messages_came(life, &here)
    }

    /// Those who were ever in the call, the last `most` of them, try to derive epochs that they are not in, from all that they kept.
    ///
    /// # Errors
    /// [`Violation::OutsiderHolds`], [`Violation::BlindCheck`].
    pub fn audit(&mut self, dice: &mut Dice, most: usize) -> Result<(), Violation> {
        for peer in self.peers.values_mut().rev().take(most) {
            let Some(joined) = peer.joined else { continue };
            let of_life = (peer.life, Epoch::first(conclave_shared::id::Term(0)))
                ..(peer.life + 1, Epoch::first(conclave_shared::id::Term(0)));
            let all: Vec<_> = self.checker.facts.range(of_life).map(|((_, epoch), facts)| (*epoch, facts)).collect();
            let given: BTreeMap<_, _> = peer.epochs().map(|info| (info.epoch, info.fingerprint)).collect();
            let first = given.first_key_value().map(|(epoch, _)| *epoch);
            let last = given.last_key_value().map(|(epoch, _)| *epoch);
            let outside = |facts: &crate::invariants::Facts| !facts.members.contains(&joined);
            let before = all.iter().filter(|(epoch, facts)| first.is_none_or(|first| *epoch < first) && outside(facts));
            let after = all.iter().filter(|(epoch, facts)| last.is_some_and(|last| *epoch > last) && outside(facts));
            let after: Vec<_> = after.collect();
            let sample = dice.pick(&after);
            let tried = before.rev().take(2).chain(after.iter().copied().take(2)).chain(sample);
            for (epoch, facts) in tried {
                Checker::could_derive(peer.id, &mut peer.session, false, *epoch, facts)?;
            }
            // Unless it went with a relay, and another epoch took its number.
            if let Some((epoch, facts)) =
                all.iter().rfind(|(epoch, facts)| given.get(epoch) == Some(&facts.fingerprint))
            {
                Checker::could_derive(peer.id, &mut peer.session, true, *epoch, facts)?;
            }
        }
        Ok(())
    }

    fn at(&mut self, at: Timestamp, happening: Happening) {
        let number = next(&mut self.numbers.happening);
        self.queue.insert((at, number), happening);
    }

    /// The relay will notice that a peer's socket is gone.
    fn relay_loses(&mut self, peer: PeerId, notice: Duration) {
        if let Some(socket) = self.peer_mut(peer).socket.take() {
            let at = self.network.arrival(self.now, Link::Up(peer)) + notice;
            self.at(at, Happening::RelayLoses(socket));
        }
    }

    /// A peer opens a socket, on which the relay speaks first.
    fn open_socket(&mut self, peer: PeerId) {
        let challenge = self.relay.connect(peer);
        self.network.forget(peer);
        let socket = self.relay.socket(peer);
        self.peer_mut(peer).socket = socket;
        self.down(peer, challenge);
    }

    /// Sends a text to the newest socket of a peer.
    fn down(&mut self, to: PeerId, text: Arc<str>) {
        if let Some(socket) = self.relay.socket(to) {
            let at = self.network.arrival(self.now, Link::Down(to));
            self.at(at, Happening::ToPeer(socket, to, text));
        }
    }

    fn check(&mut self, result: Result<(), Violation>) {
        self.violations.extend(result.err());
    }
}
