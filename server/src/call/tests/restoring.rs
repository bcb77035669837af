//! A relay that was restarted, and the members that bring their call back to it.

use conclave_shared::{
    id::{AckMac, Instance, Seat},
    time::Timestamp,
    wire::{Ack, Claim, Decline, Restore, signed::Held},
};

use super::*;
use crate::call::{HIGHEST_JOINED, HIGHEST_TERM, LEAD_SILENCE, RESTORE_UNTIL, SETTLE};

/// What the member of this number held when the relay was lost: its seat is one below its number, the first leads in
/// term 3, and nine have joined.
fn held(joined: u64) -> Held {
    Held {
        instance: Instance::new([1; 16]),
        term: Term(3),
        lead: Joined(1),
        seat: Seat(u16::try_from(joined - 1).expect("small")),
        joined: Joined(joined),
        highest: Joined(9),
        role: Role::Member,
    }
}

fn message(connection: u64, device: &Device, held: Held) -> Restore {
    // Of another relay, long ago.
    let keys = device.batch(0, 4).hash().expect("few enough");
    let proof = device.proof(&name(), RelayNonce::new([77; 32]), &device.card(), keys);
    device.restore(&name(), &nonce(connection), (proof, Token(String::new())), held)
}

impl Room {
    fn bring(&mut self, connection: u64, restore: Restore, user: &Device) {
        let admission = Admission { call: name(), user: user.user.clone(), role: Role::Member };
        let request = RestoreRequest { admission, restore, nonce: nonce(connection) };
        self.input(CallInput::Restore(ConnectionId(connection), Box::new(request)));
    }

    /// The device of this number brings something back.
    fn brings(&mut self, connection: u64, seed: u64, held: Held) {
        let device = Device::new(u8::try_from(seed).expect("small"));
        self.bring(connection, message(connection, &device, held), &device);
    }

    /// Members of the call come back on connections of their own numbers.
    fn restored(&mut self, members: &[u64]) {
        for member in members {
            self.brings(*member, *member, held(*member));
        }
    }
}

fn lead(message: &ToClient) -> (u32, u64, bool) {
    let ToClient::Lead(lead) = message else { panic!("no lead: {message:?}") };
    (lead.term.0, lead.joined.0, lead.genesis)
}

/// Members by number and whether they are committed.
fn listed(welcome: &ToClient) -> Vec<(u64, u16, bool)> {
    let ToClient::Welcome(welcome) = welcome else { panic!("no welcome: {welcome:?}") };
    welcome.members.iter().map(|member| (member.joined.0, member.seat.0, member.committed)).collect()
}

#[test]
fn members_come_back_as_they_were_and_the_reign_goes_on() {
    let mut room = Room::new();
    room.restored(&[2, 4, 1]);
    let inbox = room.take(4);
    assert_eq!(names(&inbox), ["welcome", "joined"]);
    assert_eq!(listed(&inbox[0]), [(2, 1, true), (4, 3, true)]);
    assert!(
        matches!(&inbox[0], ToClient::Welcome(welcome) if (welcome.joined, welcome.seat, welcome.lead) == (Joined(4), Seat(3), None))
    );
    assert!(
        matches!(&inbox[1], ToClient::Joined(joined) if joined.member.committed && joined.member.joined == Joined(1))
    );
    assert_eq!(numbers(&inbox), [2, 3]);
    room.forget();
    room.pass_silently(SETTLE - Duration::from_millis(1));
    assert_eq!(room.take(4), []);
    room.commit(1, (3, 7), &[], &[]);
    assert_eq!(room.errors(1), [Code::NotLead], "nobody leads yet");
    room.pass_silently(Duration::from_millis(1));
    let inbox = room.take(4);
    assert_eq!(names(&inbox), ["lead"]);
    assert_eq!(lead(&inbox[0]), (3, 1, false), "the same term: nothing rotates");
    room.forget();

    room.commit(1, (3, 7), &[], &[]);
    assert_eq!(names(&room.take(4)), ["commit"], "its members know what it follows");
    room.commit(1, (3, 7), &[], &[]);
    assert_eq!(room.errors(1), [Code::OutOfOrder], "from here on the relay knows it, too");
    room.commit(1, (3, 8), &[], &[]);
    assert_eq!(names(&room.take(4)), ["commit", "commit"][1..]);
}

