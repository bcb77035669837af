//! Lies in answer to somebody who asks for the newest epoch.

use crate::{
    MALLORY, MALLORY_S, MEMBERS,
    attack::{
        Attack, SOON,
        insider::{Insider, Made, Plan},
    },
    change_of_lead, commit, epoch, mallory_leads, refused,
};
use conclave_shared::{
    frame::{clear_bytes::Codec, sealer::SealError},
    id::{Joined, RequestNonce},
    session::{
        error::{CommitError, RosterError},
        input::{Command, Input},
        output::{Event, PauseReason},
    },
    wire::{
        Olm, OlmFrom, ToRelay,
        sealed::{Activate, Cause, Content},
        signed::Body,
    },
};

/// A member asks for the newest epoch: with this nonce.
fn asks(call: &mut Attack, index: usize) -> RequestNonce {
    call.command(index, Command::MissingKey);
    call.settle();
    let asked = call.said.iter().rev().find_map(|(from, message)| {
        let ToRelay::Body(signed) = message else { return None };
        let body = Body::parse(signed).unwrap();
        match Content::parse(&body.content) {
            Ok(Content::KeyRequest(request)) if *from == index => Some(request.nonce),
            _ => None,
        }
    });
    asked.expect("it asked")
}

/// Mallory leads, and everybody follows; then an epoch that only she has.
fn reign(call: &mut Attack) -> (Insider, Made) {
    let mut mallory = mallory_leads(call);
    let plan = change_of_lead(call);
    let first = commit(call, &mut mallory, &plan, |_| {});
    call.advance(1_000);
    mallory.peers.remove(&Joined(1));
    let (prev, cause) = (first.transcript, Cause::Request);
    let made = mallory.commit(&Plan { epoch: epoch(2, 1), prev, cause, add: vec![], remove: vec![] }, |_| {});
    (mallory, made)
}

/// M16. The lead answers a request with a roster that has somebody back in who was removed. -> `commit_refused (roster)`
/// at the one who asked, at once; no key of it is installed; whoever was removed holds no live key.
#[test]
fn m16_a_regrant_with_somebody_removed() {
    let mut call = MEMBERS.call_of(4);
    let gone = Insider::of(&call, MALLORY).peers[&Joined(1)].added;
    let (mut mallory, mut made) = reign(&mut call);
    made.roster.insert(0, gone);
    let before = call.newest(2);
    let nonce = asks(&mut call, 2);
    let since = call.now;
    let message = mallory.regrant(Joined(3), nonce, &mut made);
    call.say(MALLORY, Olm { to: Joined(3), message });
    call.settle();
    let alarms = call.members[2].alarms();
    let told = [CommitError::Roster(RosterError::OutOfOrder(Joined(1))), CommitError::Card(Joined(1))];
    let reason = told.into_iter().find(|reason| alarms.contains(&refused(epoch(2, 0), *reason)));
    call.assert_told(2, since, SOON, refused(epoch(2, 0), reason.expect("it is told")));
    assert_eq!(call.newest(2), before);
    call.assert_shut_out(0, 2);
}

/// M17. The lead answers with an answer to an earlier request, one for somebody else, or one of a passed epoch. ->
/// `commit_refused (binding)` or nothing at all, at once; no key of it is installed.
#[test]
fn m17_a_regrant_that_answers_something_else() {
    let mut call = MEMBERS.call_of(4);
    let (mut mallory, mut made) = reign(&mut call);
    let before = call.newest(2);
    asks(&mut call, 2);
    let since = call.now;
    let earlier = mallory.regrant(Joined(3), RequestNonce::new([8; 16]), &mut made);
    call.say(MALLORY, Olm { to: Joined(3), message: earlier });
    call.settle();
    call.assert_told(2, since, SOON, refused(epoch(2, 0), CommitError::Binding));
    let of_another = mallory.regrant(Joined(4), RequestNonce::new([8; 16]), &mut made);
    call.say(MALLORY, Olm { to: Joined(3), message: of_another });
    call.advance(500);
    assert_eq!(call.newest(2), before);
    let nonce = asks_again(&mut call, 2);
    made.commit.epoch = epoch(1, 2);
    let passed = mallory.regrant(Joined(3), nonce, &mut made);
    call.say(MALLORY, Olm { to: Joined(3), message: passed });
    call.advance(500);
    assert_eq!(call.newest(2), before);
    assert_eq!(call.members[2].session.epoch(), Some(epoch(2, 0)));
}

/// The request goes out again by itself.
fn asks_again(call: &mut Attack, index: usize) -> RequestNonce {
    call.advance(3_000);
    asks(call, index)
}

/// M18. A member that does not lead answers in the lead's place, with a key of its own, the relay keeping the lead's
/// answer. -> harmless: nothing is installed; the answer of the lead comes with the next request.
#[test]
fn m18_a_regrant_by_somebody_else() {
    let mut call = MEMBERS.call_of(4);
    let mut mallory = Insider::of(&call, MALLORY);
    let current = call.assert_harmless();
    mallory.open(&mut call, &[Joined(1), Joined(3), Joined(4)]);
    let prev = call.newest(2).1;
    let plan = Plan { epoch: epoch(1, current.count() + 1), prev, cause: Cause::Request, add: vec![], remove: vec![] };
    let mut made = mallory.commit(&plan, |_| {});
    let before = call.newest(2);
    call.relay_does(|to, message| match message {
        conclave_shared::wire::ToClient::Olm(olm) if to == 2 && olm.from == Joined(1) => vec![],
        message => vec![message],
    });
    let nonce = asks(&mut call, 2);
    for from in [MALLORY_S, Joined(1)] {
        let message = mallory.regrant(Joined(3), nonce, &mut made);
        let olm = OlmFrom { at: call.at(), from, message };
        call.input(2, Input::Received(olm.into()));
        call.settle();
        assert_eq!(call.newest(2), before);
    }
    call.relay_stops();
    call.advance(SOON);
    assert!(call.members[2].events.contains(&Event::KeyFound));
    assert_eq!(call.assert_harmless(), current);
}

/// M19. The lead hides the newest epoch from one member and answers none of its requests. -> The member stops sealing two
/// seconds after hearing of it, and joins again within 40 s.
#[test]
fn m19_a_lead_that_answers_nobody() {
    let mut call = MEMBERS.call_of(4);
    let (mut mallory, _) = reign(&mut call);
    let switch = mallory.body(epoch(2, 1), None, Activate {});
    call.say(MALLORY, switch);
    call.advance(2_500);
    assert!(call.members[2].events.contains(&Event::Paused(PauseReason::Behind)));
    assert_eq!(call.members[2].frames.seal(Codec::Opus, b"sound"), Err(SealError::Paused));
    call.advance(38_000);
    let ended = call.members[2].ended().expect("it does not wait for ever");
    assert_eq!(ended.retry(), conclave_shared::wire::code::Retry::Later);
}
