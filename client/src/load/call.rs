//! One call under load: filled, churned, settled, checked.

use futures_util::{StreamExt, stream};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use conclave_shared::{crypto::random, id::Joined};

use super::{
    Progress, Shape,
    check::{Stopped, shown},
    device::{DeviceError, PATIENCE, Place, Running, Way},
    ledger::Exclusion,
    probe::Books,
};

/// Text kept for checking leavers after the measured time at most; beyond it they are checked at once, which costs CPU
/// time that the call then lacks.
const SHOWN_LATER: usize = 256 * 1024 * 1024;
/// How often the harness looks whether a call has settled.
const POLL: Duration = Duration::from_millis(20);

/// One call, its lead bot and its members.
pub(crate) struct Call {
    pub(crate) place: Place,
    pub(crate) books: Arc<Books>,
    /// The lead bot, until it is lost on purpose.
    pub(super) lead: Option<Running>,
    pub(super) members: Vec<Running>,
    /// Leavers on their way out.
    leaving: Vec<(Joined, JoinHandle<Option<Stopped>>)>,
    /// Leavers that are out, until they are checked.
    pub(super) stopped: BTreeMap<Joined, Stopped>,
    /// What leavers are to be shown.
    exclusions: Vec<Exclusion>,
    named: u64,
    pub(crate) joins: u64,
    pub(crate) leaves: u64,
    /// Counters when the call was full.
    full: Counters,
}

/// Counters that only rise.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) rotations: u64,
    pub(crate) up: u64,
    pub(crate) down: u64,
    pub(crate) lead_cpu: u64,
}

