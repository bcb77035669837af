//! Sockets that drop, seats that are kept, and what a member that comes back is given.

use conclave_shared::{
    id::{AckMac, JoinId, Seat, Sequence},
    wire::{Ack, At, AwayReason, Claim, Decline, LeftReason, Olm, Resume, Suspect},
};

use super::*;
use crate::call::{RESUMES, RESUMES_WITHIN};

/// One and two are committed, one leads, three waits.
fn three() -> Room {
    let mut room = Room::new();
    for connection in 1..=3 {
        room.member(connection);
    }
    room.commit(1, (1, 0), &[1, 2], &[]);
    room
}

/// What a client remembers of its seat.
struct Seated {
    device: Device,
    join: JoinId,
    after: At,
}

/// Takes in what came on the connection that a device joined on.
fn seated(room: &mut Room, connection: u64) -> Seated {
    let device = Device::new(u8::try_from(connection).expect("small"));
    let inbox = room.take(connection);
    let Some(ToClient::Welcome(welcome)) = inbox.first() else { panic!("no welcome") };
    let join = device.join_id(&name(), &proof_of(welcome, welcome.joined.0));
    let after = numbers(&inbox).into_iter().max().expect("events");
    Seated { device, join, after: At(RELAY, Sequence(after)) }
}

impl Seated {
    fn message(&self, connection: u64) -> Resume {
        self.device.resume(&name(), &nonce(connection), self.join, self.after)
    }

    fn resume(&self, room: &mut Room, connection: u64) {
        resume(room, connection, self.message(connection));
    }
}

fn resume(room: &mut Room, connection: u64, resume: Resume) {
    let request = ResumeRequest { resume, nonce: nonce(connection) };
    room.input(CallInput::Resume(ConnectionId(connection), Box::new(request)));
}

fn received(inbox: &[ToClient]) -> u64 {
    let Some(ToClient::Resumed(resumed)) = inbox.first() else { panic!("not resumed: {inbox:?}") };
    resumed.received
}

#[test]
fn a_dropped_socket_keeps_its_seat_and_what_was_missed_comes_once_and_in_order() {
    let mut room = three();
    let second = seated(&mut room, 2);
    room.forget();
    room.close(2);
    assert!(
        matches!(room.take(1)[..], [ToClient::Away(away)] if away.joined == Joined(2) && away.reason == AwayReason::Dropped)
    );
    room.say(1, body_of(1, None, r#"{"rotate":{}}"#));
    room.say(1, Olm { to: Joined(2), message: OlmMessage(1, Blob(vec![7])) });
    room.say(1, Olm { to: Joined(3), message: OlmMessage(1, Blob(vec![8])) });
    room.say(1, commit((1, 1), &[3], &[], &[(2, 22), (3, 33)]));
    assert_eq!(room.take(2), [], "nothing goes to a socket that is gone");
    assert_eq!(names(&room.take(1)), ["commit"], "nobody is refused a message to somebody who is away");

    room.pass(Duration::from_secs(9));
    second.resume(&mut room, 12);
    let inbox = room.take(12);
    assert_eq!(names(&inbox), ["resumed", "away", "body", "olm", "commit", "back"]);
    let seen = numbers(&inbox);
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]) && seen[0] > second.after.1.0, "{seen:?}");
    let ToClient::Commit(commit) = &inbox[4] else { panic!("commit") };
    assert_eq!(commit.grant, Some(OlmMessage(1, Blob(vec![22]))), "its own grant and nobody else's");
    assert!(matches!(inbox[5], ToClient::Back(back) if back.joined == Joined(2)));
    assert_eq!(names(&room.take(1)), ["back"]);
    room.pass(GRACE);
    assert_eq!(room.take(1), [], "the time of grace is over, and nobody is gone");
}

