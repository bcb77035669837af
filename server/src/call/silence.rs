//! A lead whose socket stands and that says nothing, and time in which the relay itself was not there.
//!
//! A lead says something every second, if only `ping`. Silence counts only as far as the relay was awake for it: a relay
//! that was stopped for a while finds every word of that while unread, and must not take it for nobody's having spoken.

use conclave_shared::{id::Joined, id::Term, time::Timestamp};
use std::time::Duration;

use super::{
    Call, Step,
    lead::Reign,
    member::{Member, Unfit},
};

/// How long a lead may say nothing: three of its pings. Until another leads, nobody can be shut out.
pub const LEAD_SILENCE: Duration = Duration::from_secs(3);
/// How late the machine may be woken before it holds that its relay was stopped: drivers look several times a second.
pub const FROZEN: Duration = Duration::from_secs(1);
/// Members that must suspect a lead, besides being more than half of the others: one alone may have lost its way itself.
pub const SUSPECTS: usize = 2;
/// Two leads that were silent or suspected within less than this time are enough.
pub const DEPOSALS_WITHIN: Duration = Duration::from_secs(10);
/// Then none is deposed for so long: when all seem silent, the fault is not theirs, and every change costs a new session.
pub const DEPOSAL_PAUSE: Duration = Duration::from_secs(10);

/// When leads were last deposed for being silent or suspected.
#[derive(Debug, Default)]
pub(super) struct Deposals {
    last: Option<Timestamp>,
    before: Option<Timestamp>,
}

impl Deposals {
    fn add(&mut self, now: Timestamp) {
        self.before = self.last.replace(now);
    }

    /// Until when nobody else is deposed.
    fn paused_until(&self) -> Option<Timestamp> {
        let (before, last) = (self.before?, self.last?);
        (last.since(before) < DEPOSALS_WITHIN).then(|| last + DEPOSAL_PAUSE)
    }
}

impl Call {
    /// Notices that the relay was stopped: whoever was waited for is waited for anew.
    pub(super) fn thaw(&mut self, now: Timestamp) {
        let asked = self.next_timeout().map(|due| due.max(self.seen));
        self.seen = now;
        let Some(late) = asked.map(|asked| now.since(asked)).filter(|late| *late > FROZEN) else {
            return;
        };
        if let Some(reign) = &mut self.reign {
            reign.heard = now;
        }
        self.members.values_mut().for_each(|member| member.thaw(now, late));
        self.log.thaw(late);
        self.origin.thaw(now);
    }

    /// Somebody says that the lead is gone although its socket stands.
    pub(super) fn suspect(&mut self, step: &mut Step, from: Joined, term: Term) {
        if let Some(reign) = self.reign.as_mut().filter(|reign| reign.term == term && reign.joined != from) {
            reign.suspects.insert(from);
            // A reign may be long and many come and go in it.
            reign.suspects.retain(|joined| self.members.contains_key(joined));
        }
        self.watch_lead(step);
    }

    /// Deposes a lead that is silent or suspected, once that is due.
    pub(super) fn watch_lead(&mut self, step: &mut Step) {
        let Some(lead) = self.reign.as_ref().map(|reign| reign.joined) else {
            return;
        };
        if self.deposal_due().is_some_and(|at| at <= step.now) {
            self.deposals.add(step.now);
            self.step_down(step, lead, Unfit::Silent);
        }
    }

    /// When the lead is to be deposed if it goes on like this; never while nobody else could be named.
    pub(super) fn deposal_due(&self) -> Option<Timestamp> {
        let reign = self.reign.as_ref()?;
        self.successor()?;
        let due = if self.is_suspected(reign) { self.seen } else { reign.heard + LEAD_SILENCE };
        Some(self.deposals.paused_until().map_or(due, |until| due.max(until)))
    }

    /// By more than half of the other committed members that are here, and by [`SUSPECTS`] at least.
    fn is_suspected(&self, reign: &Reign) -> bool {
        let others = || {
            let here = self.members.values().filter(|member| member.committed && member.is_fit());
            here.filter(|member| member.joined != reign.joined)
        };
        let is_suspicious = |member: &&Member| reign.suspects.contains(&member.joined);
        let suspicious = others().filter(is_suspicious).count();
        suspicious >= SUSPECTS && suspicious.saturating_mul(2) > others().count()
    }
}
