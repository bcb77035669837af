//! Who leads: computed by every member from its own roster, never announced.

use std::{collections::BTreeMap, time::Duration};

use super::{
    call::{Call, Ctx},
    error::{CommandError, SecurityEvent},
    output::{EndReason, Event},
    owing::Owing,
    reign::STALL_TIME,
    rules::{Named, Reigns, Stand, accepts},
};
use crate::{
    id::{Epoch, Joined, Term},
    wire::{Decline, Lead},
};

/// Terms in which a lead is declined for an epoch that was only spoken of: a lead that lies must not empty the whole order.
const DECLINED_TERMS: u32 = 2;

/// What outlasts a reign.
#[derive(Default)]
pub(super) struct Elections {
    /// The lead that was refused last, and of which term.
    refused: Option<(Term, Joined)>,
    /// Those who have not shown themselves in the reigns of this device.
    pub(super) owing: BTreeMap<Joined, Owing>,
    /// How much longer this device has led without its first commit than with it: a relay that keeps those back ends the reign
    /// before it is found out.
    unheard: Duration,
}

impl Call {
    /// Succession is computed from the roster; the relay only says that it is time.
    pub(super) fn on_lead(&mut self, ctx: &mut Ctx<'_>, event: Lead) -> Result<(), EndReason> {
        let Lead { term, joined, genesis, .. } = event;
        let settling = self.is_settling(ctx);
        let stand = match &self.group {
            Some(group) if settling => {
                Stand::Restored { member: group.roster.contains(joined) && !self.claims.is_signed_out(joined) }
            }
            Some(group) => Stand::Roster { first: group.roster.first(|joined| self.claims.is_live(joined)) },
            None => Stand::Newcomer { me: self.me.joined },
        };
        // Terms rise by one, counting the one whose lead was refused.
        let refused = self.elections.refused.filter(|(refused, _)| refused.0.checked_add(1) == Some(term.0));
        match accepts(refused.max(self.lead), Named { term, joined, genesis }, stand) {
            Ok(Reigns::Anew) => {}
            Ok(Reigns::On) => {
                self.awaits_lead = false;
                return self.go_on(ctx);
            }
            Err(wrong) => {
                if matches!(wrong, SecurityEvent::WrongLead { .. }) {
                    self.elections.refused = Some((term, joined));
                }
                ctx.alarm(wrong);
                // A relay that was restarted went by what most remember, and whoever missed a commit does not know whom it added:
                // alone with another memory there is no way on.
                return if settling || self.out_of_step { Err(EndReason::OutOfStep) } else { Ok(()) };
            }
        }
        let spoken = |last: Term| term.0.saturating_sub(last.0) <= DECLINED_TERMS;
        let behind = self.lease.is_behind() && self.spoken_in.is_some_and(spoken);
        self.lead = Some((term, joined));
        self.awaits_lead = false;
        self.end_reign(ctx);
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
        // Whoever missed a commit cannot build on it: the next is named, and gives this device what it lacks. One that the last
        // lead only spoke of is nobody's any more when nobody is left to have it.
        if me && (self.out_of_step || behind && self.has_next()) {
            return self.decline(ctx, term);
        }
        if me {
            self.begin_reign(ctx, term).map_err(EndReason::Internal)?;
        }
        self.say_again(ctx);
        Ok(())
    }

    /// Another leads. Who was silent stays on the list, or leads that change often enough would hide a leave for ever; and the
    /// application hears of removals that were not carried out.
    fn end_reign(&mut self, ctx: &mut Ctx<'_>) {
        let (Some(reign), Some(group)) = (self.reign.take(), &self.group) else { return };
        let (lasted, unheard) = (reign.lasted(ctx.now), &mut self.elections.unheard);
        *unheard = if group.epoch.term() < reign.term { *unheard + lasted } else { unheard.saturating_sub(lasted) };
        if *unheard >= STALL_TIME {
            *unheard = Duration::ZERO;
            ctx.alarm(SecurityEvent::CommitStalled { epoch: Epoch::first(reign.term) });
        }
        // A reign that was over before its first commit has not asked anybody: what was owed before it still is.
        self.elections.owing.extend(reign.owing(ctx.now));
        self.elections.owing.retain(|joined, _| group.roster.contains(*joined));
        for _ in reign.not_removed().filter(|joined| group.roster.contains(*joined)) {
            ctx.event(Event::CommandFailed(CommandError::NotLead));
        }
    }

    /// The relay names the reign of now again. One that this device declined it declines once more: the word may be lost.
    pub(super) fn go_on(&mut self, ctx: &mut Ctx<'_>) -> Result<(), EndReason> {
        self.confirm(ctx);
        match self.lead {
            Some((term, lead)) if lead == self.me.joined && self.reign.is_none() => self.decline(ctx, term),
            _ => Ok(()),
        }
    }

    fn decline(&self, ctx: &mut Ctx<'_>, term: Term) -> Result<(), EndReason> {
        ctx.send(Decline { term });
        if self.has_next() { Ok(()) } else { Err(EndReason::OutOfStep) }
    }

    /// Whether anybody else could lead.
    fn has_next(&self) -> bool {
        let others = |joined| joined != self.me.joined && self.claims.is_live(joined);
        self.group.as_ref().is_some_and(|group| group.roster.first(others).is_some())
    }
}
