//! The load test: real devices on real sockets join and leave, and every key is checked.
//!
//! It measures what people feel (a joiner waits for its key; after a leave, the others go on under a key that the leaver
//! lacks) and checks what they rely on:
//!
//! * every member's key of every epoch is the lead's;
//! * every join and every leave led to an epoch that all remaining members hold and seal under;
//! * no leaver gets at an epoch without it, though it still holds everything it ever had and is shown every message that
//!   anybody received after it left;
//! * no joiner gets at the epoch before its first;
//! * the checker catches a leaver that is granted a key on purpose, else all of this means nothing.
//!
//! ```text
//! device ─ probe ┐
//! device ─ probe ┼─ ledger (who owes what) ─ check (leavers) ─ report
//! lead   ─ probe ┘
//! ```

mod call;
mod check;
mod control;
mod device;
mod ledger;
mod loss;
mod probe;
mod report;

pub use report::{LossSpread, Report, Spread};

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use thiserror::Error;
use tokio::task::JoinSet;

use conclave_shared::{
    crypto::random,
    id::{CallName, IdError, encode_base64},
    limits,
};

use crate::{
    token::Issuer,
    transport::{ConnectError, RelayUrl, Transport},
};
use call::{Call, Counters};
use device::{DeviceError, Place};
use probe::Books;
use report::Figures;

/// More lead losses than a day has time for.
const LEAD_LOSSES: usize = 10_000;

/// How many, how fast, how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Calls.
    pub calls: usize,
    /// Members of each call, its lead bot included.
    pub members: usize,
    /// Joins per second over all calls while they are filled.
    pub join_rate: f64,
    /// Leaves plus joins per minute in each call after that.
    pub churn: f64,
    /// How long calls are churned.
    pub duration: Duration,
    /// How often each call loses its lead after that: the first time by a closed socket, the next by silence, in turn.
    pub lead_losses: usize,
}

/// Why a load test could not be carried out at all. What it finds is in its [`Report`].
#[derive(Debug, Error)]
pub enum LoadError {
    /// The shape makes no sense.
    #[error("{0}")]
    Shape(&'static str),
    /// There is no relay.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A device could not be made.
    #[error("{0}")]
    Device(String),
    /// The control could not be carried out.
    #[error("the built-in control could not be carried out: {0}")]
    Control(String),
    /// A lead bot got no key.
    #[error("the lead bot got no key: {0}")]
    Lead(String),
    /// The call's name is no call name.
    #[error(transparent)]
    Name(#[from] IdError),
}

/// How far a load test has come. Only for looking at.
#[derive(Debug, Default)]
pub struct Progress {
    joined: AtomicU64,
    rotations: AtomicU64,
    leavers: AtomicU64,
    tried: AtomicU64,
    lost: AtomicU64,
    phase: AtomicU64,
}

/// What a load test does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Members join.
    Filling,
    /// Members leave and join.
    Churning,
    /// Leads are lost.
    Losing,
    /// Everybody has the newest key soon; leavers are tried.
    Checking,
}

impl Progress {
    /// What happens now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Filling,
            1 => Phase::Churning,
            2 => Phase::Losing,
            _ => Phase::Checking,
        }
    }

    /// Members that have been started while filling.
    #[must_use]
    pub fn members(&self) -> u64 {
        self.joined.load(Ordering::Relaxed)
    }

    /// Rotations that were last seen in one of the calls.
    #[must_use]
    pub fn rotations(&self) -> u64 {
        self.rotations.load(Ordering::Relaxed)
    }

    /// Leavers that have been tried or wait for it.
    #[must_use]
    pub fn leavers(&self) -> u64 {
        self.leavers.load(Ordering::Relaxed)
    }

    /// Leavers that have been tried.
    #[must_use]
    pub fn tried(&self) -> u64 {
        self.tried.load(Ordering::Relaxed)
    }

    /// Leads that were lost.
    #[must_use]
    pub fn leads_lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn lost_one(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    fn waiting(&self, leavers: usize) {
        self.leavers.fetch_add(leavers as u64, Ordering::Relaxed);
    }

    fn tried_one(&self) {
        self.tried.fetch_add(1, Ordering::Relaxed);
    }

    fn joined(&self) {
        self.joined.fetch_add(1, Ordering::Relaxed);
    }

    fn rotated(&self, rotations: u64) {
        self.rotations.store(rotations, Ordering::Relaxed);
    }

    fn reach(&self, phase: Phase) {
        self.phase.fetch_max(phase as u64, Ordering::Relaxed);
    }
}

impl Shape {
    /// Refuses shapes that make no sense.
    ///
    /// # Errors
    /// [`LoadError::Shape`] with what is wrong.
    pub fn check(&self) -> Result<(), LoadError> {
        let wrong = if self.calls == 0 {
            "--calls must be at least 1"
        } else if !(3..=limits::MEMBERS).contains(&self.members) {
            "--members must be from 3 to 1000: a lead bot, one that leaves, one that remains"
        } else if !(self.join_rate > 0.0 && self.join_rate <= 10_000.0) {
            "--join-rate must be above 0 and at most 10000 a second"
        } else if !(0.0..=60_000.0).contains(&self.churn) {
            "--churn must be from 0 to 60000 a minute"
        } else if self.lead_losses > LEAD_LOSSES {
            "--lead-loss must be at most 10000"
        } else {
            return Ok(());
        };
        Err(LoadError::Shape(wrong))
    }

