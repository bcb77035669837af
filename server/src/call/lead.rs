//! Who leads, and the one-time keys that a lead is given.

use conclave_shared::{
    id::{Joined, Role, Term},
    planted,
    time::Timestamp,
    wire::{Claimed, ClaimedKey, KeysLow, Lead, ToClient, code::Code},
};
use std::collections::BTreeSet;

use super::{
    Call, Refused, Step,
    member::{Member, Presence, Unfit},
    pool,
};

/// Keys in one `claimed`: the message stays under the size that any client accepts (a batch of ten is 620 bytes).
const CLAIMED_AT_ONCE: usize = 64;

/// A lead and how far it has come.
#[derive(Debug)]
pub(super) struct Reign {
    pub(super) term: Term,
    pub(super) joined: Joined,
    /// The last epoch of the term.
    pub(super) last: Last,
    /// When it last said anything, or was named.
    pub(super) heard: Timestamp,
    /// Who holds it for gone, each once.
    pub(super) suspects: BTreeSet<Joined>,
}

/// The count of the last epoch that a lead committed in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// It has committed none.
    None,
    /// This one.
    Count(u32),
    /// The term began before this relay did: its members know.
    Unknown,
}

impl Last {
    /// Whether this count comes next.
    #[must_use]
    pub fn is_followed_by(self, count: u32) -> bool {
        match self {
            Self::None => count == 0,
            Self::Count(last) => last.checked_add(1) == Some(count),
            Self::Unknown => true,
        }
    }
}

impl Reign {
    pub(super) const fn new(now: Timestamp, term: Term, joined: Joined, last: Last) -> Self {
        Self { term, joined, last, heard: now, suspects: BTreeSet::new() }
    }
}

/// What counts of a member when a lead is to be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its order number.
    pub joined: Joined,
    /// Its role.
    pub role: Role,
    /// A lead committed it.
    pub committed: bool,
    /// It has its seat, connected or not.
    pub present: bool,
    /// It is connected, may lead and does not do so already.
    pub fit: bool,
}

/// Who is named as lead, and whether that begins another life of the call.
pub fn successor(members: impl Iterator<Item = Standing> + Clone) -> Option<(Joined, bool)> {
    let fit = || members.clone().filter(|member| member.fit);
    let committed = fit().filter(|member| member.committed).min_by_key(|member| (member.role, member.joined));
    if let Some(member) = committed {
        return Some((member.joined, false));
    }
    if members.clone().any(|member| member.committed && member.present) {
        return None;
    }
    // A role counts only as committed: another life begins with the first to come, for rosters grow by order of
    // joining and a lead that came later could never add those before it.
    fit().map(|member| member.joined).min().map(|joined| (joined, true))
}

impl Call {
    /// Names a lead if there is none and somebody may lead.
    pub(super) fn ensure_lead(&mut self, step: &mut Step) {
        if self.reign.is_some() || self.origin.is_settling() {
            return;
        }
        let Some((joined, genesis)) = self.successor() else {
            return self.ask_behind(step);
        };
        if genesis {
            self.members.retain(|_, member| member.is_present());
            self.origin.begin_anew();
        }
        let term = Term(self.last_term.0.saturating_add(u32::from(!planted!(RepeatTerm) || genesis)));
        self.last_term = term;
        self.reign = Some(Reign::new(step.now, term, joined, Last::None));
        self.origin.led();
        let at = self.next_at();
        self.tell_all(step, &Lead { at, term, joined, genesis }.into());
    }

    /// Nobody committed who holds a seat may lead, and some only because others remembered a newer reign: those are gone, so the
    /// call goes on from what is left.
    fn ask_behind(&mut self, step: &mut Step) {
        let is = |member: &Member, reason| matches!(member.presence, Presence::Unfit(_, why) if why == reason);
        let committed = || self.members.values().filter(|member| member.committed && member.is_present());
        let behind = committed().filter(|member| is(member, Unfit::Behind));
        let first = behind.min_by_key(|member| (member.role, member.joined)).map(|member| member.joined);
        let none_else = || committed().all(|member| is(member, Unfit::Behind) || is(member, Unfit::Declined));
        if let Some(first) = first.filter(|_| none_else()) {
            self.fit_again(step, first, Unfit::Behind);
        }
    }

    /// Who would be named if the lead of now were lost, and whether that begins another life of the call: the first
    /// committed member by role and order of joining. When nobody committed is here, the first of those who wait, but only
    /// if nobody committed can come back either: the call is theirs.
    pub(super) fn successor(&self) -> Option<(Joined, bool)> {
        let lead = self.reign.as_ref().map(|reign| reign.joined);
        successor(self.members.values().map(|member| Standing {
            joined: member.joined,
            role: member.role,
            committed: member.committed,
            present: member.is_present(),
            fit: (member.is_fit() || (planted!(NameTheAbsent) && member.is_present())) && Some(member.joined) != lead,
        }))
    }

    /// The lead asks for one one-time key of each of these members.
    pub(super) fn claim(&mut self, step: &mut Step, from: Joined, of: &[Joined]) -> Result<(), Refused> {
        self.require_lead(from)?;
        for some in of.chunks(CLAIMED_AT_ONCE) {
            let keys = some.iter().filter_map(|joined| self.take_key(step, *joined)).collect();
            self.send_lead(step, &Claimed { keys }.into());
        }
        Ok(())
    }

    /// Gives the lead a key of a newcomer without being asked: that saves a round trip on every join.
    pub(super) fn push_key(&mut self, step: &mut Step, newcomer: Joined) {
        if let Some(key) = self.take_key(step, newcomer) {
            self.send_lead(step, &Claimed { keys: vec![key] }.into());
        }
    }

    pub(super) fn require_lead(&self, joined: Joined) -> Result<&Reign, Refused> {
        self.reign.as_ref().filter(|reign| reign.joined == joined).ok_or_else(|| Refused::plain(Code::NotLead))
    }

    /// One key of a member that holds its seat, and a word to the member when few are left. Who is away gets its grant when
    /// it comes back, and is told then.
    fn take_key(&mut self, step: &mut Step, joined: Joined) -> Option<ClaimedKey> {
        let member = self.members.get_mut(&joined).filter(|member| member.is_present())?;
        let key = member.pool.take(joined);
        let left = member.pool.left();
        if left <= pool::LOW
            && let Some(connection) = member.connection()
        {
            step.send(connection, &KeysLow { left: u16::try_from(left).unwrap_or(u16::MAX) }.into());
        }
        Some(key)
    }

    fn send_lead(&self, step: &mut Step, message: &ToClient) {
        if let Some(lead) = self.lead_connection() {
            step.send(lead, message);
        }
    }
}
