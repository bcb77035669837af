//! A member: the real rules of a session, over symbols.

use conclave_shared::{
    id::{Epoch, Term},
    session::rules::{self, Named, Reigns, Stand, Step},
    wire::sealed::Cause,
};
use std::collections::VecDeque;

use crate::{
    Fault,
    symbols::{Commit, CommitId, Key, Roster, Rosters, Set, Transcript, Who, extend},
};

/// What the relay passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    Joined(Who),
    Left(Who),
    Away(Who),
    Back(Who),
    Lead {
        term: Term,
        who: Who,
        genesis: bool,
    },
    Commit(CommitId),
    /// A commit; `passed`: of a term that is over.
    Refused {
        passed: bool,
    },
    Request {
        from: Who,
        held: CommitId,
    },
    Regrant {
        from: Who,
        newest: CommitId,
    },
}

/// What a member says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Said {
    Commit(CommitId),
    Request { to: Who, held: CommitId },
    Regrant { to: Who, newest: CommitId },
    Decline(Term),
    Ack,
}

/// Where a member's life stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Life {
    #[default]
    Out,
    Here,
    /// Its connection is down for a while.
    Down,
    /// It is no more, and the relay has not heard of that.
    Ended,
    Gone,
}

/// What the relay says of who is here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Claims {
    pub(crate) known: Set,
    pub(crate) present: Set,
    pub(crate) away: Set,
    pub(crate) committed: Set,
}

impl Claims {
    pub(crate) fn live(&self, who: Who) -> bool {
        self.known.and(self.present).but(self.away).has(who)
    }

    fn commit(&mut self, add: Set, remove: Set) {
        self.known = self.known.but(remove);
        self.committed = self.committed.or(add).and(self.known);
    }
}

/// What a member holds once it has a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    pub(crate) commit: CommitId,
    pub(crate) epoch: Epoch,
    pub(crate) transcript: Transcript,
    pub(crate) roster: Roster,
    pub(crate) key: Key,
}

/// What a lead keeps in mind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reign {
    pub(crate) term: Term,
    /// The first commit is still to be made.
    pub(crate) beginning: bool,
    pub(crate) tip: Option<Held>,
    pub(crate) staged: VecDeque<CommitId>,
    pub(crate) waiting: Set,
    pub(crate) leaving: Set,
    pub(crate) stranded: Set,
    pub(crate) rotate: bool,
}

impl Reign {
    pub(crate) fn roster(&self) -> Roster {
        self.tip.map(|tip| tip.roster).unwrap_or_default()
    }

    fn arrive(&mut self, who: Who) {
        let Roster { members, highest } = self.roster();
        if members.has(who) {
            return;
        }
        let late = highest.is_some_and(|highest| who <= highest);
        if late { &mut self.stranded } else { &mut self.waiting }.set(who, true);
    }

    pub(crate) fn depart(&mut self, who: Who) {
        self.waiting.set(who, false);
        self.stranded.set(who, false);
        if self.roster().members.has(who) {
            self.leaving.set(who, true);
        }
    }
}

/// Something that a single step did and must not have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wrong {
    /// A term was skipped or fell.
    Term,
    /// An epoch was installed that the accepted lead did not make.
    Unlawful,
}

/// A lead that was accepted, with what it was judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Accepted {
    pub(crate) term: Term,
    pub(crate) lead: Who,
    /// The roster and who of it was live; `None` without a roster.
    pub(crate) by: Option<(Set, Set)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Member {
    pub(crate) life: Life,
    pub(crate) claims: Claims,
    pub(crate) lead: Option<(Term, Who)>,
    pub(crate) held: Option<Held>,
    pub(crate) reign: Option<Reign>,
    pub(crate) out_of_step: bool,
    pub(crate) declined: bool,
    pub(crate) wanting: bool,
    pub(crate) asked: bool,
    pub(crate) retried: bool,
    /// The earliest place of each session that it was ever given: what somebody who keeps everything can derive from.
    pub(crate) keys: Vec<Key>,
    pub(crate) accepted: Vec<Accepted>,
    pub(crate) down: VecDeque<Event>,
    pub(crate) up: VecDeque<Said>,
    pub(crate) wrong: Option<Wrong>,
}

