//! Who leads: computed by every member from its own roster, never announced.

use super::{
    call::{Call, Ctx},
    error::SecurityEvent,
    output::{EndReason, Event},
};
use crate::{id::Term, wire::Lead};

/// The highest term that a device without a roster believes: below it, the call can change its lead for ever.
const TERM_LIMIT: u32 = 1 << 31;

impl Call {
    /// Succession is computed from the roster; the relay only says that it is time.
    pub(super) fn on_lead(&mut self, ctx: &mut Ctx<'_>, event: Lead) -> Result<(), EndReason> {
        let Lead { term, joined, genesis, .. } = event;
        let wrong = SecurityEvent::WrongLead { term, named: joined };
        let current = self.lead.map_or(Term(0), |(term, _)| term);
        if let Some(group) = &self.group {
            if Some(term) != current.0.checked_add(1).map(Term) {
                ctx.alarm(SecurityEvent::WrongTerm { term, current });
                return Ok(());
            }
            if genesis || group.roster.first(|joined| self.claims.is_present(joined)) != Some(joined) {
                ctx.alarm(wrong);
                return Ok(());
            }
        } else if term <= current || term.0 > TERM_LIMIT || (joined == self.me.joined && !genesis) {
            ctx.alarm(wrong);
            return Ok(());
        }
        self.lead = Some((term, joined));
        self.reign = None;
        if genesis {
            self.claims.forget_commits();
        }
        let me = joined == self.me.joined;
        ctx.event(Event::LeadChanged { term, joined, me });
        if me && self.out_of_step {
            // The connection closes and the relay names the next: whoever missed a commit cannot build on it.
            return Err(EndReason::OutOfStep);
        }
        if me {
            self.begin_reign(ctx, term).map_err(EndReason::Internal)?;
        }
        Ok(())
    }
}