#[test]
fn the_order_of_coming_back_changes_nothing() {
    for order in [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]] {
        let mut room = Room::new();
        room.restored(&order);
        room.forget();
        room.pass_silently(SETTLE);
        assert_eq!(lead(&room.take(2)[0]), (3, 1, false), "{order:?}");
        let newcomer = room.member(5);
        assert_eq!(newcomer.joined, Joined(1010), "numbers go on, with room for those who were not committed yet");
        assert_eq!(newcomer.seat, Seat(1009), "no seat that somebody still to come back may hold");
        let known: Vec<_> = newcomer.members.iter().map(|member| (member.joined.0, member.committed)).collect();
        assert_eq!(known, [(1, true), (2, true), (3, true), (1010, false)]);
    }
}

#[test]
fn one_that_claims_the_highest_number_there_is_moves_numbers_by_little() {
    let mut room = Room::new();
    room.restored(&[1, 2]);
    room.brings(3, 3, Held { highest: Joined(HIGHEST_JOINED - 1), ..held(3) });
    room.pass_silently(SETTLE);
    assert_eq!(room.member(5).joined, Joined(9 + 16_000 + 1_000 + 1));
}

#[test]
fn when_the_lead_does_not_come_back_the_next_is_named_with_the_next_term() {
    let mut room = Room::new();
    room.restored(&[3, 2]);
    room.forget();
    room.pass_silently(SETTLE);
    let inbox = room.take(3);
    assert_eq!(names(&inbox), ["lead"]);
    assert_eq!(lead(&inbox[0]), (4, 2, false));
    room.commit(2, (4, 0), &[], &[1, 7]);
    assert_eq!(names(&room.take(3)), ["commit"], "it may name members that the relay has never seen");
    room.forget();
    room.brings(1, 1, held(1));
    assert_eq!(room.errors(1), [Code::LostSeat], "who was removed meanwhile does not come back");
    room.brings(4, 4, held(4));
    assert_eq!(names(&room.take(4)), ["welcome"], "who was not, does");

    let mut room = Room::new();
    room.restored(&[1, 2]);
    room.close(1);
    room.pass_silently(SETTLE);
    assert_eq!(lead(room.take(2).last().expect("a lead")), (4, 2, false), "it came and dropped again");
}

#[test]
fn nobody_new_is_let_in_before_the_call_has_settled() {
    let mut room = Room::new();
    room.restored(&[1]);
    room.join(5, &Device::new(5), Role::Member);
    assert_eq!(room.errors(5), [Code::LostSeat], "come again in a moment");
    room.pass_silently(SETTLE);
    room.forget();
    room.join(6, &Device::new(6), Role::Member);
    assert_eq!(names(&room.take(6)), ["welcome"]);
    assert_eq!(names(&room.take(1)), ["joined", "claimed"]);
}

#[test]
fn who_began_anew_before_the_first_came_back_joins_the_call_there_is() {
    let mut room = Room::new();
    room.member(5);
    room.member(6);
    room.commit(5, (1, 0), &[1, 2], &[]);
    room.close(6);
    room.forget();
    room.restored(&[1]);
    assert_eq!(room.closed, BTreeMap::from([(5, Code::LostSeat)]));
    assert_eq!(room.errors(5), [Code::LostSeat]);
    let inbox = room.take(1);
    assert_eq!(names(&inbox), ["welcome"], "nothing of the other call");
    assert_eq!(listed(&inbox[0]), [(1, 0, true)]);
    room.pass_silently(SETTLE);
    assert_eq!(lead(&room.take(1)[0]), (3, 1, false));
    room.pass(GRACE);
    assert_eq!(room.take(1), [], "who was away there is nobody here");
}

