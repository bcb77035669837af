//! What watches each device of a load test.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};
use tokio::sync::watch;

use conclave_shared::{
    id::Joined,
    session::{
        Session,
        error::SecurityEvent,
        output::{EndReason, EpochInfo, Event, KeyUpdate},
    },
};

use super::{
    device::Way,
    ledger::{Exclusion, Ledger, Settled, Target},
    report::Figures,
};
use crate::driver::Observer;

/// What all devices of one call share.
#[derive(Default)]
pub(crate) struct Books {
    ledger: Mutex<Ledger>,
    figures: Mutex<Figures>,
    /// Leaves that are settled and whose leavers are to be tried. Drained by the churn loop, which made the leaves.
    settled: Mutex<Vec<Exclusion>>,
    /// Mirrors [`Ledger::has_open_leaves`], so that most texts cost no lock.
    recording: AtomicBool,
    /// Leads are lost on purpose.
    losing: AtomicBool,
    /// Bytes of messages to the relay.
    pub(crate) up: AtomicU64,
    /// Bytes of messages from the relay.
    pub(crate) down: AtomicU64,
    /// CPU time of the lead's thread, in microseconds, as of its newest epoch.
    pub(crate) lead_cpu: AtomicU64,
}

impl Books {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member is about to leave.
    pub(crate) fn leaving(&self, member: Joined, now: Instant, way: Way) {
        self.settle(|ledger| ledger.leaving(member, now, way));
    }

    /// From here on leads are lost on purpose, and members lead.
    pub(crate) fn begin_losing(&self) {
        self.losing.store(true, Ordering::Relaxed);
    }

    fn losing(&self) -> bool {
        self.losing.load(Ordering::Relaxed)
    }

    /// Takes the leaves that have been settled.
    pub(crate) fn take_settled(&self) -> Vec<Exclusion> {
        std::mem::take(&mut *self.settled.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn settle(&self, entry: impl FnOnce(&mut Ledger) -> Settled) {
        let mut ledger = self.ledger();
        let settled = entry(&mut ledger);
        self.recording.store(ledger.has_open_leaves(), Ordering::Relaxed);
        drop(ledger);
        for (took, exclusion) in settled {
            if let Some(took) = took {
                self.figures().leave_to_switched(took);
            }
            self.settled.lock().unwrap_or_else(PoisonError::into_inner).push(exclusion);
        }
    }
}

/// Where a device stands, as the harness needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// No key yet.
    Joining,
    /// It seals.
    Sealing(Joined),
    /// Its session is over, though nobody asked for that.
    Over,
}

/// Watches one device.
pub(crate) struct Probe {
    books: Arc<Books>,
    /// It is the lead bot: it leads until it is lost on purpose.
    bot: bool,
    /// When it began to connect.
    started: Instant,
    /// When it last sent anything.
    spoke: Instant,
    joined: Option<Joined>,
    /// It has had a key.
    keyed: bool,
    /// Its first epoch, until it has been tried for the one before.
    untried: Option<Target>,
    stage: watch::Sender<Stage>,
}

impl Probe {
    /// Watches a device that has not begun to connect.
    pub(crate) fn new(books: Arc<Books>, bot: bool, stage: watch::Sender<Stage>) -> Self {
        let now = Instant::now();
        Self { books, bot, started: now, spoke: now, joined: None, keyed: false, untried: None, stage }
    }

    /// When the device last said anything.
    pub(crate) const fn spoke(&self) -> Instant {
        self.spoke
    }

    /// Connecting begins at this moment.
    pub(crate) fn starts(&mut self) {
        self.started = Instant::now();
    }

    /// The device never got as far as a session.
    pub(crate) fn failed(&self, why: &str) {
        self.books.ledger().error(why.to_owned());
        self.stage.send_replace(Stage::Over);
    }

    fn epoch(&mut self, session: &Session, info: &EpochInfo) {
        let Some(me) = self.joined else { return };
        let now = Instant::now();
        // What the lead made is what everybody else's is compared with.
        if info.lead == me {
            self.made(session, info);
        }
        self.books.ledger().installed(me, info.epoch, info.fingerprint);
        if !std::mem::replace(&mut self.keyed, true) && !self.bot {
            let took = now.duration_since(self.started);
            tracing::debug!(member = %me, epoch = %info.epoch, ms = took.as_millis(), "a joiner has its key");
            self.books.figures().join_to_key(took);
            match session.transcript() {
                Some(transcript) => {
                    let (epoch, fingerprint) = (info.epoch, info.fingerprint);
                    self.untried = Some(Target { epoch, fingerprint, transcript });
                }
                None => self.books.ledger().error("a joiner has an epoch and no transcript".to_owned()),
            }
        }
    }

