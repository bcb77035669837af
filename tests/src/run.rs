//! A random run: everything that a seed decides happens, and every invariant is looked at all the time.

use conclave_shared::{id::Role, session::input::Command};
use std::time::Duration;

use crate::{
    PeerId,
    invariants::Violation,
    network::Latency,
    peer::Line,
    random::{Dice, seed_thread},
    transcript::TraceHash,
    world::World,
};

/// Virtual time that a run lasts at least.
const LEAST_TIME: Duration = Duration::from_secs(60);
/// Changes of who is in the call that a run has at least.
const LEAST_CHANGES: u64 = 20;
/// Faults that a run has at least.
const LEAST_FAULTS: u64 = 10;
/// How long after the last action everything must have settled: the seat of somebody who was killed is kept for ten
/// seconds; then a new session that a slow joiner holds up to its deadline, on top of a change of lead.
const SETTLE: Duration = Duration::from_millis(15_000);
/// Below what the pauses between two actions stay: from a heap of things at once to one after the other.
const PACES: [Duration; 4] = [
    Duration::from_millis(150),
    Duration::from_millis(600),
    Duration::from_millis(1_200),
    Duration::from_millis(3_000),
];
/// How often every member seals a frame in some of the calls while nothing goes wrong, as sound is sealed.
const DENSE: Duration = Duration::from_millis(40);
/// Joins of a large call, at most.
const LARGE_STEPS: u32 = 2048;
/// Members of a large call that try everything they kept: each costs seconds.
const LARGE_AUDITORS: usize = 4;
/// Members that are gone and are still shown everything.
const GHOSTS: usize = 2;

/// What a run did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Everything that was delivered, hashed.
    pub trace: TraceHash,
    /// Steps of the world.
    pub entries: u64,
    /// Virtual time.
    pub time: Duration,
    /// Joins, leaves, removals.
    pub changes: u64,
    /// Sockets that broke, networks and machines that were away, relays that froze or were restarted.
    pub faults: u64,
    /// Epochs.
    pub epochs: usize,
}

/// What was found, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// Virtual time.
    pub at: Duration,
    /// What.
    pub violation: String,
}

/// Runs a seed on a thread of its own, so that all its randomness is the seed's.
///
/// # Errors
/// [`Failure`], also when something panicked.
pub fn run_seed(seed: u64) -> Result<Report, Failure> {
    run_seed_after(seed, || {})
}

/// Runs a seed like [`run_seed`], after something else was done in its thread.
///
/// # Errors
/// [`Failure`], also when something panicked.
pub fn run_seed_after(seed: u64, prepare: impl FnOnce() + Send + 'static) -> Result<Report, Failure> {
    let run = move || {
        prepare();
        seed_thread(seed);
        Run::new(seed).go()
    };
    on_own_thread(run).unwrap_or_else(|panic| Err(Failure { seed, at: Duration::ZERO, violation: panic }))
}

/// Runs a seed with a large call: without frames, which would be most of the work, and with few who look at what they kept.
///
/// # Errors
/// [`Failure`], also when something panicked.
pub fn run_large(seed: u64, members: usize) -> Result<Report, Failure> {
    let run = move || {
        seed_thread(seed);
        let mut run = Run::new(seed);
        run.most = members;
        run.auditors = LARGE_AUDITORS;
        run.world.media = false;
        run.world.steps = LARGE_STEPS;
        for _ in 0..members {
            run.join();
            let pause = run.dice.millis(0, 20);
            run.world.run_for(pause);
        }
        run.world.run_for(SETTLE);
        run.go()
    };
    on_own_thread(run).unwrap_or_else(|panic| Err(Failure { seed, at: Duration::ZERO, violation: panic }))
}