impl Call {
    /// Starts the lead bot and waits for the first epoch. `None`: it never came; the books say why.
    pub(crate) async fn open(place: Place, books: Arc<Books>) -> Result<Option<Self>, DeviceError> {
        let mut lead = place.lead(&books)?;
        if lead.sealing().await.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            place,
            books,
            lead: Some(lead),
            members: Vec::new(),
            leaving: Vec::new(),
            stopped: BTreeMap::new(),
            exclusions: Vec::new(),
            named: 0,
            joins: 0,
            leaves: 0,
            full: Counters::default(),
        }))
    }

    /// Fills the call at the pace that the shape asks for, and waits until everybody seals.
    pub(crate) async fn fill(&mut self, shape: &Shape, progress: &Progress) -> Result<(), DeviceError> {
        let mut pace = interval(Duration::from_secs_f64(shape.calls_as_f64() / shape.join_rate));
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for _ in 1..shape.members {
            pace.tick().await;
            self.join()?;
            progress.joined();
        }
        self.sealing().await;
        self.full = self.counters();
        Ok(())
    }

    /// Waits until everybody who was started seals, or has had time enough.
    pub(crate) async fn sealing(&mut self) {
        for member in &mut self.members {
            member.sealing().await;
        }
    }

    /// Starts one more member.
    pub(crate) fn join(&mut self) -> Result<(), DeviceError> {
        self.named += 1;
        self.joins += 1;
        self.members.push(self.place.member(format!("member {}", self.named), &self.books)?);
        Ok(())
    }

    /// Leaves and joins in turn, so that the call stays as large as it is.
    pub(crate) async fn churn(&mut self, shape: &Shape, progress: &Progress) -> Result<(), DeviceError> {
        let end = Instant::now() + shape.duration;
        if shape.churn <= 0.0 {
            sleep_until(end).await;
            return Ok(());
        }
        let mut pace = interval(Duration::from_secs_f64(60.0 / shape.churn));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for leaves in [true, false].into_iter().cycle() {
            tokio::select! {
                biased;
                () = sleep_until(end) => break,
                _ = pace.tick() => {}
            }
            if leaves {
                let way = if self.leaves.is_multiple_of(2) { Way::Signed } else { Way::Dropped };
                self.leave(way);
            } else {
                self.join()?;
            }
            progress.rotated(self.books.ledger().rotations());
            self.collect().await;
            if self.kept() > SHOWN_LATER {
                self.check(progress).await;
            }
        }
        Ok(())
    }

    /// Makes a member leave that was drawn at random from those that seal.
    pub(crate) fn leave(&mut self, way: Way) -> Option<Joined> {
        let sealing = self.members.iter().enumerate().filter_map(|(at, member)| Some((at, member.seals()?)));
        let sealing: Vec<(usize, Joined)> = sealing.collect();
        let draw = random::bytes().map_or(0, u64::from_be_bytes);
        let (at, joined) = *sealing.get(usize::try_from(draw).unwrap_or(0).checked_rem(sealing.len())?)?;
        let member = self.members.swap_remove(at);
        self.leaves += 1;
        self.books.leaving(joined, std::time::Instant::now(), way);
        member.leave(way);
        self.leaving.push((joined, tokio::spawn(member.stopped())));
        Some(joined)
    }

    /// Waits until nothing is owed; what then is missing, the books name.
    pub(crate) async fn settle(&mut self) {
        let end = Instant::now() + PATIENCE;
        while !self.books.ledger().is_settled() && Instant::now() < end {
            sleep(POLL).await;
        }
    }

    /// Shows every leaver what it must not understand.
    pub(crate) async fn check(&mut self, progress: &Progress) {
        for (joined, leaver) in std::mem::take(&mut self.leaving) {
            match leaver.await {
                Ok(Some(stopped)) => drop(self.stopped.insert(joined, stopped)),
                Ok(None) | Err(_) => self.books.ledger().error("a leaver's session did not stop".to_owned()),
            }
        }
        self.exclusions.extend(self.books.take_settled());
        let trials = std::mem::take(&mut self.exclusions).into_iter().filter_map(|exclusion| {
            let leaver = self.stopped.remove(&exclusion.joined);
            if leaver.is_none() {
                self.books.ledger().error("a leaver could not be checked".to_owned());
            }
            leaver.map(|leaver| (leaver, exclusion))
        });
        let trials: Vec<(Stopped, Exclusion)> = trials.collect();
        progress.waiting(trials.len());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut findings = stream::iter(trials)
            .map(|(mut leaver, exclusion)| tokio::task::spawn_blocking(move || shown(&mut leaver, &exclusion)))
            .buffer_unordered(cores);
        while let Some(found) = findings.next().await {
            progress.tried_one();
            let mut figures = self.books.figures();
            figures.leavers_checked += 1;
            figures.leavers_caught += u64::from(!found.is_ok_and(|findings| !findings.any()));
        }
    }

    /// What was counted since the call was full.
    pub(crate) fn since_full(&self) -> Counters {
        let now = self.counters();
        Counters {
            rotations: now.rotations.saturating_sub(self.full.rotations),
            up: now.up.saturating_sub(self.full.up),
            down: now.down.saturating_sub(self.full.down),
            lead_cpu: now.lead_cpu.saturating_sub(self.full.lead_cpu),
        }
    }

    /// Ends the call: members go without a word, the lead bot says goodbye.
    pub(crate) async fn close(self) {
        for member in &self.members {
            member.leave(Way::Dropped);
        }
        if let Some(lead) = self.lead {
            lead.leave(Way::Signed);
            lead.stopped().await;
        }
    }

    fn counters(&self) -> Counters {
        Counters {
            rotations: self.books.ledger().rotations(),
            up: self.books.up.load(Ordering::Relaxed),
            down: self.books.down.load(Ordering::Relaxed),
            lead_cpu: self.books.lead_cpu.load(Ordering::Relaxed),
        }
    }

    /// Takes in what has been settled, so that the size of it is known.
    async fn collect(&mut self) {
        self.exclusions.extend(self.books.take_settled());
        tokio::task::yield_now().await;
    }

    fn kept(&self) -> usize {
        self.exclusions.iter().flat_map(|exclusion| &exclusion.texts).map(|text| text.len()).sum()
    }
}