/// What a step may use besides the member.
pub(crate) struct Ctx<'a> {
    pub(crate) me: Who,
    pub(crate) rosters: &'a Rosters,
    pub(crate) fault: Option<Fault>,
    pub(crate) made: &'a mut Vec<Commit>,
}

impl Ctx<'_> {
    fn commit(&self, id: CommitId) -> Commit {
        self.made[usize::from(id.0)]
    }
}

impl Member {
    /// Whether anything that it was given leads to a key.
    pub(crate) fn can_derive(&self, key: Key) -> bool {
        self.keys.iter().any(|kept| kept.session == key.session && kept.index <= key.index)
    }

    /// One event, and whatever it makes possible.
    pub(crate) fn receive(&mut self, ctx: &mut Ctx<'_>, event: Event) {
        match event {
            Event::Joined(who) => self.on_joined(ctx, who),
            Event::Left(who) => self.on_left(ctx, who),
            Event::Away(who) => self.claims.away = self.claims.away.or(Set::only(who).and(self.claims.present)),
            Event::Back(who) => self.claims.away.set(who, false),
            Event::Lead { term, who, genesis } => self.on_lead(ctx, term, who, genesis),
            Event::Commit(id) => self.on_commit(ctx, id),
            Event::Refused { passed: false } if self.reign.as_ref().is_some_and(|reign| !reign.staged.is_empty()) => {
                self.end()
            }
            Event::Refused { .. } => {}
            Event::Request { from, held } => self.on_request(ctx, from, held),
            Event::Regrant { from, newest } => self.on_regrant(ctx, from, newest),
        }
        self.go_on(ctx);
    }

    /// What has become possible.
    pub(crate) fn go_on(&mut self, ctx: &mut Ctx<'_>) {
        if self.life == Life::Here {
            self.reign_on(ctx);
            self.ask(ctx.me);
        }
    }

    pub(crate) fn end(&mut self) {
        self.life = Life::Ended;
        self.reign = None;
        self.wanting = false;
        self.up.clear();
        self.down.clear();
    }

    fn on_joined(&mut self, ctx: &Ctx<'_>, who: Who) {
        if who == ctx.me {
            return;
        }
        self.claims.known.set(who, true);
        self.claims.present.set(who, true);
        self.claims.away.set(who, false);
        if let Some(reign) = &mut self.reign {
            reign.arrive(who);
        }
    }

    fn on_left(&mut self, ctx: &Ctx<'_>, who: Who) {
        if who == ctx.me || !self.claims.known.and(self.claims.present).has(who) {
            return;
        }
        self.claims.present.set(who, false);
        if let Some(reign) = &mut self.reign {
            reign.depart(who);
        }
    }

    fn first(&self, ctx: &Ctx<'_>, roster: Roster) -> Option<Who> {
        if ctx.fault == Some(Fault::ByArrival) {
            let arrived = std::iter::once(ctx.me).chain(roster.members.but(Set::only(ctx.me)).iter());
            return arrived.into_iter().find(|who| self.claims.live(*who));
        }
        ctx.rosters.real(roster).first(|joined| self.claims.live(Who::of(joined))).map(Who::of)
    }

    fn judge(&self, ctx: &Ctx<'_>, named: Named) -> bool {
        let current = self.lead.map(|(term, who)| (term, who.joined()));
        let stand = match self.held {
            Some(held) => Stand::Roster { first: self.first(ctx, held.roster).map(Who::joined) },
            None => Stand::Newcomer { me: ctx.me.joined() },
        };
        let planted = ctx.fault == Some(Fault::AnyTerm)
            && current.is_some_and(|(term, _)| named.term > term)
            && stand == Stand::Roster { first: Some(named.joined) };
        planted || rules::accepts(current, named, stand) == Ok(Reigns::Anew)
    }

