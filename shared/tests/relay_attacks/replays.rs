//! What was said before, or to others, or not at all.

use crate::{
    RELAY,
    attack::{Attack, SOON, eve},
    epoch,
    keeping::tells_of_a_leave,
    refused,
};
use conclave_shared::{
    frame::{clear_bytes::Codec, sealer::SealError},
    id::{CallName, Joined, Role},
    identity::device::Device,
    session::{
        error::{CommitError, SecurityEvent},
        input::{Command, Input},
        output::{Event, KeyMissing, PauseReason},
    },
    wire::{Committed, OlmFrom, ToClient, sealed::Content, signed::Body},
};
use std::{cell::Cell, rc::Rc};

/// What a member was given, newest first.
fn given<T>(call: &Attack, index: usize, wanted: impl Fn(&ToClient) -> Option<T>) -> Vec<T> {
    call.wire.iter().rev().filter(|(to, _)| *to == index).filter_map(|(_, message)| wanted(message)).collect()
}

fn commits(call: &Attack, index: usize) -> Vec<Committed> {
    given(call, index, |message| if let ToClient::Commit(commit) = message { Some(commit.clone()) } else { None })
}

/// A7. The relay plays the commit of a passed epoch and the word to activate it again. -> `epoch_out_of_order` and
/// `replay`, at once; nothing changes.
#[test]
fn a07_a_passed_epoch_again() {
    let mut call = RELAY.call_of(3);
    for _ in 0..2 {
        call.command(0, Command::Rotate);
        call.advance(3_000);
    }
    let (since, current) = (call.now, call.assert_harmless());
    let passed = commits(&call, 1)[1].clone();
    let activate = given(&call, 1, |message| {
        let ToClient::Body(body) = message else { return None };
        let parsed = Body::parse(&body.signed).unwrap();
        let activates = matches!(Content::parse(&parsed.content), Ok(Content::Activate(_)));
        (activates && parsed.epoch == passed.epoch).then(|| (body.clone(), parsed.n))
    });
    let (mut activate, n) = activate[0].clone();
    let again = Committed { at: call.at(), ..passed.clone() };
    activate.at = call.at();
    call.input(1, Input::Received(again.into()));
    call.input(1, Input::Received(activate.into()));
    call.assert_told(1, since, SOON, SecurityEvent::EpochOutOfOrder { epoch: passed.epoch, current });
    call.assert_told(1, since, SOON, SecurityEvent::Replay { from: Joined(1), n });
    call.advance(1_000);
    assert_eq!(call.assert_harmless(), current);
}

/// A8. The relay keeps everything about keys from one member, then hands it out in the wrong order. -> `key_missing` with
/// the next beat; it stops sealing two seconds later; nothing that comes late is installed; it asks and has the newest epoch.
#[test]
fn a08_keys_withheld_from_one_and_in_the_wrong_order() {
    let mut call = RELAY.call_of(4);
    let withheld = Rc::new(Cell::new(true));
    let withholds = Rc::clone(&withheld);
    call.relay_does(move |to, message| {
        let of_keys = matches!(message, ToClient::Commit(_) | ToClient::Olm(_));
        if to == 1 && of_keys && withholds.get() { vec![] } else { vec![message] }
    });
    let since = call.now;
    call.cut(3);
    call.advance(4_500);
    let missing = Event::KeyMissing(KeyMissing::Withheld);
    let told = call.members[1].told(|event| *event == missing).expect("it is told");
    assert!(told.as_millis() - since.as_millis() <= SOON);
    assert!(call.members[1].events.contains(&Event::Paused(PauseReason::Behind)));
    assert_eq!(call.members[1].frames.seal(Codec::Opus, b"sound"), Err(SealError::Paused));
    call.assert_heard(0, &[2]);

    call.command(0, Command::Rotate);
    call.advance(500);
    let (held, late) = (call.members[1].session.epoch(), commits(&call, 1));
    for commit in &late[..2] {
        let commit = Committed { at: call.at(), ..commit.clone() };
        call.input(1, Input::Received(commit.into()));
    }
    assert_eq!(call.members[1].session.epoch(), held, "nothing of it is installed");
    withheld.set(false);
    call.advance(10_000);
    assert!(call.members[1].events.contains(&Event::KeyFound));
    call.assert_harmless();
}

