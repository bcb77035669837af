//! Leads that fall silent, members who suspect them, and a relay that was stopped itself.

use conclave_shared::wire::{AwayReason, Suspect};

use super::*;
use crate::call::{DEPOSAL_PAUSE, LEAD_SILENCE};

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(1);

/// So many, all committed; the first leads.
fn call_of(members: u64) -> Room {
    let mut room = Room::new();
    let all: Vec<u64> = (1..=members).collect();
    for connection in &all {
        room.member(*connection);
    }
    room.commit(1, (1, 0), &all, &[]);
    room.forget();
    room
}

/// The terms and leads that somebody was told of, and who was told to be away for silence.
fn changes(inbox: &[ToClient]) -> Vec<(u32, u64)> {
    let silent = |message: &&ToClient| matches!(message, ToClient::Away(away) if away.reason == AwayReason::Silent);
    let leads: Vec<_> = inbox
        .iter()
        .filter_map(
            |message| if let ToClient::Lead(lead) = message { Some((lead.term.0, lead.joined.0)) } else { None },
        )
        .collect();
    assert_eq!(inbox.iter().filter(silent).count(), leads.len(), "{inbox:?}");
    leads
}

#[test]
fn a_lead_that_says_nothing_for_three_seconds_is_followed_by_the_next_and_comes_back_with_a_word() {
    let mut room = call_of(3);
    room.pass_silently(LEAD_SILENCE - MOMENT);
    assert_eq!(room.take(3), []);
    room.pass_silently(MOMENT);
    let inbox = room.take(3);
    assert_eq!(names(&inbox), ["away", "lead"]);
    assert!(matches!(inbox[0], ToClient::Away(away) if (away.joined, away.reason) == (Joined(1), AwayReason::Silent)));
    assert_eq!(changes(&inbox), [(2, 2)]);
    assert_eq!(names(&room.take(1)), ["away", "lead"], "its socket stands");
    let fourth = room.member(4);
    assert_eq!(fourth.members[0].away, Some(AwayReason::Silent));

    room.forget();
    room.commit(1, (1, 1), &[], &[]);
    assert_eq!(names(&room.take(3)), ["back"], "whatever it is that it says");
    assert_eq!(room.errors(1), [Code::PassedTerm]);
    assert_eq!(room.call.lead_connection(), Some(ConnectionId(2)), "the next one keeps the lead");
}

