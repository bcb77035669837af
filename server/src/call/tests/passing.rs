//! What is passed on, what is refused, and that the rest of the call does not notice.

use conclave_shared::{
    id::{AckMac, Sequence},
    wire::{Ack, Claim, LeftReason, Olm},
};

use super::*;

fn three() -> Room {
    let mut room = Room::new();
    for connection in 1..=3 {
        room.member(connection);
    }
    room.forget();
    room
}

fn body(to: Option<u64>) -> Signed {
    content(to, r#"{"rotate":{}}"#)
}

fn content(to: Option<u64>, content: &str) -> Signed {
    body_of(1, to, content)
}

#[test]
fn bodies_go_to_all_others_or_to_the_one_exactly_as_they_were_signed() {
    let mut room = three();
    room.say(2, body(None));
    assert_eq!(room.encoded, 1);
    assert_eq!(room.take(2), []);
    for connection in [1, 3] {
        let inbox = room.take(connection);
        let [ToClient::Body(event)] = inbox.as_slice() else { panic!("{inbox:?}") };
        assert_eq!((event.from, &event.signed), (Joined(2), &body(None)));
    }
    room.say(2, body(Some(3)));
    assert_eq!((room.take(1).len(), room.take(3).len()), (0, 1));
}

#[test]
fn who_says_that_they_leave_is_gone_at_once_and_never_named_as_lead() {
    let mut room = three();
    room.commit(1, (1, 0), &[1, 2, 3], &[]);
    room.forget();
    room.say(2, content(Some(3), r#"{"leave":{}}"#));
    assert_eq!(names(&room.take(3)), ["body"], "a leave is for all");
    room.say(2, content(None, r#"{"leave":{}}"#));
    assert_eq!(names(&room.take(3)), ["body", "left"]);
    room.close(1);
    assert!(matches!(room.take(3).last(), Some(ToClient::Lead(lead)) if lead.joined == Joined(3)));
    room.close(2);
    assert_eq!(room.take(3), [], "its socket's end is no news");
}

#[test]
fn acks_go_to_the_lead_and_olm_to_the_one_it_names() {
    let mut room = three();
    room.say(2, Ack { epoch: Epoch(Term(1), 0), mac: AckMac::new([1; 32]) });
    assert_eq!(names(&room.take(1)), ["ack"]);
    assert_eq!(room.take(3), []);
    room.say(2, Olm { to: Joined(3), message: OlmMessage(0, Blob(vec![1])) });
    assert_eq!(names(&room.take(3)), ["olm"]);
    assert_eq!(room.take(1), []);
}

#[test]
fn messages_to_somebody_who_is_not_here_are_refused_and_the_sender_stays() {
    let mut room = three();
    room.leave(3);
    room.forget();
    for to in [3, 9] {
        room.say(2, Olm { to: Joined(to), message: OlmMessage(0, Blob(vec![])) });
        room.say(2, body(Some(to)));
        assert_eq!(room.errors(2), [Code::UnknownMember, Code::UnknownMember]);
    }
    assert!(room.closed.is_empty());
    assert_eq!(room.take(1), []);
}

#[test]
fn what_breaks_a_rule_ends_the_membership_with_its_own_reason() {
    let mut room = three();
    let text = serde_json::value::RawValue::from_string("{}".into()).expect("JSON");
    room.say(2, Signed { text, signature: Signature::new([0; 64]) });
    assert_eq!(room.closed.get(&2), Some(&Code::Malformed));
    let inbox = room.take(3);
    assert_eq!(names(&inbox), ["left"]);
    assert!(matches!(&inbox[0], ToClient::Left(left) if left.reason == LeftReason::Refused));
    room.input(CallInput::Refused(ConnectionId(3), Code::TooFast, "too fast".into()));
    assert_eq!(room.closed.get(&3), Some(&Code::TooFast));
    assert!(matches!(room.take(1)[..], [ToClient::Left(_), ToClient::Away(away)] if away.joined == Joined(3)));
    room.input(CallInput::Refused(ConnectionId(1), Code::UnknownMessage, "what?".into()));
    assert_eq!(room.errors(1), [Code::UnknownMessage]);
    assert!(!room.closed.contains_key(&1));
}

#[test]
fn later_keys_are_signed_for_this_join() {
    let mut room = Room::new();
    room.member(1);
    let welcome = room.member(2);
    room.forget();
    let device = Device::new(2);
    let join = device.join_id(&name(), &proof_of(&welcome, 2));
    room.say(2, device.keys(&name(), &join, device.batch(10, 5)));
    assert_eq!(room.take(2), []);
    room.say(1, Claim { of: vec![Joined(2)] });
    assert_eq!(names(&room.take(2)), Vec::<&str>::new(), "no longer low");

    let other_join = device.join_id(&name(), &proof_of(&welcome, 1));
    room.say(2, device.keys(&name(), &other_join, device.batch(20, 5)));
    assert_eq!(room.closed.get(&2), Some(&Code::BadKeys));
    assert_eq!(names(&room.take(1)), ["claimed", "left"]);
}

#[test]
fn too_many_keys_are_refused() {
    let mut room = three();
    let keys = conclave_shared::wire::Keys { keys: Device::new(2).batch(0, 11), signature: Signature::new([0; 64]) };
    room.say(2, keys);
    assert_eq!(room.closed.get(&2), Some(&Code::BadKeys));
}

#[test]
fn events_are_numbered_in_one_order_and_can_be_replayed_as_they_went_out() {
    let mut room = Room::new();
    room.member(1);
    room.member(2);
    room.commit(1, (1, 0), &[1, 2], &[]);
    room.say(2, body(None));
    room.say(1, Olm { to: Joined(2), message: OlmMessage(0, Blob(vec![])) });
    room.say(1, commit((1, 1), &[], &[], &[(2, 22)]));
    for connection in [1, 2] {
        let inbox = room.take(connection);
        let seen = numbers(&inbox);
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
        let after = Sequence(seen[1]);
        let replayed: Vec<ToClient> = room
            .call
            .log
            .after(after, Joined(connection))
            .expect("nothing is forgotten yet")
            .iter()
            .map(|text| decode(text, usize::MAX).expect("decodes"))
            .collect();
        let events: Vec<_> =
            inbox.into_iter().filter(|message| !numbers(std::slice::from_ref(message)).is_empty()).collect();
        assert_eq!(replayed, events[2..]);
    }
}

#[test]
fn time_forgets_events_and_those_who_never_came_to_be_committed() {
    let mut room = three();
    room.leave(3);
    room.commit(1, (1, 0), &[1], &[]);
    let due = room.call.next_timeout().expect("something to forget");
    assert_eq!(due, room.now + super::super::LINGER);
    room.pass(super::super::LOG_TIME);
    assert_eq!(room.call.next_timeout(), None);
    assert_eq!(room.call.log.after(Sequence(0), Joined(1)), None);
}
