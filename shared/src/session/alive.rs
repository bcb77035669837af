//! Signs of life: beats of the lead, echoes of everybody else, and what their absence means.

use super::{
    call::{Call, Ctx},
    error::{InternalError, SecurityEvent},
    output::{Event, KeyMissing, KeyUpdate},
    timer::{Deadline, Timer},
};
use crate::{
    id::{Epoch, Joined, Transcript},
    limits,
    time::Timestamp,
    wire::{
        Ping, Suspect,
        sealed::{Alive, Beat, Cause},
    },
};
use std::time::Duration;

/// How long somebody is a newcomer: everybody shows them what they hold.
const NEWCOMER: Duration = Duration::from_secs(30);
/// An echo this much older than the newest beat says nothing about now: an `alive` and a bad network.
const STALE_ECHO: Duration = Duration::from_secs(15);
/// Places over which the members of a call spread their signs of life.
const SPREAD: u32 = 10;

impl Call {
    /// Shows that this device is there, and does what follows when others do not.
    pub(super) fn live(&mut self, ctx: &mut Ctx<'_>) -> Result<(), InternalError> {
        if self.line.is_up() {
            self.ping(ctx);
            self.send_beat(ctx)?;
            self.send_alive(ctx)?;
            self.watch_lead(ctx);
            let (now, up_since) = (ctx.now, self.up_since);
            if let Some(epoch) = self.reign.as_mut().and_then(|reign| reign.left_hanging(now, up_since)) {
                ctx.alarm(SecurityEvent::CommitStalled { epoch });
            }
        }
        self.turn_lease(ctx);
        Ok(())
    }

    /// A lead speaks to the relay every second: it is replaced soon after it stops.
    fn ping(&mut self, ctx: &mut Ctx<'_>) {
        let n = self.pings;
        if self.reign.as_mut().is_some_and(|reign| reign.pulse.ping(ctx.now, n)) {
            self.send_ping(ctx);
        }
    }

    fn send_ping(&mut self, ctx: &mut Ctx<'_>) {
        ctx.send(Ping { n: self.pings });
        // One a second: enough for 136 years.
        self.pings = self.pings.saturating_add(1);
    }

    fn send_beat(&mut self, ctx: &mut Ctx<'_>) -> Result<(), InternalError> {
        let Some(reign) = self.reign.as_mut().filter(|reign| reign.is_confirmed()) else { return Ok(()) };
        let due = reign.pulse.beat(ctx.now, ctx.config);
        let Some(group) = self.group.as_ref().filter(|_| due) else { return Ok(()) };
        let (epoch, transcript) = (group.epoch, group.transcript);
        if group.roster.len() < 2 || epoch.term() != reign.term {
            return Ok(());
        }
        let (at, heard) = (reign.pulse.at(ctx.now), reign.pulse.heard());
        let signed = self.sign(ctx, epoch, None, &Beat { transcript, at, heard }.into())?;
        ctx.send(signed);
        Ok(())
    }

    fn send_alive(&mut self, ctx: &mut Ctx<'_>) -> Result<(), InternalError> {
        let (Some(group), Some((_, lead)), None) = (&mut self.group, self.lead, &self.reign) else { return Ok(()) };
        if group.trail.next_alive > ctx.now {
            return Ok(());
        }
        let split = group.trail.shows(ctx.now, group.epoch);
        group.trail.next_alive = ctx.now + ctx.config.alive;
        let newcomer = ctx.now.since(group.trail.newcomer()) <= NEWCOMER;
        let to_all = newcomer || split || group.roster.len() <= limits::ALIVE_TO_ALL;
        let (epoch, transcript, beat) = (group.epoch, group.transcript, self.lease.newest());
        let signed = self.sign(ctx, epoch, (!to_all).then_some(lead), &Alive { transcript, beat }.into())?;
        ctx.send(signed);
        Ok(())
    }

    /// A member whose lead is silent finds out whose silence it is, and says so.
    fn watch_lead(&mut self, ctx: &mut Ctx<'_>) {
        let (Some(_), Some((term, lead)), None) = (&self.group, self.lead, &self.reign) else { return };
        let leave = self.oldest_leave();
        if self.lease.probe((ctx.now, self.pings), ctx.config, leave) {
            self.send_ping(ctx);
        }
        if self.claims.is_live(lead) && self.lease.suspect(ctx.now, ctx.config, leave) {
            ctx.send(Suspect { term });
        }
        if self.lease.tell(ctx.now, ctx.config) {
            ctx.alarm(SecurityEvent::LeadSilent { term });
        }
        if self.lease.is_over(ctx.now, ctx.config) {
            self.want(ctx.now, None, false);
        }
    }

    /// Stops sealing when the lease is over or the newest epoch is missing, and starts again.
    fn turn_lease(&mut self, ctx: &mut Ctx<'_>) {
        let Some(group) = &self.group else { return };
        if let Some(reign) = self.reign.as_mut().filter(|_| group.roster.len() < 2) {
            self.lease.hear(ctx.now);
            reign.pulse.hear(ctx.now, ctx.config);
        }
        match self.lease.turn(ctx.now, ctx.config) {
            Some(Some(reason)) => {
                ctx.keys(KeyUpdate::Pause);
                ctx.event(Event::Paused(reason));
            }
            Some(None) => {
                ctx.keys(KeyUpdate::Resume);
                ctx.event(Event::Resumed);
            }
            None => {}
        }
    }

