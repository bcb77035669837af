//! What stands for people, rosters, commits and keys.

use conclave_shared::{
    id::{Epoch, Joined, Role, Term},
    session::audit::SymbolicRoster,
    wire::sealed::Cause,
};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::OnceLock,
};

/// Places of a set.
const PLACES: usize = 8;

/// Who: numbered from 0 in the order in which they join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Who(pub(crate) u8);

impl Who {
    pub(crate) fn joined(self) -> Joined {
        Joined(u64::from(self.0) + 1)
    }

    pub(crate) fn of(joined: Joined) -> Self {
        Self(u8::try_from(joined.0 - 1).expect("a handful of members"))
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Some of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Set(pub(crate) u8);

impl Set {
    pub(crate) const fn only(who: Who) -> Self {
        Self(1 << who.0)
    }

    pub(crate) const fn has(self, who: Who) -> bool {
        self.0 & 1 << who.0 != 0
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn but(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn set(&mut self, who: Who, is: bool) {
        let only = Self::only(who);
        *self = if is { self.or(only) } else { self.but(only) };
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Who> + Clone {
        (0..8).map(Who).filter(move |who| self.has(*who))
    }

    pub(crate) fn highest(self) -> Option<Who> {
        self.iter().last()
    }

    pub(crate) fn joined(self) -> Vec<Joined> {
        self.iter().map(Who::joined).collect()
    }
}

/// A roster, and the highest number that was ever in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Roster {
    pub(crate) members: Set,
    pub(crate) highest: Option<Who>,
}

/// The real roster of each symbol.
pub(crate) struct Rosters {
    bot: Option<Who>,
    made: Vec<OnceLock<SymbolicRoster>>,
}

impl Rosters {
    pub(crate) fn new(bot: Option<Who>) -> Self {
        Self { bot, made: (0..256 * (PLACES + 1)).map(|_| OnceLock::new()).collect() }
    }

    pub(crate) fn role(&self, who: Who) -> Role {
        if self.bot == Some(who) { Role::LeadBot } else { Role::Member }
    }

    pub(crate) fn real(&self, roster: Roster) -> &SymbolicRoster {
        let place = usize::from(roster.members.0) * (PLACES + 1) + roster.highest.map_or(0, |who| who.index() + 1);
        self.made[place].get_or_init(|| {
            let gone = roster.highest.map_or(Set::default(), Set::only).but(roster.members);
            let all = roster.members.or(gone);
            let real = SymbolicRoster::of(self.with_roles(all)).expect("each has a place of its own");
            real.apply(&[], &gone.joined()).expect("it was just added")
        })
    }

    pub(crate) fn with_roles(&self, members: Set) -> Vec<(Joined, Role)> {
        members.iter().map(|who| (who.joined(), self.role(who))).collect()
    }

    /// The roster after a commit, by the real rule.
    pub(crate) fn apply(&self, roster: Roster, add: Set, remove: Set) -> Option<Roster> {
        self.real(roster).apply(&self.with_roles(add), &remove.joined()).ok().map(|next| symbol(&next))
    }

    /// A later roster that a grant on request carries, by the real rule.
    pub(crate) fn later(&self, held: Roster, roster: Roster, me: Who, lead: Who) -> Option<Roster> {
        let later = self.real(held).later(self.real(roster).clone(), me.joined(), lead.joined());
        later.ok().map(|later| symbol(&later))
    }
}

fn symbol(roster: &SymbolicRoster) -> Roster {
    let mut members = Set::default();
    roster.members().for_each(|joined| members.set(Who::of(joined), true));
    Roster { members, highest: roster.highest().map(Who::of) }
}

/// A commit that somebody made, by its place among all that were ever made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CommitId(pub(crate) u8);

/// A Megolm session, named by the commit that made it; and a place of its ratchet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) session: CommitId,
    pub(crate) index: u8,
}

/// Everything that was committed up to an epoch, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Transcript(pub(crate) u64);

/// A commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Commit {
    pub(crate) epoch: Epoch,
    pub(crate) from: Who,
    pub(crate) prev: Transcript,
    pub(crate) cause: CauseSymbol,
    pub(crate) add: Set,
    pub(crate) remove: Set,
    /// Whom the relay is told to close besides: they can never be added.
    pub(crate) stranded: Set,
    pub(crate) roster: Roster,
    pub(crate) key: Key,
    /// It steps the running session.
    pub(crate) ratchets: bool,
    pub(crate) transcript: Transcript,
}

/// A cause, which can be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CauseSymbol {
    Start,
    Join,
    Leave,
    Timer,
    LeadChange,
}

impl CauseSymbol {
    pub(crate) const fn real(self) -> Cause {
        match self {
            Self::Start => Cause::Start,
            Self::Join => Cause::Join,
            Self::Leave => Cause::Leave,
            Self::Timer => Cause::Timer,
            Self::LeadChange => Cause::LeadChange,
        }
    }

    pub(crate) fn of(cause: Cause) -> Self {
        match cause {
            Cause::Start => Self::Start,
            Cause::Join => Self::Join,
            Cause::Leave | Cause::Remove => Self::Leave,
            Cause::Timer | Cause::Request => Self::Timer,
            Cause::LeadChange => Self::LeadChange,
        }
    }
}

/// The transcript of a new life of the call.
pub(crate) fn genesis(term: Term, from: Who) -> Transcript {
    Transcript(digest(&(term, from)))
}

/// The transcript after a commit, whose text is all that it says.
pub(crate) fn extend(prev: Transcript, commit: &Commit) -> Transcript {
    let Commit { epoch, from, cause, add, remove, roster, key, .. } = *commit;
    Transcript(digest(&(prev, epoch, from, cause, add, remove, roster.members, key)))
}

fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
