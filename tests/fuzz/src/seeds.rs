//! The first inputs of every target: what real devices say in a real call.

use conclave_server::{admission::mint, call::Admission};
use conclave_shared::{
    crypto::{
        group::{EXPORT_LENGTH, OutboundGroup},
        schedule,
    },
    id::{
        CallName, CardHash, Epoch, Instance, JoinId, Joined, RelayInstance, RelayNonce, RequestNonce, Role, RosterHash,
        Seat, Sequence, Signature, Term, Transcript, UserName,
    },
    session::input::Command,
    wire::{
        self, At, AwayReason, Broadcast, Closing, Decline, Keys, KeysLow, MemberAway, MemberBack, Refusal, Restore,
        Resume, Resumed, Suspect, ToClient, ToRelay,
        code::Code,
        sealed::{Added, Cause, CommitBody, Content, Grant, KeyRequest, SecretBlob, SessionBody},
        signed::{Body, Held, JoinProof, Signed},
    },
};
use serde_json::value::RawValue;
use std::{collections::BTreeMap, time::Duration};

use crate::{plain::World, token};

/// A target, the name of an input and its bytes.
pub type Seed = (&'static str, String, Vec<u8>);

/// How long the corpus's tokens are valid: longer than the corpus.
const TOKENS: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Inputs from a call in which members come, talk, rotate, go silent, lose their lead and leave. Keys and signatures are
/// different each time.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let world = call();
    let mut seeds = Vec::new();
    // The shortest of each name: an input is worth most when all of it counts.
    let mut messages: BTreeMap<(&str, &str), String> = BTreeMap::new();
    let to_client = world.wire.iter().map(|(_, message)| ("to_client", message.name(), wire::encode(message)));
    let to_relay = world.said.iter().map(|(_, message)| ("to_relay", message.name(), wire::encode(message)));
    for (target, name, text) in to_client.chain(to_relay) {
        let shortest = messages.entry((target, name)).or_insert_with(|| text.clone());
        if text.len() < shortest.len() {
            *shortest = text;
        }
    }
    seeds.extend(messages.into_iter().map(|((target, name), text)| (target, name.to_owned(), text.into_bytes())));
    seeds.extend(rare(&world));
    let mut bodies = BTreeMap::new();
    for (_, message) in &world.wire {
        match message {
            ToClient::Body(body) => drop(bodies.insert(content(&body.signed), body.signed.text.get())),
            ToClient::Commit(commit) => {
                if let Broadcast::Session(signed) = &commit.broadcast {
                    bodies.insert(content(signed), signed.text.get());
                }
            }
            ToClient::Joined(joined) => {
                let card = &joined.member.card;
                let bytes = [card.signature.as_bytes().as_slice(), card.text.get().as_bytes()].concat();
                seeds.push(("card", "card".into(), bytes));
            }
            _ => {}
        }
    }
    seeds.extend(bodies.into_iter().map(|(name, text)| ("body", name, text.as_bytes().to_vec())));
    seeds.extend(sealed());
    seeds.extend(tokens());
    seeds.extend(raw());
    seeds
}

fn call() -> World {
    let mut world = World::new();
    for _ in 0..4 {
        world.join(Role::Member);
        world.advance(2000);
    }
    world.command(1, Command::Send { to: None, payload: b"hello".to_vec() });
    world.command(2, Command::Rotate);
    world.advance(20_000);
    world.command(3, Command::Leave);
    world.advance(3000);
    world.cut(0);
    world.advance(5000);
    world
}

