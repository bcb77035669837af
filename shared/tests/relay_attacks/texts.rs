//! What is said, letter by letter.

use crate::{RELAY, attack::SOON, epoch, refused};
use conclave_shared::{
    frame::{clear_bytes::Codec, sealer::SealError},
    id::{Joined, Role, encode_base64},
    limits,
    session::{
        error::CommitError,
        input::{Command, Input},
        output::Event,
    },
    wire::{self, Broadcast, ToClient},
};
use serde_json::{Value, json};

/// A text for every place in a message where 32 bytes stand, with other bytes there.
fn mutants(json: &Value, with: &str) -> Vec<Value> {
    match json {
        Value::String(text) if text.len() == 43 => vec![json!(with)],
        Value::Array(list) => {
            let at = |index: usize, inner: Value| {
                let mut list = list.clone();
                list[index] = inner;
                Value::Array(list)
            };
            let few = list.iter().enumerate().take(3);
            few.flat_map(|(index, inner)| mutants(inner, with).into_iter().map(move |inner| at(index, inner))).collect()
        }
        Value::Object(fields) => {
            let at = |name: &String, inner: Value| {
                let mut fields = fields.clone();
                fields.insert(name.clone(), inner);
                Value::Object(fields)
            };
            fields
                .iter()
                .flat_map(|(name, inner)| mutants(inner, with).into_iter().map(move |inner| at(name, inner)))
                .collect()
        }
        _ => vec![],
    }
}

/// A5. The relay puts keys of 33, 31 and no bytes, and what is no base64, wherever a key stands in any message. ->
/// harmless: such a message is refused before anything reads it; nothing ends, nothing changes.
#[test]
fn a05_keys_of_the_wrong_length() {
    let mut call = RELAY.call_of(3);
    call.command(0, Command::Rotate);
    call.advance(1_000);
    let current = call.assert_harmless();
    let mut names = std::collections::BTreeSet::new();
    let texts: Vec<_> = call.wire.iter().filter(|(_, message)| names.insert(message.name())).cloned().collect();
    let garbage = [encode_base64(&[7; 33]), encode_base64(&[7; 31]), String::new(), "?".repeat(43)];
    let (mut refused, mut read) = (0, 0);
    for (to, message) in texts {
        let json: Value = serde_json::from_str(&wire::encode(&message)).unwrap();
        for mutant in garbage.iter().flat_map(|with| mutants(&json, with)) {
            match wire::decode::<ToClient>(&mutant.to_string(), limits::FROM_RELAY_LENGTH) {
                Err(_) => refused += 1,
                Ok(message) => {
                    read += 1;
                    call.input(to, Input::Received(message));
                }
            }
        }
    }
    assert!(refused > 30, "{refused} were refused, {read} were read");
    call.advance(SOON);
    assert_eq!(call.assert_harmless(), current);
}

/// A16. The relay says in every message that nothing is to be encrypted, and keeps the key from a newcomer. -> harmless:
/// there is no such switch; who has no key seals nothing, and what is sealed holds no plaintext.
#[test]
fn a16_encryption_switched_off() {
    fn switch_off(json: &mut Value) {
        match json {
            Value::Object(fields) => {
                fields.values_mut().for_each(switch_off);
                fields.extend([("e2ee".into(), json!(false)), ("encryption".into(), json!("none"))]);
            }
            Value::Array(list) => list.iter_mut().for_each(switch_off),
            _ => {}
        }
    }
    let mut call = RELAY.call_of(3);
    call.relay_does(|to, message| {
        let mut json: Value = serde_json::from_str(&wire::encode(&message)).unwrap();
        // The one name of the message stays alone; what is inside gets the switch.
        json.as_object_mut().unwrap().values_mut().for_each(switch_off);
        let changed = wire::decode::<ToClient>(&json.to_string(), limits::FROM_RELAY_LENGTH);
        let keyless = to == 3 && matches!(message, ToClient::Commit(_));
        if keyless { vec![] } else { vec![changed.unwrap_or(message)] }
    });
    let newcomer = call.join(Role::Member);
    call.command(0, Command::Rotate);
    call.advance(3_000);
    assert_eq!(call.members[newcomer].frames.seal(Codec::Opus, b"said in clear"), Err(SealError::NoKey));
    let sealed = call.members[1].frames.seal(Codec::Opus, b"said in clear").unwrap();
    assert!(!sealed.windows(4).any(|window| b"said in clear".windows(4).any(|clear| clear == window)));
    call.assert_heard(1, &[0, 2]);
    call.relay_stops();
    call.advance(12_000);
    call.cut(newcomer);
    call.advance(SOON);
    call.assert_harmless();
}

/// A17. The relay cuts grants and ratchet messages down to the older version with the short authentication. ->
/// `commit_refused` at once; the member asks and has the newest epoch within the second.
#[test]
fn a17_the_older_version_of_olm_and_megolm() {
    let downgraded = |bytes: &mut Vec<u8>, short: usize| {
        assert_eq!(bytes[0], 4, "version 2 is written like this");
        bytes[0] = 3;
        bytes.truncate(bytes.len() - short);
    };
    for ratchet in [false, true] {
        let mut call = RELAY.call_of(3);
        call.relay_does(move |to, mut message| {
            if let ToClient::Commit(commit) = &mut message
                && to == 1
            {
                match &mut commit.broadcast {
                    Broadcast::Ratchet(message) if ratchet => downgraded(&mut message.0, 24),
                    _ => commit.grant.iter_mut().for_each(|grant| downgraded(&mut grant.1.0, 24)),
                }
            }
            vec![message]
        });
        let since = call.now;
        if ratchet {
            call.join(Role::Member);
        } else {
            call.command(0, Command::Rotate);
        }
        call.advance(1_000);
        let reason = if ratchet { CommitError::Undecryptable } else { CommitError::Grant };
        call.assert_told(1, since, SOON, refused(epoch(1, 3), reason));
        assert!(call.members[1].events.contains(&Event::KeyFound));
        call.advance(1_000);
        call.assert_harmless();
        drop(if ratchet { call } else { call.again() });
    }
}

/// A22. The relay floods the call with sixty newcomers at once, and they leave again. -> harmless: they share epochs, and
/// everybody agrees at the end.
#[test]
fn a22_a_flood_of_joins() {
    let mut call = RELAY.call_of(4);
    let (before, began) = (call.commits.len(), call.now);
    let flood: Vec<_> = (0..60)
        .map(|_| {
            let index = call.join(Role::Member);
            call.settle();
            call.advance(10);
            index
        })
        .collect();
    call.advance(SOON);
    let epochs = call.commits.len() - before;
    assert!(epochs < 30, "{epochs} epochs for sixty newcomers");
    call.assert_harmless();
    for index in flood {
        call.cut(index);
        call.advance(10);
    }
    call.advance(SOON);
    let seconds = (call.now.as_millis() - began.as_millis()) / 1_000;
    let epochs = call.commits.len() - before;
    assert!(u64::try_from(epochs).unwrap() < 10 * seconds, "{epochs} epochs in {seconds} s");
    assert_eq!(call.members[0].session.members().iter().map(|member| member.joined).max(), Some(Joined(4)));
    call.assert_shut_out(10, 0);
    call.assert_harmless();
    call.assert_no_alarm();
}
