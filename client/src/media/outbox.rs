//! Outgoing signals, bundled: what goes to the same member within a moment goes as one message, and all of it together
//! stays well inside the relay's 20 messages a second (burst 60), which keys and application messages need too.

use conclave_shared::id::Joined;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

use super::signals::{self, SIGNALS, Signal};

/// How long a signal that can wait does: candidates come in a flock.
const BUNDLE_TIME: Duration = Duration::from_millis(60);
/// Messages that may go at once, and how many more per second.
const BURST: f64 = 30.0;
const RATE: f64 = 10.0;
/// Bytes of signals in one message: the session takes 40 KiB.
const MESSAGE_BYTES: usize = 32 * 1024;
/// Signals that wait for one member at most; a connection that has more to say is beyond help.
const WAITING_SIGNALS: usize = 256;

/// For whom: a member, or everybody.
pub(super) type To = Option<Joined>;

struct Waiting {
    signals: Vec<Signal>,
    due: Instant,
}

/// Bookkeeping alone: no timers, no IO.
pub(super) struct Outbox {
    boxes: BTreeMap<To, Waiting>,
    tokens: f64,
    filled_at: Instant,
}

impl Outbox {
    pub(super) const fn new(now: Instant) -> Self {
        Self { boxes: BTreeMap::new(), tokens: BURST, filled_at: now }
    }

    /// Takes a signal; one that is `urgent` takes along what already waits for the same member.
    pub(super) fn add(&mut self, now: Instant, to: To, signal: Signal, urgent: bool) {
        let due = if urgent { now } else { now + BUNDLE_TIME };
        let waiting = self.boxes.entry(to).or_insert(Waiting { signals: Vec::new(), due });
        waiting.due = waiting.due.min(due);
        waiting.signals.push(signal);
        if waiting.signals.len() > WAITING_SIGNALS {
            waiting.signals.remove(0);
        }
    }

    /// Forgets what waits for a member.
    pub(super) fn drop(&mut self, to: To) {
        self.boxes.remove(&to);
    }

    /// When to call [`take`](Self::take); `None` when nothing waits.
    pub(super) fn due(&mut self, now: Instant) -> Option<Instant> {
        let earliest = self.boxes.values().map(|waiting| waiting.due).min()?;
        self.fill(now);
        let refilled = now + Duration::from_secs_f64(((1.0 - self.tokens) / RATE).max(0.0));
        Some(earliest.max(refilled))
    }

    /// What is to be sent now.
    pub(super) fn take(&mut self, now: Instant) -> Vec<(To, Vec<u8>)> {
        self.fill(now);
        let mut messages = Vec::new();
        let mut ready: Vec<_> = self.boxes.iter().filter(|(_, b)| b.due <= now).map(|(to, b)| (b.due, *to)).collect();
        ready.sort_unstable();
        for (_, to) in ready {
            let Some(waiting) = self.boxes.get_mut(&to) else { continue };
            while self.tokens >= 1.0 && !waiting.signals.is_empty() {
                messages.push((to, pack(&mut waiting.signals)));
                self.tokens -= 1.0;
            }
            if waiting.signals.is_empty() {
                self.boxes.remove(&to);
            }
        }
        messages
    }

    fn fill(&mut self, now: Instant) {
        self.tokens = BURST.min(self.tokens + now.saturating_duration_since(self.filled_at).as_secs_f64() * RATE);
        self.filled_at = now;
    }
}

/// Takes as many signals as fit in one message, one at least.
fn pack(waiting: &mut Vec<Signal>) -> Vec<u8> {
    let mut bytes = 0;
    let mut fits = |signal: &Signal| {
        let first = bytes == 0;
        bytes += signals::encode(std::slice::from_ref(signal)).len();
        first || bytes <= MESSAGE_BYTES
    };
    let count = waiting.iter().take(SIGNALS).take_while(|signal| fits(signal)).count();
    let taken: Vec<Signal> = waiting.drain(..count.min(waiting.len())).collect();
    signals::encode(&taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::signals::{DescriptionKind, Sends};

    fn hello() -> Signal {
        Signal::Hello { sends: Sends::default(), again: false }
    }

    fn large(n: u64) -> Signal {
        Signal::Description { n, kind: DescriptionKind::Offer, sdp: "x".repeat(20_000) }
    }

    #[test]
    fn what_can_wait_goes_with_what_cannot() {
        let now = Instant::now();
        let mut outbox = Outbox::new(now);
        outbox.add(now, None, hello(), false);
        assert_eq!(outbox.due(now), Some(now + BUNDLE_TIME));
        assert!(outbox.take(now).is_empty());
        outbox.add(now, None, hello(), true);
        let sent = outbox.take(now);
        assert_eq!(sent, [(None, signals::encode(&[hello(), hello()]))]);
        assert_eq!(outbox.due(now), None);
    }

    #[test]
    fn messages_are_bounded_in_size_and_rate() {
        let now = Instant::now();
        let mut outbox = Outbox::new(now);
        for n in 0..40 {
            outbox.add(now, Some(Joined(1)), large(n), true);
        }
        assert_eq!(outbox.take(now).len(), 30);
        assert_eq!(outbox.due(now), Some(now + Duration::from_millis(100)));
        assert_eq!(outbox.take(now + Duration::from_millis(210)).len(), 2);
        outbox.drop(Some(Joined(1)));
        assert_eq!(outbox.due(now), None);
    }
}
