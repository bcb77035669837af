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
/// An answer that takes longer tells of a relay, or a network, that stood still: nobody could be heard meanwhile.
const STILL: Duration = Duration::from_secs(2);
/// Pings that may be unanswered: a relay that sleeps longer has nothing to gain from more.
const PINGS: usize = 60;

/// Signs of life of one reign.
pub(super) struct Pulse {
    began: Timestamp,
    beat: Option<Timestamp>,
    /// Pings that were not answered yet, oldest first: never more than the relay leaves unanswered before it is left.
    pings: VecDeque<(u32, Timestamp)>,
    last_ping: Option<Timestamp>,
    /// The last ping was long overdue: this device slept.
    slept: bool,
    /// When the newest ping was said that was answered.
    answered: Option<Timestamp>,
    /// `at` of the newest beat that each member echoed, or what a newcomer is credited with.
    echoed: BTreeMap<Joined, u64>,
    /// `at` of the newest beat that anybody echoed.
    heard: u64,
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
            slept: false,
            answered: None,
            echoed: BTreeMap::new(),
            heard: 0,
            pardoned: BTreeSet::new(),
        }
    }

    /// Milliseconds of this reign.
    pub(super) fn at(&self, now: Timestamp) -> u64 {
        u64::try_from(now.since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    /// `at` of the newest beat that anybody echoed.
    pub(super) fn heard(&self) -> u64 {
        self.heard
    }

    /// Whether to beat now.
    pub(super) fn beat(&mut self, now: Timestamp, config: &Config) -> bool {
        let due = self.beat.is_none_or(|last| now.since(last) >= config.beat);
        if due {
            self.beat = Some(now);
        }
        due
    }

    /// Whether to ping the relay now, with this number.
    pub(super) fn ping(&mut self, now: Timestamp, n: u32) -> bool {
        let due = self.last_ping.is_none_or(|last| now.since(last) >= PING) && self.pings.len() < PINGS;
        if due {
            self.slept |= self.is_overdue(now);
            self.last_ping = Some(now);
            self.pings.push_back((n, now));
        }
        due
    }

    /// The relay answered a ping, and with it everything that was said before that ping. It may be one of before this reign:
    /// that says nothing of what was said in it. Whether the relay or this device stood still before.
    pub(super) fn pong(&mut self, now: Timestamp, n: u32) -> bool {
        let stood = self.stands(now);
        while let Some((_, said)) = self.pings.pop_front_if(|(ping, _)| *ping <= n) {
            (self.answered, self.slept) = (Some(said), false);
        }
        stood
    }

    /// Whether the relay stands still, as far as is known, or this device did: nobody can be heard then.
    pub(super) fn stands(&self, now: Timestamp) -> bool {
        let unanswered = self.pings.front().is_some_and(|(_, said)| now.since(*said) >= STILL);
        unanswered || self.slept || self.is_overdue(now)
    }

    fn is_overdue(&self, now: Timestamp) -> bool {
        self.last_ping.is_some_and(|last| now.since(last) >= STILL)
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

    /// This lead is all there is to be heard: whoever comes next hears of no silence. Whoever is added meanwhile could echo
    /// nothing, and has at least half of its time from here on; not all of it, as a relay keeps a commit back at will.
    pub(super) fn hear(&mut self, now: Timestamp, config: &Config) {
        self.heard = self.at(now);
        let least = self.heard.saturating_sub(hidden(config) / 2);
        self.echoed.values_mut().for_each(|echoed| *echoed = (*echoed).max(least));
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
        let hidden = hidden(config);
        let before = self.heard;
        self.heard = before.max(beat);
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

/// Milliseconds after which somebody whom others have left behind is gone.
fn hidden(config: &Config) -> u64 {
    u64::try_from(config.hidden.as_millis()).unwrap_or(u64::MAX)
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
    fn no_time_in_which_a_lead_was_alone_counts_against_anybody() {
        let (mut pulse, config) = (Pulse::new(Timestamp::ZERO), Config::default());
        pulse.expect(Timestamp::ZERO, Joined(2));
        pulse.hear(Timestamp::from_millis(40_000), &config);
        assert_eq!(pulse.heard(), 40_000);
        let now = Timestamp::from_millis(60_000);
        let two = || ALL.into_iter().take(2);
        assert_eq!(pulse.echo((now, &config), Joined(3), 50_000, two()), []);
        // A commit that a relay kept back gives nobody all its time anew.
        assert_eq!(pulse.echo((now, &config), Joined(3), 54_999, two()), []);
        assert_eq!(pulse.echo((now, &config), Joined(3), 55_000, two()), [Joined(2)]);
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

    #[test]
    fn the_answer_to_a_ping_of_before_a_reign_says_nothing_of_what_was_asked_in_it() {
        let mut pulse = Pulse::new(Timestamp::from_millis(10_000));
        assert!(pulse.ping(Timestamp::from_millis(10_000), 8));
        assert!(!pulse.pong(Timestamp::from_millis(10_001), 7) && !pulse.has_begun());
        assert!(!pulse.pong(Timestamp::from_millis(10_002), 8));
        assert!(pulse.has_begun() && !pulse.has_answered(Timestamp::from_millis(10_001)));
    }

    #[test]
    fn while_the_relay_stands_still_and_until_a_device_that_slept_is_answered_nobody_can_be_heard() {
        let mut pulse = Pulse::new(Timestamp::ZERO);
        let at = Timestamp::from_millis;
        assert!(pulse.ping(at(0), 0) && !pulse.stands(at(1_999)) && pulse.stands(at(2_000)));
        assert!(pulse.pong(at(2_100), 0), "the relay stood still");
        assert!(pulse.ping(at(2_100), 1) && pulse.stands(at(2_100)), "that ping was overdue");
        assert!(pulse.pong(at(2_200), 1) && !pulse.stands(at(2_200)));
        assert!(pulse.ping(at(3_100), 2) && !pulse.pong(at(3_200), 2));
        assert!(pulse.stands(at(60_000)), "this device slept");
        assert!(pulse.ping(at(60_000), 3) && pulse.stands(at(60_001)) && pulse.pong(at(60_001), 3));
        assert!(!pulse.stands(at(60_001)));
    }

    #[test]
    fn a_newcomer_does_not_hide_that_the_silence_was_everybody_s() {
        let (mut pulse, config) = (Pulse::new(Timestamp::ZERO), Config::default());
        let echo = |pulse: &mut Pulse, from, beat| {
            let now = Timestamp::from_millis(beat);
            pulse.echo((now, &config), Joined(from), beat, ALL.into_iter())
        };
        assert_eq!(echo(&mut pulse, 2, 8_000), []);
        assert_eq!(echo(&mut pulse, 3, 8_000), []);
        pulse.expect(Timestamp::from_millis(32_500), Joined(4));
        assert_eq!(echo(&mut pulse, 2, 33_000), []);
        assert_eq!(echo(&mut pulse, 2, 38_000), [], "the silence of member 3 was everybody's until then");
        assert_eq!(echo(&mut pulse, 2, 48_000), [Joined(3)]);
    }
}
