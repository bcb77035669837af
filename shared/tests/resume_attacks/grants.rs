//! Answers to a question for the newest epoch.

use crate::{
    RESUME,
    attack::{
        SOON,
        insider::{Insider, Plan},
    },
};
use conclave_shared::{
    frame::clear_bytes::Codec,
    id::{Epoch, Joined, RequestNonce, Term},
    session::{
        error::{CommitError, SecurityEvent},
        input::{Command, Input},
    },
    wire::{
        Olm, OlmFrom, ToClient, ToRelay,
        sealed::{Cause, Content},
        signed::Body,
    },
};
use std::collections::BTreeSet;

/// Frame key ids come round after so many epochs.
const ROUND: u32 = 64;

fn nonce_of(said: &[(usize, ToRelay)], index: usize) -> RequestNonce {
    let asked = said.iter().rev().find_map(|(from, message)| {
        let ToRelay::Body(signed) = message else { return None };
        match Content::parse(&Body::parse(signed).unwrap().content) {
            Ok(Content::KeyRequest(request)) if *from == index => Some(request.nonce),
            _ => None,
        }
    });
    asked.expect("it asked")
}

/// R9. The lead answers a question with the running epoch under a later number, one round of key ids on, so that the one
/// who asked begins to count anew under a key that it has used. -> `commit_refused (transcript)`, at once; every frame has
/// its own counter.
#[test]
fn r09_a_key_that_was_used_under_another_number() {
    let mut call = RESUME.call_of(4);
    let mut mallory = Insider::of(&call, 1);
    mallory.take_over(&mut call);
    call.cut(0);
    call.settle();
    mallory.open(&mut call, &[Joined(3), Joined(4)]);
    let prev = call.members[2].session.transcript().unwrap();
    let (epoch, cause) = (Epoch(Term(2), 0), Cause::LeadChange);
    let mut made = mallory.commit(&Plan { epoch, prev, cause, add: vec![], remove: vec![Joined(1)] }, |_| {});
    call.say(1, made.commit.clone());
    call.advance(1_500);
    assert_eq!(call.members[2].session.active(), Some(epoch));
    let mut sealed: BTreeSet<_> =
        (0..4).map(|_| call.members[2].frames.seal(Codec::Opus, b"the same").unwrap()).collect();

    call.command(2, Command::MissingKey);
    call.settle();
    let nonce = nonce_of(&call.said, 2);
    made.commit.epoch = Epoch(Term(2), ROUND);
    let since = call.now;
    let message = mallory.regrant(Joined(3), nonce, &mut made);
    call.say(1, Olm { to: Joined(3), message });
    call.advance(1_500);
    call.assert_told(2, since, SOON, SecurityEvent::CommitRefused { epoch, reason: CommitError::Transcript });
    for _ in 0..4 {
        let frame = call.members[2].frames.seal(Codec::Opus, b"the same").unwrap();
        assert!(sealed.insert(frame), "two frames were sealed with one counter under one key");
    }
}

/// R1. The relay plays the lead's answer to one question again, to the next question. -> harmless: it does not open a
/// second time, and the lead's new answer does.
#[test]
fn r01_an_answer_again() {
    let mut call = RESUME.call_of(3);
    let current = call.assert_harmless();
    call.command(2, Command::MissingKey);
    call.advance(3_000);
    let answer = call.wire.iter().rev().find_map(|(to, message)| match message {
        ToClient::Olm(olm) if *to == 2 => Some(olm.clone()),
        _ => None,
    });
    let answer = answer.expect("the lead answered");
    call.relay_does(|to, message| {
        let of_lead = to == 2 && matches!(message, ToClient::Olm(_));
        if of_lead { vec![] } else { vec![message] }
    });
    let before = call.newest(2);
    call.command(2, Command::MissingKey);
    call.settle();
    let again = OlmFrom { at: call.at(), ..answer };
    call.input(2, Input::Received(again.into()));
    call.settle();
    assert_eq!(call.newest(2), before);
    call.relay_stops();
    call.advance(SOON);
    assert_eq!(call.assert_harmless(), current);
}