#[test]
fn most_of_them_decide_what_the_call_is() {
    let liar =
        Held { instance: Instance::new([9; 16]), term: Term(400), lead: Joined(5), highest: Joined(1000), ..held(5) };
    let mut room = Room::new();
    room.brings(5, 5, liar);
    room.restored(&[1, 2]);
    room.forget();
    room.pass_silently(SETTLE);
    assert_eq!(room.closed, BTreeMap::from([(5, Code::LostSeat)]));
    let inbox = room.take(2);
    assert_eq!(names(&inbox), ["lead"]);
    assert_eq!(lead(&inbox[0]), (3, 1, false));
    assert_eq!(names(&room.take(5)), ["error"], "nothing of a call that is not its own");
    assert_eq!(room.member(6).joined, Joined(1010), "its numbers do not count");

    let ahead = Held { term: Term(4), lead: Joined(5), ..held(5) };
    let mut room = Room::new();
    room.brings(5, 5, ahead);
    room.restored(&[2, 3]);
    room.pass_silently(SETTLE);
    assert_eq!(lead(room.take(2).last().expect("a lead")), (5, 2, false), "terms go on above what any has heard of");
    assert!(room.closed.is_empty(), "and it is in the same call");

    let mut room = Room::new();
    room.brings(5, 5, ahead);
    room.restored(&[1, 2]);
    room.pass_silently(SETTLE);
    assert_eq!(lead(room.take(2).last().expect("a lead")), (5, 1, false), "a newer reign has ended the one of most");

    let far_ahead = Held { term: Term(400), ..ahead };
    let mut room = Room::new();
    room.brings(5, 5, far_ahead);
    room.restored(&[2, 3]);
    room.pass_silently(SETTLE);
    assert_eq!(lead(room.take(2).last().expect("a lead")), (12, 2, false), "within reason");

    let mut room = Room::new();
    room.brings(5, 5, Held { instance: Instance::new([9; 16]), ..held(5) });
    room.restored(&[4]);
    room.pass_silently(SETTLE);
    assert_eq!(room.closed, BTreeMap::from([(5, Code::LostSeat)]), "of as many on both sides the earliest decides");
}

#[test]
fn who_was_away_when_the_reign_began_does_not_lead_before_it_has_the_epochs_of_it() {
    let away = |joined| Held { term: Term(2), lead: Joined(2), ..held(joined) };
    let mut room = Room::new();
    room.brings(2, 2, away(2));
    room.restored(&[3, 4]);
    room.pass_silently(SETTLE);
    let inbox = room.take(3);
    assert_eq!(names(&inbox)[inbox.len() - 2..], ["away", "lead"]);
    assert_eq!(
        lead(inbox.last().expect("a lead")),
        (4, 3, false),
        "the second came first, and lacks what the others have"
    );

    room.forget();
    room.say(2, Ack { epoch: Epoch(Term(4), 0), mac: AckMac::new([1; 32]) });
    assert_eq!(names(&room.take(4)), ["back"], "with an epoch of the new reign it can");

    room.say(3, Decline { term: Term(4) });
    room.say(2, Decline { term: Term(5) });
    room.say(4, Decline { term: Term(6) });
    room.forget();
    room.brings(5, 5, Held { term: Term(3), ..held(5) });
    assert_eq!(names(&room.take(3)), ["joined", "back", "lead"], "nobody else is left who could lead");
}

#[test]
fn who_lacks_the_newer_reign_leads_when_nobody_of_it_comes_back() {
    let mut room = Room::new();
    room.brings(2, 2, Held { term: Term(2), lead: Joined(2), ..held(2) });
    room.restored(&[3]);
    room.close(3);
    room.pass_silently(SETTLE);
    assert_eq!(names(&room.take(2)).last(), Some(&"away"), "it may yet come back");
    room.pass(GRACE);
    let inbox = room.take(2);
    assert_eq!(names(&inbox), ["left", "back", "lead"]);
    assert_eq!(lead(&inbox[2]), (4, 2, false));
}

#[test]
fn who_comes_late_and_heard_of_newer_reigns_is_named_above_them() {
    for (heard, named) in [(5, 6), (HIGHEST_TERM - 1, 12)] {
        let mut room = Room::new();
        room.restored(&[2]);
        room.close(2);
        room.pass_silently(SETTLE);
        room.brings(3, 3, Held { term: Term(heard), lead: Joined(4), ..held(3) });
        assert_eq!(room.take(3).last().map(lead), Some((named, 3, false)), "one that lies moves the term by little");
    }
}

