//! What a device knows of its lead's life: until when it may seal, and when it holds the lead for gone.
//!
//! A relay can withhold a commit, and with it the fact that somebody was shut out. So a member seals only while it hears
//! fresh beats of its lead, and never for long under an epoch that the lead has left behind. Silence counts against the
//! lead only for as long as the own connection has proven alive: a frozen relay and a machine that slept depose nobody.

use std::time::Duration;

use super::{
    config::Config,
    output::PauseReason,
    timer::{Deadline, Timer},
};
use crate::time::Timestamp;

/// How far a beat may lag behind the quickest of its term and still be fresh: more than a bad network delays it.
const SLIP: i128 = 5_000;
/// Answered pings that prove the own connection while the lead is silent: half of the time that the silence lasts.
const PROOFS: u8 = 3;
/// How often the relay is asked while the lead is silent, and how quickly it must answer for the answer to count.
const PROBE: Duration = Duration::from_secs(1);

/// What a device knows of its lead's life.
pub(super) struct Lease {
    /// When something fresh was last heard.
    fresh: Timestamp,
    /// When a beat last came, fresh or not.
    beat: Timestamp,
    /// `at` of the newest beat of this term.
    newest: u64,
    /// The least time between a beat's `at` and its coming, in this term.
    slip: Option<i128>,
    /// The newest beat was that of a lead which hears nobody.
    alone: bool,
    /// The silence was told.
    told: bool,
    /// Since when the newest epoch is missing.
    behind: Option<Timestamp>,
    paused: Option<PauseReason>,
    /// The ping that was not answered yet. There is never a second one.
    asked: Option<(u32, Timestamp)>,
    /// When the relay was last asked.
    probed: Option<Timestamp>,
    /// Pings that were answered in time, one after the other, while the lead is silent.
    proofs: u8,
    suspected: bool,
}