/// What is not said in that call.
fn rare(world: &World) -> Vec<Seed> {
    let at = At(RelayInstance::new([9; 16]), Sequence(41));
    let (joined, term) = (Joined(2), Term(3));
    let signature = Signature::new([6; 64]);
    let joins = world.said.iter().find_map(|(_, said)| if let ToRelay::Join(join) = said { Some(join) } else { None });
    let join = joins.expect("somebody joined").clone();
    let keys = Keys { keys: join.keys, signature };
    let (version, call) = (join.version, join.call);
    let proof = JoinProof {
        relay_nonce: RelayNonce::new([9; 32]),
        nonce: join.proof.nonce,
        keys: keys.keys.hash().expect("a batch"),
        signature: join.proof.signature,
    };
    let held = Held {
        instance: Instance::new([1; 16]),
        term,
        lead: Joined(1),
        highest: Joined(7),
        seat: Seat(4),
        joined,
        role: Role::Member,
    };
    let resume = Resume { version, call: call.clone(), join: JoinId::new([5; 32]), after: at, signature };
    let (token, card) = (join.token, join.card);
    let restore = Restore { version, call, token, card, proof, held, keys: keys.clone(), signature };
    let to_relay: [ToRelay; 5] =
        [keys.into(), resume.into(), Box::new(restore).into(), Suspect { term }.into(), Decline { term }.into()];
    let to_client: [ToClient; 6] = [
        MemberAway { at, joined, reason: AwayReason::Silent }.into(),
        MemberBack { at, joined }.into(),
        Resumed { received: 7, until: Sequence(5) }.into(),
        KeysLow { left: 2 }.into(),
        Refusal { code: Code::OutOfOrder, message: "a sentence".into() }.into(),
        Closing { retry_after: 500 }.into(),
    ];
    let to_relay = to_relay.iter().map(|message| ("to_relay", message.name().to_owned(), wire::encode(message)));
    let to_client = to_client.iter().map(|message| ("to_client", message.name().to_owned(), wire::encode(message)));
    let content = Content::from(KeyRequest { nonce: RequestNonce::new([8; 16]), fresh: true });
    let content = RawValue::from_string(wire::encode(&content)).expect("JSON");
    let body = Body { epoch: Epoch(term, 5), n: 9, to: Some(joined), content };
    let body = ("body", "key_request".to_owned(), wire::encode(&body));
    to_relay.chain(to_client).chain([body]).map(|(target, name, text)| (target, name, text.into_bytes())).collect()
}

fn content(signed: &Signed) -> String {
    let names = Content::NAMES.iter();
    let name = names.copied().find(|name| signed.text.get().contains(&format!("{{\"{name}\":")));
    name.unwrap_or("other").to_owned()
}

fn sealed() -> Vec<Seed> {
    let mut group = OutboundGroup::new().expect("a session");
    let export = group.export(0).expect("its first index");
    let epoch = Epoch(Term(3), 5);
    let (instance, transcript, roster) = (Instance::new([1; 16]), Transcript::new([2; 32]), RosterHash::new([3; 32]));
    let policy = schedule::policy();
    let added = Added {
        seat: Seat(1),
        joined: Joined(2),
        role: Role::LeadBot,
        card: CardHash::new([4; 32]),
        join: JoinId::new([5; 32]),
    };
    let commit = CommitBody {
        call: CallName::new("demo").expect("a name"),
        instance,
        epoch,
        prev: transcript,
        cause: Cause::Leave,
        lead: Joined(1),
        policy,
        add: vec![added],
        remove: vec![Joined(7)],
        roster,
        session: group.id(),
        index: 0,
    };
    let text = wire::encode(&commit);
    let session = SecretBlob::new(export.expose());
    assert_eq!(export.expose().len(), EXPORT_LENGTH);
    let raw = RawValue::from_string(text.clone()).expect("JSON");
    let body = wire::encode(&SessionBody { commit: raw, session: SecretBlob::new(export.expose()) });
    let grant =
        Grant { instance, epoch, transcript, roster, lead: Joined(1), policy, cause: Cause::LeadChange, session };
    vec![
        ("commit", "commit".into(), text.into_bytes()),
        ("commit", "session".into(), body.into_bytes()),
        ("grant", "grant".into(), wire::encode(&grant).into_bytes()),
    ]
}

