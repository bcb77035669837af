//! Seats, welcomes, and every join that is refused.

use conclave_shared::{
    id::{Ed25519Key, Joined, Seat, UserName},
    wire::{LeftReason, signed::KeyBatch},
};

use super::*;

#[test]
fn a_newcomer_is_welcomed_the_others_hear_of_it_and_the_lead_gets_a_key() {
    let mut room = Room::new();
    let first = room.member(1);
    assert_eq!((first.seat, first.joined, first.lead), (Seat(0), Joined(1), None));
    let inbox = room.take(1);
    assert_eq!(names(&inbox), ["welcome", "lead"]);
    assert_eq!(numbers(&inbox), [1, 2]);

    let second = room.member(2);
    assert_eq!((second.seat, second.joined, second.lead), (Seat(1), Joined(2), Some((Term(1), Joined(1)))));
    assert_eq!(
        second.members.iter().map(|m| (m.joined.0, m.present, m.committed)).collect::<Vec<_>>(),
        [(1, true, false), (2, true, false)]
    );
    assert_eq!(names(&room.take(2)), ["welcome"]);
    let inbox = room.take(1);
    assert_eq!(names(&inbox), ["joined", "claimed"]);
    let ToClient::Claimed(claimed) = &inbox[1] else { panic!("claimed") };
    assert_eq!(claimed.keys.iter().map(|key| (key.joined, key.index)).collect::<Vec<_>>(), [(Joined(2), Some(0))]);
    let ToClient::Joined(joined) = &inbox[0] else { panic!("joined") };
    assert_eq!(joined.at, second.at, "the welcome includes the newcomer's own event");
    assert_eq!(joined.member, second.members[1]);
}

#[test]
fn seats_are_reused_once_free_and_order_numbers_never() {
    let mut room = Room::new();
    room.member(1);
    room.member(2);
    room.member(3);
    room.commit(1, (1, 0), &[1, 2], &[]);
    room.leave(2);
    room.leave(3);
    assert_eq!((room.member(4).seat, room.member(5).seat), (Seat(3), Seat(4)), "both may still be in a commit");
    room.pass(super::super::LINGER);
    let sixth = room.member(6);
    assert_eq!((sixth.seat, sixth.joined), (Seat(2), Joined(6)), "the third was never committed");
    assert!(sixth.members.iter().any(|m| m.joined == Joined(2) && m.committed && !m.present), "gone and committed");
    room.commit(1, (1, 1), &[], &[2]);
    assert_eq!(room.member(7).seat, Seat(1), "the removal freed it");
}

#[test]
fn the_same_device_joining_again_replaces_the_older_join() {
    let mut room = Room::new();
    room.member(1);
    room.member(2);
    room.forget();
    room.join(3, &Device::new(2), Role::Member);
    assert_eq!(room.closed.get(&2), Some(&Code::Replaced));
    assert_eq!(room.errors(2), [Code::Replaced]);
    let inbox = room.take(1);
    assert_eq!(names(&inbox), ["left", "joined", "claimed"]);
    assert!(
        matches!(&inbox[0], ToClient::Left(left) if left.joined == Joined(2) && left.reason == LeftReason::Replaced)
    );
    room.close(2);
    assert_eq!(names(&room.take(1)), Vec::<&str>::new(), "the old socket closing is no news");
}

#[test]
fn a_lead_that_joins_again_loses_the_lead() {
    let mut room = Room::new();
    room.member(1);
    room.member(2);
    room.commit(1, (1, 0), &[1, 2], &[]);
    room.forget();
    room.join(3, &Device::new(1), Role::Member);
    assert_eq!(names(&room.take(2)), ["left", "lead", "joined", "claimed"]);
    let inbox = room.take(3);
    let ToClient::Welcome(welcome) = &inbox[0] else { panic!("welcome") };
    assert_eq!(welcome.lead, Some((Term(2), Joined(2))));

    let mut alone = Room::new();
    alone.member(1);
    alone.commit(1, (1, 0), &[1], &[]);
    alone.join(2, &Device::new(1), Role::Member);
    let inbox = alone.take(2);
    assert_eq!(names(&inbox), ["welcome", "lead"]);
    assert!(matches!(&inbox[1], ToClient::Lead(lead) if lead.genesis && lead.joined == Joined(2)));
}

/// The newcomer is refused with this code, and the member who is there does not notice.
fn refused(spoil: impl FnOnce(&mut JoinRequest)) -> Code {
    let mut room = Room::new();
    room.member(1);
    room.forget();
    let mut request = request(2, &Device::new(2), Role::Member);
    spoil(&mut request);
    room.input(CallInput::Join(ConnectionId(2), Box::new(request)));
    assert_eq!(room.take(1), [], "the call does not notice");
    let code = room.closed.get(&2).copied().expect("closed");
    assert_eq!(room.errors(2), [code]);
    room.member(3);
    code
}

