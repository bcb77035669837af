//! How long to wait before connecting again.

use std::time::Duration;

/// The first pause is no longer than this.
const FIRST: Duration = Duration::from_millis(500);

/// The longest pause while a seat may be kept: the relay keeps it for seconds, and one that was restarted takes back
/// whoever comes in its first half minute. Everybody is back within two seconds of its return.
pub const LONGEST_FOR_A_SEAT: Duration = Duration::from_millis(1500);
/// The longest pause when a seat that was held for long is still wanted back from a relay that was away for long: short
/// of the half minute in which a restarted relay rebuilds its calls.
pub const LONGEST_FOR_KEYS: Duration = Duration::from_secs(15);
/// The longest pause before joining afresh.
pub const LONGEST: Duration = Duration::from_secs(30);

/// Pauses that double, each drawn at random from its upper half, so that a thousand clients that lost one relay do not
/// come back in the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    ceiling: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { ceiling: FIRST }
    }
}

impl Backoff {
    /// The next pause, no longer than `longest`. `random` is a fresh random number.
    #[must_use]
    pub fn next(&mut self, random: u64, longest: Duration) -> Duration {
        let ceiling = self.ceiling.min(longest);
        let half = ceiling / 2;
        let span = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        self.ceiling = (ceiling * 2).min(longest);
        half + Duration::from_millis(random % span)
    }

    /// Somebody answered: what was waited for so long is there, so the next pause is no longer than this.
    pub fn ease(&mut self, longest: Duration) {
        self.ceiling = self.ceiling.min(longest);
    }

    /// The connection held: the next pause is short again.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_stay_in_their_upper_half() {
        let mut backoff = Backoff::default();
        let mut ceiling = FIRST;
        for random in [0, 1, 77, u64::MAX, 12_345, 0, u64::MAX, 3, 9] {
            let pause = backoff.next(random, LONGEST);
            assert!(pause >= ceiling / 2 && pause <= ceiling, "{pause:?} of {ceiling:?}");
            ceiling = (ceiling * 2).min(LONGEST);
        }
        assert_eq!(ceiling, LONGEST);
        backoff.ease(LONGEST_FOR_A_SEAT);
        assert!(backoff.next(u64::MAX, LONGEST) <= LONGEST_FOR_A_SEAT);
        for _ in 0..9 {
            assert!(backoff.next(u64::MAX, LONGEST_FOR_A_SEAT) <= LONGEST_FOR_A_SEAT, "the caller's limit holds");
        }
        assert!(backoff.next(u64::MAX, LONGEST) <= LONGEST_FOR_A_SEAT, "and the pauses after it begin there");
        backoff.reset();
        assert!(backoff.next(u64::MAX, LONGEST) <= FIRST);
    }
}
