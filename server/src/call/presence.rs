//! Who is here: sockets that drop, members that come back, and members that are gone for good.

use conclave_shared::{
    id::{Ed25519Key, Joined, Term},
    time::Timestamp,
    wire::{AwayReason, LeftReason, MemberAway, MemberBack},
};

use super::{
    Call, ConnectionId, Step,
    member::{Member, Presence, Unfit},
};

impl Call {
    /// Whatever only time brings about: a call that has settled, seats whose time of grace is over, and things that nobody needs any more.
    pub(super) fn pass_time(&mut self, step: &mut Step) {
        self.settle(step);
        let over: Vec<Joined> = self
            .members
            .values()
            .filter(|member| member.grace_ends().is_some_and(|at| at <= step.now))
            .map(|member| member.joined)
            .collect();
        for joined in over {
            self.depart(step, joined, LeftReason::Closed);
        }
        self.members.retain(|_, member| member.forget_at().is_none_or(|at| at > step.now));
        self.expelled.expire(step.now);
        self.log.expire(step.now);
    }

    /// A socket is gone. Its member keeps the seat for the time of grace; a lead loses the lead at once.
    pub(super) fn lose(&mut self, step: &mut Step, connection: ConnectionId) {
        let Some(joined) = self.connections.remove(&connection) else {
            return;
        };
        if let Some(member) = self.members.get_mut(&joined) {
            member.presence = Presence::Dropped { since: step.now };
        }
        self.dethrone(joined);
        self.tell_away(step, joined, AwayReason::Dropped);
        self.ensure_lead(step);
    }

    /// A member is gone for good: tells the others, and names another lead if it was the lead.
    pub(super) fn depart(&mut self, step: &mut Step, joined: Joined, reason: LeftReason) {
        if self.end(step.now, joined, reason).is_some() {
            self.tell_left(step, joined, reason);
            self.ensure_lead(step);
        }
    }

    /// Ends a membership and gives the connection that it had, if any. The member stays known as long as it is committed,
    /// or a commit under way may still add it.
    pub(super) fn end(&mut self, now: Timestamp, joined: Joined, reason: LeftReason) -> Option<Option<ConnectionId>> {
        let member = self.members.get_mut(&joined).filter(|member| member.is_present())?;
        let connection = member.connection();
        member.presence = Presence::Gone { since: now, reason };
        if let Some(connection) = connection {
            self.connections.remove(&connection);
        }
        self.dethrone(joined);
        Some(connection)
    }

    fn dethrone(&mut self, joined: Joined) {
        if self.reign.as_ref().is_some_and(|reign| reign.joined == joined) {
            self.reign = None;
        }
    }

    /// The lead of this term cannot lead: the next is named. Said by anybody else, or too late, it means nothing.
    pub(super) fn decline(&mut self, step: &mut Step, from: Joined, term: Term) {
        if self.reign.as_ref().is_some_and(|reign| reign.joined == from && reign.term == term) {
            self.step_down(step, from, Unfit::Declined);
        }
    }

    /// The lead is connected and does not lead any more.
    pub(super) fn step_down(&mut self, step: &mut Step, lead: Joined, why: Unfit) {
        self.sit_back(step, lead, why);
        self.ensure_lead(step);
    }

    /// A member is connected and may not lead for now.
    pub(super) fn sit_back(&mut self, step: &mut Step, joined: Joined, why: Unfit) {
        let Some(member) = self.members.get_mut(&joined) else {
            return;
        };
        let Presence::Here(connection) = member.presence else {
            return;
        };
        member.presence = Presence::Unfit(connection, why);
        self.dethrone(joined);
        self.tell_away(step, joined, why.reason());
    }

    /// Somebody who was unfit to lead for this reason is fit again.
    pub(super) fn fit_again(&mut self, step: &mut Step, joined: Joined, was: Unfit) {
        let Some(member) = self.members.get_mut(&joined) else {
            return;
        };
        if let Presence::Unfit(connection, why) = member.presence
            && why == was
        {
            member.presence = Presence::Here(connection);
            self.tell_back(step, joined);
            self.ensure_lead(step);
        }
    }

    pub(super) fn tell_back(&mut self, step: &mut Step, joined: Joined) {
        let at = self.next_at();
        self.tell_of(step, joined, &MemberBack { at, joined }.into());
    }

    fn tell_away(&mut self, step: &mut Step, joined: Joined, reason: AwayReason) {
        let at = self.next_at();
        self.tell_of(step, joined, &MemberAway { at, joined, reason }.into());
    }

    /// The present member of this device.
    pub(super) fn of_device(&self, device: Ed25519Key) -> Option<&Member> {
        self.members.values().find(|member| member.is_present() && member.ed25519 == device)
    }
}
