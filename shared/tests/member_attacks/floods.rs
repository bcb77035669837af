//! Too much, too large, and joiners that lie of themselves.

use crate::{
    MALLORY, MALLORY_S, MEMBERS,
    attack::{
        SOON, eve,
        insider::{Insider, Plan},
    },
    change_of_lead, commit, epoch, mallory_leads, refused,
};
use conclave_shared::{
    id::{CardHash, Curve25519Key, JoinNonce, Joined, RelayNonce, RequestNonce, Role, Seat, Signature, encode_base64},
    limits,
    session::{
        error::{CommitError, SecurityEvent},
        input::Command,
    },
    wire::{
        self, Join, Proof, ToClient, ToRelay,
        sealed::{Added, Alive, KeyRequest},
        signed::{JoinProof, KeyBatch, Signed, card_bytes, join_bytes, sha256},
    },
};
use serde_json::value::RawValue;

/// M20. A member asks for keys two hundred times, each time with a new Olm session. -> harmless: the lead makes at most
/// three sessions and ten answers a minute, and everybody else goes on.
#[test]
fn m20_a_flood_of_key_requests() {
    let mut call = MEMBERS.call_of(4);
    let current = call.assert_harmless();
    let mut mallory = Insider::of(&call, MALLORY);
    mallory.take_over(&mut call);
    let from = call.wire.len();
    let claims = |said: &[(usize, ToRelay)]| said.iter().filter(|(_, said)| matches!(said, ToRelay::Claim(_))).count();
    let before = claims(&call.said);
    for number in 0..200_u8 {
        let request = KeyRequest { nonce: RequestNonce::new([number; 16]), fresh: number % 2 == 0 };
        let body = mallory.body(current, Some(Joined(1)), request);
        call.say(MALLORY, body);
        call.advance(100);
    }
    let answers =
        call.wire[from..].iter().filter(|(to, message)| *to == MALLORY && matches!(message, ToClient::Olm(_)));
    assert!(answers.count() <= 10, "ten a minute");
    assert!(claims(&call.said) - before <= 3);
    assert_eq!(call.assert_harmless(), current);
    for index in [0, 2, 3] {
        call.assert_no_alarm_of(index);
    }
}

/// M21. A member echoes beats that were never said, to have others taken for gone. -> harmless: nobody is removed.
#[test]
fn m21_echoes_of_the_future() {
    let mut call = MEMBERS.call_of(4);
    let current = call.assert_harmless();
    let mut mallory = Insider::of(&call, MALLORY);
    for _ in 0..40 {
        let alive = Alive { transcript: call.newest(0).1, beat: (1 << 53) - 1 };
        let body = mallory.body(current, None, alive);
        call.say(MALLORY, body);
        call.advance(1_000);
    }
    assert_eq!(call.members[0].session.members().len(), 4);
    assert_eq!(call.assert_harmless(), current);
}

/// Somebody joins by hand: with this card, under these keys, signed as it should be.
fn joins(
    call: &mut crate::attack::Attack,
    change: impl Fn(String) -> String,
    batch: impl Fn(KeyBatch) -> KeyBatch,
) -> usize {
    let index = call.join(Role::Member);
    call.muted.insert(index);
    let (device, join) = eve::outsider();
    let text = change(join.card.text.get().to_owned());
    let hash = CardHash::new(sha256(&[text.as_bytes()]));
    let card = Signed { signature: device.sign(&card_bytes(hash)), text: RawValue::from_string(text).unwrap() };
    let keys = batch(join.keys.clone());
    let (relay_nonce, nonce) = (RelayNonce::new([u8::try_from(index).unwrap(); 32]), JoinNonce::new([3; 16]));
    let hashed = keys.hash().unwrap_or_else(|_| conclave_shared::id::KeysHash::new([0; 32]));
    let mut proof = JoinProof { relay_nonce, nonce, keys: hashed, signature: Signature::new([0; 64]) };
    proof.signature = device.sign(&join_bytes(&call.call, hash, &proof));
    let proof = Proof { nonce, signature: proof.signature };
    call.say(index, Join { card, keys, proof, ..join });
    call.settle();
    index
}

