//! A call as a state that can be cloned and hashed, and everything that can happen to it.

use conclave_shared::id::Term;

use crate::{
    Fault,
    member::{Ctx, Event, Life, Member},
    relay::Relay,
    symbols::{Commit, Rosters, Set, Who},
};

/// What is bounded: kinds of things that happen and that no call has to see at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Leave,
    Crash,
    Drop,
    Depose,
    Rotate,
    Lose,
    Duplicate,
    Force,
    LieLead,
    LieGone,
}

/// All kinds, with a name for each.
pub(crate) const KINDS: [(Kind, &str); 10] = [
    (Kind::Leave, "leaves"),
    (Kind::Crash, "crashes"),
    (Kind::Drop, "dropped lines"),
    (Kind::Depose, "silent leads"),
    (Kind::Rotate, "rotations"),
    (Kind::Lose, "lost commits"),
    (Kind::Duplicate, "repeated events"),
    (Kind::Force, "commits sequenced out of turn"),
    (Kind::LieLead, "false leads"),
    (Kind::LieGone, "false absences"),
];

/// So many of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Counts([u8; KINDS.len()]);

impl Counts {
    /// None of any kind.
    pub(crate) const NONE: Self = Self([0; KINDS.len()]);

    pub(crate) const fn with(mut self, kind: Kind, count: u8) -> Self {
        self.0[kind as usize] = count;
        self
    }

    pub(crate) const fn of(&self, kind: Kind) -> u8 {
        self.0[kind as usize]
    }

    fn spend(&mut self, kind: Kind) {
        self.0[kind as usize] -= 1;
    }
}

/// A call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) members: Vec<Member>,
    pub(crate) relay: Relay,
    /// Every commit that anybody ever made.
    pub(crate) made: Vec<Commit>,
    /// What may still happen.
    pub(crate) left: Counts,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// The next one joins.
    Join(Who),
    /// Somebody leaves on purpose.
    Leave(Who),
    /// Somebody stops for good; the relay hears of it later.
    Crash(Who),
    /// The relay notices that a connection is gone.
    Notice(Who),
    /// The time is over in which a seat is kept.
    Expire(Who),
    /// A connection drops, and its member will come back.
    Drop(Who),
    /// It does.
    Back(Who),
    /// The relay holds a lead for silent.
    Depose(Who),
    /// A lead that was held for silent says something.
    Ping(Who),
    /// The lead makes a new session.
    Rotate(Who),
    /// A member takes in what comes next.
    Deliver(Who),
    /// The relay takes in what a member said.
    Take(Who),
    /// A member hears by a beat that there is a newer epoch.
    Beat(Who),
    /// A member asks again.
    Retry(Who),
    /// A member has asked in vain, and gives its seat up to join afresh.
    GiveUp(Who),
    /// A joiner did not show that it is there.
    Absent(Who),
    /// The relay keeps a commit from a member.
    Lose(Who),
    /// The relay says the same to a member a second time.
    Repeat(Who),
    /// The relay sequences a commit out of turn.
    Force(Who),
    /// The relay tells one member of a lead of its own choice.
    LieLead { to: Who, term: Term, who: Who, genesis: bool },
    /// The relay tells one member that another is away, or gone.
    LieGone { to: Who, who: Who, away: bool },
}

impl State {
    pub(crate) fn new(members: usize, left: Counts) -> Self {
        Self { members: vec![Member::default(); members], relay: Relay::default(), made: Vec::new(), left }
    }

    pub(crate) fn who(&self) -> impl Iterator<Item = (Who, &Member)> {
        self.members.iter().enumerate().map(|(place, member)| (Who(u8::try_from(place).expect("a handful")), member))
    }

    pub(crate) fn here(&self) -> Set {
        let mut here = Set::default();
        self.who().filter(|(_, member)| member.life == Life::Here).for_each(|(who, _)| here.set(who, true));
        here
    }