/// A11. The relay hides that somebody left: it passes on neither the signed leave nor the end of the connection. ->
/// The lead removes the member within 40 s, because others echo newer beats; who left holds no key.
#[test]
fn a11_a_hidden_leave() {
    let mut call = RELAY.call_of(4);
    call.relay_does(|_, message| if tells_of_a_leave(&message) { vec![] } else { vec![message] });
    call.command(3, Command::Leave);
    call.advance(20_000);
    assert_eq!(call.members[0].session.members().len(), 4, "nobody can know yet");
    call.advance(20_000);
    assert_eq!(call.members[0].session.members().len(), 3);
    call.advance(1_000);
    call.assert_shut_out(3, 0);
    call.assert_harmless();
    call.assert_no_alarm();
}

/// A18. The relay signs beats and the word to switch itself, in the lead's name, and changes those of the lead. ->
/// `bad_body`, at once; nobody switches.
#[test]
fn a18_a_forged_heartbeat() {
    use conclave_shared::{
        id::Epoch,
        wire::{
            BodyFrom, encode,
            sealed::{Activate, Beat},
            signed::{Signed, Speaker, body_bytes},
        },
    };
    use serde_json::value::RawValue;
    let mut call = RELAY.call_of(3);
    let current = call.assert_harmless();
    let (eve, join) = eve::outsider();
    let beat = Beat { transcript: call.newest(0).1, at: 1 << 40, heard: 1 << 40 };
    let contents = [Content::from(beat), Content::from(Activate {})];
    for (content, epoch) in contents.iter().zip([current, Epoch(current.term(), 60)]) {
        let since = call.now;
        let content = RawValue::from_string(encode(content)).unwrap();
        let body = encode(&Body { epoch, n: 1 << 40, to: None, content });
        let text = RawValue::from_string(body).unwrap();
        let speaker = Speaker {
            call: join.call.clone(),
            instance: conclave_shared::id::Instance::new([1; 16]),
            ed25519: eve.ed25519(),
            join: conclave_shared::id::JoinId::new([1; 32]),
        };
        let signature = eve.sign(&body_bytes(&speaker, text.get()));
        let body = BodyFrom { at: call.at(), from: Joined(1), signed: Signed { text, signature } };
        call.input(1, Input::Received(body.into()));
        call.assert_told(1, since, SOON, SecurityEvent::BadBody { from: Joined(1) });
    }
    let since = call.now;
    call.relay_does(|to, mut message| {
        if let ToClient::Body(body) = &mut message
            && to == 2
        {
            body.signed = crate::with_text(&body.signed, |text| text.replacen("\"n\":", "\"n\":9", 1));
        }
        vec![message]
    });
    call.advance(2_500);
    call.assert_told(2, since, SOON, SecurityEvent::BadBody { from: Joined(1) });
    call.relay_stops();
    call.advance(SOON);
    assert_eq!(call.assert_harmless(), current);
}

/// A20. The relay delivers the commit, the leave and the key of one call in another call of the same devices. ->
/// `commit_refused (grant)`, `bad_body`, at once; each call keeps its own key.
#[test]
fn a20_another_call_s_messages() {
    let devices: Vec<_> = (0..3).map(|_| Device::generate().unwrap()).collect();
    let again = |device: &Device| Device::from_pickle(&device.pickle()).unwrap();
    let mut calls = ["one", "another"].map(|name| {
        let mut call = RELAY.call_of(0);
        call.call = CallName::new(name).unwrap();
        for device in &devices {
            call.join_with(again(device), Role::Member);
            call.settle();
        }
        call.advance(3_000);
        call
    });
    let [here, there] = &mut calls;
    there.command(0, Command::Rotate);
    there.advance(1_000);
    there.command(2, Command::Leave);
    there.settle();
    let commits = commits(there, 1);
    let commit = commits.iter().find(|commit| commit.epoch == epoch(1, 3)).unwrap();
    let leave = given(there, 1, |message| match message {
        ToClient::Body(body) if body.from == Joined(3) => Some(body.clone()),
        _ => None,
    });
    let since = here.now;
    let at = here.at();
    here.input(1, Input::Received(Committed { at, ..commit.clone() }.into()));
    here.assert_told(1, since, SOON, refused(epoch(1, 3), CommitError::Grant));
    let mut leave = leave[0].clone();
    leave.at = here.at();
    here.input(1, Input::Received(leave.into()));
    here.assert_told(1, since, SOON, SecurityEvent::BadBody { from: Joined(3) });
    let message = commit.grant.clone().unwrap();
    let olm = OlmFrom { at: here.at(), from: Joined(1), message };
    here.input(1, Input::Received(olm.into()));
    here.advance(2_000);
    here.assert_harmless();
    assert_ne!(here.newest(0).0, there.newest(0).0);
    let [_, there] = calls;
    drop(there.again());
}
