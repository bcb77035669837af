//! Every state that can be reached, and what must hold in each.

use stateright::{Checker, HasDiscoveries, Model, Property};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Fault,
    member::{Accepted, Held, Life, Wrong},
    state::{Action, Counts, KINDS, Kind, State},
    symbols::{Rosters, Who},
};

/// What one run explores.
#[derive(Clone)]
pub(crate) struct Bounds {
    pub(crate) name: &'static str,
    /// So many in all, and so many of them in the call from the start.
    pub(crate) members: usize,
    pub(crate) settled: usize,
    pub(crate) bot: Option<Who>,
    pub(crate) counts: Counts,
    /// Events that wait for one member when the relay stops taking in more.
    pub(crate) queue: usize,
    pub(crate) fault: Option<Fault>,
}

impl Bounds {
    /// The relay says the truth and loses at most commits: everybody must come to hold the newest epoch.
    fn is_honest(&self) -> bool {
        [Kind::Duplicate, Kind::Force, Kind::LieLead, Kind::LieGone].iter().all(|kind| self.counts.of(*kind) == 0)
    }

    fn describe(&self) -> String {
        let kinds = KINDS.iter().filter(|(kind, _)| self.counts.of(*kind) > 0);
        let kinds: Vec<_> = kinds.map(|(kind, name)| format!("{} {name}", self.counts.of(*kind))).collect();
        let joins = self.members - self.settled;
        format!("{} members ({joins} join), at most {}, {} events wait", self.members, kinds.join(", "), self.queue)
    }
}

/// A call within bounds.
#[derive(Clone)]
pub(crate) struct Calls {
    pub(crate) bounds: Bounds,
    pub(crate) rosters: Arc<Rosters>,
}

impl Calls {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let rosters = Arc::new(Rosters::new(bounds.bot));
        Self { bounds, rosters }
    }

    /// The call with those in it who are there from the start.
    pub(crate) fn begin(&self) -> State {
        let mut state = State::new(self.bounds.members, Counts::default());
        for place in 0..self.bounds.settled {
            state.act(&self.rosters, None, Action::Join(Who(u8::try_from(place).expect("a handful"))));
            self.settle(&mut state);
        }
        state.left = self.bounds.counts;
        state
    }

    /// Everything that was said comes.
    fn settle(&self, state: &mut State) {
        loop {
            let mut actions = Vec::new();
            state.actions(usize::MAX, &mut actions);
            let moves = |action: &&Action| matches!(action, Action::Deliver(_) | Action::Take(_));
            let Some(action) = actions.iter().find(moves).copied() else { return };
            state.act(&self.rosters, None, action);
        }
    }
}

impl Model for Calls {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.begin()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        state.actions(self.bounds.queue, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        next.act(&self.rosters, self.bounds.fault, action);
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("nobody can derive an epoch that they are not in", |_, state| no_outsider(state)),
            Property::always("one place of one session serves one history", |_, state| keys_once(state)),
            Property::always("who shares a transcript shares roster, epoch and key", |_, state| agreement(state)),
            Property::always("an epoch is installed only if the accepted lead made it", |_, state: &State| {
                state.members.iter().all(|member| member.wrong != Some(Wrong::Unlawful))
            }),
            Property::always("terms rise by one", |_, state: &State| {
                state.members.iter().all(|member| member.wrong != Some(Wrong::Term))
            }),
            Property::always("one lead of a term for all who judge by the same roster", |_, state| {
                one_lead(state, true)
            }),
        ];
        if self.bounds.is_honest() {
            properties.extend([
                Property::always("one lead of a term", |_, state: &State| one_lead(state, false)),
                Property::always("everybody comes to hold the newest epoch", |calls: &Self, state| {
                    calls.at_rest(state)
                }),
            ]);
        }
        properties
    }
}