#[test]
fn terms_do_not_leap_once_somebody_led() {
    let mut room = Room::new();
    room.restored(&[1, 2]);
    room.pass_silently(SETTLE);
    room.close(1);
    room.close(2);
    room.brings(3, 3, Held { term: Term(1000), lead: Joined(4), ..held(3) });
    // Both may come back to this relay, and would hear of a term that they do not expect.
    assert_eq!(room.take(3).last().map(lead), Some((5, 3, false)), "1 led in term 3 and 2 in term 4");
}

#[test]
fn members_of_two_lives_hear_nothing_of_each_other_while_they_come_back() {
    let other = |joined| Held { instance: Instance::new([9; 16]), ..held(joined) };
    let mut room = Room::new();
    room.restored(&[2]);
    room.brings(5, 5, other(5));
    assert_eq!(listed(&room.take(5)[0]), [(5, 4, true)], "strangers are not listed");
    room.restored(&[3]);
    assert_eq!(listed(&room.take(3)[0]), [(2, 1, true), (3, 2, true)]);
    room.say(3, body_of(3, None, r#"{"rotate":{}}"#));
    room.say(3, body_of(3, Some(5), r#"{"rotate":{}}"#));
    assert_eq!(room.errors(3), [Code::UnknownMember]);
    room.close(3);
    assert_eq!(names(&room.take(2)), ["welcome", "joined", "body", "away"]);
    assert_eq!(room.take(5), []);
    room.pass_silently(SETTLE);
    assert_eq!(names(&room.take(2)), ["lead"], "who never was there does not leave");
}

#[test]
fn a_token_for_another_role_brings_no_seat_back() {
    let mut room = Room::new();
    room.restored(&[1]);
    room.brings(2, 2, Held { role: Role::LeadBot, ..held(2) });
    assert_eq!(room.errors(2), [Code::LostSeat]);
}

#[test]
fn two_who_say_that_they_have_the_same_place() {
    let mut room = Room::new();
    room.restored(&[2]);
    room.brings(8, 8, held(2));
    assert_eq!(room.errors(8), [Code::LostSeat], "a number is its first bringer's");

    room.brings(7, 7, Held { seat: Seat(1), ..held(7) });
    assert_eq!(room.errors(7), [Code::LostSeat], "a seat that of whom joined earlier");
    room.forget();
    room.brings(6, 6, Held { seat: Seat(1), ..held(1) });
    assert_eq!(room.closed.get(&2), Some(&Code::LostSeat), "also when that one comes later");
    assert_eq!(names(&room.take(6)), ["welcome"]);
    room.pass_silently(SETTLE);
    assert_eq!(room.closed.len(), 3);
    assert_eq!(lead(&room.take(6)[0]), (3, 1, false));
}

#[test]
fn a_device_has_one_seat() {
    let mut room = Room::new();
    room.restored(&[2]);
    let device = Device::new(2);
    let keys = device.batch(0, 4).hash().expect("few enough");
    let earlier = device.proof(&name(), RelayNonce::new([78; 32]), &device.card(), keys);
    let restore = device.restore(&name(), &nonce(12), (earlier, Token(String::new())), held(1));
    room.bring(12, restore, &device);
    assert_eq!(room.errors(12), [Code::LostSeat]);
    room.pass_silently(SETTLE);
    room.forget();
    room.join(13, &device, Role::Member);
    assert_eq!(room.closed.get(&2), Some(&Code::Replaced), "a fresh join replaces as always");
}

#[test]
fn who_never_heard_that_it_was_seated_comes_once_more() {
    for dropped in [true, false] {
        let mut room = Room::new();
        room.restored(&[1, 2]);
        room.say(2, Ping { n: 0 });
        if dropped {
            room.close(2);
        }
        room.forget();
        room.brings(12, 2, held(2));
        assert_eq!(listed(&room.take(12)[0]), [(1, 0, true), (2, 1, true)]);
        assert_eq!(names(&room.take(1)).last(), Some(&"back"));
        assert_eq!(room.closed.contains_key(&2), !dropped);
        room.brings(13, 2, Held { seat: Seat(8), ..held(2) });
        assert_eq!(room.errors(13), [Code::LostSeat], "to the same seat only");
        room.pass_silently(SETTLE);
        assert_eq!(lead(&room.take(12)[0]), (3, 1, false));
        room.say(1, Claim { of: vec![Joined(2)] });
        let Some(ToClient::Claimed(claimed)) = room.take(1).pop() else { panic!("claimed") };
        assert_eq!(claimed.keys[0].index, Some(0));
        assert!(claimed.keys[0].signature.is_some(), "the keys that it brought");
    }
}

#[test]
fn late_ones_come_back_to_a_call_that_has_settled() {
    let mut room = Room::new();
    room.restored(&[1, 2]);
    room.pass(Duration::from_secs(5));
    room.member(5);
    room.forget();
    room.restored(&[3]);
    let inbox = room.take(3);
    assert_eq!(names(&inbox), ["welcome"]);
    assert!(matches!(&inbox[0], ToClient::Welcome(welcome) if welcome.lead == Some((Term(3), Joined(1)))));
    assert_eq!(names(&room.take(1)), ["joined"], "no key: it has what it needs");

    let mut refused = |connection: u64, held: Held| {
        room.brings(connection, 8, held);
        assert_eq!(room.errors(connection), [Code::LostSeat], "{held:?}");
    };
    refused(21, Held { instance: Instance::new([9; 16]), ..held(4) });
    refused(22, held(3));
    refused(23, Held { seat: Seat(2), ..held(4) });
    refused(24, Held { highest: Joined(10), ..held(10) });
    refused(25, Held { highest: Joined(11), ..held(11) });
    assert_eq!(names(&room.take(1)), Vec::<&str>::new());

    room.pass(RESTORE_UNTIL);
    room.restored(&[4]);
    assert_eq!(room.errors(4), [Code::LostSeat], "for ever is too long");
}

#[test]
fn once_somebody_was_added_nobody_can_be_missing() {
    let mut room = Room::new();
    room.restored(&[1, 2]);
    room.pass(SETTLE);
    let joiner = room.member(5);
    room.commit(1, (3, 0), &[], &[4]);
    room.restored(&[3]);
    assert_eq!(names(&room.take(3)), ["welcome"]);
    room.commit(1, (3, 1), &[joiner.joined.0], &[]);
    room.restored(&[6]);
    assert_eq!(room.errors(6), [Code::LostSeat]);
}

#[test]
fn a_relay_that_is_up_for_long_takes_no_seat_on_anybodys_word() {
    let mut room = Room::new();
    room.now = Timestamp::ZERO + RESTORE_UNTIL;
    room.restored(&[1]);
    assert_eq!(room.closed, BTreeMap::from([(1, Code::LostSeat)]));
    assert!(room.call.is_over());

    let mut room = Room::new();
    room.now = Timestamp::ZERO + RESTORE_UNTIL - Duration::from_millis(1);
    room.restored(&[1]);
    assert_eq!(names(&room.take(1)), ["welcome"]);
}

#[test]
fn when_nobody_of_then_is_left_nothing_of_then_comes_back() {
    let mut room = Room::new();
    room.restored(&[1]);
    room.pass_silently(SETTLE);
    room.member(5);
    room.forget();
    room.leave(1);
    assert!(matches!(room.take(5).last(), Some(ToClient::Lead(lead)) if lead.genesis && lead.term == Term(4)));
    room.restored(&[2]);
    assert_eq!(room.errors(2), [Code::LostSeat]);
    room.commit(5, (4, 0), &[10], &[2]);
    assert_eq!(room.errors(5), [Code::OutOfOrder], "the relay knows everybody again");
}

/// The restore is refused with this code, and the relay has no call for it.
fn refused(spoil: impl FnOnce(&mut RestoreRequest)) -> Code {
    let mut room = Room::new();
    let device = Device::new(2);
    let admission = Admission { call: name(), user: device.user.clone(), role: Role::Member };
    let mut request = RestoreRequest { admission, restore: message(2, &device, held(2)), nonce: nonce(2) };
    spoil(&mut request);
    room.input(CallInput::Restore(ConnectionId(2), Box::new(request)));
    assert!(room.call.is_over());
    let code = room.closed.get(&2).copied().expect("closed");
    assert_eq!(room.errors(2), [code]);
    code
}

#[test]
fn every_bad_restore_has_its_own_code() {
    let other = CallName::new("other").expect("a name");
    assert_eq!(refused(|r| r.restore.version = 2), Code::Version);
    assert_eq!(refused(|r| r.restore.call = other.clone()), Code::WrongCall);
    assert_eq!(refused(|r| r.admission.call = other), Code::WrongCall);
    assert_eq!(refused(|r| r.restore.card.signature = spoiled(r.restore.card.signature)), Code::BadCard);
    assert_eq!(refused(|r| r.admission.user = Device::new(3).user), Code::UserMismatch);
    assert_eq!(refused(|r| r.restore.proof.signature = spoiled(r.restore.proof.signature)), Code::BadProof);
    assert_eq!(refused(|r| r.restore.signature = spoiled(r.restore.signature)), Code::BadProof);
    assert_eq!(refused(|r| r.nonce = nonce(9)), Code::BadProof, "said to another relay, or on another connection");
    assert_eq!(refused(|r| r.restore.held.joined = Joined(3)), Code::BadProof, "not what it signed");
    assert_eq!(refused(|r| r.restore.keys.signature = spoiled(r.restore.keys.signature)), Code::BadKeys);
    assert_eq!(refused(|r| r.restore.keys.keys = Device::new(2).batch(0, 11)), Code::BadKeys);
    let impossible = |spoil: fn(&mut Held)| {
        refused(|r| {
            let mut held = held(2);
            spoil(&mut held);
            r.restore = message(2, &Device::new(2), held);
        })
    };
    assert_eq!(impossible(|held| held.highest = Joined(1)), Code::Malformed);
    assert_eq!(impossible(|held| held.highest = Joined(HIGHEST_JOINED)), Code::Malformed);
    assert_eq!(impossible(|held| held.term = Term(HIGHEST_TERM)), Code::Malformed);
    assert_eq!(impossible(|held| held.joined = Joined(0)), Code::Malformed);
}

#[test]
fn a_second_restore_on_one_connection_is_refused_and_changes_nothing() {
    let mut room = Room::new();
    room.restored(&[1]);
    room.forget();
    room.restored(&[1]);
    assert_eq!(room.errors(1), [Code::AlreadyJoined]);
    let again = Box::new(message(1, &Device::new(1), held(1)));
    room.say(1, ToRelay::Restore(again));
    assert_eq!(room.errors(1), [Code::AlreadyJoined]);
    assert!(room.closed.is_empty());
}

#[test]
fn a_call_that_all_leave_before_it_has_settled_is_over() {
    let mut room = Room::new();
    room.restored(&[1, 2]);
    room.leave(1);
    room.leave(2);
    assert!(room.call.is_over());
    room.pass_silently(SETTLE);
}

#[test]
fn a_restored_lead_that_says_nothing_is_silent_like_any_other() {
    let mut room = Room::new();
    room.restored(&[1, 2]);
    room.pass_silently(SETTLE);
    room.forget();
    room.pass_silently(LEAD_SILENCE);
    assert_eq!(lead(&room.take(2)[1]), (4, 2, false));
}

#[test]
fn a_relay_that_is_stopped_while_a_call_settles_waits_on() {
    let mut room = Room::new();
    room.restored(&[2]);
    room.freeze(Duration::from_secs(6));
    room.restored(&[1]);
    room.forget();
    room.pass_silently(SETTLE);
    assert_eq!(lead(&room.take(2)[0]), (3, 1, false), "who was waited for still counts");
}

#[test]
fn numbers_beyond_every_seat_leave_room_for_newcomers() {
    let mut room = Room::new();
    let far = Held { highest: Joined(70_000), joined: Joined(69_000), seat: Seat(40), lead: Joined(69_000), ..held(1) };
    room.brings(1, 1, far);
    room.pass_silently(SETTLE);
    let newcomer = room.member(2);
    assert_eq!((newcomer.joined, newcomer.seat), (Joined(71_001), Seat(41)));
}

#[test]
fn two_who_have_found_each_other_give_way_in_the_first_rush_alone() {
    for (millis, gives_way) in [(4_999, true), (5_000, false)] {
        let mut room = Room::new();
        room.member(1);
        room.member(2);
        room.commit(1, (1, 0), &[1], &[]);
        room.commit(1, (1, 1), &[2], &[]);
        room.now = Timestamp::from_millis(millis);
        room.brings(3, 3, held(3));
        assert_eq!(room.closed.contains_key(&3), !gives_way, "after {millis} ms");
        assert_eq!(room.closed.contains_key(&1), gives_way, "after {millis} ms");
    }
}
