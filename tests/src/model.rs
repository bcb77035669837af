//! What a call should look like, written as plainly as possible: who is here, who is committed, who must lead, which
//! epoch must come next. It sees the relay's events in their order and disagrees when they do not follow.

use conclave_shared::{
    id::{Epoch, Joined, Role, Sequence, Term},
    time::Timestamp,
    wire::{At, MemberClaim, ToClient, code::Code},
};
use std::collections::{BTreeMap, BTreeSet};

use crate::{PeerId, invariants::Violation};

/// One member as the relay's events tell of it.
#[derive(Clone, Copy, Debug)]
struct Member {
    role: Role,
    here: bool,
    away: bool,
    committed: bool,
}

/// The reference.
#[derive(Default)]
pub struct Model {
    /// The newest event taken in.
    seen: Option<At>,
    members: BTreeMap<Joined, Member>,
    /// To whom the relay gave each number.
    owners: BTreeMap<Joined, PeerId>,
    /// When each of those who are gone went, as the relay saw it.
    gone: BTreeMap<Joined, Timestamp>,
    lead: Option<(Term, Joined)>,
    term: u32,
    /// Of whom each has been told since the relay was started.
    known: BTreeMap<PeerId, BTreeSet<Joined>>,
    /// The relay was restarted and has not named a lead since: it goes by what the members brought.
    restarted: bool,
    /// Somebody has brought a seat to this relay.
    brought: bool,
    /// A lead of before the restart goes on, and nobody but itself knows how far it came.
    taken_up: bool,
    /// The newest epoch that the relay put in order.
    pub newest: Option<Epoch>,
    /// Commits that the relay put in order.
    pub commits: u64,
}

impl Model {
    /// Whether an event was not taken in yet.
    #[must_use]
    pub fn is_new(&self, at: At) -> bool {
        self.seen.is_none_or(|seen| seen.0 != at.0 || seen.1 < at.1)
    }

    /// Another life of the call begins with the next event: terms go on, nothing else does.
    pub fn begin(&mut self, next: At) {
        let here = std::mem::take(&mut self.members).into_iter().filter(|(_, member)| member.here);
        let members = here.map(|(joined, member)| (joined, Member { committed: false, ..member })).collect();
        let seen = Some(At(next.0, Sequence(next.1.0.saturating_sub(1))));
        *self = Self { seen, members, term: self.term, restarted: self.restarted, ..Self::default() };
    }

    /// The relay is another one, and knows nothing: who comes back says so.
    pub fn restart(&mut self) {
        self.members.values_mut().for_each(|member| member.here = false);
        self.lead = None;
        self.owners.clear();
        self.known.clear();
        (self.restarted, self.brought) = (true, false);
    }

    /// Somebody brought a seat: the relay goes by what the members say until it names a lead.
    pub fn restored(&mut self) {
        if !std::mem::replace(&mut self.brought, true) {
            // Whoever had begun a call of their own at the new relay gives way.
            self.members.clear();
            self.owners.clear();
            self.known.clear();
            (self.lead, self.newest, self.restarted) = (None, None, true);
        }
    }

