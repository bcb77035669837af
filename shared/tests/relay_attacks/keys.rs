//! Lies about keys.

use crate::{
    RELAY,
    attack::{Attack, SOON, eve},
    bad_keys, epoch, refused, with_text,
};
use conclave_shared::{
    frame::{clear_bytes::Codec, sealer::SealError},
    id::{CardHash, Curve25519Key, Joined, Role, Signature, encode_base64},
    session::{
        error::{CommitError, SecurityEvent},
        input::Command,
        output::{EndReason, Event},
    },
    wire::{
        ClaimedKey, MemberJoined, ToClient,
        code::Retry,
        signed::{JoinProof, KeyBatch, Signed, card_bytes, join_bytes, keys_bytes, sha256},
    },
};
use serde_json::value::RawValue;

const NEWCOMER: Joined = Joined(4);
const LOW_ORDER: Curve25519Key = Curve25519Key::new([0; 32]);

/// Somebody joins while the relay lies: the lead tells, nobody is added, the others go on.
fn stays_out(mut call: Attack, told: SecurityEvent) {
    let since = call.now;
    let newcomer = call.join(Role::Member);
    call.advance(SOON);
    call.assert_told(0, since, SOON, told);
    assert_eq!(call.members[newcomer].session.epoch(), None);
    assert_eq!(call.members[newcomer].frames.seal(Codec::Opus, b"sound"), Err(SealError::NoKey));
    call.assert_shut_out(newcomer, 0);
    call.cut(newcomer);
    call.advance(1_000);
    assert_eq!(call.assert_harmless(), epoch(1, 2), "nothing was committed");
}

/// One key of the newcomer's card is replaced by Eve's, for everybody.
fn swap(call: &mut Attack, own: fn(&Signed) -> String, other: String) {
    call.relay_does(move |_, mut message| {
        if let ToClient::Joined(event) = &mut message
            && event.member.joined == NEWCOMER
        {
            let own = own(&event.member.card);
            event.member.card = with_text(&event.member.card, |text| text.replace(&own, &other));
        }
        vec![message]
    });
}

/// A1. The relay puts another Ed25519 key into a newcomer's card. -> `bad_keys` at the lead, at once; nobody is added.
#[test]
fn a01_another_device_key_in_a_card() {
    let mut call = RELAY.call_of(3);
    let (eve, _) = eve::outsider();
    let own = |card: &Signed| encode_base64(card.card_unverified().unwrap().card.ed25519.as_bytes());
    swap(&mut call, own, encode_base64(eve.ed25519().as_bytes()));
    stays_out(call, bad_keys(4));
}

/// A2. The relay puts another Curve25519 key into a newcomer's card. -> `bad_keys` at the lead, at once; nobody is added.
#[test]
fn a02_another_olm_key_in_a_card() {
    let mut call = RELAY.call_of(3);
    let (eve, _) = eve::outsider();
    let own = |card: &Signed| encode_base64(card.card_unverified().unwrap().card.curve25519.as_bytes());
    swap(&mut call, own, encode_base64(eve.curve25519().as_bytes()));
    stays_out(call, bad_keys(4));
}

/// Changes what the lead is given of the newcomer's one-time keys.
fn keys_of_newcomer(call: &mut Attack, change: impl Fn(&mut ClaimedKey) + 'static) {
    call.relay_does(move |_, mut message| {
        if let ToClient::Claimed(claimed) = &mut message {
            claimed.keys.iter_mut().filter(|key| key.joined == NEWCOMER).for_each(&change);
        }
        vec![message]
    });
}

/// A3. The relay hands the lead one-time keys of its own: unsigned, with a made-up signature, signed by itself, or the
/// real ones with a signature that covers others. -> `bad_keys` at the lead, at once; nobody is added.
#[test]
fn a03_one_time_keys_with_no_signature_or_another() {
    let (eve, join) = eve::outsider();
    let name = join.call.clone();
    let own = eve.sign(&keys_bytes(&name, &conclave_shared::id::JoinId::new([0; 32]), &join.keys.hash().unwrap()));
    for signature in [None, Some(Signature::new([7; 64])), Some(own)] {
        let mut call = RELAY.call_of(3);
        let batch = join.keys.clone();
        keys_of_newcomer(&mut call, move |key| {
            *key = ClaimedKey { joined: NEWCOMER, batch: batch.clone(), index: Some(0), signature };
        });
        stays_out(call.again(), bad_keys(4));
    }
    let mut call = RELAY.call_of(3);
    keys_of_newcomer(&mut call, move |key| key.signature = Some(own));
    stays_out(call, bad_keys(4));
}

