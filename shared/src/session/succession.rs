//! Who leads: computed by every member from its own roster, never announced.

use super::{
    call::{Call, Ctx},
    error::SecurityEvent,
    output::{EndReason, Event},
};
use crate::{
    id::Term,
    wire::{Decline, Lead},
};

/// The highest term that a device without a roster believes: below it, the call can change its lead for ever.
const TERM_LIMIT: u32 = 1 << 31;

impl Call {
    /// Succession is computed from the roster; the relay only says that it is time.
    pub(super) fn on_lead(&mut self, ctx: &mut Ctx<'_>, event: Lead) -> Result<(), EndReason> {
        let Lead { term, joined, genesis, .. } = event;
        if self.group.is_some() && Some((term, joined)) == self.lead && !genesis {
            // A relay that was restarted takes the reign up again.
            self.confirm(ctx);
            return Ok(());
        }
        let wrong = SecurityEvent::WrongLead { term, named: joined };
        let current = self.lead.map_or(Term(0), |(term, _)| term);
        if let Some(group) = &self.group {
            if Some(term) != current.0.checked_add(1).map(Term) {
                ctx.alarm(SecurityEvent::WrongTerm { term, current });
                return Ok(());
            }
            if genesis || group.roster.first(|joined| self.claims.is_live(joined)) != Some(joined) {
                ctx.alarm(wrong);
                return Ok(());
            }
        } else if term <= current || term.0 > TERM_LIMIT || (joined == self.me.joined && !genesis) {
            ctx.alarm(wrong);
            return Ok(());
        }
        self.lead = Some((term, joined));
        self.reign = None;
        self.lease.begin_term(ctx.now);
        self.left.values_mut().for_each(|since| *since = ctx.now);
        self.want_of_new_lead(ctx.now);
        if genesis {
            self.claims.forget_commits();
        }
        let me = joined == self.me.joined;
        ctx.event(Event::LeadChanged { term, joined, me });
        if me && self.out_of_step {
            // Whoever missed a commit cannot build on it: the next is named, and gives this device what it lacks.
            let others = |joined| joined != self.me.joined && self.claims.is_live(joined);
            let next = self.group.as_ref().and_then(|group| group.roster.first(others));
            ctx.send(Decline { term });
            return if next.is_some() { Ok(()) } else { Err(EndReason::OutOfStep) };
        }
        if me {
            self.begin_reign(ctx, term).map_err(EndReason::Internal)?;
        }
        Ok(())
    }
}
