//! The own connection: what was said on it, and what waits while there is none.
//!
//! The relay counts the messages of a join. When a dropped connection is taken up again it says how many it got, and
//! whatever came after those is said once more, so nothing is lost and nothing doubled.

use std::collections::VecDeque;

use super::output::Output;
use crate::wire::ToRelay;

/// Messages that are kept after they were said: what a connection can have under way when it drops.
const KEPT: usize = 64;
/// Messages that wait for a connection: a seat is kept for ten seconds, in which a session says a handful.
const WAITING: usize = 64;

/// How the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It stands.
    Up,
    /// There is none, or one that has not been challenged yet.
    Down,
    /// A seat that the relay holds was asked for.
    Resuming,
    /// A seat was brought to a relay that has lost it.
    Restoring,
}

/// The own connection.
pub(super) struct Line {
    stage: Stage,
    /// Messages said in this join, by the relay's count.
    said: u64,
    /// The newest of them, oldest first; a lead's own messages are not said twice and leave a gap.
    kept: VecDeque<Option<ToRelay>>,
    waiting: VecDeque<ToRelay>,
}

impl Default for Line {
    fn default() -> Self {
        Self { stage: Stage::Up, said: 0, kept: VecDeque::new(), waiting: VecDeque::new() }
    }
}

impl Line {
    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    pub(super) fn is_up(&self) -> bool {
        self.stage == Stage::Up
    }

    pub(super) fn set(&mut self, stage: Stage) {
        self.stage = stage;
    }

    /// Counts what a step says; without a connection it waits instead.
    pub(super) fn carry(&mut self, out: &mut Vec<Output>) {
        if self.is_up() {
            out.iter().for_each(|output| {
                if let Output::Send(message) = output {
                    self.count(message);
                }
            });
            return;
        }
        for output in std::mem::take(out) {
            match output {
                Output::Send(message) => self.wait(message),
                Output::Keys(_) | Output::Event(_) | Output::Persist(_) | Output::Connect | Output::Close => {
                    out.push(output);
                }
            }
        }
    }

    /// The relay has the seat and got so many messages: what it did not get, and what waited.
    pub(super) fn resume(&mut self, received: u64) -> Vec<ToRelay> {
        let lost = usize::try_from(self.said.saturating_sub(received)).unwrap_or(usize::MAX);
        let got = self.kept.len().saturating_sub(lost);
        let lost = self.kept.drain(..).skip(got).flatten().collect();
        self.start_over(received, lost)
    }

    /// The relay is another one: what was under way to the last one is not known; what waited is said.
    pub(super) fn restore(&mut self) -> Vec<ToRelay> {
        self.kept.clear();
        self.start_over(0, Vec::new())
    }

    /// Only these of them are said again as they were: the rest was taken out, and does not count.
    pub(super) fn recount(&mut self, received: u64, again: &[ToRelay]) {
        self.kept.clear();
        self.said = received;
        again.iter().for_each(|message| self.count(message));
    }

    fn start_over(&mut self, received: u64, mut again: Vec<ToRelay>) -> Vec<ToRelay> {
        self.stage = Stage::Up;
        self.said = received;
        again.extend(self.waiting.drain(..));
        again.iter().for_each(|message| self.count(message));
        again
    }

    fn count(&mut self, message: &ToRelay) {
        self.said = self.said.saturating_add(1);
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(is_repeatable(message).then(|| message.clone()));
    }

    fn wait(&mut self, message: ToRelay) {
        if !is_repeatable(&message) {
            return;
        }
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(message);
    }
}

/// Whether a message still means the same after a gap: a lead has lost the lead by then, a sign of life its sense.
fn is_repeatable(message: &ToRelay) -> bool {
    match message {
        ToRelay::Keys(_) | ToRelay::Ack(_) | ToRelay::Olm(_) | ToRelay::Body(_) => true,
        ToRelay::Join(_)
        | ToRelay::Resume(_)
        | ToRelay::Restore(_)
        | ToRelay::Claim(_)
        | ToRelay::Commit(_)
        | ToRelay::Ping(_)
        | ToRelay::Suspect(_)
        | ToRelay::Decline(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{AckMac, Epoch, Joined, Term},
        wire::{Ack, Claim, Ping},
    };

    fn ack(count: u32) -> ToRelay {
        Ack { epoch: Epoch(Term(1), count), mac: AckMac::new([0; 32]) }.into()
    }

    fn say(line: &mut Line, messages: impl IntoIterator<Item = ToRelay>) -> usize {
        let mut out = messages.into_iter().map(Output::Send).collect();
        line.carry(&mut out);
        out.len()
    }

    #[test]
    fn what_the_relay_did_not_get_is_said_once_more_and_what_waited_after_it() {
        let mut line = Line::default();
        assert_eq!(say(&mut line, (0..5).map(ack)), 5);
        line.set(Stage::Down);
        assert_eq!(say(&mut line, [ack(5)]), 0, "it waits");
        assert_eq!(line.resume(3), [ack(3), ack(4), ack(5)]);
        line.set(Stage::Down);
        assert_eq!(line.resume(6), [], "the relay counts on from what it said");
    }

    #[test]
    fn what_is_not_said_again_as_it_was_is_not_counted() {
        let mut line = Line::default();
        say(&mut line, (0..5).map(ack));
        line.set(Stage::Down);
        assert_eq!(line.resume(2), [ack(2), ack(3), ack(4)]);
        line.recount(2, &[ack(3)]);
        say(&mut line, [ack(5)]);
        line.set(Stage::Down);
        assert_eq!(line.resume(4), [], "the relay has got everything");
    }

    #[test]
    fn a_lead_s_messages_and_signs_of_life_are_not_said_twice() {
        let mut line = Line::default();
        let claim: ToRelay = Claim { of: vec![Joined(1)] }.into();
        say(&mut line, [ack(0), claim, ack(1)]);
        line.set(Stage::Down);
        say(&mut line, [Ping { n: 0 }.into()]);
        assert_eq!(line.resume(0), [ack(0), ack(1)]);
    }

    #[test]
    fn another_relay_gets_what_waited_and_nothing_else() {
        let mut line = Line::default();
        say(&mut line, [ack(0)]);
        line.set(Stage::Restoring);
        say(&mut line, [ack(1)]);
        assert_eq!(line.restore(), [ack(1)]);
    }

    #[test]
    fn nothing_grows_without_bound() {
        let mut line = Line::default();
        say(&mut line, (0..200).map(ack));
        assert_eq!(line.kept.len(), KEPT);
        line.set(Stage::Down);
        say(&mut line, (0..200).map(ack));
        assert_eq!(line.waiting.len(), WAITING);
    }
}
