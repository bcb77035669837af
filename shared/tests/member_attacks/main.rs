//! Hostile members against real sessions: the catalogue of `docs/THREATS.md`, one test for each attack.
//!
//! Their cryptography is real and their places are theirs by right; what they say is made by hand.
#![cfg(feature = "audit")]
#![allow(missing_docs, unreachable_pub, dead_code, clippy::wildcard_enum_match_arm)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../attack/mod.rs"]
mod attack;
#[path = "../plain/mod.rs"]
mod plain;

mod floods;
mod lead;
mod names;
mod ready;
mod regrants;

use attack::{
    Attack, Suite,
    insider::{Insider, Made, Plan},
};
use conclave_shared::{
    id::{Epoch, Joined, Term},
    session::error::{CommitError, SecurityEvent},
    wire::sealed::{Cause, CommitBody},
};

static MEMBERS: Suite = Suite::new("member_attacks");

/// The index of the one who misbehaves, and its number: second in the order of succession.
const MALLORY: usize = 1;
const MALLORY_S: Joined = Joined(2);

const fn epoch(term: u32, count: u32) -> Epoch {
    Epoch(Term(term), count)
}

const fn refused(epoch: Epoch, reason: CommitError) -> SecurityEvent {
    SecurityEvent::CommitRefused { epoch, reason }
}

/// The first lead has just gone and Mallory is named: nobody follows an epoch of the new term yet.
fn mallory_leads(call: &mut Attack) -> Insider {
    let mut mallory = Insider::of(call, MALLORY);
    mallory.take_over(call);
    call.cut(0);
    call.settle();
    let others: Vec<_> = mallory.peers.keys().copied().filter(|joined| joined.0 > 2).collect();
    mallory.open(call, &others);
    mallory
}

/// The change of lead as an honest lead would commit it.
fn change_of_lead(call: &Attack) -> Plan {
    Plan {
        epoch: epoch(2, 0),
        prev: call.members[2].session.transcript().unwrap(),
        cause: Cause::LeadChange,
        add: vec![],
        remove: vec![Joined(1)],
    }
}

/// Mallory commits a change of lead, twisted like this; everybody gets it.
fn commit(call: &mut Attack, mallory: &mut Insider, plan: &Plan, twist: impl FnOnce(&mut CommitBody)) -> Made {
    let made = mallory.commit(plan, twist);
    call.say(MALLORY, made.commit.clone());
    call.settle();
    made
}

/// What Mallory makes by hand is good but for its twist: otherwise everything would be refused for another reason.
#[test]
fn an_honest_commit_made_by_hand_is_followed() {
    static ALONE: Suite = Suite::new("no_attack");
    let mut call = ALONE.call_of(4).again();
    let mut mallory = mallory_leads(&mut call);
    let plan = change_of_lead(&call);
    let made = commit(&mut call, &mut mallory, &plan, |_| {});
    for index in [2, 3] {
        assert_eq!(call.newest(index).1, made.transcript);
        call.assert_no_alarm_of(index);
    }
    call.assert_heard(2, &[3]);
}