    fn on_lead(&mut self, ctx: &mut Ctx<'_>, term: Term, who: Who, genesis: bool) {
        if !self.judge(ctx, Named { term, joined: who.joined(), genesis }) {
            return;
        }
        let held = self.lead.map_or(0, |(term, _)| term.0);
        if term.0 <= held || (self.held.is_some() && term.0 != held + 1) {
            self.wrong = Some(Wrong::Term);
        }
        let live = self.claims.present.but(self.claims.away);
        let by = self.held.map(|held| (held.roster.members, held.roster.members.and(live)));
        self.accepted.push(Accepted { term, lead: who, by });
        self.lead = Some((term, who));
        self.reign = None;
        (self.asked, self.retried) = (false, false);
        if genesis {
            self.claims.known = self.claims.known.and(self.claims.present);
            self.claims.committed = Set::default();
        }
        if who != ctx.me {
            return;
        }
        if self.out_of_step {
            let mut others = self.claims;
            others.present.set(ctx.me, false);
            let roster = self.held.map(|held| held.roster).unwrap_or_default();
            let next = ctx.rosters.real(roster).first(|joined| others.live(Who::of(joined)));
            self.declined = true;
            self.up.push_back(Said::Decline(term));
            if next.is_none() {
                self.end();
            }
            return;
        }
        self.begin_reign(ctx, term);
    }

    fn begin_reign(&mut self, ctx: &Ctx<'_>, term: Term) {
        let none = Set::default();
        let (waiting, leaving, stranded) = (none, none, none);
        let (tip, staged) = (self.held, VecDeque::new());
        let mut reign = Reign { term, beginning: true, tip, staged, waiting, leaving, stranded, rotate: false };
        for who in self.claims.known.but(Set::only(ctx.me)).iter() {
            if self.claims.present.has(who) { reign.arrive(who) } else { reign.depart(who) }
        }
        reign.roster().members.but(self.claims.known).iter().for_each(|who| reign.depart(who));
        self.reign = Some(reign);
    }

    /// Commits whatever can be committed.
    fn reign_on(&mut self, ctx: &mut Ctx<'_>) {
        while let Some((cause, add, remove)) = self.plan(ctx) {
            self.stage(ctx, cause, add, remove);
        }
    }

    fn plan(&self, ctx: &Ctx<'_>) -> Option<(Cause, Set, Set)> {
        let reign = self.reign.as_ref()?;
        if reign.beginning {
            return match reign.tip {
                None => Some((Cause::Start, Set::only(ctx.me), Set::default())),
                Some(_) => Some((Cause::LeadChange, Set::default(), reign.leaving)),
            };
        }
        let most = if reign.leaving.is_empty() { 1 } else { conclave_shared::limits::PENDING_EPOCHS };
        if reign.staged.len() >= most {
            return None;
        }
        let removal = (!reign.leaving.is_empty()).then_some(Cause::Leave);
        let cause = rules::cause(removal, reign.rotate.then_some(Cause::Timer), !reign.waiting.is_empty())?;
        Some((cause, reign.waiting, reign.leaving))
    }

