//! Taking a seat again after the connection dropped, at a relay that still holds it or at one that knows nothing.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Profile,
    call::{Call, Ctx},
    error::InternalError,
    line::Stage,
    output::{EndReason, Event, Link, Output},
};
use crate::{
    id::{Joined, Sequence},
    identity::device::Device,
    limits,
    time::Timestamp,
    wire::{
        Challenge, Keys, Restore, Resume, Resumed, ToRelay, Welcome,
        code::Code,
        sealed::{Added, Cause},
        signed::{Held, keys_bytes, resume_bytes},
    },
};

/// The relay does not hold the seat any more: the device joins afresh.
const LOST: EndReason = EndReason::Closed(Code::LostSeat);
/// Order numbers beyond the committed ones that a relay is believed to have given out: each restart leaves out a full call of
/// them, and several may follow each other before anybody new is committed.
const MADE_UP: u64 = 8 * limits::MEMBERS as u64;

/// Answers the challenge of a new connection with the seat that the device has.
pub(super) fn answer(
    call: &mut Call,
    (device, profile): (&mut Device, &Profile),
    challenge: &Challenge,
    out: &mut Vec<Output>,
) -> Result<(), EndReason> {
    if call.line.stage() != Stage::Down {
        return Ok(());
    }
    let message: ToRelay = if challenge.relay == call.relay() {
        call.line.set(Stage::Resuming);
        resume(call, device, challenge).into()
    } else {
        let restore = restore(call, device, (profile, challenge))?;
        call.line.set(Stage::Restoring);
        out.push(Output::Persist(device.pickle()));
        Box::new(restore).into()
    };
    out.push(Output::Send(message));
    Ok(())
}

fn resume(call: &Call, device: &Device, challenge: &Challenge) -> Resume {
    let join = call.me.end.join;
    let signature = device.sign(&resume_bytes(&call.name, &challenge.nonce, &join, None));
    Resume { version: limits::VERSION, call: call.name.clone(), join, after: call.at(), signature }
}

/// Only a device that holds a roster has anything to bring.
fn restore(
    call: &Call,
    device: &mut Device,
    (profile, challenge): (&Profile, &Challenge),
) -> Result<Restore, EndReason> {
    let (Some(group), Some((term, lead))) = (&call.group, call.lead) else { return Err(LOST) };
    let own = group.roster.get(call.me.joined).ok_or(LOST)?;
    let (card, proof) = call.claims.get(call.me.joined).ok_or(LOST)?.signed();
    let (card, proof) = (card.clone(), proof.clone());
    // Numbers of those whom nobody committed are taken as well: everybody knows a device by them. No relay makes up more
    // than a few restarts leave out.
    let committed = group.roster.highest().unwrap_or(call.me.joined);
    let announced = call.claims.highest().unwrap_or(committed).min(Joined(committed.0.saturating_add(MADE_UP)));
    let highest = committed.max(announced);
    let Added { seat, joined, role, .. } = own.added;
    let held = Held { instance: group.instance, term, lead, seat, joined, highest, role };
    let join = call.me.end.join;
    let keys = device.new_keys();
    let hash = keys.hash().map_err(|_| EndReason::Internal(InternalError::Crypto))?;
    let keys = Keys { signature: device.sign(&keys_bytes(&call.name, &join, &hash)), keys };
    let signature = device.sign(&resume_bytes(&call.name, &challenge.nonce, &join, Some(&held)));
    let (version, call, token) = (limits::VERSION, call.name.clone(), profile.token.clone());
    Ok(Restore { version, call, token, card, proof, held, keys, signature })
}

/// The connection is gone, and the seat is kept: another is wanted.
pub(super) fn disconnected(call: &mut Call, now: Timestamp, out: &mut Vec<Output>) {
    if call.line.is_up() {
        out.push(Output::Event(Event::Link(Link::Down)));
    }
    call.line.set(Stage::Down);
    call.lease.disconnected();
    call.unsaid.fall_silent(now);
    if let Some(reign) = &mut call.reign {
        // A lead whose connection drops has lost the lead, as far as it can know.
        reign.lost.get_or_insert(now);
    }
    out.push(Output::Connect);
}

