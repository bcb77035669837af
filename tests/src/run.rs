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
/// How long after the last action everything must have settled: a new session that a slow joiner holds up to its
/// deadline, on top of a change of lead, and the messages of both.
const SETTLE: Duration = Duration::from_millis(4500);
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
    let run = move || {
        seed_thread(seed);
        Run::new(seed).go()
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
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed, 0);
        let below = 2 + dice.below(120);
        let latency = Latency { least: 1, below, jitter: dice.below(30) };
        let most = usize::try_from(2 + dice.below(11)).unwrap_or(2);
        Self { seed, dice, world: World::new(seed, latency), most, users: 0, changes: 0 }
    }

    fn go(mut self) -> Result<Report, Failure> {
        let empties_at = LEAST_CHANGES / 2 + self.dice.below(10);
        let mut emptied = false;
        while self.world.now.as_millis() < millis(LEAST_TIME) || self.changes < LEAST_CHANGES {
            if !emptied && self.changes >= empties_at {
                emptied = true;
                self.empty();
            }
            let burst = 1 + self.dice.below(8);
            for _ in 0..burst {
                self.act();
                let pause = if self.dice.chance(30) { Duration::ZERO } else { self.dice.millis(0, 600) };
                self.world.run_for(pause);
                self.found()?;
            }
            self.world.run_for(SETTLE);
            self.found()?;
            let settled = self.world.settled();
            self.failed(settled)?;
        }
        let audited = self.world.audit(&mut self.dice);
        self.failed(audited)?;
        Ok(Report {
            seed: self.seed,
            trace: self.world.trace.finish(),
            entries: self.world.trace.entries(),
            time: Duration::from_millis(self.world.now.as_millis()),
            changes: self.changes,
            epochs: self.world.checker.facts.len(),
        })
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
        match self.dice.below(100) {
            _ if connected.is_empty() => self.join(),
            0..35 if connected.len() < self.most => self.join(),
            0..45 => self.leave(somebody),
            45..55 => self.cut(somebody),
            55..60 => self.leave(lead),
            60..65 => self.cut(lead),
            65..70 => self.remove(lead, somebody),
            70..75 => somebody.into_iter().for_each(|peer| self.world.command(peer, Command::Rotate)),
            75..80 => self.again(somebody),
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

    fn cut(&mut self, peer: Option<PeerId>) {
        let notice = self.dice.millis(0, 300);
        let ghosts = self.world.peers.values().filter(|peer| peer.line == Line::Ghost).count();
        let haunts = ghosts < GHOSTS && self.dice.chance(50);
        if let Some(peer) = peer {
            self.changes += 1;
            if haunts { self.world.haunt(peer, notice) } else { self.world.cut(peer, notice) }
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
            if self.dice.chance(50) { self.leave(Some(peer)) } else { self.cut(Some(peer)) }
        }
        self.world.run_for(SETTLE);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