    fn stage(&mut self, ctx: &mut Ctx<'_>, cause: Cause, add: Set, remove: Set) {
        let Some(reign) = &mut self.reign else { return };
        let epoch = match reign.tip.filter(|_| !reign.beginning) {
            Some(tip) => tip.epoch.next().expect("few epochs"),
            None => Epoch::first(reign.term),
        };
        let id = CommitId(u8::try_from(ctx.made.len()).expect("few commits"));
        let planted = ctx.fault == Some(Fault::RatchetOnLeave) && cause == Cause::Leave;
        let ratchets = cause.ratchets() || planted;
        let fresh = Key { session: id, index: 0 };
        let key = match reign.tip.filter(|_| ratchets) {
            Some(tip) => Key { index: tip.key.index + 1, ..tip.key },
            None => fresh,
        };
        let roster = ctx.rosters.apply(reign.roster(), add, remove).expect("a lead plans what its roster allows");
        let prev = reign.tip.map_or_else(|| crate::symbols::genesis(reign.term, ctx.me), |tip| tip.transcript);
        let stranded = std::mem::take(&mut reign.stranded);
        let cause = crate::symbols::CauseSymbol::of(cause);
        let mut commit =
            Commit { epoch, from: ctx.me, prev, cause, add, remove, stranded, roster, key, ratchets, transcript: prev };
        commit.transcript = extend(prev, &commit);
        ctx.made.push(commit);
        reign.beginning = false;
        reign.rotate &= ratchets;
        reign.leaving = reign.leaving.but(remove);
        reign.waiting =
            Set(reign.waiting.but(add).iter().filter(|who| Some(*who) > roster.highest).map(|who| 1 << who.0).sum());
        reign.tip = Some(Held { commit: id, epoch, transcript: commit.transcript, roster, key });
        reign.staged.push_back(id);
        self.up.push_back(Said::Commit(id));
    }

    fn on_commit(&mut self, ctx: &mut Ctx<'_>, id: CommitId) {
        let commit = ctx.commit(id);
        let Commit { epoch, from, add, remove, .. } = commit;
        let told_remove = remove.or(commit.stranded);
        let lead = self.lead.map(|(term, who)| (term, who.joined()));
        let lawful = rules::may_commit(lead, from.joined(), epoch);
        if lawful && told_remove.has(ctx.me) {
            self.end();
            self.life = Life::Gone;
            return;
        }
        if self.held.is_none() && from != ctx.me {
            self.claims.commit(add, told_remove);
            if add.has(ctx.me) && lawful {
                self.enter(ctx, id, &commit);
            }
            return;
        }
        let followed = lawful && self.follow(ctx, id, &commit);
        if lawful && !followed && self.held.is_some_and(|held| epoch > held.epoch) {
            self.out_of_step = true;
            self.wanting = true;
            self.claims.commit(add, told_remove);
        }
    }

    /// A joiner takes its first epoch.
    fn enter(&mut self, ctx: &Ctx<'_>, id: CommitId, commit: &Commit) {
        let members = self.claims.known.and(self.claims.committed);
        let roster = Roster { members, highest: members.highest() };
        let same = ctx.rosters.real(roster).hash() == ctx.rosters.real(commit.roster).hash();
        if same && members.has(commit.from) && members.has(ctx.me) && self.claims.known.has(commit.from) {
            let transcript = commit.transcript;
            self.install(Held { commit: id, epoch: commit.epoch, transcript, roster, key: commit.key }, commit.from);
        }
    }

    fn follow(&mut self, ctx: &mut Ctx<'_>, id: CommitId, commit: &Commit) -> bool {
        if commit.from == ctx.me {
            let Some(reign) = &mut self.reign else { return false };
            if reign.staged.front() != Some(&id) {
                return false;
            }
            reign.staged.pop_front();
            let Commit { epoch, transcript, roster, key, .. } = *commit;
            self.install(Held { commit: id, epoch, transcript, roster, key }, ctx.me);
            self.claims.commit(commit.add, commit.remove);
            return true;
        }
        let Some(held) = self.held else { return false };
        let Some(next) = self.check(ctx, held, id, commit) else { return false };
        self.install(next, commit.from);
        self.claims.commit(commit.add, commit.remove);
        true
    }

