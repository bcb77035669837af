//! Test vectors of what devices sign and leads commit: `shared/vectors/card.json` and `commit.json`.
//!
//! `CONCLAVE_WRITE_VECTORS=1 cargo test -p conclave-shared --test vectors_signed` writes them anew.
#![cfg(feature = "session")]
// One vector file is one table of what goes in and what comes out.
#![allow(clippy::expect_used, clippy::too_many_lines)]

use conclave_shared::{
    crypto::{
        schedule::{extend, genesis, policy},
        seal::{WrappingKey, seal_once},
        secret::Secret,
    },
    id::{
        CallName, CardHash, Curve25519Key, Ed25519Key, Epoch, GroupId, Instance, JoinId, JoinNonce, Joined, RelayNonce,
        Role, Seat, Signature, Term, UserName,
    },
    limits,
    wire::{
        encode,
        sealed::{
            Added, Cause, CommitBody, OlmContext, OlmEnd, OlmType, SecretBlob, SessionBody, message_aad, ready_aad,
            roster_hash,
        },
        signed::{
            Card, Held, JoinProof, KeyBatch, Signed, Speaker, body_bytes, card_bytes, join_bytes, keys_bytes,
            resume_bytes, sha256, verify,
        },
    },
};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json, value::RawValue};
use std::{fs, path::PathBuf};

/// Compares what is computed with what is published.
fn check(name: &str, computed: &Value) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "vectors", name].iter().collect();
    if std::env::var_os("CONCLAVE_WRITE_VECTORS").is_some() {
        fs::write(&path, format!("{computed:#}\n")).expect("writable");
    }
    let published: Value = serde_json::from_str(&fs::read_to_string(&path).expect("published")).expect("JSON");
    assert_eq!(*computed, published, "{name}");
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that follow from a name, so that each has its own.
fn named(name: &str) -> [u8; 32] {
    sha256(&[name.as_bytes()])
}

fn half(name: &str) -> [u8; 16] {
    let mut half = [0; 16];
    half.iter_mut().zip(named(name)).for_each(|(to, from)| *to = from);
    half
}

fn call() -> CallName {
    CallName::new("demo").expect("a call name")
}

fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&named("device"))
}

fn sign(bytes: &[u8]) -> Signature {
    Signature::new(signing_key().sign(bytes).to_bytes())
}

fn ed25519() -> Ed25519Key {
    Ed25519Key::new(signing_key().verifying_key().to_bytes())
}

fn card() -> Signed {
    let name = |text: &str| UserName::new(text).expect("a name");
    let card = Card {
        v: limits::VERSION,
        user: name("Zoë"),
        name: name("a \"laptop\""),
        ed25519: ed25519(),
        curve25519: Curve25519Key::new(named("curve25519")),
        capabilities: vec!["later".into()],
    };
    let text = RawValue::from_string(encode(&card)).expect("JSON");
    let signature = sign(&card_bytes(CardHash::new(sha256(&[text.get().as_bytes()]))));
    Signed { text, signature }
}

fn batch() -> KeyBatch {
    let key = |name| Curve25519Key::new(named(name));
    KeyBatch { one_time_keys: vec![key("one"), key("two")], fallback_key: key("fallback") }
}

#[test]
fn cards_proofs_and_bodies() {
    let (signed, batch) = (card(), batch());
    let verified = signed.card().expect("it verifies");
    let held = Held {
        instance: Instance::new(half("instance")),
        term: Term(3),
        lead: Joined(9),
        seat: Seat(7),
        joined: Joined(1 << 33),
        highest: Joined(1 << 34),
        role: Role::Recorder,
    };
    let join_id = JoinId::new(named("join"));
    let resumes: Vec<_> = [None, Some(held)].into_iter().map(|held| resume(&join_id, held)).collect();
    let keys = keys_bytes(&call(), &join_id, &batch.hash().expect("two keys"));
    let speaker = Speaker { call: call(), instance: held.instance, ed25519: ed25519(), join: join_id };
    let text = r#"{"epoch":[1,2],"n":3,"to":null,"content":{"leave":{}}}"#;
    let body = body_bytes(&speaker, text);
    check(
        "card.json",
        &json!({
            "call": "demo",
            "secret": hex(named("device")),
            "ed25519": hex(ed25519().as_bytes()),
            "card": {"text": signed.text.get(), "hash": hex(verified.hash.as_bytes()), "signature": hex(signed.signature.as_bytes())},
            "keys": {
                "one_time_keys": batch.one_time_keys.iter().map(|key| hex(key.as_bytes())).collect::<Vec<_>>(),
                "fallback_key": hex(batch.fallback_key.as_bytes()),
                "hash": hex(batch.hash().expect("two keys").as_bytes()),
                "join_id": hex(join_id.as_bytes()),
                "signed": hex(&keys),
                "signature": hex(sign(&keys).as_bytes()),
            },
            "join": join(&verified.hash, &batch),
            "resumes": resumes,
            "body": {
                "instance": hex(held.instance.as_bytes()),
                "join_id": hex(join_id.as_bytes()),
                "text": text,
                "signed": hex(&body),
                "signature": hex(sign(&body).as_bytes()),
            },
        }),
    );
}