#[test]
fn what_the_relay_took_in_is_counted_whatever_became_of_it() {
    let mut room = three();
    let second = seated(&mut room, 2);
    room.say(2, Ping { n: 0 });
    room.say(2, Claim { of: vec![] });
    room.say(2, body_of(2, Some(77), r#"{"rotate":{}}"#));
    room.input(CallInput::Refused(ConnectionId(2), Code::UnknownMessage, "what?".into()));
    room.say(2, Suspect { term: Term(9) });
    let answers = room.take(2);
    assert_eq!(names(&answers), ["pong", "error", "error", "error"]);
    room.input(CallInput::Refused(ConnectionId(2), Code::TooFast, "not taken in: it is to be sent again".into()));
    room.say(2, Ping { n: 0 });
    second.resume(&mut room, 12);
    assert_eq!(received(&room.take(12)), 5, "what came on a connection that was given up is not taken in");
    room.say(12, Ping { n: 0 });
    room.close(12);
    second.resume(&mut room, 13);
    assert_eq!(received(&room.take(13)), 6, "it goes on over all connections of one join");
}

#[test]
fn a_seat_is_given_up_when_the_time_of_grace_is_over() {
    let mut room = three();
    let second = seated(&mut room, 2);
    room.close(2);
    room.forget();
    room.pass(GRACE - Duration::from_millis(1));
    assert_eq!(room.take(1), []);
    room.pass(Duration::from_millis(1));
    assert!(
        matches!(room.take(1)[..], [ToClient::Left(left)] if left.joined == Joined(2) && left.reason == LeftReason::Closed)
    );
    second.resume(&mut room, 12);
    assert_eq!(room.errors(12), [Code::LostSeat]);
    assert_eq!(room.closed.get(&12), Some(&Code::LostSeat));
    assert_eq!(room.take(1), [], "nobody else notices");
}

/// Somebody else, or somebody who is mistaken: refused with `lost_seat`, and the member that is meant stays.
fn refused(spoil: impl FnOnce(&mut Resume)) {
    let mut room = three();
    let second = seated(&mut room, 2);
    room.forget();
    let mut message = second.message(12);
    spoil(&mut message);
    resume(&mut room, 12, message);
    assert_eq!(room.errors(12), [Code::LostSeat]);
    assert_eq!(room.closed, BTreeMap::from([(12, Code::LostSeat)]));
    assert_eq!((room.take(1), room.take(2)), (vec![], vec![]), "nobody notices");
    room.say(2, Ping { n: 0 });
    assert_eq!(names(&room.take(2)), ["pong"]);
}

#[test]
fn nobody_takes_a_seat_that_is_not_their_own() {
    refused(|resume| resume.signature = spoiled(resume.signature));
    refused(|resume| *resume = Device::new(3).resume(&name(), &nonce(12), resume.join, resume.after));
    refused(|resume| *resume = Device::new(2).resume(&name(), &nonce(11), resume.join, resume.after));
    refused(|resume| resume.join = JoinId::new([1; 32]));
    refused(|resume| *resume = Device::new(2).resume(&name(), &nonce(12), JoinId::new([1; 32]), resume.after));
    refused(|resume| resume.after.0 = RelayInstance::new([8; 16]));
    refused(|resume| resume.call = CallName::new("other").expect("a name"));
}

#[test]
fn another_version_is_told_so() {
    let mut room = three();
    let mut message = seated(&mut room, 2).message(12);
    message.version = 2;
    resume(&mut room, 12, message);
    assert_eq!(room.errors(12), [Code::Version]);
}

#[test]
fn who_cannot_be_told_all_that_it_missed_loses_its_seat() {
    for (spoil, what) in [(0, "before its own welcome"), (1 << 40, "an event that never was")] {
        let mut room = three();
        let mut second = seated(&mut room, 2);
        room.close(2);
        room.forget();
        second.after.1 = Sequence(spoil);
        second.resume(&mut room, 12);
        assert_eq!(room.errors(12), [Code::LostSeat], "{what}");
        assert!(matches!(room.take(1)[..], [ToClient::Left(left)] if left.joined == Joined(2)), "{what}");
    }

    let mut room = three();
    let second = seated(&mut room, 2);
    room.pass(super::super::LOG_TIME - Duration::from_secs(1));
    room.say(1, body_of(1, None, r#"{"rotate":{}}"#));
    room.close(2);
    room.pass(Duration::from_secs(2));
    room.forget();
    second.resume(&mut room, 12);
    assert_eq!(names(&room.take(12)), ["resumed", "body", "away", "back"], "forgotten is only what it had");
    room.pass(super::super::LOG_TIME);
    room.forget();
    second.resume(&mut room, 13);
    assert_eq!(room.errors(13), [Code::LostSeat]);
    assert_eq!(names(&room.take(1)), ["away", "left"]);
    assert_eq!(room.closed.get(&12), Some(&Code::Replaced), "its older connection goes with it");
}

#[test]
fn a_connection_that_still_stands_is_given_up_for_the_new_one() {
    let mut room = three();
    let second = seated(&mut room, 2);
    room.forget();
    second.resume(&mut room, 12);
    assert_eq!(room.closed.get(&2), Some(&Code::Replaced));
    assert_eq!(room.errors(2), [Code::Replaced]);
    assert_eq!(names(&room.take(12)), ["resumed", "away", "back"]);
    assert_eq!(names(&room.take(1)), ["away", "back"]);
    room.close(2);
    assert_eq!(room.take(1), [], "the end of the old socket is no news");
    room.say(2, Ping { n: 0 });
    assert_eq!(room.take(2), []);
    second.resume(&mut room, 12);
    assert_eq!(room.errors(12), [Code::AlreadyJoined]);
    room.say(12, second.message(12));
    assert_eq!(room.errors(12), [Code::AlreadyJoined]);
}

#[test]
fn a_lead_that_drops_loses_the_lead_and_is_a_member_when_it_comes_back() {
    let mut room = three();
    let first = seated(&mut room, 1);
    room.forget();
    room.close(1);
    assert!(
        matches!(room.take(2)[..], [ToClient::Away(_), ToClient::Lead(lead)] if lead.joined == Joined(2) && !lead.genesis)
    );
    first.resume(&mut room, 11);
    assert_eq!(names(&room.take(11)), ["resumed", "away", "lead", "back"]);
    assert_eq!(names(&room.take(2)), ["back"]);
    room.commit(11, (1, 1), &[], &[]);
    assert_eq!(room.errors(11), [Code::PassedTerm]);
    room.commit(2, (2, 0), &[], &[]);
    assert_eq!(names(&room.take(11)), ["commit"]);
}

#[test]
fn a_lead_that_comes_back_on_a_new_connection_before_the_old_one_ends_has_lost_the_lead_too() {
    let mut room = three();
    let first = seated(&mut room, 1);
    room.forget();
    first.resume(&mut room, 11);
    assert_eq!(names(&room.take(2)), ["away", "lead", "back"]);
    assert_eq!(room.call.lead_connection(), Some(ConnectionId(2)));
}

#[test]
fn a_lead_that_is_alone_is_named_again() {
    let mut room = Room::new();
    room.member(1);
    room.commit(1, (1, 0), &[1], &[]);
    room.member(2);
    let first = seated(&mut room, 1);
    room.forget();
    room.close(1);
    assert_eq!(names(&room.take(2)), ["away"], "who waits does not begin another life of the call");
    let third = room.member(3);
    assert_eq!(third.lead, None);
    assert_eq!(third.members[0].away, Some(AwayReason::Dropped));
    assert!(third.members[0].present && third.members[0].committed);
    first.resume(&mut room, 11);
    let inbox = room.take(11);
    assert_eq!(names(&inbox), ["resumed", "away", "joined", "back", "lead"]);
    assert!(
        matches!(inbox[4], ToClient::Lead(lead) if (lead.term, lead.joined, lead.genesis) == (Term(2), Joined(1), false))
    );
}

#[test]
fn of_two_who_are_away_the_first_to_come_back_leads() {
    let mut room = three();
    let (first, second) = (seated(&mut room, 1), seated(&mut room, 2));
    room.close(1);
    room.close(2);
    assert_eq!(room.call.lead_connection(), None);
    room.forget();
    second.resume(&mut room, 12);
    assert!(matches!(room.take(3)[..], [ToClient::Back(_), ToClient::Lead(lead)] if lead.joined == Joined(2)));
    first.resume(&mut room, 11);
    assert_eq!(names(&room.take(3)), ["back"], "the one before takes nothing back");
}

#[test]
fn when_nobody_committed_comes_back_who_waits_begins_anew() {
    let mut room = three();
    room.close(1);
    room.pass(Duration::from_secs(1));
    room.close(2);
    room.forget();
    room.pass(GRACE - Duration::from_secs(1));
    assert_eq!(names(&room.take(3)), ["left"]);
    room.pass(Duration::from_secs(1));
    let inbox = room.take(3);
    assert_eq!(names(&inbox), ["left", "lead"]);
    assert!(matches!(inbox[1], ToClient::Lead(lead) if lead.genesis && lead.joined == Joined(3)));
}

#[test]
fn somebody_who_waits_keeps_the_seat_and_is_added_while_away() {
    let mut room = three();
    let third = seated(&mut room, 3);
    room.close(3);
    room.forget();
    room.say(1, commit((1, 1), &[3], &[], &[(3, 33)]));
    assert_eq!(names(&room.take(2)), ["commit"], "it neither came nor went");
    third.resume(&mut room, 13);
    let inbox = room.take(13);
    assert_eq!(names(&inbox), ["resumed", "away", "commit", "back"]);
    assert!(matches!(&inbox[2], ToClient::Commit(commit) if commit.grant == Some(OlmMessage(1, Blob(vec![33])))));
}

#[test]
fn who_is_removed_while_away_is_gone_at_once() {
    let mut room = three();
    let second = seated(&mut room, 2);
    room.close(2);
    room.forget();
    room.commit(1, (1, 1), &[], &[2]);
    let inbox = room.take(3);
    assert_eq!(names(&inbox), ["commit", "left"]);
    assert!(matches!(inbox[1], ToClient::Left(left) if left.reason == LeftReason::Removed));
    resume(&mut room, 11, Resume { signature: spoiled(second.message(11).signature), ..second.message(11) });
    assert_eq!(room.errors(11), [Code::LostSeat], "nobody else learns of it");
    second.resume(&mut room, 12);
    assert_eq!(room.errors(12), [Code::Removed], "it was sent away and is not to join afresh by itself");
    assert_eq!(room.member(4).seat, Seat(1), "the seat is free");
    room.pass(GRACE);
    second.resume(&mut room, 13);
    assert_eq!(room.errors(13), [Code::LostSeat]);
}

#[test]
fn who_was_taken_for_gone_while_away_may_join_afresh() {
    let mut room = three();
    let second = seated(&mut room, 2);
    room.close(2);
    room.say(1, Commit { lost: vec![Joined(2)], ..commit((1, 1), &[], &[2], &[]) });
    second.resume(&mut room, 12);
    assert_eq!(room.errors(12), [Code::LostSeat]);
}

#[test]
fn a_member_that_does_nothing_but_come_and_go_loses_its_seat() {
    let mut room = three();
    let second = seated(&mut room, 2);
    let from = 20;
    for n in 0..u64::from(RESUMES) {
        second.resume(&mut room, from + n);
        assert!(received(&room.take(from + n)) == 0);
    }
    room.pass(RESUMES_WITHIN);
    for n in 0..u64::from(RESUMES) {
        second.resume(&mut room, from + 20 + n);
        assert!(received(&room.take(from + 20 + n)) == 0);
    }
    room.forget();
    second.resume(&mut room, from + 40);
    assert_eq!(room.errors(from + 40), [Code::LostSeat]);
    assert_eq!(names(&room.take(1)), ["away", "left"]);
}

#[test]
fn a_fresh_join_of_somebody_who_is_away_ends_the_older_one_at_once() {
    let mut room = three();
    let second = seated(&mut room, 2);
    room.close(2);
    room.forget();
    room.join(12, &Device::new(2), Role::Member);
    let inbox = room.take(1);
    assert_eq!(names(&inbox), ["left", "joined", "claimed"]);
    assert!(matches!(inbox[0], ToClient::Left(left) if left.reason == LeftReason::Replaced));
    second.resume(&mut room, 13);
    assert_eq!(room.errors(13), [Code::LostSeat], "the older join is over");
    assert!(!room.closed.contains_key(&12));
}

#[test]
fn a_call_outlives_everybodys_drop_for_the_time_of_grace() {
    let mut room = three();
    let first = seated(&mut room, 1);
    for connection in 1..=3 {
        room.close(connection);
    }
    assert!(!room.call.is_over());
    room.pass(GRACE - Duration::from_millis(1));
    assert!(!room.call.is_over());
    first.resume(&mut room, 11);
    assert_eq!(room.call.lead_connection(), Some(ConnectionId(11)));
    room.close(11);
    room.grace_ends();
    assert!(room.call.is_over());
}

#[test]
fn a_signed_leave_and_a_broken_rule_keep_no_seat() {
    let mut room = three();
    room.leave(2);
    room.input(CallInput::Refused(ConnectionId(3), Code::Malformed, "what?".into()));
    assert!(room.take(1).iter().filter(|message| matches!(message, ToClient::Left(_))).count() == 2);
    room.leave(1);
    assert!(room.call.is_over());
}

#[test]
fn a_full_call_gives_the_seat_of_somebody_away_who_was_never_committed() {
    let mut room = Room::with(CallConfig { members: 3, ..CallConfig::new(RELAY) });
    for connection in 1..=3 {
        room.member(connection);
    }
    room.commit(1, (1, 0), &[1, 2], &[]);
    room.close(2);
    room.close(3);
    room.forget();
    room.join(4, &Device::new(4), Role::Member);
    assert_eq!(names(&room.take(4)), ["welcome"]);
    assert!(matches!(room.take(1)[0], ToClient::Left(left) if left.joined == Joined(3)));
    room.join(5, &Device::new(5), Role::Member);
    assert_eq!(room.errors(5), [Code::CallFull], "who is committed keeps it");
}

#[test]
fn who_is_short_of_keys_hears_of_it_when_it_comes_back() {
    let mut room = three();
    let second = seated(&mut room, 2);
    room.close(2);
    room.forget();
    room.say(1, Claim { of: vec![Joined(2)] });
    assert_eq!(names(&room.take(1)), ["claimed"], "somebody away is granted the next epoch, too");
    second.resume(&mut room, 12);
    assert_eq!(names(&room.take(12)), ["resumed", "away", "keys_low", "back"]);
}

#[test]
fn a_lead_that_declines_hands_over_and_is_fit_again_with_its_next_ack() {
    let mut room = three();
    room.commit(1, (1, 1), &[3], &[]);
    room.leave(1);
    room.forget();
    room.say(3, Decline { term: Term(2) });
    room.say(2, Decline { term: Term(1) });
    assert_eq!(room.take(2), [], "not theirs to decline, or long past");
    room.say(2, Decline { term: Term(2) });
    let inbox = room.take(3);
    assert!(
        matches!(inbox[0], ToClient::Away(away) if away.joined == Joined(2) && away.reason == AwayReason::Declined)
    );
    assert!(matches!(inbox[1], ToClient::Lead(lead) if (lead.term, lead.joined) == (Term(3), Joined(3))));
    room.say(2, Ping { n: 0 });
    room.say(3, Decline { term: Term(3) });
    assert_eq!(names(&room.take(3)), ["away"], "nobody is left who could");
    room.take(2);
    room.say(2, Ack { epoch: Epoch(Term(1), 1), mac: AckMac::new([1; 32]) });
    let inbox = room.take(3);
    assert_eq!(names(&inbox), ["back", "lead"]);
    assert!(matches!(inbox[1], ToClient::Lead(lead) if (lead.term, lead.joined) == (Term(4), Joined(2))));
    room.say(3, Ack { epoch: Epoch(Term(1), 1), mac: AckMac::new([1; 32]) });
    assert_eq!(names(&room.take(2)).last(), Some(&"back"));
}
