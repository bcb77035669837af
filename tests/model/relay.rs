//! The relay: the real rules of who is named and which commit is sequenced, over symbols.

use conclave_server::call::{Last, Standing, successor};
use conclave_shared::id::{Epoch, Term};

use crate::{
    member::{Accepted, Claims, Event, Life, Said},
    state::State,
    symbols::{Commit, CommitId, Rosters, Set, Who},
};

/// Who leads, and the count of the last commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reigning {
    pub(crate) term: Term,
    pub(crate) who: Who,
    pub(crate) last: Option<u32>,
}

/// What the relay knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Relay {
    /// Those that it has not forgotten; of them, those that have a seat, cannot lead, are committed.
    pub(crate) members: Claims,
    /// Of those who cannot lead: a lead that said nothing for too long.
    pub(crate) silent: Set,
    /// Of those who cannot lead: a lead that declined.
    pub(crate) declined: Set,
    pub(crate) reign: Option<Reigning>,
    pub(crate) term: Term,
}

impl Default for Relay {
    fn default() -> Self {
        let (members, none) = (Claims::default(), Set::default());
        Self { members, silent: none, declined: none, reign: None, term: Term(0) }
    }
}

impl State {
    /// Somebody takes a seat.
    pub(crate) fn join(&mut self, rosters: &Rosters, who: Who) {
        let relay = &mut self.relay;
        relay.members.known.set(who, true);
        relay.members.present.set(who, true);
        let lead = relay.reign.map(|reign| (reign.term, reign.who));
        let claims = relay.members;
        let member = &mut self.members[who.index()];
        (member.life, member.claims, member.lead) = (Life::Here, claims, lead);
        member.accepted.extend(lead.map(|(term, lead)| Accepted { term, lead, by: None }));
        self.tell(Event::Joined(who), Some(who));
        self.ensure_lead(rosters);
    }

    /// What somebody said comes to the relay. False when the relay must be a lying one to do as it is told.
    pub(crate) fn take(&mut self, rosters: &Rosters, from: Who, said: Said, forced: bool) {
        match said {
            Said::Commit(id) if forced || self.sequences(from, id) => self.commit(rosters, id),
            Said::Commit(id) => {
                let term = self.made[usize::from(id.0)].epoch.term();
                let passed = self.relay.reign.is_some_and(|reign| term < reign.term);
                self.tell_one(from, Event::Refused { passed });
            }
            Said::Request { to, held } => self.tell_one(to, Event::Request { from, held }),
            Said::Regrant { to, newest } => self.tell_one(to, Event::Regrant { from, newest }),
            Said::Decline(term) => {
                if self.relay.reign.is_some_and(|reign| reign.who == from && reign.term == term) {
                    self.relay.declined.set(from, true);
                    self.away(rosters, from);
                }
            }
            Said::Ack if self.relay.declined.has(from) => {
                self.relay.declined.set(from, false);
                self.back(rosters, from);
            }
            Said::Ack => {}
        }
        self.hear(rosters, from);
    }

    /// Whoever says anything is not silent.
    pub(crate) fn hear(&mut self, rosters: &Rosters, from: Who) {
        if self.relay.silent.has(from) {
            self.relay.silent.set(from, false);
            self.back(rosters, from);
        }
    }

    fn sequences(&self, from: Who, id: CommitId) -> bool {
        let Commit { epoch: Epoch(term, count), add, remove, stranded, .. } = self.made[usize::from(id.0)];
        let named = add.or(remove).or(stranded);
        self.relay.reign.is_some_and(|reign| {
            let last = reign.last.map_or(Last::None, Last::Count);
            reign.who == from && reign.term == term && last.is_followed_by(count)
        }) && named.but(self.relay.members.known).is_empty()
    }

    fn commit(&mut self, rosters: &Rosters, id: CommitId) {
        let Commit { epoch, add, remove, stranded, .. } = self.made[usize::from(id.0)];
        let claims = self.relay.members;
        let crossed = add.and(claims.known).but(claims.present).but(claims.committed);
        crossed.iter().for_each(|who| self.tell(Event::Joined(who), None));
        self.tell(Event::Commit(id), None);
        if let Some(reign) = self.relay.reign.as_mut().filter(|reign| reign.term == epoch.term()) {
            reign.last = Some(epoch.count());
        }
        self.relay.members.committed = self.relay.members.committed.or(add.and(self.relay.members.known));
        let waiting = self.relay.members.present.but(self.relay.members.committed);
        let passed = waiting.iter().filter(|who| Some(*who) < add.highest());
        let passed: Vec<_> = passed.collect();
        crossed.iter().for_each(|who| self.tell(Event::Left(who), None));
        for who in remove.or(stranded).iter() {
            self.depart(who);
            self.relay.members.known.set(who, false);
            self.relay.members.committed.set(who, false);
        }
        for who in passed {
            // Its session ends with the connection.
            self.close(who);
            self.depart(who);
        }
        self.ensure_lead(rosters);
    }

    fn close(&mut self, who: Who) {
        let member = &mut self.members[who.index()];
        member.end();
        member.life = Life::Gone;
    }

    /// A connection dropped, or a lead is silent, or it declined: the seat stays, the lead does not.
    pub(crate) fn away(&mut self, rosters: &Rosters, who: Who) {
        self.relay.members.away.set(who, true);
        self.dethrone(who);
        self.tell(Event::Away(who), None);
        self.ensure_lead(rosters);
    }

    /// It is back.
    pub(crate) fn back(&mut self, rosters: &Rosters, who: Who) {
        self.relay.members.away.set(who, false);
        self.tell(Event::Back(who), None);
        self.ensure_lead(rosters);
    }

    /// Somebody is gone for good.
    pub(crate) fn depart(&mut self, who: Who) {
        if self.relay.members.present.has(who) {
            self.relay.members.present.set(who, false);
            self.relay.members.away.set(who, false);
            self.relay.silent.set(who, false);
            self.relay.declined.set(who, false);
            self.dethrone(who);
            self.tell(Event::Left(who), None);
        }
    }

    fn dethrone(&mut self, who: Who) {
        if self.relay.reign.is_some_and(|reign| reign.who == who) {
            self.relay.reign = None;
        }
    }

    /// Names a lead if there is none, by the relay's own rule.
    pub(crate) fn ensure_lead(&mut self, rosters: &Rosters) {
        let Claims { known, present, away, committed } = self.relay.members;
        if self.relay.reign.is_some() {
            return;
        }
        let standings = known.iter().map(|who| Standing {
            joined: who.joined(),
            role: rosters.role(who),
            committed: committed.has(who),
            present: present.has(who),
            fit: present.has(who) && !away.has(who),
        });
        let Some((joined, genesis)) = successor(standings) else { return };
        if genesis {
            self.relay.members.known = known.and(present);
            self.relay.members.committed = committed.and(present);
        }
        self.relay.term.0 += 1;
        let (term, who) = (self.relay.term, Who::of(joined));
        self.relay.reign = Some(Reigning { term, who, last: None });
        self.tell(Event::Lead { term, who, genesis }, None);
    }

    fn tell(&mut self, event: Event, but: Option<Who>) {
        for who in self.relay.members.present.iter().filter(|who| Some(*who) != but) {
            self.tell_one(who, event);
        }
    }

    /// Nobody reads what is sent to those who are no more.
    fn tell_one(&mut self, who: Who, event: Event) {
        let member = &mut self.members[who.index()];
        if matches!(member.life, Life::Here | Life::Down) && self.relay.members.present.has(who) {
            member.down.push_back(event);
        }
    }
}