    /// What is due, and when.
    pub(super) fn live_deadlines(&self, config: &super::config::Config) -> Vec<Deadline> {
        let Some(group) = &self.group else { return Vec::new() };
        let member = self.reign.is_none() && self.line.is_up();
        let mut deadlines = self.lease.deadlines(config, self.oldest_leave(), member);
        let hanging = self.reign.as_ref().filter(|_| self.line.is_up());
        deadlines.extend(hanging.and_then(|reign| reign.hanging_deadline(self.up_since)));
        if member && self.lead.is_some() {
            deadlines.push((group.trail.next_alive, Timer::Alive));
        }
        deadlines
    }

    /// When somebody left whom the lead still has to commit out, the longest ago.
    fn oldest_leave(&self) -> Option<Timestamp> {
        self.left.values().min().copied()
    }

    /// The lead is there.
    pub(super) fn on_beat(&mut self, ctx: &mut Ctx<'_>, from: Joined, epoch: Epoch, beat: Beat) {
        if !self.leads(ctx, from, epoch) {
            return;
        }
        self.lease.beat((ctx.now, ctx.config), beat.at, beat.heard);
        self.compare(ctx, from, epoch, beat.transcript);
        if self.group.as_ref().is_some_and(|group| (group.epoch, group.transcript) == (epoch, beat.transcript)) {
            self.unsure = false;
        }
        self.heard_of(ctx, epoch);
    }

    /// Whether a word of the lead comes from the lead.
    pub(super) fn leads(&mut self, ctx: &mut Ctx<'_>, from: Joined, epoch: Epoch) -> bool {
        let Some((term, lead)) = self.lead else { return false };
        if epoch.term() < term {
            // It crossed with a change of lead: the epoch of the new term is on its way.
            return false;
        }
        let leads = (term, lead) == (epoch.term(), from);
        if !leads {
            ctx.alarm(SecurityEvent::CommitByOther { from, epoch });
            self.show(ctx.now);
        }
        leads
    }

    /// The lead speaks of an epoch. Its commit stood before this in the relay's order: whoever lacks it, lacks it for good.
    pub(super) fn heard_of(&mut self, ctx: &mut Ctx<'_>, epoch: Epoch) {
        if self.group.as_ref().is_some_and(|group| group.epoch < epoch) {
            self.lease.fall_behind(ctx.now);
            self.spoken_in = Some(epoch.term());
            self.want(ctx.now, Some(KeyMissing::Withheld), false);
        }
    }

    /// Somebody is there, and holds this.
    pub(super) fn on_alive(&mut self, ctx: &mut Ctx<'_>, from: Joined, epoch: Epoch, alive: Alive) {
        self.compare(ctx, from, epoch, alive.transcript);
        let of_now = self.lead.is_some_and(|(term, _)| term == epoch.term());
        if of_now && u128::from(self.lease.newest().saturating_sub(alive.beat)) <= STALE_ECHO.as_millis() {
            // It echoes what is said now: whatever it owed when this device led, it is there.
            self.elections.owing.remove(&from);
        }
        let (Some(reign), Some(group)) = (&mut self.reign, &self.group) else { return };
        if reign.term != epoch.term() {
            return;
        }
        let now = reign.pulse.at(ctx.now);
        if u128::from(now.saturating_sub(alive.beat)) <= STALE_ECHO.as_millis() {
            self.lease.hear(ctx.now);
            reign.heard(from);
        }
        let me = self.me.joined;
        let others = group.roster.iter().map(|entry| entry.added.joined);
        let others: Vec<_> = others.filter(|joined| *joined != me && reign.stays(*joined)).collect();
        for hidden in reign.pulse.echo((ctx.now, ctx.config), from, alive.beat, others.into_iter()) {
            reign.drop_silent(ctx.now, hidden, Cause::Leave);
        }
    }

    /// Two that hold an epoch hold it by the same history, or the call is split.
    fn compare(&mut self, ctx: &mut Ctx<'_>, from: Joined, epoch: Epoch, transcript: Transcript) {
        let own = self.group.as_ref().and_then(|group| group.trail.past.iter().find(|(past, _)| *past == epoch));
        match own {
            Some((_, own)) if *own == transcript => self.confirm_member(ctx, from),
            Some(_) => {
                ctx.alarm(SecurityEvent::Fork { from, epoch });
                self.show(ctx.now);
            }
            // An epoch that this device does not hold, or held too long ago: nothing to compare with.
            None => {}
        }
    }

    /// Somebody follows another history: theirs see this device at once.
    fn show(&mut self, now: Timestamp) {
        if let Some(group) = &mut self.group {
            group.trail.show(now, group.epoch);
        }
    }

    /// A member showed, in a way that no relay can make up, that it holds the call as this device does: told once.
    pub(super) fn confirm_member(&mut self, ctx: &mut Ctx<'_>, joined: Joined) {
        let Some(group) = &mut self.group else { return };
        if joined != self.me.joined && group.roster.contains(joined) && group.trail.confirmed.insert(joined) {
            ctx.event(Event::MemberConfirmed(joined));
        }
    }
}

/// When a member that holds its first epoch shows itself first: not all that came together at once.
pub(super) fn first_alive(now: Timestamp, joined: Joined, alive: Duration) -> Timestamp {
    let place = u32::try_from(joined.0 % u64::from(SPREAD)).unwrap_or_default();
    now + alive * place / SPREAD
}