    fn made(&self, session: &Session, info: &EpochInfo) {
        tracing::debug!(epoch = %info.epoch, cause = ?info.cause, members = info.members.len(), "the lead made an epoch");
        // Only the bot has a thread of its own.
        if self.bot {
            let cpu = cpu_time::ThreadTime::now().as_duration().as_micros();
            self.books.lead_cpu.store(u64::try_from(cpu).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        match session.transcript() {
            Some(transcript) => self.books.ledger().made(info, transcript),
            None => self.books.ledger().error("the lead has an epoch and no transcript".to_owned()),
        }
    }

    /// A joiner must not get at the epoch before its first. That the same trial gives its first epoch shows that the
    /// trial can find something. Tried when it has switched, so that nobody waits for it.
    fn check_past(&self, session: &mut Session, first: &Target) {
        let before = self.books.ledger().before(first.epoch);
        let own = session.could_derive(&first.transcript, &first.fingerprint);
        let past = before.map(|target| session.could_derive(&target.transcript, &target.fingerprint));
        match (own, past) {
            (true, Some(derived)) => {
                let mut figures = self.books.figures();
                figures.joiners_checked += 1;
                figures.joiners_caught += u64::from(derived);
            }
            (false, _) => self.books.ledger().error("the trial did not find a joiner's own key".to_owned()),
            (true, None) => self.books.ledger().error("a joiner came before the lead's first epoch".to_owned()),
        }
    }

    fn ended(&self, reason: EndReason) {
        if !matches!(reason, EndReason::Left) {
            self.books.ledger().error(format!("a session ended: {reason:?}"));
            self.stage.send_replace(Stage::Over);
        }
    }
}

impl Observer for Probe {
    fn received(&mut self, text: &str) {
        self.books.down.fetch_add(text.len() as u64, Ordering::Relaxed);
        if self.books.recording.load(Ordering::Relaxed) {
            self.books.ledger().heard(self.joined, text);
        }
    }

    fn sending(&mut self, text: &str) {
        self.books.up.fetch_add(text.len() as u64, Ordering::Relaxed);
        self.spoke = Instant::now();
    }

    // Frames are not what is measured here: whoever is told to seal under an epoch can.
    fn keys(&mut self, _update: KeyUpdate) {}

    fn event(&mut self, session: &mut Session, event: Event) {
        match event {
            Event::Seated { joined, .. } => {
                self.joined = Some(joined);
                self.books.ledger().seated(joined);
            }
            Event::Epoch(info) => self.epoch(session, &info),
            Event::Active(epoch) => {
                let Some(me) = self.joined else { return };
                tracing::debug!(member = %me, %epoch, "a member has switched");
                self.books.settle(|ledger| ledger.switched(me, epoch, Instant::now()));
                self.stage.send_replace(Stage::Sealing(me));
                if let Some(first) = self.untried.take() {
                    self.check_past(session, &first);
                }
            }
            // True of a lead that was made to fall silent.
            Event::Security(SecurityEvent::LeadSilent { .. }) if self.books.losing() => {}
            Event::Security(what) => self.books.ledger().error(format!("security event: {what}")),
            Event::Refused { code, message } => {
                self.books.ledger().error(format!("refused: {} ({message})", code.name()));
            }
            Event::CommandFailed(error) => self.books.ledger().error(format!("command failed: {error}")),
            Event::LeadChanged { me, .. } if me != self.bot && !self.books.losing() => {
                self.books.ledger().error("the lead bot does not lead".to_owned());
            }
            Event::MemberAway { joined, .. } => self.books.ledger().missed_by_members(joined, Instant::now()),
            Event::MemberLeft { joined, .. } => {
                let (mut ledger, now) = (self.books.ledger(), Instant::now());
                ledger.missed_by_members(joined, now);
                ledger.left(joined, now);
            }
            Event::Ended(reason) => self.ended(reason),
            Event::LeadChanged { .. }
            | Event::Link(_)
            | Event::MemberBack(_)
            | Event::KeyMissing(_)
            | Event::KeyFound
            | Event::Paused(_)
            | Event::Resumed
            | Event::MemberArrived(_)
            | Event::MemberPresent(_)
            | Event::MemberConfirmed(_)
            | Event::Message { .. }
            | Event::Closing(_) => {}
        }
    }
}
