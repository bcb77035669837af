//! The same steps taken by the model and by real sessions: both must stand alike after each.

mod real;

use conclave_tests::random::Dice;

use crate::{
    explore::{Bounds, Calls},
    member::{Event, Life},
    state::{Action, State},
};
use real::Real;

/// Steps of one walk, more than a call within the bounds has.
const STEPS: usize = 400;

/// What the walks took in.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) steps: usize,
    /// Answers to a request for the newest epoch.
    pub(crate) answers: usize,
    /// Somebody was told of another lead.
    pub(crate) leads: usize,
}

/// Takes random steps from the beginning of a call, and compares after each. An error says where the two differ.
pub(crate) fn walk(bounds: Bounds, seed: u64, walked: &mut Walked) -> Result<(), String> {
    let mut dice = Dice::new(seed, 1);
    let settled = bounds.settled;
    let calls = Calls::new(bounds);
    let mut state = State::new(calls.bounds.members, calls.bounds.counts);
    let mut real = Real::new(&calls);
    let mut way = Vec::new();
    for _ in 0..STEPS {
        let mut actions = Vec::new();
        state.actions(calls.bounds.queue, &mut actions);
        // Timers of real sessions stand still here: what they do is the model's alone.
        actions.retain(|action| !is_timed(action, &state));
        let seated = state.members.iter().filter(|member| member.held.is_some()).count();
        if state.members.iter().filter(|member| member.life != Life::Out).count() < settled || seated < 1 {
            actions.retain(|action| matches!(action, Action::Join(_) | Action::Deliver(_) | Action::Take(_)));
        }
        let Some(action) = dice.pick(&actions) else { break };
        way.push(action);
        let before = state.clone();
        walked.steps += 1;
        if let Action::Deliver(who) = action {
            let event = before.members[who.index()].down.front();
            walked.answers += usize::from(matches!(event, Some(Event::Regrant { .. })));
            walked.leads += usize::from(matches!(event, Some(Event::Lead { .. })));
        }
        state.act(&calls.rosters, calls.bounds.fault, action);
        real.follow(action, &before, &state).map_err(|what| format!("seed {seed}, after {way:#?}: {what}"))?;
    }
    real.audit(&state).map_err(|what| format!("seed {seed}, in the end, after {way:#?}: {what}"))
}

fn is_timed(action: &Action, state: &State) -> bool {
    match action {
        Action::Beat(_) | Action::Retry(_) | Action::Absent(_) | Action::GiveUp(_) => true,
        Action::Repeat(who) => matches!(state.members[who.index()].down.front(), Some(Event::Refused { .. })),
        _ => false,
    }
}
