//! A model check of succession and of the chain of commits: every call within some bounds, with symbols for keys.
//!
//! Olm and Megolm sessions can be neither cloned nor hashed, so no checker can explore calls of real sessions. Here a member
//! is a few sets and numbers, and what decides is the real thing: `conclave_shared::session::rules`, the real roster, the
//! relay's own rule of who is named. `replay` holds real sessions beside the model, step by step.
//!
//! Not modelled: time (a lead activates at once, timers fire once all is quiet), one-time keys that do not come, signatures
//! (the relay cannot forge what a member says), a relay that is restarted, and devices that join a second time.

mod explore;
mod member;
mod relay;
mod replay;
mod state;
mod symbols;

use explore::{Bounds, Found, explore};
use replay::Walked;
use state::{Counts, Kind};
use symbols::Who;

/// A mistake that is made on purpose, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A member believes every term above its own.
    AnyTerm,
    /// A member elects whom it met first, itself before all others.
    ByArrival,
    /// A lead steps the running session when somebody leaves.
    RatchetOnLeave,
}

const NONE: Counts = Counts::NONE;
/// Set to any value, this explores the large calls as well: some minutes.
const LARGE: &str = "CONCLAVE_MODEL_LARGE";

const fn call(name: &'static str, members: usize, settled: usize, counts: Counts) -> Bounds {
    Bounds { name, members, settled, bot: None, counts, queue: 4, fault: None }
}

/// Everything in these holds, in every state.
fn all_hold(calls: Vec<Bounds>) {
    for bounds in calls {
        let Found { states, broken } = explore(bounds);
        assert!(states > 100, "{states} states: the bounds leave nothing to see");
        assert!(broken.is_empty(), "{}", broken[0].0);
    }
}

fn is_found(fault: Fault, property: &str, bounds: Bounds) {
    let Found { broken, .. } = explore(Bounds { fault: Some(fault), ..bounds });
    let (name, way) = broken.first().expect("a planted fault is found");
    assert_eq!((*name, way.is_empty()), (property, false));
}

#[test]
#[ignore = "explores for a while: the step `model` of `make test`"]
fn with_an_honest_relay_everybody_comes_to_hold_the_newest_epoch() {
    all_hold(vec![
        call("two come, one leaves, one stops", 4, 2, NONE.with(Kind::Leave, 1).with(Kind::Crash, 1)),
        call(
            "lines drop while somebody comes and somebody leaves",
            4,
            3,
            NONE.with(Kind::Drop, 1).with(Kind::Leave, 1),
        ),
        call("a lead is taken for gone and still commits", 4, 3, NONE.with(Kind::Depose, 1).with(Kind::Leave, 1)),
        call("a dropped line and a silent lead", 3, 2, NONE.with(Kind::Drop, 1).with(Kind::Depose, 1)),
        call("a timer rotation and a silent lead", 3, 2, NONE.with(Kind::Rotate, 1).with(Kind::Depose, 1)),
        Bounds { bot: Some(Who(2)), ..call("a bot comes", 4, 2, NONE.with(Kind::Crash, 1)) },
        call("five, one of them comes, one stops", 5, 4, NONE.with(Kind::Crash, 1)),
        call("five, and two leave", 5, 5, NONE.with(Kind::Leave, 2)),
    ]);
}

#[test]
#[ignore = "explores for a while: the step `model` of `make test`"]
fn a_commit_that_does_not_come_is_asked_for() {
    all_hold(vec![
        call("a lost commit and a leave", 3, 2, NONE.with(Kind::Lose, 1).with(Kind::Leave, 1)),
        call("two lost commits", 3, 2, NONE.with(Kind::Lose, 2).with(Kind::Rotate, 1)),
        call("a lost commit and a lead that stops", 4, 3, NONE.with(Kind::Lose, 1).with(Kind::Crash, 1)),
    ]);
}

