//! Who leads: computed by every member from its own roster, never announced.

use super::{
    call::{Call, Ctx},
    output::{EndReason, Event},
    rules::{Named, Reigns, Stand, accepts},
};
use crate::wire::{Decline, Lead};

impl Call {
    /// Succession is computed from the roster; the relay only says that it is time.
    pub(super) fn on_lead(&mut self, ctx: &mut Ctx<'_>, event: Lead) -> Result<(), EndReason> {
        let Lead { term, joined, genesis, .. } = event;
        let settling = self.is_settling(ctx);
        let stand = match &self.group {
            Some(group) if settling => Stand::Restored { member: group.roster.contains(joined) },
            Some(group) => Stand::Roster { first: group.roster.first(|joined| self.claims.is_live(joined)) },
            None => Stand::Newcomer { me: self.me.joined },
        };
        match accepts(self.lead, Named { term, joined, genesis }, stand) {
            Ok(Reigns::Anew) => {}
            Ok(Reigns::On) => {
                self.confirm(ctx);
                return Ok(());
            }
            Err(wrong) => {
                ctx.alarm(wrong);
                // A relay that was restarted went by what most remember, and whoever missed a commit does not know whom it added:
                // alone with another memory there is no way on.
                return if settling || self.out_of_step { Err(EndReason::OutOfStep) } else { Ok(()) };
            }
        }
        let behind = self.lease.is_behind();
        self.lead = Some((term, joined));
        self.reign = None;
        if !planted!(KeepReadyGrants) {
            self.olm.unprepare();
        }
        self.lease.begin_term(ctx.now);
        self.left.values_mut().for_each(|since| *since = ctx.now);
        self.want_of_new_lead(ctx.now);
        if genesis {
            self.claims.forget_commits();
        }
        let me = joined == self.me.joined;
        ctx.event(Event::LeadChanged { term, joined, me });
        let others = |joined| joined != self.me.joined && self.claims.is_live(joined);
        let next = self.group.as_ref().and_then(|group| group.roster.first(others));
        // Whoever missed a commit cannot build on it: the next is named, and gives this device what it lacks. One that the last
        // lead only spoke of is nobody's any more when nobody is left to have it.
        if me && (self.out_of_step || behind && next.is_some()) {
            ctx.send(Decline { term });
            return if next.is_some() { Ok(()) } else { Err(EndReason::OutOfStep) };
        }
        if me {
            self.begin_reign(ctx, term).map_err(EndReason::Internal)?;
        }
        self.say_again(ctx);
        Ok(())
    }
}