/// A4. The relay hands out Curve25519 points of low order: as somebody's one-time keys, and as all keys of a device of
/// its own, properly signed. -> `bad_keys` at the lead, at once; nobody is added.
#[test]
fn a04_points_of_low_order() {
    let mut call = RELAY.call_of(3);
    keys_of_newcomer(&mut call, |key| {
        key.batch.fallback_key = LOW_ORDER;
        key.batch.one_time_keys.fill(LOW_ORDER);
    });
    stays_out(call.again(), bad_keys(4));

    let (eve, join) = eve::outsider();
    let real = encode_base64(eve.curve25519().as_bytes());
    let text = join.card.text.get().replace(&real, &encode_base64(LOW_ORDER.as_bytes()));
    let hash = CardHash::new(sha256(&[text.as_bytes()]));
    let card = Signed { signature: eve.sign(&card_bytes(hash)), text: RawValue::from_string(text).unwrap() };
    let batch = KeyBatch { one_time_keys: vec![LOW_ORDER], fallback_key: LOW_ORDER };
    let (relay_nonce, nonce, keys) = (eve::NONCE, join.proof.nonce, batch.hash().unwrap());
    let mut proof = JoinProof { relay_nonce, nonce, keys, signature: Signature::new([0; 64]) };
    proof.signature = eve.sign(&join_bytes(&join.call, hash, &proof));
    let member = conclave_shared::wire::MemberClaim { card, proof, ..eve::claim_of(&join, 3, 4) };
    member.proof.verify(&join.call, &member.card.card().unwrap()).expect("everything is signed as it should be");

    let mut call = RELAY.call_of(3);
    let since = call.now;
    let event = MemberJoined { at: call.at(), member };
    call.all(None, &event.into());
    let keys = vec![ClaimedKey { joined: NEWCOMER, batch, index: Some(0), signature: None }];
    call.settle();
    let claimed = conclave_shared::wire::Claimed { keys };
    call.input(0, conclave_shared::session::input::Input::Received(claimed.into()));
    call.advance(1_000);
    call.assert_told(0, since, SOON, bad_keys(4));
    assert_eq!(call.assert_harmless(), epoch(1, 2), "nothing was committed");
}

/// A6. The relay gives a member the grant of an earlier epoch with a new commit. -> `commit_refused (grant)` at once; the
/// member asks and has the newest epoch within the second.
#[test]
fn a06_an_old_olm_message_again() {
    let mut call = RELAY.call_of(3);
    call.command(0, Command::Rotate);
    call.advance(1_000);
    let old = call.wire.iter().rev().find_map(|(to, message)| match message {
        ToClient::Commit(commit) if *to == 1 => commit.grant.clone(),
        _ => None,
    });
    assert!(old.is_some());
    call.relay_does(move |to, mut message| {
        if let ToClient::Commit(commit) = &mut message
            && to == 1
        {
            commit.grant.clone_from(&old);
        }
        vec![message]
    });
    let since = call.now;
    call.command(0, Command::Rotate);
    call.advance(1_000);
    call.assert_told(1, since, SOON, refused(epoch(1, 4), CommitError::Grant));
    assert!(call.members[1].events.contains(&Event::KeyFound));
    call.assert_harmless();
}

/// A21. The relay hands the next lead a one-time key that the last one used up. -> `commit_refused (grant)` at that
/// member, at once; it has the key as soon as the relay hands out a fresh one, stops sealing after two seconds without,
/// and joins again after half a minute.
#[test]
fn a21_a_one_time_key_that_was_used() {
    for heals in [true, false] {
        let mut call = RELAY.call_of(4);
        call.relay_does(|_, mut message| {
            if let ToClient::Claimed(claimed) = &mut message {
                claimed.keys.iter_mut().filter(|key| key.joined == Joined(3)).for_each(|key| key.index = Some(0));
            }
            vec![message]
        });
        let since = call.now;
        call.cut(0);
        call.advance(500);
        call.assert_told(2, since, SOON, refused(epoch(2, 0), CommitError::Grant));
        call.assert_shut_out(2, 1);
        if heals {
            call.relay_stops();
            call.advance(SOON);
            assert!(call.members[2].events.contains(&Event::KeyFound));
            call.assert_harmless();
            drop(call.again());
            continue;
        }
        call.advance(2_500);
        assert_eq!(call.members[2].frames.seal(Codec::Opus, b"sound"), Err(SealError::Paused));
        call.assert_heard(1, &[3]);
        call.advance(40_000);
        assert_eq!(call.members[2].ended().map(EndReason::retry), Some(Retry::Later));
        call.advance(SOON);
        call.assert_harmless();
    }
}