fn resume(join: &JoinId, held: Option<Held>) -> Value {
    let nonce = RelayNonce::new(named("relay nonce"));
    let bytes = resume_bytes(&call(), &nonce, join, held.as_ref());
    let held = held.map(|held| {
        let Held { instance, term, lead, seat, joined, highest, role } = held;
        let instance = hex(instance.as_bytes());
        json!({
            "instance": instance, "term": term, "lead": lead, "seat": seat, "joined": joined, "highest": highest, "role": role,
        })
    });
    json!({
        "relay_nonce": hex(nonce.as_bytes()),
        "join_id": hex(join.as_bytes()),
        "held": held,
        "signed": hex(&bytes),
        "signature": hex(sign(&bytes).as_bytes()),
    })
}

fn join(card: &CardHash, batch: &KeyBatch) -> Value {
    let mut proof = JoinProof {
        relay_nonce: RelayNonce::new(named("relay nonce")),
        nonce: JoinNonce::new(half("own nonce")),
        keys: batch.hash().expect("two keys"),
        signature: Signature::new([0; 64]),
    };
    let bytes = join_bytes(&call(), *card, &proof);
    proof.signature = sign(&bytes);
    verify(&ed25519(), &bytes, &proof.signature).expect("it verifies");
    json!({
        "relay_nonce": hex(proof.relay_nonce.as_bytes()),
        "nonce": hex(proof.nonce.as_bytes()),
        "signed": hex(&bytes),
        "signature": hex(proof.signature.as_bytes()),
        "join_id": hex(proof.join_id(&call(), *card).as_bytes()),
    })
}

#[test]
fn commits_and_what_is_sealed() {
    let instance = Instance::new(half("instance"));
    let added = |seat, joined, role| Added {
        seat: Seat(seat),
        joined: Joined(joined),
        role,
        card: CardHash::new(named(&format!("card {joined}"))),
        join: JoinId::new(named(&format!("join {joined}"))),
    };
    let roster = [
        added(0, 1, Role::Member),
        added(300, 2, Role::LeadBot),
        added(1, 1 << 40, Role::Member),
        added(2, (1 << 40) + 1, Role::Recorder),
    ];
    let prev = genesis(&call(), &instance, &ed25519());
    let commit = CommitBody {
        call: call(),
        instance,
        epoch: Epoch(Term(1), 2),
        prev,
        cause: Cause::Leave,
        lead: Joined(1),
        policy: policy(),
        add: roster.get(2..).expect("four members").to_vec(),
        remove: vec![Joined(3), Joined(4)],
        roster: roster_hash(&roster),
        session: GroupId::new(named("group")),
        index: 0,
    };
    let text = encode(&commit);
    let session = SecretBlob::new(&[7; 165]);
    let plain = encode(&SessionBody { commit: RawValue::from_string(text.clone()).expect("JSON"), session });
    let key = Secret::take(&mut named("broadcast key")).expect("32 bytes");
    let wrapping = Secret::take(&mut named("wrapping key")).expect("32 bytes");
    let end = |name: &str| OlmEnd {
        ed25519: Ed25519Key::new(named(name)),
        join: JoinId::new(named(&format!("{name}'s join"))),
    };
    let name = call();
    let context = OlmContext { call: &name, instance, from: end("lead"), to: end("member"), epoch: commit.epoch };
    let ready = OlmContext { epoch: Epoch::first(Term(1)), ..context };
    let contexts = [OlmType::Rekey, OlmType::Welcome, OlmType::Present]
        .map(|kind| json!({"type": kind.as_byte(), "hash": hex(context.hash(kind))}));
    check(
        "commit.json",
        &json!({
            "call": "demo",
            "instance": hex(instance.as_bytes()),
            "roster": roster.iter().map(|a| json!({"seat": a.seat, "joined": a.joined, "role": a.role, "card": hex(a.card.as_bytes()), "join": hex(a.join.as_bytes())})).collect::<Vec<_>>(),
            "roster_hash": hex(commit.roster.as_bytes()),
            "policy_hash": hex(policy().as_bytes()),
            "first_lead": hex(ed25519().as_bytes()),
            "prev": hex(prev.as_bytes()),
            "text": text,
            "transcript": hex(extend(&prev, text.as_bytes()).as_bytes()),
            "sealed_session": {
                "key": hex(named("broadcast key")),
                "plaintext": plain,
                "sealed": hex(seal_once(&key, plain.as_bytes())),
            },
            "olm": {
                "from": {"ed25519": hex(named("lead")), "join": hex(named("lead's join"))},
                "to": {"ed25519": hex(named("member")), "join": hex(named("member's join"))},
                "epoch": [1, 2],
                "contexts": contexts,
                "ready_context": hex(ready.hash(OlmType::Ready)),
            },
            "ready_grant": {
                "wrapping_key": hex(named("wrapping key")),
                "key": hex(named("broadcast key")),
                "epoch": [1, 2],
                "broadcast": hex(named("broadcast")),
                "sealed": hex(WrappingKey::new(&wrapping).seal(&ready_aad(commit.epoch, &named("broadcast")), &key)),
            },
            "message_aad": [
                {"epoch": [1, 2], "n": 9, "to": null, "aad": hex(message_aad(commit.epoch, 9, None))},
                {"epoch": [1, 2], "n": 10, "to": 4, "aad": hex(message_aad(commit.epoch, 10, Some(Joined(4))))},
            ],
        }),
    );
}