impl Calls {
    /// Whether something can still happen, or everybody who is here holds what the lead holds.
    fn at_rest(&self, state: &State) -> bool {
        let moving = |life| matches!(life, Life::Down | Life::Out);
        if state.members.iter().any(|member| moving(member.life) || !member.down.is_empty() || !member.up.is_empty()) {
            return true;
        }
        let mut actions = Vec::new();
        state.actions(self.bounds.queue, &mut actions);
        let optional = |action: &Action| {
            matches!(
                action,
                Action::Leave(_) | Action::Crash(_) | Action::Drop(_) | Action::Depose(_) | Action::Rotate(_)
            )
        };
        if !actions.iter().all(optional) {
            return true;
        }
        let here = state.here();
        let Some(reign) = state.relay.reign else { return here.is_empty() };
        let lead = &state.members[reign.who.index()];
        let held = |held: &Held| (held.commit, held.transcript, held.roster.members);
        let newest = lead.held.as_ref().map(held);
        lead.reign.is_some()
            && newest.is_some_and(|(_, _, roster)| roster == here)
            && here.iter().all(|who| state.members[who.index()].held.as_ref().map(held) == newest)
    }
}

fn no_outsider(state: &State) -> bool {
    state.who().all(|(who, member)| {
        state.made.iter().all(|commit| commit.roster.members.has(who) || !member.can_derive(commit.key))
    })
}

fn keys_once(state: &State) -> bool {
    let made = &state.made;
    made.iter().enumerate().all(|(place, one)| {
        made.iter().skip(place + 1).all(|other| one.key != other.key || one.transcript == other.transcript)
    })
}

fn agreement(state: &State) -> bool {
    let held: Vec<&Held> = state.members.iter().filter_map(|member| member.held.as_ref()).collect();
    let same = |one: &Held| (one.roster.members, one.epoch, one.key);
    held.iter().enumerate().all(|(place, one)| {
        let others = || held.iter().skip(place + 1);
        others().all(|other| one.transcript != other.transcript || same(one) == same(other))
            && others().all(|other| one.key != other.key || one.transcript == other.transcript)
    })
}

fn one_lead(state: &State, alike: bool) -> bool {
    let all = || state.members.iter().flat_map(|member| member.accepted.iter());
    all().all(|one| {
        let judge = |other: &Accepted| !alike || (other.by == one.by && one.by.is_some());
        all().all(|other| one.term != other.term || one.lead == other.lead || !judge(other))
    })
}

/// What one run found.
pub(crate) struct Found {
    pub(crate) states: usize,
    /// What does not hold, and how it came to that.
    pub(crate) broken: Vec<(&'static str, Vec<Action>)>,
}

/// Explores everything within the bounds and prints how much that was.
pub(crate) fn explore(bounds: Bounds) -> Found {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let began = Instant::now();
    let calls = Calls::new(bounds.clone());
    // A fault is looked for by one thread, so that the way to it is the shortest; then there is no more to see.
    let checker = match bounds.fault {
        None => calls.checker().threads(threads),
        Some(_) => calls.checker().finish_when(HasDiscoveries::AnyFailures),
    };
    let checker = checker.spawn_bfs().join();
    let took = began.elapsed();
    let states = checker.unique_state_count();
    println!("{}: {}", bounds.name, bounds.describe());
    println!("  {states} states, {} deep, {}", checker.max_depth(), seconds(took));
    let properties = checker.model().properties();
    let mut broken: Vec<_> = checker
        .discoveries()
        .into_iter()
        .map(|(name, path)| {
            let property = properties.iter().find(|property| property.name == name).expect("one of these");
            // A wrong step stays in the state: the way ends where it was taken.
            let mut way = path.into_vec().into_iter();
            let good = way.by_ref().take_while(|(state, _)| (property.condition)(checker.model(), state));
            (name, good.filter_map(|(_, action)| action).collect::<Vec<_>>())
        })
        .collect();
    broken.sort_by_key(|(_, actions)| actions.len());
    for (name, actions) in &broken {
        println!("  does not hold: {name}");
        actions.iter().for_each(|action| println!("    {action:?}"));
    }
    Found { states, broken }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
