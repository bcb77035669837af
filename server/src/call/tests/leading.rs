//! Succession, commits, grants.

use conclave_shared::wire::{Claim, LeftReason};

use super::*;

fn lead(message: &ToClient) -> (u32, u64, bool) {
    let ToClient::Lead(lead) = message else { panic!("no lead: {message:?}") };
    (lead.term.0, lead.joined.0, lead.genesis)
}

#[test]
fn a_closed_socket_names_the_next_by_role_then_order() {
    let mut room = Room::new();
    for connection in 1..=3 {
        room.member(connection);
    }
    room.role(4, Role::LeadBot);
    room.role(5, Role::LeadBot);
    room.commit(1, (1, 0), &[1, 2, 3, 4], &[]);
    room.forget();
    room.close(1);
    let inbox = room.take(2);
    assert_eq!(names(&inbox), ["away", "lead"], "at once: the seat is kept, the lead is not");
    assert_eq!(lead(&inbox[1]), (2, 4, false), "the committed bot, not the one that waits");
    room.leave(4);
    assert_eq!(lead(&room.take(2)[2]), (3, 2, false));
    room.close(3);
    assert_eq!(names(&room.take(2)), ["away"], "somebody else changes no lead");
}

#[test]
fn a_bot_never_takes_the_lead_from_a_living_one() {
    let mut room = Room::new();
    room.member(1);
    room.forget();
    let bot = room.role(2, Role::LeadBot);
    assert_eq!(bot.lead, Some((Term(1), Joined(1))));
    assert_eq!(names(&room.take(1)), ["joined", "claimed"]);
}

#[test]
fn when_nobody_committed_is_here_the_call_begins_another_life() {
    let mut room = Room::new();
    room.member(1);
    room.member(2);
    room.role(3, Role::LeadBot);
    room.commit(1, (1, 0), &[1], &[]);
    room.forget();
    room.close(1);
    assert_eq!(names(&room.take(2)), ["away"], "it may come back, and the call is its own");
    room.grace_ends();
    let inbox = room.take(2);
    assert_eq!(names(&inbox), ["left", "lead"]);
    assert!(matches!(&inbox[0], ToClient::Left(left) if left.joined == Joined(1) && left.reason == LeftReason::Closed));
    assert_eq!(lead(&inbox[1]), (2, 2, true), "the first to come: no role is committed");
    let fourth = room.member(4);
    assert_eq!(
        fourth.members.iter().map(|m| (m.joined.0, m.committed)).collect::<Vec<_>>(),
        [(2, false), (3, false), (4, false)]
    );
    assert_eq!(fourth.seat.0, 0, "those before are forgotten with their seats");
    room.commit(2, (2, 0), &[2, 3], &[]);
    assert!(matches!(room.take(3).last(), Some(ToClient::Commit(_))));
}

#[test]
fn a_call_without_anybody_is_over() {
    let mut room = Room::new();
    assert!(room.call.is_over());
    room.member(1);
    assert!(!room.call.is_over());
    room.leave(1);
    assert!(room.call.is_over());
    room.close(1);
}

#[test]
fn only_the_lead_of_this_term_commits_and_in_order() {
    let mut room = Room::new();
    room.member(1);
    room.member(2);
    room.forget();
    let mut refused = |connection, epoch, add: &[u64], remove: &[u64]| {
        room.commit(connection, epoch, add, remove);
        assert!(room.closed.is_empty(), "the connection stays");
        let errors = room.errors(connection);
        let other = if connection == 1 { 2 } else { 1 };
        assert_eq!(room.take(other), [], "nobody else notices");
        errors
    };
    assert_eq!(refused(2, (1, 0), &[1], &[]), [Code::NotLead]);
    assert_eq!(refused(2, (0, 0), &[1], &[]), [Code::PassedTerm]);
    assert_eq!(refused(1, (0, 0), &[1], &[]), [Code::PassedTerm]);
    assert_eq!(refused(1, (2, 0), &[1], &[]), [Code::OutOfOrder]);
    assert_eq!(refused(1, (1, 1), &[1], &[]), [Code::OutOfOrder]);
    assert_eq!(refused(1, (1, 0), &[9], &[]), [Code::OutOfOrder]);
    assert_eq!(refused(1, (1, 0), &[1], &[9]), [Code::OutOfOrder]);
    room.commit(1, (1, 0), &[1, 2], &[]);
    assert_eq!(names(&room.take(1)), ["commit"], "its own comes back to it");
    assert_eq!(names(&room.take(2)), ["commit"]);
    room.commit(1, (1, 0), &[], &[]);
    room.commit(1, (1, 2), &[], &[]);
    assert_eq!(room.errors(1), [Code::OutOfOrder, Code::OutOfOrder]);
    room.commit(1, (1, 1), &[], &[]);
    assert_eq!(names(&room.take(2)), ["commit"]);

    room.close(1);
    room.forget();
    room.member(3);
    room.commit(3, (1, 2), &[], &[]);
    assert_eq!(room.errors(3), [Code::PassedTerm], "a commit of the term before");
    room.forget();
    room.commit(2, (2, 0), &[], &[1]);
    assert_eq!(names(&room.take(3)), ["commit", "left"], "it was away");
}