    /// Everything that can happen next, in this order.
    pub(crate) fn actions(&self, queue: usize, out: &mut Vec<Action>) {
        let full = self.members.iter().any(|member| member.down.len() >= queue);
        let may = |kind| self.left.of(kind) > 0;
        for (who, member) in self.who() {
            let here = member.life == Life::Here;
            let present = self.relay.members.present.has(who);
            if here && !member.down.is_empty() {
                out.push(Action::Deliver(who));
            }
            if !full {
                self.relayed(who, member, out);
            }
            if here && may(Kind::Rotate) && member.reign.as_ref().is_some_and(|reign| !reign.rotate && !reign.beginning)
            {
                out.push(Action::Rotate(who));
            }
            if here && may(Kind::Crash) {
                out.push(Action::Crash(who));
            }
            if here && present && may(Kind::Lose) && self.is_of_another(who, member.down.front()) {
                out.push(Action::Lose(who));
            }
            // What a member signed is numbered by itself: a relay can repeat only what is its own word, and commits.
            let signed = matches!(member.down.front(), None | Some(Event::Request { .. } | Event::Regrant { .. }));
            if here && may(Kind::Duplicate) && !signed {
                out.push(Action::Repeat(who));
            }
            if here {
                self.lies(who, member, out);
            }
        }
        if !full && let Some((who, _)) = self.who().find(|(_, member)| member.life == Life::Out) {
            out.push(Action::Join(who));
        }
        self.healing(out);
    }

    /// Whether this is a commit that somebody else made. A lead that never hears of its own is not modelled: it tells its
    /// application that the relay stalls.
    fn is_of_another(&self, who: Who, event: Option<&Event>) -> bool {
        matches!(event, Some(Event::Commit(id)) if self.made[usize::from(id.0)].from != who)
    }

    /// What makes the relay speak to everybody.
    fn relayed(&self, who: Who, member: &Member, out: &mut Vec<Action>) {
        let present = self.relay.members.present.has(who);
        let away = self.relay.members.away.has(who);
        let may = |kind| self.left.of(kind) > 0;
        match member.life {
            Life::Here => {
                if !member.up.is_empty() {
                    out.push(Action::Take(who));
                } else if self.relay.silent.has(who) {
                    out.push(Action::Ping(who));
                }
                if may(Kind::Force) && matches!(member.up.front(), Some(crate::member::Said::Commit(_))) {
                    out.push(Action::Force(who));
                }
                if may(Kind::Leave) {
                    out.push(Action::Leave(who));
                }
                if may(Kind::Drop) && present && !away {
                    out.push(Action::Drop(who));
                }
                // A silent lead stays when nobody else can be named.
                let lead = self.relay.reign.is_some_and(|reign| reign.who == who);
                let others = self.relay.members.present.and(self.relay.members.committed).but(self.relay.members.away);
                if may(Kind::Depose) && lead && !others.but(Set::only(who)).is_empty() {
                    out.push(Action::Depose(who));
                }
            }
            Life::Down => out.push(Action::Back(who)),
            Life::Ended if present && away => out.push(Action::Expire(who)),
            Life::Ended if present => out.push(Action::Notice(who)),
            Life::Ended | Life::Out | Life::Gone => {}
        }
    }

    fn lies(&self, to: Who, member: &Member, out: &mut Vec<Action>) {
        let known = member.claims.known;
        if self.left.of(Kind::LieLead) > 0 {
            let term = member.lead.map_or(0, |(term, _)| term.0);
            for (term, who) in
                (term.saturating_sub(1)..=term + 2).flat_map(|term| known.iter().map(move |who| (term, who)))
            {
                for genesis in [false, true] {
                    out.push(Action::LieLead { to, term: Term(term), who, genesis });
                }
            }
        }
        if self.left.of(Kind::LieGone) > 0 {
            for who in known.and(member.claims.present).iter() {
                out.extend([true, false].map(|away| Action::LieGone { to, who, away }));
            }
        }
    }

    /// What timers do once everything that was said has come.
    fn healing(&self, out: &mut Vec<Action>) {
        let Some(reign) = self.relay.reign else { return };
        let lead = &self.members[reign.who.index()];
        let quiet = |member: &Member| member.life == Life::Here && member.down.is_empty() && member.up.is_empty();
        let (Some(newest), Some(_), true) = (lead.held, &lead.reign, quiet(lead)) else { return };
        for (who, member) in self.who().filter(|(who, member)| *who != reign.who && quiet(member)) {
            match member.held {
                None if newest.roster.members.has(who) => out.push(Action::Absent(who)),
                Some(held) if held.epoch < newest.epoch && member.lead == Some((reign.term, reign.who)) => {
                    if !member.wanting {
                        out.push(Action::Beat(who));
                    } else {
                        out.push(if member.retried { Action::GiveUp(who) } else { Action::Retry(who) });
                    }
                }
                None | Some(_) => {}
            }
        }
    }