    fn check(&self, ctx: &Ctx<'_>, held: Held, id: CommitId, commit: &Commit) -> Option<Held> {
        let Commit { epoch, from, add, remove, key, .. } = *commit;
        let step = if commit.ratchets {
            Step::Ratchet { adds: !add.is_empty(), removes: !remove.is_empty() }
        } else {
            Step::Session
        };
        let planted = ctx.fault == Some(Fault::RatchetOnLeave) && commit.ratchets;
        let suits = planted || rules::suits(step, commit.cause.real(), epoch);
        // A message of the running session opens at its own place alone; a sealed one with the grant for this member.
        let opens = if commit.ratchets {
            key.session == held.key.session && key.index == held.key.index + 1
        } else {
            commit.roster.members.has(ctx.me) && held.roster.members.has(from)
        };
        if !rules::comes_next(held.epoch, epoch) || !suits || !opens || commit.prev != held.transcript {
            return None;
        }
        if !add.but(self.claims.known).is_empty() {
            return None;
        }
        let roster = ctx.rosters.apply(held.roster, add, remove)?;
        let same = ctx.rosters.real(roster).hash() == ctx.rosters.real(commit.roster).hash();
        let stays = roster.members.has(from) && roster.members.has(ctx.me);
        let transcript = extend(held.transcript, commit);
        (same && stays).then_some(Held { commit: id, epoch, transcript, roster, key })
    }

    fn install(&mut self, held: Held, by: Who) {
        if self.lead != Some((held.epoch.term(), by)) {
            self.wrong = Some(Wrong::Unlawful);
        }
        self.hold(held);
    }

    fn hold(&mut self, held: Held) {
        match self.keys.iter_mut().find(|key| key.session == held.key.session) {
            Some(key) => key.index = key.index.min(held.key.index),
            None => self.keys.push(held.key),
        }
        self.held = Some(held);
        self.found();
    }

    fn found(&mut self) {
        (self.wanting, self.asked, self.retried, self.out_of_step) = (false, false, false, false);
        if std::mem::take(&mut self.declined) {
            self.up.push_back(Said::Ack);
        }
    }

    /// Asks the lead for the newest epoch.
    fn ask(&mut self, me: Who) {
        let (Some(held), Some((_, lead))) = (self.held, self.lead) else { return };
        if self.wanting && !self.asked && self.reign.is_none() && lead != me {
            self.asked = true;
            self.up.push_back(Said::Request { to: lead, held: held.commit });
        }
    }

    fn on_request(&mut self, ctx: &Ctx<'_>, from: Who, asked: CommitId) {
        let (Some(reign), Some(held)) = (&self.reign, self.held) else { return };
        let stays = reign.roster().members.but(reign.leaving).has(from);
        if held.roster.members.has(from) && ctx.commit(asked).epoch <= held.epoch && stays {
            self.up.push_back(Said::Regrant { to: from, newest: held.commit });
        }
    }

    fn on_regrant(&mut self, ctx: &Ctx<'_>, from: Who, newest: CommitId) {
        let Some(held) = self.held.filter(|held| held.roster.members.has(from)) else { return };
        let lead = self.lead.map(|(term, who)| (term, who.joined()));
        let Commit { epoch, transcript, roster, key, .. } = ctx.commit(newest);
        let passed = rules::has_passed(lead, held.epoch, epoch);
        if !self.asked || self.lead.is_none_or(|(_, lead)| lead != from) || passed {
            return;
        }
        if epoch == held.epoch {
            if transcript == held.transcript {
                self.found();
            }
            return;
        }
        if !roster.members.but(self.claims.known).is_empty() {
            return;
        }
        // The lead's own word for what is newest: an earlier lead may have made it.
        let Some(roster) = ctx.rosters.later(held.roster, roster, ctx.me, from) else { return };
        self.hold(Held { commit: newest, epoch, transcript, roster, key });
        let members = roster.members;
        self.claims.known = self.claims.known.and(members).or(self.claims.known.but(self.claims.committed));
        self.claims.committed = members.and(self.claims.known);
    }
}