fn tokens() -> Vec<Seed> {
    let minted = |call: &str, role, valid| {
        let user = UserName::new("alice").expect("a name");
        let admission = Admission { call: CallName::new(call).expect("a name"), user, role };
        mint(&token::secret(), admission, valid).expect("a clock after 1970").0.into_bytes()
    };
    vec![
        ("token", "member".into(), minted("demo", Role::Member, TOKENS)),
        ("token", "bot".into(), minted("demo", Role::LeadBot, TOKENS)),
        ("token", "other-call".into(), minted("other", Role::Member, TOKENS)),
        ("token", "expired".into(), minted("demo", Role::Member, Duration::ZERO)),
    ]
}

/// For the targets whose bytes choose what happens: one of each branch.
fn raw() -> Vec<Seed> {
    let mut seeds = vec![
        ("olm", "made-up-pre-key".into(), vec![0, 4, 10, 32, 1, 2, 3]),
        ("olm", "made-up".into(), vec![1, 4, 10, 32, 1, 2, 3]),
        ("olm", "changed".into(), vec![2, 40, 1]),
        ("olm", "cut".into(), vec![2, 9]),
        ("group", "made-up".into(), vec![0, 4, 8, 0, 18, 3, 1, 2, 3]),
        ("group", "changed".into(), vec![1, 10, 1]),
        ("group", "whole".into(), vec![1]),
    ];
    for (codec, name, plain) in FRAMES {
        seeds.push(("frame", (*name).into(), [&[codec << 1], *plain].concat()));
        seeds.push(("codec", (*name).into(), [&[*codec], *plain].concat()));
    }
    for codec in 0..5 {
        seeds.push(("frame", format!("{codec}-whole"), vec![codec << 1 | 1]));
        seeds.push(("frame", format!("{codec}-changed"), vec![codec << 1 | 1, 3, 1]));
    }
    // Each operation on each of three members, under a relay that is honest at first and then is not.
    for what in 0..12_u8 {
        let happens: Vec<u8> = (0..3).flat_map(|who| [what, who, 20, 1, 40]).collect();
        for (how, becomes) in [("honest", 0), ("loses", 165), ("doubles", 180), ("delays", 200), ("changes", 241)] {
            let becomes = (0..happens.len()).map(|place| if place % 3 == 2 { becomes } else { 0 });
            seeds.push(("session", format!("{what}-{how}"), happens.iter().copied().chain(becomes).collect()));
        }
    }
    seeds
}

/// Frames as encoders write them and as depacketizers do, by the number of their codec.
const FRAMES: &[(u8, &str, &[u8])] = &[
    (0, "vp8-key", &[0x10, 1, 2, 0x9d, 1, 0x2a, 16, 0, 16, 0, 11, 12, 13]),
    (0, "vp8-delta", &[0x11, 1, 2, 3, 4, 5]),
    (1, "vp9-key", &[0x82, 0x49, 0x83, 0x42, 1, 2]),
    (2, "av1-key", &[0x12, 0, 0x0a, 1, 7, 0x32, 3, 1, 2, 3]),
    (2, "av1-delta", &[0x12, 0, 0x32, 3, 1, 2, 3]),
    (2, "av1-extended", &[0x0e, 0x28, 0x81, 0, 7]),
    (3, "h264-key", &[0, 0, 0, 1, 0x67, 0x42, 0xc0, 0, 0, 0, 1, 0x68, 0xce, 0, 0, 0, 1, 0x65, 0xb8, 1, 2]),
    (3, "h264-slices", &[0, 0, 1, 0x09, 0xf0, 0, 0, 1, 0x65, 0x88, 0x84, 1, 0, 0, 1, 0x65, 0x88, 3]),
    (3, "h264-zeros", &[0, 0, 0, 1, 0x41, 0xc0, 0, 0x40, 0, 0, 3, 0, 0, 0, 3, 0x80]),
    (3, "h264-sealed", &[0, 0, 0, 1, 0x41, 0x9a, 1, 0, 0, 3, 1, 0, 0, 3, 3, 0x80]),
    (4, "opus", &[0x78, 1, 2, 3, 4, 5]),
];
