//! How long to wait before connecting again.

use std::time::Duration;

/// The first pause.
const FIRST: Duration = Duration::from_millis(500);
/// The longest pause: a relay that comes back is found within half a minute.
const LONGEST: Duration = Duration::from_secs(30);

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
    /// The next pause. `random` is a fresh random number.
    #[must_use]
    pub fn next(&mut self, random: u64) -> Duration {
        let half = self.ceiling / 2;
        let span = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        self.ceiling = (self.ceiling * 2).min(LONGEST);
        half + Duration::from_millis(random % span)
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
            let pause = backoff.next(random);
            assert!(pause >= ceiling / 2 && pause <= ceiling, "{pause:?} of {ceiling:?}");
            ceiling = (ceiling * 2).min(LONGEST);
        }
        assert_eq!(ceiling, LONGEST);
        backoff.reset();
        assert!(backoff.next(u64::MAX) <= FIRST);
    }
}