    /// Lets something happen.
    pub(crate) fn act(&mut self, rosters: &Rosters, fault: Option<Fault>, action: Action) {
        match action {
            Action::Join(who) => self.join(rosters, who),
            Action::Leave(who) => {
                self.left.spend(Kind::Leave);
                self.members[who.index()].end();
                self.members[who.index()].life = Life::Gone;
                self.depart(who);
                self.ensure_lead(rosters);
            }
            Action::Crash(who) => {
                self.left.spend(Kind::Crash);
                self.members[who.index()].end();
            }
            Action::GiveUp(who) => self.members[who.index()].end(),
            Action::Notice(who) => self.away(rosters, who),
            Action::Expire(who) => {
                self.members[who.index()].life = Life::Gone;
                self.depart(who);
                self.ensure_lead(rosters);
            }
            Action::Drop(who) => {
                self.left.spend(Kind::Drop);
                self.members[who.index()].life = Life::Down;
                self.away(rosters, who);
            }
            Action::Back(who) => {
                self.members[who.index()].life = Life::Here;
                self.relay.silent.set(who, false);
                self.back(rosters, who);
            }
            Action::Depose(who) => {
                self.left.spend(Kind::Depose);
                self.relay.silent.set(who, true);
                self.away(rosters, who);
            }
            Action::Ping(who) => self.hear(rosters, who),
            Action::Take(who) => self.take_next(rosters, who, false),
            Action::Force(who) => {
                self.left.spend(Kind::Force);
                self.take_next(rosters, who, true);
            }
            Action::Lose(who) => {
                self.left.spend(Kind::Lose);
                self.members[who.index()].down.pop_front();
            }
            Action::Absent(who) => {
                let lead = self.relay.reign.map(|reign| reign.who);
                self.of(rosters, fault, lead.unwrap_or(who), |member, _| {
                    member.reign.iter_mut().for_each(|reign| reign.depart(who));
                });
            }
            Action::Rotate(_)
            | Action::Deliver(_)
            | Action::Beat(_)
            | Action::Retry(_)
            | Action::Repeat(_)
            | Action::LieLead { .. }
            | Action::LieGone { .. } => self.concern(rosters, fault, action),
        }
    }

    /// What concerns one member alone.
    fn concern(&mut self, rosters: &Rosters, fault: Option<Fault>, action: Action) {
        match action {
            Action::Deliver(who) => {
                let event = self.members[who.index()].down.pop_front();
                self.tell_now(rosters, fault, who, event);
            }
            Action::Repeat(who) => {
                self.left.spend(Kind::Duplicate);
                let event = self.members[who.index()].down.front().copied();
                self.tell_now(rosters, fault, who, event);
            }
            Action::LieLead { to, term, who, genesis } => {
                self.left.spend(Kind::LieLead);
                self.tell_now(rosters, fault, to, Some(Event::Lead { term, who, genesis }));
            }
            Action::LieGone { to, who, away } => {
                self.left.spend(Kind::LieGone);
                let event = if away { Event::Away(who) } else { Event::Left(who) };
                self.tell_now(rosters, fault, to, Some(event));
            }
            Action::Beat(who) => self.of(rosters, fault, who, |member, _| member.wanting = true),
            Action::Retry(who) => {
                self.of(rosters, fault, who, |member, _| (member.asked, member.retried) = (false, true));
            }
            Action::Rotate(who) => {
                self.left.spend(Kind::Rotate);
                self.of(rosters, fault, who, |member, _| member.reign.iter_mut().for_each(|reign| reign.rotate = true));
            }
            _ => {}
        }
    }

    fn take_next(&mut self, rosters: &Rosters, who: Who, forced: bool) {
        if let Some(said) = self.members[who.index()].up.pop_front() {
            self.take(rosters, who, said, forced);
        }
    }

    fn tell_now(&mut self, rosters: &Rosters, fault: Option<Fault>, who: Who, event: Option<Event>) {
        self.of(rosters, fault, who, |member, ctx| event.into_iter().for_each(|event| member.receive(ctx, event)));
    }

    fn of(&mut self, rosters: &Rosters, fault: Option<Fault>, who: Who, act: impl FnOnce(&mut Member, &mut Ctx<'_>)) {
        let mut ctx = Ctx { me: who, rosters, fault, made: &mut self.made };
        let member = &mut self.members[who.index()];
        act(member, &mut ctx);
        member.go_on(&mut ctx);
    }
}