#[test]
fn everybody_sees_its_own_grant_and_the_common_part_is_encoded_once() {
    let mut room = Room::new();
    for connection in 1..=5 {
        room.member(connection);
    }
    room.forget();
    room.say(1, commit((1, 0), &[1, 2, 3, 4, 5], &[], &[(2, 22), (3, 33), (9, 99)]));
    assert_eq!(room.encoded, 3, "two grants, and one text for all others");
    let commits: Vec<_> = (1..=5)
        .map(|connection| match room.take(connection).pop() {
            Some(ToClient::Commit(commit)) => commit,
            other => panic!("{other:?}"),
        })
        .collect();
    let grants: Vec<_> = commits.iter().map(|commit| commit.grant.clone().map(|grant| grant.1.0)).collect();
    assert_eq!(grants, [None, Some(vec![22]), Some(vec![33]), None, None]);
    for commit in &commits {
        assert_eq!(commit.at, commits[0].at);
        assert_eq!((&commit.broadcast, commit.from, commit.add.len()), (&commits[0].broadcast, Joined(1), 5));
    }
}

#[test]
fn who_is_removed_gets_the_commit_then_the_close() {
    let mut room = Room::new();
    for connection in 1..=3 {
        room.member(connection);
    }
    room.commit(1, (1, 0), &[1, 2, 3], &[]);
    room.forget();
    room.commit(1, (1, 1), &[], &[2]);
    assert_eq!(names(&room.take(2)), ["commit", "left", "error"]);
    assert_eq!(room.closed.get(&2), Some(&Code::Removed));
    let inbox = room.take(3);
    assert_eq!(names(&inbox), ["commit", "left"]);
    assert!(matches!(&inbox[1], ToClient::Left(left) if left.reason == LeftReason::Removed));
    room.say(2, Claim { of: vec![] });
    assert_eq!(room.take(2), [], "it is no member any more");
    room.close(2);
    assert_eq!(room.take(3), []);
}

#[test]
fn who_waits_below_one_that_came_in_is_told_to_join_again() {
    let mut room = Room::new();
    for connection in 1..=4 {
        room.member(connection);
    }
    room.close(3);
    room.forget();
    room.commit(1, (1, 0), &[1, 4], &[]);
    assert_eq!(room.errors(2), [Code::LostSeat]);
    assert_eq!(room.closed, BTreeMap::from([(2, Code::LostSeat)]));
    assert_eq!(names(&room.take(4)), ["commit", "left", "left"], "the one that was away, too");
    room.commit(1, (1, 1), &[], &[]);
    assert_eq!(names(&room.take(4)), ["commit"]);
}

#[test]
fn a_lead_may_remove_itself_and_the_next_is_named() {
    let mut room = Room::new();
    room.member(1);
    room.member(2);
    room.commit(1, (1, 0), &[1, 2], &[]);
    room.forget();
    room.commit(1, (1, 1), &[], &[1]);
    assert_eq!(names(&room.take(2)), ["commit", "left", "lead"]);
    assert_eq!(room.closed.get(&1), Some(&Code::Removed));
}

#[test]
fn a_commit_that_crosses_with_a_newcomers_leave_still_means_the_same_to_all() {
    let mut room = Room::new();
    room.member(1);
    room.member(2);
    room.commit(1, (1, 0), &[1], &[]);
    room.leave(2);
    room.member(3);
    assert!(room.take(3).iter().all(|message| !format!("{message:?}").contains("joined: Joined(2)")));
    room.forget();
    room.commit(1, (1, 1), &[2], &[]);
    for connection in [1, 3] {
        let inbox = room.take(connection);
        assert_eq!(names(&inbox), ["joined", "commit", "left"], "{connection}");
        assert!(numbers(&inbox).is_sorted());
    }
    let fourth = room.member(4);
    assert!(fourth.members.iter().any(|m| m.joined == Joined(2) && m.committed && !m.present));
    room.forget();
    room.commit(1, (1, 2), &[], &[2]);
    assert_eq!(names(&room.take(3)), ["commit"]);

    room.leave(3);
    room.pass(super::super::LINGER);
    room.forget();
    room.commit(1, (1, 3), &[3], &[]);
    assert_eq!(room.errors(1), [Code::OutOfOrder], "nobody remembers for ever");
}

#[test]
fn keys_are_the_leads_to_claim_each_at_most_once() {
    let mut room = Room::new();
    for connection in 1..=3 {
        room.member(connection);
    }
    room.forget();
    room.say(2, Claim { of: vec![Joined(3)] });
    assert_eq!(room.errors(2), [Code::NotLead]);

    let mut indices = Vec::new();
    for _ in 0..4 {
        room.say(1, Claim { of: vec![Joined(2), Joined(9), Joined(3)] });
        for message in room.take(1) {
            let ToClient::Claimed(claimed) = message else { panic!("{message:?}") };
            indices.extend(claimed.keys.iter().filter(|key| key.joined == Joined(2)).map(|key| key.index));
        }
    }
    // Key 0 went to the lead when the member joined.
    assert_eq!(indices, [Some(1), Some(2), Some(3), None]);
    let low: Vec<_> = room
        .take(2)
        .into_iter()
        .map(|message| if let ToClient::KeysLow(low) = message { low.left } else { panic!("{message:?}") })
        .collect();
    assert_eq!(low, [2, 1, 0, 0]);
}

#[test]
fn claims_of_many_come_in_messages_of_bounded_size() {
    let mut room = Room::new();
    for connection in 1..=100 {
        room.member(connection);
    }
    room.forget();
    room.say(1, Claim { of: (2..=100).map(Joined).collect() });
    let inbox = room.take(1);
    assert_eq!(names(&inbox), ["claimed", "claimed"]);
    for message in &inbox {
        assert!(conclave_shared::wire::encode(message).len() < conclave_shared::limits::MESSAGE_LENGTH);
    }
}