#[test]
fn every_bad_join_has_its_own_code() {
    let other = CallName::new("other").expect("a name");
    assert_eq!(refused(|r| r.join.version = 2), Code::Version);
    assert_eq!(refused(|r| r.join.call = other.clone()), Code::WrongCall);
    assert_eq!(refused(|r| r.admission.call = other), Code::WrongCall);
    assert_eq!(refused(|r| r.join.card.signature = spoiled(r.join.card.signature)), Code::BadCard);
    assert_eq!(refused(|r| r.join.card = Device::new(3).card()), Code::UserMismatch);
    assert_eq!(refused(|r| r.admission.user = UserName::new("mallory").expect("a name")), Code::UserMismatch);
    assert_eq!(refused(|r| r.join.proof.signature = spoiled(r.join.proof.signature)), Code::BadProof);
    assert_eq!(refused(|r| r.nonce = nonce(9)), Code::BadProof, "a proof of another connection");
    assert_eq!(refused(|r| r.join.keys = Device::new(2).batch(50, 3)), Code::BadProof, "keys that it does not sign");
    assert_eq!(refused(|r| r.join.keys = Device::new(2).batch(0, 11)), Code::BadKeys);
    let text = |text: &str| serde_json::value::RawValue::from_string(text.to_owned()).expect("JSON");
    assert_eq!(refused(|r| r.join.card.text = text("{}")), Code::BadCard);
    assert_eq!(refused(|r| r.join.card.text = text(&format!("\"{}\"", "x".repeat(3000)))), Code::BadCard);
}

#[test]
fn keys_that_are_no_keys_are_refused_and_nothing_panics() {
    // 33 bytes panic one of the libraries that members use (RUSTSEC-2026-0510). The others are points of small order,
    // under which one signature fits many messages, and bytes that are no point at all.
    let small_order: [[u8; 32]; 4] = [
        [0; 32],
        {
            let mut one = [0; 32];
            one[0] = 1;
            one
        },
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
        [0xff; 32],
    ];
    let device = Device::new(2);
    let card = |key: &str| {
        let text = device.card().text.get().replace(&key_text(device.ed25519().as_bytes()), key);
        assert!(text.contains(key));
        device.signed(text, conclave_shared::wire::signed::card_bytes)
    };
    for key in small_order {
        let mut spoiled = card(&key_text(Ed25519Key::new(key).as_bytes()));
        // The identity as R and zero as S: verifies under a key of small order wherever verification is lax.
        let mut lax = [0; 64];
        lax[0] = 1;
        assert_eq!(refused(|r| r.join.card = spoiled.clone()), Code::BadCard, "{key:?}");
        spoiled.signature = Signature::new(lax);
        assert_eq!(refused(|r| r.join.card = spoiled), Code::BadCard, "{key:?}");
    }
    assert_eq!(refused(|r| r.join.card = card(&key_text(&[7; 33]))), Code::BadCard);
    assert_eq!(refused(|r| r.join.card = card("no base64!")), Code::BadCard);
}

fn key_text(bytes: &[u8]) -> String {
    conclave_shared::id::encode_base64(bytes)
}

#[test]
fn the_version_sentence_names_both_versions_and_what_to_do() {
    let mut room = Room::new();
    let mut request = request(1, &Device::new(1), Role::Member);
    request.join.version = 0;
    room.input(CallInput::Join(ConnectionId(1), Box::new(request)));
    let Some(ToClient::Error(refusal)) = room.take(1).pop() else { panic!("an error") };
    assert_eq!(
        refusal.message,
        "The client speaks protocol version 0, the relay speaks version 1: reload the page or update the client."
    );
    assert!(room.call.is_over());
}

#[test]
fn a_second_join_on_one_connection_is_refused_and_changes_nothing() {
    let mut room = Room::new();
    room.member(1);
    room.forget();
    room.join(1, &Device::new(5), Role::Member);
    assert_eq!(room.errors(1), [Code::AlreadyJoined]);
    let again = request(1, &Device::new(1), Role::Member).join;
    room.say(1, again);
    assert_eq!(room.errors(1), [Code::AlreadyJoined]);
    assert!(room.closed.is_empty());
}

#[test]
fn a_full_call_turns_people_away_but_not_a_device_that_comes_again() {
    let mut room = Room::with(CallConfig { members: 2, ..CallConfig::new(RELAY) });
    room.member(1);
    room.member(2);
    room.join(3, &Device::new(3), Role::Member);
    assert_eq!(room.closed.get(&3), Some(&Code::CallFull));
    room.join(4, &Device::new(2), Role::Member);
    assert_eq!(room.closed.get(&2), Some(&Code::Replaced));
    assert_eq!(names(&room.take(4)), ["welcome"]);
    room.close(4);
    room.join(5, &Device::new(5), Role::Member);
    assert_eq!(names(&room.take(5)), ["welcome"], "who is gone and was never committed makes room");
}

#[test]
fn a_batch_with_a_fallback_key_alone_joins() {
    let mut room = Room::new();
    room.member(1);
    room.forget();
    let device = Device::new(2);
    let batch = KeyBatch { one_time_keys: vec![], ..device.batch(0, 0) };
    let join = device.join_with(&name(), nonce(2), Token(String::new()), batch);
    let request = JoinRequest { join, ..request(2, &device, Role::Member) };
    room.input(CallInput::Join(ConnectionId(2), Box::new(request)));
    assert_eq!(names(&room.take(2)), ["welcome", "keys_low"]);
    let inbox = room.take(1);
    assert!(matches!(&inbox[1], ToClient::Claimed(claimed) if claimed.keys[0].index.is_none()));
}