    // Nobody runs 2^52 calls.
    #[allow(clippy::cast_precision_loss)]
    fn calls_as_f64(&self) -> f64 {
        self.calls as f64
    }
}

/// Runs a load test against a relay.
///
/// # Errors
/// [`LoadError`] when it could not be carried out. A wrong key is not an error but a finding: see [`Report::passed`].
pub async fn run(
    url: &RelayUrl,
    issuer: Arc<Issuer>,
    shape: Shape,
    progress: Arc<Progress>,
) -> Result<Report, LoadError> {
    shape.check()?;
    // One clear sentence when there is no relay, before thousands fail one by one.
    Transport::connect(url).await?.close().await;
    let place = |number: usize, run: &str| -> Result<Place, LoadError> {
        let call = CallName::new(format!("load-{run}-{number}"))?;
        Ok(Place { url: url.clone(), call, issuer: issuer.clone() })
    };
    // A run that was broken off a moment ago may still have devices in its calls.
    let run = encode_base64(&random::bytes::<6>().map_err(|_| LoadError::Device(DeviceError::Random.to_string()))?);
    let control = control::caught(place(0, &run)?).await.map_err(LoadError::Control)?;
    let mut calls = JoinSet::new();
    for number in 1..=shape.calls {
        calls.spawn(one(place(number, &run)?, shape, progress.clone()));
    }
    let mut sum = Sum::default();
    while let Some(finished) = calls.join_next().await {
        sum.add(finished.map_err(|error| LoadError::Device(error.to_string()))??);
    }
    Ok(sum.report(shape, control))
}

/// One call from its first member to its last.
async fn one(place: Place, shape: Shape, progress: Arc<Progress>) -> Result<Outcome, LoadError> {
    let device = |error: DeviceError| LoadError::Device(error.to_string());
    let books = Arc::new(Books::default());
    let opened = Call::open(place, books.clone()).await.map_err(device)?;
    let mut call = opened.ok_or_else(|| {
        let errors = books.ledger().faults().errors.keys().cloned().collect::<Vec<_>>().join("; ");
        LoadError::Lead(errors)
    })?;
    call.fill(&shape, &progress).await.map_err(device)?;
    progress.reach(Phase::Churning);
    call.churn(&shape, &progress).await.map_err(device)?;
    // With leads to be lost, what the last leaves cost is part of that time, not of the churn.
    let mut churned = call.since_full();
    if shape.lead_losses > 0 {
        progress.reach(Phase::Losing);
        call.lose_leads(shape.lead_losses, &progress).await.map_err(device)?;
    }
    progress.reach(Phase::Checking);
    call.settle().await;
    if shape.lead_losses == 0 {
        churned = call.since_full();
    }
    let (joins, leaves) = (call.joins, call.leaves);
    let missed = books.ledger().missed();
    call.check(&progress).await;
    let rotations = books.ledger().rotations();
    let faults = books.ledger().faults().clone();
    call.close().await;
    let figures = std::mem::take(&mut *books.figures());
    Ok(Outcome { figures, churned, rotations, joins, leaves, missed, faults })
}

/// What one call came to.
struct Outcome {
    figures: Figures,
    churned: Counters,
    rotations: u64,
    joins: u64,
    leaves: u64,
    missed: Vec<String>,
    faults: ledger::Faults,
}

/// What all calls came to.
#[derive(Default)]
struct Sum {
    figures: Figures,
    churned: Counters,
    rotations: u64,
    joins: u64,
    leaves: u64,
    missed: Vec<String>,
    faults: ledger::Faults,
}

impl Sum {
    fn add(&mut self, one: Outcome) {
        self.figures.add(&one.figures);
        self.churned.rotations += one.churned.rotations;
        self.churned.up += one.churned.up;
        self.churned.down += one.churned.down;
        self.churned.lead_cpu += one.churned.lead_cpu;
        self.rotations += one.rotations;
        self.joins += one.joins;
        self.leaves += one.leaves;
        self.missed.extend(one.missed);
        self.faults.wrong_keys += one.faults.wrong_keys;
        for (what, times) in one.faults.errors {
            *self.faults.errors.entry(what).or_default() += times;
        }
    }

    fn report(self, shape: Shape, control_caught: bool) -> Report {
        let (join_to_key_ms, leave_to_all_switched_ms) = self.figures.spreads();
        let [lead_closed, lead_silent] = self.figures.losses();
        // Counts of bytes and microseconds are far below 2^52.
        #[allow(clippy::cast_precision_loss)]
        let per_rotation = |count: u64| count as f64 / self.churned.rotations.max(1) as f64;
        Report {
            calls: shape.calls,
            members: shape.members,
            rotations: self.rotations,
            rotations_under_churn: self.churned.rotations,
            joins: self.joins,
            leaves: self.leaves,
            join_to_key_ms,
            leave_to_all_switched_ms,
            lead_losses: shape.calls * shape.lead_losses,
            lead_closed,
            lead_silent,
            bytes_up_per_rotation: per_rotation(self.churned.up).round(),
            bytes_down_per_rotation: per_rotation(self.churned.down).round(),
            lead_cpu_ms_per_rotation: (per_rotation(self.churned.lead_cpu) / 10.0).round() / 100.0,
            wrong_keys: self.faults.wrong_keys + self.figures.joiners_caught + self.figures.leavers_caught,
            missed_rotations: self.missed,
            joiners_checked: self.figures.joiners_checked,
            leavers_checked: self.figures.leavers_checked,
            control_caught,
            errors: self.faults.errors,
        }
    }
}