#[test]
fn whatever_a_lead_says_is_a_sign_of_life() {
    let mut room = call_of(2);
    for n in 0..10_u64 {
        room.pass_silently(LEAD_SILENCE - MOMENT);
        match n % 3 {
            0 => room.say(1, Ping { n: 0 }),
            1 => room.say(1, body_of(1, None, r#"{"rotate":{}}"#)),
            _ => room.input(CallInput::Refused(ConnectionId(1), Code::UnknownMessage, "what?".into())),
        }
    }
    assert_eq!(changes(&room.take(2)), []);
    room.pass(Duration::from_secs(60));
    assert_eq!(room.take(2), [], "and members may say as little as they like");
}

#[test]
fn a_silent_lead_stays_while_nobody_else_could_lead() {
    let mut room = call_of(2);
    room.close(2);
    room.member(3);
    room.forget();
    room.pass_silently(LEAD_SILENCE * 2);
    assert_eq!(room.take(3), [], "one is away, the other not committed");
    assert_eq!(room.call.lead_connection(), Some(ConnectionId(1)));
    room.pass_silently(GRACE);
    assert_eq!(names(&room.take(3)), ["left"]);
    room.commit(1, (1, 1), &[3], &[2]);
    room.pass_silently(LEAD_SILENCE);
    assert_eq!(changes(&room.take(3)), [(2, 3)]);
}

#[test]
fn a_lead_that_says_nothing_before_it_has_begun_the_call_is_followed_by_who_waits() {
    let mut room = Room::new();
    room.member(1);
    room.member(2);
    room.forget();
    room.pass_silently(LEAD_SILENCE);
    let inbox = room.take(2);
    assert!(matches!(inbox[1], ToClient::Lead(lead) if lead.genesis && lead.joined == Joined(2)));
}

#[test]
fn who_was_silent_and_leaves_is_not_named_for_it() {
    let mut room = call_of(3);
    room.pass_silently(LEAD_SILENCE);
    room.leave(2);
    room.leave(3);
    assert_eq!(room.call.lead_connection(), None, "the silent one is not named");
    room.forget();
    room.leave(1);
    assert!(room.call.is_over());

    let mut room = call_of(2);
    room.pass_silently(LEAD_SILENCE);
    room.leave(2);
    room.say(1, Ping { n: 0 });
    assert_eq!(room.call.lead_connection(), Some(ConnectionId(1)), "with a word it may lead again");
}

#[test]
fn a_relay_that_was_stopped_deposes_and_removes_nobody() {
    let mut room = call_of(3);
    room.close(3);
    room.forget();
    room.freeze(Duration::from_secs(60));
    assert_eq!(room.take(2), [], "nobody could say a word, and nobody could come back");
    room.say(1, Ping { n: 0 });
    room.pass(GRACE - SECOND);
    assert_eq!(room.take(2), [], "who is away has its time anew");
    room.pass(SECOND);
    assert_eq!(names(&room.take(2)), ["left"]);
    room.pass_silently(LEAD_SILENCE);
    assert_eq!(changes(&room.take(2)), [(2, 2)], "and a lead that says nothing then is silent");
}

#[test]
fn a_relay_that_was_stopped_and_first_hears_of_others_gives_the_lead_its_time_anew() {
    let mut room = call_of(3);
    room.now = room.now + Duration::from_secs(20);
    room.say(2, Ping { n: 0 });
    room.input(CallInput::Timeout);
    room.pass_silently(LEAD_SILENCE - MOMENT);
    assert_eq!(changes(&room.take(3)), []);
    room.pass_silently(MOMENT);
    assert_eq!(changes(&room.take(3)), [(2, 2)]);
}

#[test]
fn a_relay_that_is_woken_a_little_late_still_notices() {
    let mut room = call_of(2);
    room.freeze(LEAD_SILENCE + SECOND);
    assert_eq!(changes(&room.take(2)), [(2, 2)]);
}

#[test]
fn what_was_missed_while_the_relay_was_stopped_is_not_forgotten() {
    let mut room = call_of(2);
    room.say(1, body_of(1, None, r#"{"rotate":{}}"#));
    room.freeze(Duration::from_secs(60));
    let numbers = numbers(&room.take(2));
    let before = conclave_shared::id::Sequence(numbers[0] - 1);
    assert_eq!(room.call.log.after(before, Joined(2)).map(|texts| texts.len()), Some(1));
}

fn suspect(room: &mut Room, connection: u64, term: u32) {
    room.say(connection, Suspect { term: Term(term) });
}

#[test]
fn more_than_half_of_the_others_and_at_least_two_depose_a_lead() {
    let mut room = call_of(6);
    suspect(&mut room, 2, 1);
    suspect(&mut room, 2, 1);
    suspect(&mut room, 1, 1);
    suspect(&mut room, 3, 1);
    suspect(&mut room, 4, 7);
    assert_eq!(room.take(6), [], "two of five, one of them twice; itself; another term");
    suspect(&mut room, 4, 1);
    assert_eq!(changes(&room.take(6)), [(2, 2)]);
    suspect(&mut room, 5, 1);
    assert_eq!(room.take(6), [], "too late for the term");
    room.say(1, Ping { n: 0 });
    assert_eq!(names(&room.take(6)), ["back"]);

    let mut pair = call_of(2);
    suspect(&mut pair, 2, 1);
    assert_eq!(pair.take(2), [], "one alone may have lost its way");
    let mut three = call_of(3);
    suspect(&mut three, 2, 1);
    suspect(&mut three, 3, 1);
    assert_eq!(changes(&three.take(3)), [(2, 2)]);
}

#[test]
fn only_members_that_are_committed_and_here_count() {
    let mut room = call_of(4);
    room.member(5);
    room.member(6);
    room.member(7);
    room.forget();
    for connection in 5..=7 {
        suspect(&mut room, connection, 1);
    }
    suspect(&mut room, 2, 1);
    assert_eq!(room.take(4), [], "a newcomer that is not let in deposes nobody");
    suspect(&mut room, 3, 1);
    assert_eq!(changes(&room.take(4)), [(2, 2)], "two of the three others");

    let mut room = call_of(5);
    suspect(&mut room, 2, 1);
    suspect(&mut room, 3, 1);
    room.close(3);
    room.forget();
    suspect(&mut room, 4, 1);
    assert_eq!(changes(&room.take(5)), [(2, 2)], "two of the three that are here: the one away does not count");

    let mut room = call_of(5);
    suspect(&mut room, 2, 1);
    suspect(&mut room, 3, 1);
    room.leave(5);
    room.forget();
    room.pass(MOMENT);
    assert_eq!(changes(&room.take(4)), [(2, 2)], "one who goes makes two of three of them");
}

#[test]
fn after_two_changes_in_ten_seconds_there_is_none_for_ten() {
    let mut room = call_of(5);
    room.pass_silently(LEAD_SILENCE);
    room.pass_silently(LEAD_SILENCE);
    assert_eq!(changes(&room.take(5)), [(2, 2), (3, 3)]);
    room.pass_silently(LEAD_SILENCE);
    for connection in [4, 5] {
        suspect(&mut room, connection, 3);
    }
    room.pass_silently(DEPOSAL_PAUSE - LEAD_SILENCE - MOMENT);
    assert_eq!(changes(&room.take(5)), [], "neither for silence nor for suspicion");
    room.pass_silently(MOMENT);
    assert_eq!(changes(&room.take(5)), [(4, 4)]);
    room.pass_silently(LEAD_SILENCE);
    assert_eq!(changes(&room.take(5)), [(5, 5)], "ten seconds lie between the last two");
}

#[test]
fn a_lead_whose_socket_closes_is_followed_even_in_the_pause() {
    let mut room = call_of(4);
    room.pass_silently(LEAD_SILENCE);
    room.pass_silently(LEAD_SILENCE);
    room.forget();
    room.close(3);
    assert_eq!(names(&room.take(4)), ["away", "lead"]);
}
