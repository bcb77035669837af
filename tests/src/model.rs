//! What a call should look like, written as plainly as possible: who is here, who is committed, who must lead, which
//! epoch must come next. It sees the relay's events in their order and disagrees when they do not follow.

use conclave_shared::{
    id::{Epoch, Joined, Role, Sequence, Term},
    time::Timestamp,
    wire::{At, ToClient},
};
use std::collections::BTreeMap;

use crate::invariants::Violation;

/// One member as the relay's events tell of it.
#[derive(Clone, Copy, Debug)]
struct Member {
    role: Role,
    here: bool,
    committed: bool,
}

/// The reference.
#[derive(Default)]
pub struct Model {
    /// The number of the newest event taken in.
    seen: u64,
    members: BTreeMap<Joined, Member>,
    /// When each of those who are gone went, as the relay saw it.
    gone: BTreeMap<Joined, Timestamp>,
    lead: Option<(Term, Joined)>,
    term: u32,
    /// The newest epoch that the relay put in order.
    pub newest: Option<Epoch>,
    /// Commits that the relay put in order.
    pub commits: u64,
}

impl Model {
    /// Takes in what the relay sent to anybody; an event that went to many counts once.
    ///
    /// # Errors
    /// A [`Violation`] when the event does not follow from what came before.
    pub fn observe(&mut self, now: Timestamp, message: &ToClient) -> Result<(), Violation> {
        if let ToClient::Welcome(welcome) = message {
            let role = welcome.members.iter().find(|member| member.joined == welcome.joined).map(|member| member.role);
            self.came(welcome.joined, role.ok_or(Violation::Relay("a welcome without its own member"))?);
            self.seen = self.seen.max(welcome.at.1.0);
            // Who went while nobody else was there to be told.
            for (joined, member) in &mut self.members {
                let present = welcome.members.iter().any(|claim| claim.joined == *joined && claim.present);
                if member.here && !present {
                    member.here = false;
                    self.gone.insert(*joined, now);
                }
            }
            return Ok(());
        }
        let Some(At(_, Sequence(number))) = at(message) else { return Ok(()) };
        if number <= self.seen {
            return Ok(());
        }
        self.seen = number;
        match message {
            ToClient::Joined(event) => self.came(event.member.joined, event.member.role),
            ToClient::Left(event) => {
                self.gone.insert(event.joined, now);
                if let Some(member) = self.members.get_mut(&event.joined) {
                    member.here = false;
                }
            }
            ToClient::Lead(event) => return self.leads(event.term, event.joined, event.genesis),
            ToClient::Commit(event) => return self.committed(event.from, event.epoch, &event.add, &event.remove),
            ToClient::Challenge(_)
            | ToClient::Resumed(_)
            | ToClient::Away(_)
            | ToClient::Back(_)
            | ToClient::Pong(_)
            | ToClient::Welcome(_)
            | ToClient::Ack(_)
            | ToClient::Olm(_)
            | ToClient::Body(_)
            | ToClient::Claimed(_)
            | ToClient::KeysLow(_)
            | ToClient::Error(_)
            | ToClient::Closing(_) => {}
        }
        Ok(())
    }

    /// Who is here, by order of joining.
    #[must_use]
    pub fn here(&self) -> Vec<Joined> {
        self.members.iter().filter(|(_, member)| member.here).map(|(joined, _)| *joined).collect()
    }

    /// Who leads.
    #[must_use]
    pub fn lead(&self) -> Option<Joined> {
        self.lead.map(|(_, joined)| joined)
    }

    /// When a member went, if it did.
    #[must_use]
    pub fn gone_since(&self, joined: Joined) -> Option<Timestamp> {
        self.gone.get(&joined).copied()
    }

    fn came(&mut self, joined: Joined, role: Role) {
        self.members.entry(joined).or_insert(Member { role, here: true, committed: false });
    }

    /// The lead is the first committed member that is here: bots first, then by order of joining. Only when nobody who
    /// is here is committed does another life of the call begin, with the first to come.
    fn leads(&mut self, term: Term, joined: Joined, genesis: bool) -> Result<(), Violation> {
        if let Some((_, lead)) = self.lead
            && self.members.get(&lead).is_some_and(|member| member.here)
        {
            return Err(Violation::Relay("it took the lead from a member that is here"));
        }
        let here = || self.members.iter().filter(|(_, member)| member.here);
        let committed = here().filter(|(_, member)| member.committed);
        let first =
            committed.min_by_key(|(joined, member)| (member.role, **joined)).map(|(joined, _)| (*joined, false));
        let expected = first.or_else(|| here().next().map(|(joined, _)| (*joined, true)));
        if expected != Some((joined, genesis)) {
            return Err(Violation::WrongLead { expected: expected.map(|(joined, _)| joined), named: joined });
        }
        if term.0 != self.term + 1 {
            return Err(Violation::Relay("a term was skipped or repeated"));
        }
        if genesis {
            self.members.retain(|_, member| member.here);
        }
        self.term = term.0;
        self.lead = Some((term, joined));
        Ok(())
    }

    fn committed(&mut self, from: Joined, epoch: Epoch, add: &[Joined], remove: &[Joined]) -> Result<(), Violation> {
        let follows = match self.newest {
            Some(newest) if newest.term() == epoch.term() => newest.next() == Some(epoch),
            _ => epoch.count() == 0,
        };
        if self.lead != Some((epoch.term(), from)) || !follows {
            return Err(Violation::EpochOrder { newest: self.newest, epoch });
        }
        self.newest = Some(epoch);
        self.commits += 1;
        for joined in remove {
            self.members.remove(joined);
        }
        for joined in add {
            if let Some(member) = self.members.get_mut(joined) {
                member.committed = true;
            }
        }
        Ok(())
    }
}

fn at(message: &ToClient) -> Option<At> {
    match message {
        ToClient::Joined(event) => Some(event.at),
        ToClient::Left(event) => Some(event.at),
        ToClient::Lead(event) => Some(event.at),
        ToClient::Commit(event) => Some(event.at),
        ToClient::Ack(event) => Some(event.at),
        ToClient::Olm(event) => Some(event.at),
        ToClient::Body(event) => Some(event.at),
        ToClient::Away(event) => Some(event.at),
        ToClient::Back(event) => Some(event.at),
        ToClient::Challenge(_)
        | ToClient::Resumed(_)
        | ToClient::Pong(_)
        | ToClient::Welcome(_)
        | ToClient::Claimed(_)
        | ToClient::KeysLow(_)
        | ToClient::Error(_)
        | ToClient::Closing(_) => None,
    }
}
