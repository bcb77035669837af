//! The lead moves the call to its next epoch.

use conclave_shared::{
    id::{Epoch, Joined},
    planted,
    wire::{Commit, Committed, LeftReason, MemberJoined, ToClient, code::Code, encode},
};

use super::{
    Call, Refused, Step,
    lead::Last,
    member::{Member, Presence},
};

impl Call {
    /// Every present member gets the common part, encoded once, with its own grant and nobody else's.
    pub(super) fn commit(&mut self, step: &mut Step, from: Joined, commit: Commit) -> Result<(), Refused> {
        self.check_commit(from, &commit)?;
        let Commit { epoch, add, remove, lost, broadcast, grants } = commit;
        let crossed = self.announce_crossed(step, &add);
        let at = self.next_at();
        let event = Committed {
            at,
            from,
            epoch,
            add: add.clone(),
            remove: remove.clone(),
            lost: lost.clone(),
            broadcast,
            grant: None,
        };
        self.tell_each(step, &encode(&ToClient::from(event)), &grants);

        if let Some(reign) = &mut self.reign {
            reign.last = Last::Count(epoch.count());
        }
        if !add.is_empty() {
            self.origin.added();
        }
        for joined in &add {
            if let Some(member) = self.members.get_mut(joined) {
                member.committed = true;
            }
        }
        let passed = self.passed_by(&add);
        for (joined, reason) in crossed {
            self.tell_left(step, joined, reason);
        }
        for joined in remove {
            let code = if lost.contains(&joined) { Code::LostSeat } else { Code::Removed };
            self.remove(step, joined, code);
        }
        for joined in passed {
            if let Some(connection) = self.members.get(&joined).and_then(Member::connection) {
                step.close(connection, Code::LostSeat);
            }
            self.depart(step, joined, LeftReason::Closed);
        }
        self.ensure_lead(step);
        Ok(())
    }

    /// Rosters grow by order of joining: whoever waits with a lower number than one that came in can only join again.
    fn passed_by(&self, add: &[Joined]) -> Vec<Joined> {
        let highest = add.iter().max();
        let waiting = self.members.values().filter(|member| !member.committed && member.is_present());
        waiting.map(|member| member.joined).filter(|joined| Some(joined) < highest).collect()
    }

    fn check_commit(&self, from: Joined, commit: &Commit) -> Result<(), Refused> {
        let Epoch(term, count) = commit.epoch;
        if self.reign.as_ref().is_some_and(|reign| term < reign.term) {
            if planted!(AcceptPassedTerm) {
                return Ok(());
            }
            return Err(Refused::plain(Code::PassedTerm));
        }
        let reign = self.require_lead(from)?;
        if term != reign.term || !reign.last.is_followed_by(count) {
            return Err(Refused::because(Code::OutOfOrder, &format_args!("epoch {}", commit.epoch)));
        }
        // A roster may hold members of before a restart that have not come back.
        let known = |joined: &Joined| self.members.contains_key(joined) || self.origin.is_of_before(*joined);
        let mut named = commit.add.iter().chain(&commit.remove);
        named.find(|joined| !known(joined)).map_or(Ok(()), |joined| {
            // Its lead knows by this code that the commit as a whole is refused.
            Err(Refused::because(Code::OutOfOrder, &format_args!("member {joined} is not in the call")))
        })
    }

    /// A commit that adds somebody who has just gone crossed with their `left`. Those that were told have forgotten them,
    /// those that came since never knew them: all are told again, so that all can check the commit, and then once more
    /// that they are gone.
    fn announce_crossed(&mut self, step: &mut Step, add: &[Joined]) -> Vec<(Joined, LeftReason)> {
        let crossed: Vec<_> = add
            .iter()
            .filter_map(|joined| self.members.get(joined))
            .filter_map(|member| match member.presence {
                Presence::Gone { reason, .. } if !member.committed => Some((member.claim(), reason)),
                Presence::Gone { .. } | Presence::Here(_) | Presence::Unfit(..) | Presence::Dropped { .. } => None,
            })
            .collect();
        let told = crossed.into_iter().map(|(member, reason)| {
            let (at, joined) = (self.next_at(), member.joined);
            self.tell_all(step, &MemberJoined { at, member }.into());
            (joined, reason)
        });
        told.collect()
    }

    /// Takes a member out of the committed ones, and off its connection or its seat if it has one still.
    fn remove(&mut self, step: &mut Step, joined: Joined, code: Code) {
        if let Some(member) = self.members.get(&joined).filter(|member| member.is_present()) {
            if code == Code::Removed && member.connection().is_none() {
                self.expelled.add(member, step.now, self.config.members);
            }
            self.tell_left(step, joined, LeftReason::Removed);
            if let Some(connection) = self.end(step.now, joined, LeftReason::Removed).flatten() {
                step.close(connection, code);
            }
        }
        self.members.remove(&joined);
        self.origin.removed(joined);
    }
}