impl Call {
    /// The relay has the seat: what it did not get is said again, and what was missed follows.
    pub(super) fn on_resumed(&mut self, ctx: &mut Ctx<'_>, resumed: Resumed) {
        if self.line.stage() != Stage::Resuming {
            return;
        }
        ctx.event(Event::Link(Link::Up));
        // Not by way of `Ctx::send`: the line counts these itself.
        self.missed_until = resumed.until;
        self.again = self.line.resume(resumed.received);
        self.up_since = ctx.now;
        self.take_back();
        self.line.recount(resumed.received, &self.again);
    }

    /// A relay that knew nothing has the seat: it lists who else came back so far.
    pub(super) fn on_restored(&mut self, ctx: &mut Ctx<'_>, welcome: Welcome) -> Result<(), EndReason> {
        let own = self.group.as_ref().and_then(|group| group.roster.get(self.me.joined)).map(|own| own.added.seat);
        if self.line.stage() != Stage::Restoring || welcome.joined != self.me.joined || Some(welcome.seat) != own {
            return Err(LOST);
        }
        self.set_at(welcome.at);
        self.missed_until = Sequence(0);
        self.again = self.line.restore();
        self.settled_at = Some(ctx.now);
        self.up_since = ctx.now;
        let mut listed = BTreeSet::new();
        let mut newcomers = Vec::new();
        for member in welcome.members {
            let (joined, waits) = (member.joined, member.present && !member.committed);
            let committed = self.group.as_ref().is_some_and(|group| group.roster.contains(joined));
            self.claims.make_way(&member);
            match self.claims.insert(ctx.now, member, committed) {
                Ok(_) => {
                    listed.insert(joined);
                    newcomers.extend(waits.then_some(joined));
                }
                // Somebody in another's place: the roster stands, whatever the relay was told.
                Err(event) => ctx.alarm(event),
            }
        }
        listed.insert(self.me.joined);
        self.claims.relist(ctx.now, &listed);
        ctx.event(Event::Link(Link::Up));
        self.await_absent(ctx.now + ctx.config.absent, ctx.now, &listed);
        newcomers.into_iter().for_each(|joined| self.arrived(ctx, joined, false));
        self.unsure = true;
        self.awaits_lead = welcome.lead.is_none();
        match welcome.lead {
            Some(named) if Some(named) != self.lead => Err(EndReason::OutOfStep),
            Some(_) => self.go_on(ctx),
            None => Ok(()),
        }?;
        self.catch_up(ctx);
        Ok(())
    }

    /// A lead gives those time who are not back yet, and everybody time to show themselves.
    fn await_absent(&mut self, until: Timestamp, now: Timestamp, listed: &BTreeSet<Joined>) {
        let Some(reign) = &mut self.reign else { return };
        // Whoever was not in yet comes again under another number.
        for joined in reign.waiting.iter().chain(&reign.stranded).copied().collect::<Vec<_>>() {
            if !listed.contains(&joined) {
                reign.depart(joined, Cause::Leave);
            }
        }
        let members = reign.tip.roster.iter().map(|entry| entry.added.joined);
        reign.absent = members.filter(|joined| !listed.contains(joined)).map(|joined| (joined, until)).collect();
        reign.extend_expected(until);
        reign.touch(now);
    }

    /// A relay that was restarted has just taken this seat, or has not named a lead since: it may be slow, or stand still.
    pub(super) fn is_settling(&self, ctx: &Ctx<'_>) -> bool {
        self.awaits_lead || self.settled_at.is_some_and(|since| ctx.now.since(since) < ctx.config.absent)
    }

    /// The relay has taken up the reign again: what it may not have passed on is sent once more.
    pub(super) fn confirm(&mut self, ctx: &mut Ctx<'_>) {
        let Some(reign) = self.reign.as_mut().filter(|reign| !reign.is_confirmed()) else { return };
        reign.taken_up();
        reign.touch(ctx.now);
        let again: Vec<_> = reign.staged.iter().map(|staged| Arc::clone(&staged.upload)).collect();
        again.into_iter().for_each(|commit| ctx.send(commit));
        if self.claims.named().any(|joined| !reign.tip.roster.contains(joined)) {
            reign.request_rotation();
        }
        self.say_again(ctx);
    }
}