#[test]
#[ignore = "explores for a while: the step `model` of `make test`"]
fn a_lying_relay_gains_no_key_and_no_lead() {
    all_hold(vec![
        call("false leads", 3, 2, NONE.with(Kind::LieLead, 2).with(Kind::Force, 1)),
        call("a false absence and a false lead", 4, 4, NONE.with(Kind::LieGone, 1).with(Kind::LieLead, 1)),
        call(
            "lies about a leave",
            3,
            3,
            NONE.with(Kind::LieGone, 1).with(Kind::LieLead, 1).with(Kind::Force, 1).with(Kind::Leave, 1),
        ),
        call(
            "an old lead's commit, told twice",
            3,
            2,
            NONE.with(Kind::Depose, 1).with(Kind::Duplicate, 1).with(Kind::Force, 1),
        ),
        call("what is kept from one", 3, 2, NONE.with(Kind::Lose, 1).with(Kind::LieLead, 1).with(Kind::Leave, 1)),
    ]);
}

#[test]
#[ignore = "explores for a while: the step `model` of `make test`"]
fn large_calls_hold_too() {
    if std::env::var_os(LARGE).is_none() {
        return println!("only with {LARGE}=1: larger calls");
    }
    all_hold(vec![
        call(
            "a timer rotation, a dropped line, a silent lead",
            3,
            2,
            NONE.with(Kind::Rotate, 1).with(Kind::Drop, 1).with(Kind::Depose, 1),
        ),
        call("a false absence and a false lead", 4, 3, NONE.with(Kind::LieGone, 1).with(Kind::LieLead, 1)),
        call("five, one leaves, a lead is silent", 5, 5, NONE.with(Kind::Leave, 1).with(Kind::Depose, 1)),
        call(
            "a false absence, then a false lead",
            4,
            4,
            NONE.with(Kind::LieGone, 1).with(Kind::LieLead, 1).with(Kind::Force, 1),
        ),
    ]);
}

#[test]
fn believing_any_term_is_found() {
    is_found(Fault::AnyTerm, "terms rise by one", call("any term", 3, 2, NONE.with(Kind::LieLead, 1)));
}

#[test]
fn electing_by_arrival_is_found() {
    let property = "everybody comes to hold the newest epoch";
    is_found(Fault::ByArrival, property, call("by arrival", 3, 2, NONE.with(Kind::Crash, 1)));
}

#[test]
fn a_ratchet_on_leave_is_found() {
    let property = "nobody can derive an epoch that they are not in";
    is_found(Fault::RatchetOnLeave, property, call("ratchet on leave", 3, 3, NONE.with(Kind::Leave, 1)));
}

#[test]
fn real_sessions_take_the_same_steps() {
    let honest = NONE.with(Kind::Leave, 1).with(Kind::Crash, 1).with(Kind::Drop, 1).with(Kind::Depose, 1);
    let lies = NONE.with(Kind::LieLead, 2).with(Kind::LieGone, 1).with(Kind::Force, 1).with(Kind::Lose, 1);
    let kinds = [
        call("honest", 4, 2, honest.with(Kind::Rotate, 1)),
        call("five", 5, 3, honest),
        Bounds { bot: Some(Who(2)), ..call("a bot", 4, 2, honest) },
        call("lost commits", 3, 3, NONE.with(Kind::Lose, 3).with(Kind::Leave, 1).with(Kind::Rotate, 4)),
        call("lies", 4, 3, lies.with(Kind::Duplicate, 1).with(Kind::Leave, 1)),
    ];
    let walks = (0..200_u64).zip(kinds.iter().cycle());
    let mut walked = Walked::default();
    for (seed, bounds) in walks {
        replay::walk(bounds.clone(), seed, &mut walked).unwrap_or_else(|what| panic!("{what}"));
    }
    println!("200 walks, {walked:?}: the model and real sessions stood alike after each step");
    assert!(walked.steps > 2000 && walked.answers > 10 && walked.leads > 100);
}

#[test]
fn real_sessions_do_not_take_the_steps_of_a_model_with_a_planted_fault() {
    let faults = [
        (Fault::AnyTerm, NONE.with(Kind::LieLead, 3)),
        (Fault::ByArrival, NONE.with(Kind::Crash, 1)),
        (Fault::RatchetOnLeave, NONE.with(Kind::Leave, 1)),
    ];
    for (fault, counts) in faults {
        let bounds = Bounds { fault: Some(fault), ..call("planted", 3, 3, counts) };
        let differs = (0..50).any(|seed| replay::walk(bounds.clone(), seed, &mut Walked::default()).is_err());
        assert!(differs, "{fault:?} makes no difference to real sessions");
    }
}