/// Runs a scenario on a thread of its own with a world of its own.
///
/// # Panics
/// When the scenario panics.
pub fn scenario(scenario: impl FnOnce(&mut World) + Send + 'static) {
    let latency = Latency { least: 5, below: 40, jitter: 5 };
    let run = move || {
        seed_thread(7);
        let mut world = World::new(7, latency);
        scenario(&mut world);
        world.assert_clean();
    };
    if let Err(panic) = on_own_thread(run) {
        panic!("{panic}");
    }
}

fn on_own_thread<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let thread = std::thread::Builder::new().name("run".into()).spawn(run).expect("a thread");
    thread.join().map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_else(|| "a panic".into())
    })
}

struct Run {
    seed: u64,
    dice: Dice,
    world: World,
    most: usize,
    users: u64,
    changes: u64,
    faults: u64,
    /// How many try everything that they kept.
    auditors: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed, 0);
        // Most networks are quick; some are so slow that frames come before their keys.
        let below = if dice.chance(85) { 2 + dice.below(120) } else { 120 + dice.below(180) };
        let latency = Latency { least: 1, below, jitter: dice.below(30) };
        let most = usize::try_from(2 + dice.below(11)).unwrap_or(2);
        let mut world = World::new(seed, latency);
        world.rejoins = true;
        Self { seed, dice, world, most, users: 0, changes: 0, faults: 0, auditors: usize::MAX }
    }

    /// First a call where nobody's line breaks and every check is strict, then waves of faults on top of one another, and
    /// after each of them calm, until everything has settled.
    fn go(mut self) -> Result<Report, Failure> {
        let waves = match self.dice.below(100) {
            0..80 => 1,
            80..95 => 2,
            _ => 5,
        };
        let pace = self.dice.pick(&PACES).unwrap_or(Duration::ZERO);
        let interval = self.world.frame_interval;
        if self.dice.chance(25) {
            self.world.frame_interval = DENSE;
        }
        self.wave(pace, LEAST_CHANGES / 2, 0)?;
        self.world.frame_interval = interval;
        for _ in 0..waves {
            let (changes, faults) = (self.changes, self.faults);
            self.wave(pace, changes + LEAST_CHANGES.div_ceil(2 * waves), faults + LEAST_FAULTS.div_ceil(waves))?;
        }
        while self.world.now.as_millis() < millis(LEAST_TIME) {
            self.wave(pace, self.changes + 1, 0)?;
        }
        self.audited()
    }

    /// Acts until there were so many changes and faults, and waits until everything has settled.
    fn wave(&mut self, pace: Duration, changes: u64, faults: u64) -> Result<(), Failure> {
        let empties = self.dice.chance(30);
        while self.changes < changes || self.faults < faults {
            if self.faults < faults && self.dice.chance(40) {
                let (somebody, lead) = (self.somebody(), self.world.lead());
                let peer = if self.dice.chance(50) { somebody } else { lead };
                self.fault(peer);
            } else {
                self.act();
            }
            let pause = if self.dice.chance(30) { Duration::ZERO } else { self.dice.millis(0, millis(pace)) };
            self.world.run_for(pause);
            self.found()?;
        }
        if empties {
            self.empty();
        }
        self.world.run_for(self.world.disturbed_for().max(SETTLE));
        self.found()?;
        let settled = self.world.settled();
        self.failed(settled)
    }

    /// Everything that anybody kept is tried, and the run is over.
    fn audited(mut self) -> Result<Report, Failure> {
        if self.users >= u64::from(self.world.steps) {
            self.failed(Err(Violation::Relay("more joins than steps that are tried")))?;
        }
        let audited = self.world.audit(&mut self.dice, self.auditors);
        self.failed(audited)?;
        Ok(Report {
            seed: self.seed,
            trace: self.world.trace.finish(),
            entries: self.world.trace.entries(),
            time: Duration::from_millis(self.world.now.as_millis()),
            changes: self.changes,
            faults: self.faults,
            epochs: self.world.checker.facts.len(),
        })
    }

    fn somebody(&mut self) -> Option<PeerId> {
        let connected = self.world.connected();
        self.dice.pick(&connected)
    }

    fn found(&mut self) -> Result<(), Failure> {
        let first = self.world.violations.first().cloned();
        self.failed(first.map_or(Ok(()), Err))
    }

    fn failed(&self, result: Result<(), Violation>) -> Result<(), Failure> {
        let at = Duration::from_millis(self.world.now.as_millis());
        result.map_err(|violation| Failure { seed: self.seed, at, violation: violation.to_string() })
    }

    /// One random action.
    fn act(&mut self) {
        let connected = self.world.connected();
        let lead = self.world.lead();
        let somebody = self.dice.pick(&connected);
        match self.dice.below(84) {
            _ if connected.is_empty() => self.join(),
            0..30 if connected.len() < self.most => self.join(),
            0..36 => self.leave(somebody),
            36..42 => self.kill(somebody),
            42..46 => self.leave(lead),
            46..50 => self.kill(lead),
            50..54 => self.remove(lead, somebody),
            54..58 => somebody.into_iter().for_each(|peer| self.world.command(peer, Command::Rotate)),
            58..62 => self.again(somebody),
            _ => self.message(somebody, &connected),
        }
    }

    fn join(&mut self) {
        self.users += 1;
        self.changes += 1;
        let role = if self.dice.chance(10) { Role::LeadBot } else { Role::Member };
        self.world.connect(&format!("user {}", self.users), role);
    }

    /// The device of somebody joins again, while its older join may still stand.
    fn again(&mut self, somebody: Option<PeerId>) {
        if let Some(peer) = somebody {
            self.changes += 1;
            self.world.reconnect(peer);
        }
    }

    fn leave(&mut self, peer: Option<PeerId>) {
        if let Some(peer) = peer {
            self.changes += 1;
            self.world.command(peer, Command::Leave);
        }
    }

    /// Something goes wrong, mostly for one of the members.
    fn fault(&mut self, peer: Option<PeerId>) {
        let Some(peer) = peer else { return };
        self.faults += 1;
        let short = self.dice.chance(60);
        let time = if short { self.dice.millis(100, 6_000) } else { self.dice.millis(6_000, 35_000) };
        match self.dice.below(10) {
            0..5 => {
                let notice = self.dice.millis(0, 2_000);
                self.world.offline(peer, time, notice);
            }
            5..7 => self.world.pause(peer, time),
            7 | 8 => self.world.freeze_relay(time),
            _ => {
                let down = self.dice.millis(50, 2_000);
                self.world.restart_relay(down);
            }
        }
    }

    fn kill(&mut self, peer: Option<PeerId>) {
        let notice = self.dice.millis(0, 300);
        let ghosts = self.world.peers.values().filter(|peer| peer.line == Line::Ghost).count();
        let haunts = ghosts < GHOSTS && self.dice.chance(50);
        if let Some(peer) = peer {
            self.changes += 1;
            if haunts { self.world.haunt(peer, notice) } else { self.world.kill(peer, notice) }
        }
    }

    fn remove(&mut self, lead: Option<PeerId>, whom: Option<PeerId>) {
        let whom = whom.filter(|whom| Some(*whom) != lead).and_then(|whom| self.world.peer(whom).joined);
        if let (Some(lead), Some(whom)) = (lead, whom) {
            self.changes += 1;
            self.world.command(lead, Command::Remove(whom));
        }
    }

    fn message(&mut self, from: Option<PeerId>, connected: &[PeerId]) {
        let to = if self.dice.chance(40) { self.dice.pick(connected) } else { None };
        let to = to.filter(|to| Some(*to) != from).and_then(|to| self.world.peer(to).joined);
        if let Some(from) = from {
            self.world.send(from, to);
        }
    }

    /// Everybody goes.
    fn empty(&mut self) {
        for peer in self.world.connected() {
            if self.dice.chance(50) { self.leave(Some(peer)) } else { self.kill(Some(peer)) }
        }
        self.world.run_for(SETTLE);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