/// M22. A joiner signs keys that are not its own: another member's Olm key in its card, points of low order as its
/// one-time keys. -> It gets no key that it could open and is out again within 12 s; `bad_keys` for low order, at once.
#[test]
fn m22_a_joiner_that_lies_about_its_keys() {
    let mut call = MEMBERS.call_of(3);
    let other = encode_base64(Insider::of(&call, MALLORY).device.curve25519().as_bytes());
    let liar = |text: String| {
        let own = text.split("\"curve25519\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        text.replace(&own, &other)
    };
    let index = joins(&mut call, liar, |keys| keys);
    call.advance(11_500);
    assert_eq!(call.members[0].session.members().len(), 3, "it never showed that it is there");
    call.assert_shut_out(index, 0);
    call.cut(index);
    let since = call.now;
    let low =
        |_| KeyBatch { one_time_keys: vec![Curve25519Key::new([0; 32])], fallback_key: Curve25519Key::new([0; 32]) };
    let index = joins(&mut call, |text| text, low);
    call.advance(1_000);
    call.assert_told(0, since, SOON, SecurityEvent::BadKeys { joined: Joined(5) });
    call.assert_shut_out(index, 0);
    call.cut(index);
    call.advance(SOON);
    call.assert_harmless();
}

/// M23. A joiner brings a card with more capabilities than there may be, and a member sends messages that are too long, too
/// deep, and of no use. -> `bad_card` at everybody, at once; what is too large is refused before anything reads it.
#[test]
fn m23_oversized_everything() {
    let mut call = MEMBERS.call_of(3);
    let since = call.now;
    let list = format!("[{}]", vec!["\"x\""; limits::CAPABILITIES + 1].join(","));
    let index =
        joins(&mut call, |text| text.replace("\"capabilities\":[]", &format!("\"capabilities\":{list}")), |keys| keys);
    call.advance(1_000);
    for member in 0..3 {
        call.assert_told(member, since, SOON, SecurityEvent::BadCard { joined: Joined(4) });
    }
    call.cut(index);
    call.advance(SOON);
    let current = call.assert_harmless();

    let long = format!("{{\"ping\":{{\"x\":\"{}\"}}}}", "x".repeat(limits::MESSAGE_LENGTH));
    let deep = format!("{{\"ping\":{}1{}}}", "[".repeat(limits::JSON_DEPTH), "]".repeat(limits::JSON_DEPTH));
    for text in [long, deep] {
        assert!(wire::decode::<ToRelay>(&text, limits::MESSAGE_LENGTH).is_err());
    }
    let too_long = Command::Send { to: None, payload: vec![0; limits::APPLICATION_MESSAGE + 1] };
    call.command(2, too_long);
    call.advance(1_000);
    assert_eq!(call.assert_harmless(), current);
}

/// M24. The lead adds five thousand members in one commit. -> `commit_refused (card)` at everybody, at once; no key of it
/// is installed.
#[test]
fn m24_a_commit_of_five_thousand() {
    let mut call = MEMBERS.call_of(4);
    let (since, before) = (call.now, call.newest(2));
    let mut mallory = mallory_leads(&mut call);
    let one = mallory.peers[&MALLORY_S].added;
    let number = |number: u16| Added { seat: Seat(number), joined: Joined(u64::from(number)), ..one };
    let plan = Plan { add: (10..5_010).map(number).collect(), ..change_of_lead(&call) };
    let made = mallory.commit(&plan, |_| {});
    call.say(MALLORY, wire::Commit { add: vec![], ..made.commit });
    call.settle();
    for index in [2, 3] {
        call.assert_told(index, since, SOON, refused(epoch(2, 0), CommitError::Card(Joined(10))));
        assert_eq!(call.newest(index), before);
    }
    let plan = change_of_lead(&call);
    commit(&mut call, &mut mallory, &plan, |_| {});
    call.assert_heard(2, &[3]);
}