    /// Takes in what the relay sent to anybody; an event that went to many counts once.
    ///
    /// # Errors
    /// A [`Violation`] when the event does not follow from what came before.
    pub fn observe(&mut self, now: Timestamp, to: PeerId, message: &ToClient) -> Result<(), Violation> {
        self.tell(to, message);
        if let ToClient::Welcome(welcome) = message {
            let own = welcome.members.iter().find(|member| member.joined == welcome.joined);
            let own = own.ok_or(Violation::Relay("a welcome without its own member"))?;
            self.came(own);
            self.owners.insert(welcome.joined, to);
            if self.is_new(welcome.at) {
                self.seen = Some(welcome.at);
            }
            // Who went or was committed while nobody else was there to be told.
            // Until it is clear whose call it is, members of one life of it are not told of those of another.
            let apart = self.restarted && self.brought && own.committed;
            let told = |joined: &Joined| !apart || welcome.members.iter().any(|claim| claim.joined == *joined);
            for (joined, member) in self.members.iter_mut().filter(|(joined, _)| told(joined)) {
                let claim = welcome.members.iter().find(|claim| claim.joined == *joined);
                member.away = claim.is_some_and(|claim| claim.away.is_some());
                // A first commit has nobody to be told of it.
                member.committed |= claim.is_some_and(|claim| claim.present && claim.committed);
                if member.here && !claim.is_some_and(|claim| claim.present) {
                    member.here = false;
                    self.gone.insert(*joined, now);
                }
            }
            if welcome.lead.is_none() {
                // A lead that dropped while nobody else was there.
                self.lead = None;
            }
            self.dethrone();
            return Ok(());
        }
        if matches!(message, ToClient::Error(refusal) if refusal.code == Code::LostSeat) {
            self.turned_out(now, to);
        }
        let Some(at) = at(message).filter(|at| self.is_new(*at)) else { return Ok(()) };
        self.seen = Some(at);
        match message {
            ToClient::Joined(event) => self.came(&event.member),
            ToClient::Left(event) => {
                self.gone.insert(event.joined, now);
                if let Some(member) = self.members.get_mut(&event.joined) {
                    member.here = false;
                }
            }
            ToClient::Away(event) => self.set_away(event.joined, true),
            ToClient::Back(event) => self.set_away(event.joined, false),
            ToClient::Lead(event) => return self.leads(event.term, event.joined, event.genesis),
            ToClient::Commit(event) => return self.committed(event.from, event.epoch, &event.add, &event.remove),
            ToClient::Challenge(_)
            | ToClient::Resumed(_)
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

    /// Whom somebody knows to be here.
    fn tell(&mut self, to: PeerId, message: &ToClient) {
        if let ToClient::Welcome(welcome) = message {
            self.known.insert(to, welcome.members.iter().map(|claim| claim.joined).collect());
        } else if let ToClient::Joined(event) = message {
            self.known.entry(to).or_default().insert(event.member.joined);
        }
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

    /// Somebody's seat is not theirs any more, or they said that they leave. Those of another life were never told of them.
    pub fn turned_out(&mut self, now: Timestamp, whom: PeerId) {
        for (joined, _) in self.owners.iter().filter(|(_, owner)| **owner == whom) {
            if let Some(member) = self.members.get_mut(joined).filter(|member| member.here) {
                member.here = false;
                self.gone.insert(*joined, now);
            }
        }
        self.dethrone();
    }

    fn came(&mut self, claim: &MemberClaim) {
        let (role, committed, away) = (claim.role, claim.committed, claim.away.is_some());
        let new = Member { role, here: true, away, committed };
        let member = self.members.entry(claim.joined).or_insert(new);
        if !member.here {
            // A relay that was restarted may give out a number again that nobody there has heard of.
            *member = new;
        }
        member.away = away;
        member.committed |= committed;
        self.gone.remove(&claim.joined);
    }

    fn set_away(&mut self, joined: Joined, away: bool) {
        if let Some(member) = self.members.get_mut(&joined) {
            member.away = away;
        }
        self.dethrone();
    }

    /// A lead that is away leads no more, even if it is back before another is named.
    fn dethrone(&mut self) {
        let leads = |member: &Member| member.here && !member.away;
        self.lead = self.lead.filter(|(_, lead)| self.members.get(lead).is_some_and(leads));
    }

    /// The lead is the first committed member that is here and not away: bots first, then by order of joining. Only when
    /// nobody who is committed has a seat does another life of the call begin, with the first to come.
    fn leads(&mut self, term: Term, joined: Joined, genesis: bool) -> Result<(), Violation> {
        let restarted = std::mem::take(&mut self.restarted);
        let known = self.owners.get(&joined).and_then(|owner| self.known.get(owner)).filter(|_| restarted);
        if let Some(known) = known {
            // Those of another life are turned out, and nobody else ever heard of them. Who came to this relay itself, while that
            // member was cut off, is no such one.
            let others = self.members.iter_mut().filter(|(joined, member)| member.committed && !known.contains(joined));
            others.for_each(|(_, member)| member.here = false);
        }
        if self.lead.is_some_and(|(_, lead)| self.members.get(&lead).is_some_and(|member| member.here)) {
            return Err(Violation::Relay("it took the lead from a member that is here"));
        }
        let here = || self.members.iter().filter(|(_, member)| member.here && !member.away);
        let committed = here().filter(|(_, member)| member.committed);
        let first =
            committed.min_by_key(|(joined, member)| (member.role, **joined)).map(|(joined, _)| (*joined, false));
        let kept = self.members.values().any(|member| member.here && member.committed);
        let waiting = || here().next().map(|(joined, _)| (*joined, true)).filter(|_| !kept);
        let expected = first.or_else(waiting);
        // After a restart the lead of before goes on where it can, whatever its place in the order.
        let goes_on = restarted && self.members.get(&joined).is_some_and(|member| member.here && member.committed);
        if expected != Some((joined, genesis)) && !goes_on {
            return Err(Violation::WrongLead { expected: expected.map(|(joined, _)| joined), named: joined });
        }
        // A lead that was named while nobody was connected was seen by nobody.
        if term.0 <= self.term && !restarted {
            return Err(Violation::Relay("a term was repeated"));
        }
        if genesis {
            self.members.retain(|_, member| member.here);
        }
        self.taken_up = restarted && !genesis;
        self.term = term.0;
        self.lead = Some((term, joined));
        Ok(())
    }

    fn committed(&mut self, from: Joined, epoch: Epoch, add: &[Joined], remove: &[Joined]) -> Result<(), Violation> {
        let follows = match self.newest {
            _ if std::mem::take(&mut self.taken_up) => true,
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
