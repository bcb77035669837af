//! The lead's side of being alive: when it beats, and who still hears it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    config::Config,
    timer::{Deadline, Timer},
};
use crate::{id::Joined, time::Timestamp};
use std::time::Duration;

/// How often the lead says something to the relay, which names another after three seconds of silence.
const PING: Duration = Duration::from_secs(1);
/// Pings that may be unanswered: a relay that sleeps longer has nothing to gain from more.
const PINGS: usize = 60;

/// Signs of life of one reign.
pub(super) struct Pulse {
    began: Timestamp,
    beat: Option<Timestamp>,
    /// Pings that were not answered yet, oldest first: never more than the relay leaves unanswered before it is left.
    pings: VecDeque<Timestamp>,
    last_ping: Option<Timestamp>,
    /// When the newest ping was said that was answered.
    answered: Option<Timestamp>,
    /// `at` of the newest beat that each member echoed.
    echoed: BTreeMap<Joined, u64>,
    /// Those who were given time anew after a silence of everybody, and were not heard since.
    pardoned: BTreeSet<Joined>,
}

impl Pulse {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            began: now,
            beat: None,
            pings: VecDeque::new(),
            last_ping: None,
            answered: None,
            echoed: BTreeMap::new(),
            pardoned: BTreeSet::new(),
        }
    }

    /// Milliseconds of this reign.
    pub(super) fn at(&self, now: Timestamp) -> u64 {
        u64::try_from(now.since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether to beat now.
    pub(super) fn beat(&mut self, now: Timestamp, config: &Config) -> bool {
        let due = self.beat.is_none_or(|last| now.since(last) >= config.beat);
        if due {
            self.beat = Some(now);
        }
        due
    }

    /// Whether to ping the relay now.
    pub(super) fn ping(&mut self, now: Timestamp) -> bool {
        let due = self.last_ping.is_none_or(|last| now.since(last) >= PING) && self.pings.len() < PINGS;
        if due {
            self.last_ping = Some(now);
            self.pings.push_back(now);
        }
        due
    }

    /// The relay answered a ping, and with it everything that was said before that ping.
    pub(super) fn pong(&mut self) {
        self.answered = self.pings.pop_front().or(self.answered);
    }

    /// Whether the relay has answered what was said when this reign began.
    pub(super) fn has_begun(&self) -> bool {
        self.has_answered(self.began)
    }

    /// Whether the relay has answered what was said at a time, if it answers it at all.
    pub(super) fn has_answered(&self, said: Timestamp) -> bool {
        self.answered.is_some_and(|answered| answered >= said)
    }

    /// A newcomer has all its time before it.
    pub(super) fn expect(&mut self, now: Timestamp, joined: Joined) {
        self.echoed.insert(joined, self.at(now));
    }

    pub(super) fn forget(&mut self, joined: Joined) {
        self.echoed.remove(&joined);
        self.pardoned.remove(&joined);
    }

    /// A member echoed a beat. Those that others have left far behind are not there any more: a relay cannot make up an
    /// echo, and a silence that all share counts against nobody.
    pub(super) fn echo(
        &mut self,
        (now, config): (Timestamp, &Config),
        from: Joined,
        beat: u64,
        roster: impl Iterator<Item = Joined>,
    ) -> Vec<Joined> {
        // Nobody can have heard what was not said yet.
        let beat = beat.min(self.at(now));
        let hidden = u64::try_from(config.hidden.as_millis()).unwrap_or(u64::MAX);
        let before = self.echoed.values().copied().max().unwrap_or_default();
        let newest = self.echoed.get(&from).copied().unwrap_or_default().max(beat);
        self.echoed.insert(from, newest);
        if newest >= before.saturating_sub(hidden / 2) {
            // Not by what was kept back from before.
            self.pardoned.remove(&from);
        }
        let others: Vec<_> = roster.filter(|joined| *joined != from).collect();
        if newest.saturating_sub(before) >= hidden / 2 {
            // Nobody echoed for longer than the pause between two echoes: the silence was everybody's, and what others echoed is
            // on its way. Once for each, until they are heard: a relay makes such silences at will.
            for joined in others.iter().filter(|joined| self.pardoned.insert(**joined)) {
                let last = self.echoed.entry(*joined).or_default();
                *last = (*last).max(newest.saturating_sub(hidden / 2));
            }
        }
        let last = |joined: &Joined| self.echoed.get(joined).copied().unwrap_or_default();
        others.into_iter().filter(|joined| newest.saturating_sub(last(joined)) >= hidden).collect()
    }

    /// What is due, and when.
    pub(super) fn deadlines(&self, config: &Config) -> impl Iterator<Item = Deadline> {
        let beat = self.beat.map_or(Timestamp::ZERO, |last| last + config.beat);
        let ping = self.last_ping.map_or(Timestamp::ZERO, |last| last + PING);
        let ping = (self.pings.len() < PINGS).then_some((ping, Timer::Ping));
        [Some((beat, Timer::Beat)), ping].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Joined; 3] = [Joined(2), Joined(3), Joined(4)];

    #[test]
    fn who_echoes_nothing_while_others_do_is_gone() {
        let (mut pulse, config) = (Pulse::new(Timestamp::ZERO), Config::default());
        let now = Timestamp::from_millis(31_000);
        for beat in [10_000, 20_000, 29_999] {
            assert_eq!(pulse.echo((now, &config), Joined(2), beat, ALL.into_iter()), []);
        }
        pulse.expect(now, Joined(4));
        assert_eq!(pulse.echo((now, &config), Joined(2), 30_000, ALL.into_iter()), [Joined(3)]);
    }

    #[test]
    fn a_relay_that_stood_still_leaves_nobody_behind() {
        let (mut pulse, config) = (Pulse::new(Timestamp::ZERO), Config::default());
        let now = Timestamp::from_millis(100_000);
        for joined in ALL {
            assert_eq!(pulse.echo((now, &config), joined, 10_000, ALL.into_iter()), []);
        }
        // A relay stood still; of those whose echoes waited in it, one is read first.
        for beat in [45_000, 55_000, 59_999] {
            assert_eq!(pulse.echo((now, &config), Joined(2), beat, ALL.into_iter()), []);
        }
        assert_eq!(pulse.echo((now, &config), Joined(3), 59_999, ALL.into_iter()), []);
        assert_eq!(pulse.echo((now, &config), Joined(2), 60_000, ALL.into_iter()), [Joined(4)]);
    }

    #[test]
    fn silences_that_a_relay_makes_again_and_again_hide_nobody() {
        let (mut pulse, config) = (Pulse::new(Timestamp::ZERO), Config::default());
        let now = Timestamp::from_millis(100_000);
        for joined in ALL {
            assert_eq!(pulse.echo((now, &config), joined, 10_000, ALL.into_iter()), []);
        }
        let two = || [Joined(2), Joined(3)].into_iter();
        assert_eq!(pulse.echo((now, &config), Joined(2), 30_000, two()), []);
        assert_eq!(pulse.echo((now, &config), Joined(2), 50_000, two()), [Joined(3)]);
    }

    #[test]
    fn an_echo_of_what_was_not_said_yet_turns_nobody_out() {
        let (mut pulse, config) = (Pulse::new(Timestamp::ZERO), Config::default());
        let now = Timestamp::from_millis(5_000);
        assert_eq!(pulse.echo((now, &config), Joined(2), u64::MAX, ALL.into_iter()), []);
    }

    #[test]
    fn a_silence_that_all_share_counts_against_nobody() {
        let (mut pulse, config) = (Pulse::new(Timestamp::ZERO), Config::default());
        let now = Timestamp::from_millis(90_000);
        for joined in ALL {
            assert_eq!(pulse.echo((now, &config), joined, 1_000, ALL.into_iter()), []);
        }
        for joined in ALL {
            assert_eq!(pulse.echo((now, &config), joined, 28_000, ALL.into_iter()), []);
        }
    }
}
