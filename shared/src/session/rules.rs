//! The rules that need no keys: who leads, which commit follows, which grant has passed.
//!
//! A session asks them before it opens or installs anything. They look at plain values alone, so that a model check can
//! ask the very same rules about calls whose keys are symbols.
#![cfg_attr(not(feature = "audit"), allow(unreachable_pub, reason = "other crates see this module for audits alone"))]

use super::error::SecurityEvent;
use crate::{
    id::{Epoch, Joined, Term},
    wire::sealed::Cause,
};

/// The highest term that a device without a roster believes: below it, the call can change its lead for ever.
const TERM_LIMIT: u32 = 1 << 31;

/// What a `lead` event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The reign.
    pub term: Term,
    /// Who leads.
    pub joined: Joined,
    /// Another life of the call begins.
    pub genesis: bool,
}

/// What a device holds against a `lead` event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// A roster, and by it this is the first live member in succession.
    Roster {
        /// `None` when nobody in the roster is live.
        first: Option<Joined>,
    },
    /// A roster, and a relay that was restarted: the lead may have changed while there was no connection, and who was away
    /// then nobody can say.
    Restored {
        /// The roster holds the one that is named.
        member: bool,
    },
    /// No roster.
    Newcomer {
        /// The device's own order number.
        me: Joined,
    },
}

/// What becomes of a `lead` event that is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reigns {
    /// The reign of now goes on: a relay that was restarted takes it up again.
    On,
    /// Another reign begins.
    Anew,
}

/// Whether a `lead` event is believed, given the reign and lead of now.
///
/// # Errors
/// [`SecurityEvent::WrongTerm`] and [`SecurityEvent::WrongLead`]: everything stays as it is.
pub fn accepts(current: Option<(Term, Joined)>, named: Named, stand: Stand) -> Result<Reigns, SecurityEvent> {
    let Named { term, joined, genesis } = named;
    let wrong = SecurityEvent::WrongLead { term, named: joined };
    let held = current.map_or(Term(0), |(term, _)| term);
    match stand {
        Stand::Roster { .. } | Stand::Restored { .. } if current == Some((term, joined)) && !genesis => Ok(Reigns::On),
        Stand::Restored { .. } if term <= held || term.0 > TERM_LIMIT => {
            Err(SecurityEvent::WrongTerm { term, current: held })
        }
        Stand::Restored { member } if genesis || !member => Err(wrong),
        Stand::Roster { .. } if Some(term) != held.0.checked_add(1).map(Term) => {
            Err(SecurityEvent::WrongTerm { term, current: held })
        }
        Stand::Roster { first } if genesis || first != Some(joined) => Err(wrong),
        Stand::Newcomer { me } if term <= held || term.0 > TERM_LIMIT || (joined == me && !genesis) => Err(wrong),
        Stand::Roster { .. } | Stand::Restored { .. } | Stand::Newcomer { .. } => Ok(Reigns::Anew),
    }
}

/// Whether somebody may commit an epoch, given the reign and lead of now.
#[must_use]
pub fn may_commit(lead: Option<(Term, Joined)>, from: Joined, epoch: Epoch) -> bool {
    lead == Some((epoch.term(), from))
}

/// Whether an epoch is the one after another: the next of its term, or the first of another.
#[must_use]
pub fn comes_next(held: Epoch, epoch: Epoch) -> bool {
    let next = if held.term() == epoch.term() { held.next() } else { Some(Epoch::first(epoch.term())) };
    next == Some(epoch)
}

/// How a commit moves the call on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The running session steps once, for those whom the commit adds.
    Ratchet {
        /// It adds somebody.
        adds: bool,
        /// It removes somebody.
        removes: bool,
    },
    /// A new session.
    Session,
}

/// Whether a commit of this cause may make this step to this epoch. A new term begins with a new session: its lead must
/// not step one that the last lead knows. Nobody follows a start.
#[must_use]
pub fn suits(step: Step, cause: Cause, epoch: Epoch) -> bool {
    let first = epoch.count() == 0;
    match step {
        Step::Ratchet { .. } if planted!(RatchetOnLeave) => !first,
        Step::Ratchet { adds, removes } => cause.ratchets() && adds && !removes && !first,
        Step::Session => !cause.ratchets() && cause != Cause::Start && (cause == Cause::LeadChange) == first,
    }
}

/// Whether a grant on request has passed, or is not yet due: of a term that did not begin, or before the epoch held.
#[must_use]
pub fn has_passed(lead: Option<(Term, Joined)>, held: Epoch, granted: Epoch) -> bool {
    lead.is_none_or(|(term, _)| granted.term() > term) || granted < held
}

/// Why a lead's next epoch begins: the gravest of all reasons.
#[must_use]
pub fn cause(removal: Option<Cause>, rotate: Option<Cause>, joiners: bool) -> Option<Cause> {
    removal.or(rotate).or(joiners.then_some(Cause::Join))
}