impl Lease {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            fresh: now,
            beat: now,
            newest: 0,
            slip: None,
            alone: false,
            told: false,
            behind: None,
            paused: None,
            asked: None,
            probed: None,
            proofs: 0,
            suspected: false,
        }
    }

    /// Another lead: its clock is another, and it gets its own time to be heard.
    pub(super) fn begin_term(&mut self, now: Timestamp) {
        self.beat = now;
        self.newest = 0;
        self.slip = None;
        self.alone = false;
        self.suspected = false;
        self.settle();
    }

    /// A beat of the lead came, and when it last knew itself heard. Whether it is fresh, and the lead not alone in the dark.
    pub(super) fn beat(&mut self, (now, config): (Timestamp, &Config), at: u64, heard: u64) -> bool {
        let slip = i128::from(now.as_millis()) - i128::from(at);
        let least = self.slip.map_or(slip, |least| least.min(slip));
        self.slip = Some(least);
        self.beat = now;
        self.newest = self.newest.max(at);
        self.settle();
        self.alone = u128::from(at.saturating_sub(heard)) > config.lease.as_millis();
        let fresh = slip - least <= SLIP && !self.alone;
        if fresh {
            self.hear(now);
        }
        fresh
    }

    /// A question that was drawn afresh was answered: the lead is there, whatever its clock says.
    pub(super) fn answered(&mut self, now: Timestamp) {
        self.slip = None;
        self.hear(now);
    }

    /// Something fresh was heard of those on the other side.
    pub(super) fn hear(&mut self, now: Timestamp) {
        self.fresh = now;
        self.told = false;
    }

    /// `at` of the newest beat, to be echoed.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// The newest epoch is known to be missing.
    pub(super) fn fall_behind(&mut self, now: Timestamp) {
        self.behind.get_or_insert(now);
    }

    /// The newest epoch came.
    pub(super) fn catch_up(&mut self) {
        self.behind = None;
    }

    pub(super) fn is_behind(&self) -> bool {
        self.behind.is_some()
    }

    /// Nothing fresh was heard for as long as one may seal.
    pub(super) fn is_over(&self, now: Timestamp, config: &Config) -> bool {
        now.since(self.fresh) >= config.lease
    }

    /// The lead was silent for long enough to be told, once: the lead, or a relay that answers and keeps this back.
    pub(super) fn tell(&mut self, now: Timestamp, config: &Config) -> bool {
        let proven = self.proofs > 0 || self.alone;
        let silent = !self.told && proven && now.since(self.fresh) >= config.lease_warning;
        self.told |= silent;
        silent
    }

    /// Whether to stop or start sealing; `None` when it stays as it is.
    pub(super) fn turn(&mut self, now: Timestamp, config: &Config) -> Option<Option<PauseReason>> {
        let behind = self.behind.filter(|since| now.since(*since) >= config.behind).map(|_| PauseReason::Behind);
        let paused = behind.or_else(|| self.is_over(now, config).then_some(PauseReason::Lease));
        (paused != self.paused).then(|| {
            self.paused = paused;
            paused
        })
    }

    /// Whether the relay is to be asked for a sign of life now, by a ping of the number `n`. `leave` is when the oldest leave
    /// came that the lead has not committed.
    pub(super) fn probe(&mut self, (now, n): (Timestamp, u32), config: &Config, leave: Option<Timestamp>) -> bool {
        let due = self.asked.is_none() && self.probe_at(config, leave) <= now;
        if due {
            (self.asked, self.probed) = (Some((n, now)), Some(now));
        }
        due
    }

    /// The relay answered this ping.
    pub(super) fn proven(&mut self, now: Timestamp, n: u32) {
        let Some((_, asked)) = self.asked.take_if(|(ping, _)| *ping == n) else { return };
        self.proofs = if now.since(asked) <= PROBE { self.proofs.saturating_add(1) } else { 0 };
    }

    /// Whether the lead is to be reported now, once in a term.
    pub(super) fn suspect(&mut self, now: Timestamp, config: &Config, leave: Option<Timestamp>) -> bool {
        let silent = now.since(self.beat) >= 3 * config.beat && self.proofs >= PROOFS;
        let hides = leave.is_some_and(|leave| now.since(leave) >= config.leave) && self.proofs > 0;
        let suspects = !self.suspected && (silent || hides);
        self.suspected |= suspects;
        suspects
    }

    /// A while without a connection proves nothing about anybody.
    pub(super) fn disconnected(&mut self) {
        self.settle();
    }

    /// What is due, and when; `member` looks after its lead, a lead only after the others.
    pub(super) fn deadlines(&self, config: &Config, leave: Option<Timestamp>, member: bool) -> Vec<Deadline> {
        let mut deadlines =
            vec![(self.fresh + config.lease_warning, Timer::Lease), (self.fresh + config.lease, Timer::Lease)];
        deadlines.extend(self.behind.map(|since| (since + config.behind, Timer::Lease)));
        if member {
            let probe = self.asked.is_none().then(|| (self.probe_at(config, leave), Timer::Probe));
            deadlines.extend(probe);
            deadlines.push((self.beat + 3 * config.beat, Timer::Probe));
            deadlines.extend(leave.map(|leave| (leave + config.leave, Timer::Probe)));
        }
        deadlines
    }

    fn probe_at(&self, config: &Config, leave: Option<Timestamp>) -> Timestamp {
        let silence = self.beat + config.beat * 3 / 2;
        let troubled = leave.map_or(silence, |leave| silence.min(leave + config.leave / 2));
        self.probed.map_or(troubled, |probed| troubled.max(probed + PROBE))
    }

    fn settle(&mut self) {
        self.asked = None;
        self.proofs = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn config() -> Config {
        Config::default()
    }

    #[test]
    fn a_delayed_beat_is_not_fresh_and_a_fresh_one_prolongs_the_lease() {
        let mut lease = Lease::new(at(0));
        assert!(lease.beat((at(10_000), &config()), 0, 0));
        assert!(!lease.beat((at(17_001), &config()), 2_000, 0), "it came five seconds later than it could have");
        assert!(lease.is_over(at(55_000), &config()));
        assert!(lease.beat((at(56_000), &config()), 46_000, 40_000));
        assert!(!lease.is_over(at(100_999), &config()));
        lease.begin_term(at(57_000));
        assert!(lease.beat((at(58_000), &config()), 0, 0), "another clock");
    }

    #[test]
    fn a_lead_that_hears_nobody_prolongs_no_lease() {
        let mut lease = Lease::new(at(0));
        assert!(lease.beat((at(40_000), &config()), 40_000, 0));
        assert!(!lease.beat((at(46_000), &config()), 46_000, 999), "45 seconds and one millisecond");
        assert!(lease.beat((at(48_000), &config()), 48_000, 3_000));
        assert!(!lease.beat((at(94_000), &config()), 94_000, 3_000) && lease.tell(at(94_000), &config()));
        let mut next = Lease::new(at(0));
        next.beat((at(46_000), &config()), 46_000, 999);
        next.begin_term(at(46_000));
        assert!(!next.tell(at(46_000), &config()), "of the next lead nothing is known yet");
    }

    #[test]
    fn sealing_stops_and_starts_once() {
        let mut lease = Lease::new(at(0));
        assert_eq!(lease.turn(at(44_999), &config()), None);
        assert_eq!(lease.turn(at(45_000), &config()), Some(Some(PauseReason::Lease)));
        assert_eq!(lease.turn(at(46_000), &config()), None);
        lease.answered(at(46_000));
        assert_eq!(lease.turn(at(46_000), &config()), Some(None));
        lease.fall_behind(at(46_000));
        assert_eq!(lease.turn(at(47_999), &config()), None);
        assert_eq!(lease.turn(at(48_000), &config()), Some(Some(PauseReason::Behind)));
        lease.catch_up();
        assert_eq!(lease.turn(at(48_000), &config()), Some(None));
    }

    /// Lets time go by in steps of 100 ms; the relay answers each ping after `delay`, or never. When it suspects, if ever.
    fn watch(lease: &mut Lease, from: u64, until: u64, delay: Option<u64>) -> Option<u64> {
        let mut answers = VecDeque::new();
        for now in (from..until).step_by(100) {
            if let Some((_, n)) = answers.pop_front_if(|(due, _)| *due == now) {
                lease.proven(at(now), n);
            }
            let n = u32::try_from(now).expect("a short time");
            if lease.probe((at(now), n), &config(), None) {
                answers.extend(delay.map(|delay| (now + delay, n)));
            }
            if lease.suspect(at(now), &config(), None) {
                return Some(now);
            }
        }
        None
    }

    #[test]
    fn a_silent_lead_is_suspected_after_three_beats_once() {
        let mut lease = Lease::new(at(0));
        assert_eq!(watch(&mut lease, 0, 20_000, Some(100)), Some(6_000));
        assert_eq!(watch(&mut lease, 6_000, 20_000, Some(100)), None);
    }

    #[test]
    fn silence_on_a_connection_that_is_not_proven_alive_counts_against_nobody() {
        let mut lease = Lease::new(at(0));
        assert_eq!(watch(&mut lease, 0, 60_000, None), None, "the relay is frozen");
        let mut lease = Lease::new(at(0));
        assert_eq!(watch(&mut lease, 0, 60_000, Some(1_500)), None, "or answers too late");
    }

    #[test]
    fn a_frozen_relay_that_wakes_does_not_turn_its_own_silence_against_the_lead() {
        let mut lease = Lease::new(at(0));
        assert_eq!(watch(&mut lease, 0, 30_000, None), None);
        // The one ping that was said, at the silence of three seconds.
        lease.proven(at(30_000), 3_000);
        assert!(!lease.suspect(at(30_000), &config(), None));
        lease.beat((at(30_100), &config()), 28_000, 20_000);
        assert_eq!(watch(&mut lease, 30_200, 35_000, Some(100)), None);
    }

    #[test]
    fn the_answer_to_a_ping_of_before_proves_nothing() {
        let mut lease = Lease::new(at(0));
        assert!(lease.probe((at(3_000), 1), &config(), None));
        lease.disconnected();
        assert!(lease.probe((at(4_000), 2), &config(), None));
        lease.proven(at(4_100), 1);
        assert_eq!((lease.proofs, lease.asked), (0, Some((2, at(4_000)))));
        lease.proven(at(4_200), 2);
        assert_eq!((lease.proofs, lease.asked), (1, None));
    }

    #[test]
    fn a_leave_that_is_not_committed_is_suspicious_after_two_seconds() {
        let mut lease = Lease::new(at(0));
        let leave = Some(at(100));
        assert!(!lease.probe((at(1_000), 7), &config(), leave));
        assert!(lease.probe((at(1_100), 7), &config(), leave));
        lease.proven(at(1_200), 7);
        assert!(!lease.suspect(at(2_000), &config(), leave));
        assert!(lease.suspect(at(2_100), &config(), leave));
    }
}
