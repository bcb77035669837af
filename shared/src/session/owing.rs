//! What a member owes to a device that leads: a sign of life that no relay can make up.

use std::time::Duration;

/// How often time is added to a debt for a relay that was restarted (5 s), or because little is left (2 s): 30 s in all, as much as
/// a relay gains that stands still.
const EXTENSIONS: u8 = 6;

/// A sign of life that somebody owes. It outlasts the reign in which it was asked for.
#[derive(Clone, Copy)]
pub(super) struct Owing {
    /// How much longer it may be silent, of the time that this device leads.
    pub(super) left: Duration,
    pub(super) given: Given,
}

/// What time somebody was given anew who owes a sign of life. A relay makes the reasons for it at will: each is counted over all
/// reigns, until the debt is settled.
#[derive(Clone, Copy, Default)]
pub(super) struct Given {
    /// The relay stood still.
    stood: bool,
    extensions: u8,
}

impl Owing {
    /// Whether nothing is left, and none may be added.
    pub(super) fn is_over(&self, least: Duration) -> bool {
        self.left.is_zero() && (least.is_zero() || self.given.extensions >= EXTENSIONS)
    }

    /// With so much left at least, as long as it may be added.
    pub(super) fn at_least(mut self, least: Duration) -> Self {
        if self.left < least && self.given.extend() {
            self.left = least;
        }
        self
    }
}

impl Given {
    /// Whether it is given time for a relay that stood still: once.
    pub(super) fn stand(&mut self) -> bool {
        !std::mem::replace(&mut self.stood, true)
    }

    /// Whether it is given a little more.
    pub(super) fn extend(&mut self) -> bool {
        let may = self.extensions < EXTENSIONS;
        self.extensions += u8::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_added_to_a_debt_so_often_and_no_more() {
        let least = Duration::from_secs(2);
        let mut owing = Owing { left: Duration::ZERO, given: Given::default() };
        assert!(owing.is_over(Duration::ZERO) && !owing.is_over(least));
        assert_eq!(Owing { left: least * 2, ..owing }.at_least(least).left, least * 2);
        for _ in 0..EXTENSIONS {
            owing = owing.at_least(least);
            assert_eq!(owing.left, least);
            owing.left = Duration::ZERO;
        }
        assert!(owing.is_over(least) && owing.at_least(least).left.is_zero());
        assert!(owing.given.stand() && !owing.given.stand());
    }
}
