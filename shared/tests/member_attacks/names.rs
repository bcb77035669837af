//! Words in another's name, and words that were said before.

use crate::{
    MALLORY, MALLORY_S, MEMBERS,
    attack::{SOON, insider::Insider},
    epoch,
};
use conclave_shared::{
    frame::{
        clear_bytes::Codec,
        opener::{OpenError, Opened},
    },
    id::{AckMac, Joined, RequestNonce, Seat},
    session::{
        error::SecurityEvent,
        input::{Command, Input},
    },
    wire::{
        Ack, Acked, BodyFrom, Committed, ToClient,
        sealed::{Activate, Alive, Beat, Content, KeyRequest, Leave, Rotate},
    },
};

/// Everything that a member can say in a body.
fn words(transcript: conclave_shared::id::Transcript) -> [Content; 6] {
    [
        Leave {}.into(),
        Rotate {}.into(),
        Activate {}.into(),
        Beat { transcript, at: 60_000, heard: 60_000 }.into(),
        Alive { transcript, beat: 60_000 }.into(),
        KeyRequest { nonce: RequestNonce::new([4; 16]), fresh: true }.into(),
    ]
}

/// M10. A member signs a leave, a beat, an echo, a request for a key and a word to switch, and the relay says that they
/// are somebody else's. -> `bad_body` for each, at once; nothing comes of any.
#[test]
fn m10_words_in_another_s_name() {
    let mut call = MEMBERS.call_of(4);
    let current = call.assert_harmless();
    let mut mallory = Insider::of(&call, MALLORY);
    for content in words(call.newest(0).1) {
        let signed = mallory.body(current, None, content);
        for (from, to) in [(1, 2), (3, 0), (3, 3), (1, 3)] {
            let since = call.now;
            let body = BodyFrom { at: call.at(), from: Joined(from), signed: signed.clone() };
            let told = call.members[to].alarms().len();
            call.input(to, Input::Received(body.into()));
            if Some(Joined(from)) == call.members[to].session.joined() {
                assert_eq!(call.members[to].alarms().len(), told, "nobody is told what they said themselves");
                continue;
            }
            call.assert_told(to, since, SOON, SecurityEvent::BadBody { from: Joined(from) });
        }
    }
    call.advance(SOON);
    assert_eq!(call.assert_harmless(), current);
}

/// M11. A member that does not lead beats, and says to switch, under its own name. -> `commit_by_other` for each, at once;
/// nobody switches.
#[test]
fn m11_a_lead_s_words_by_somebody_else() {
    let mut call = MEMBERS.call_of(4);
    let current = call.assert_harmless();
    let mut mallory = Insider::of(&call, MALLORY);
    let next = epoch(1, current.count() + 1);
    let beat = Beat { transcript: call.newest(0).1, at: 60_000, heard: 60_000 };
    for (epoch, content) in [(current, Content::from(beat)), (current, Activate {}.into()), (next, Activate {}.into())]
    {
        let since = call.now;
        let signed = mallory.body(epoch, None, content);
        call.say(MALLORY, signed);
        call.settle();
        for index in [2, 3] {
            call.assert_told(index, since, SOON, SecurityEvent::CommitByOther { from: MALLORY_S, epoch });
        }
    }
    call.advance(SOON);
    assert_eq!(call.assert_harmless(), current);
}

/// M12. A member acknowledges for somebody else, with its own proof and with none. -> `bad_ack` at the lead, at once;
/// presence and the time of the switch stay as they were.
#[test]
fn m12_forged_acknowledgements() {
    let mut call = MEMBERS.call_of(4);
    let silent = 3;
    call.relay_does(move |to, message| match &message {
        ToClient::Ack(ack) if ack.from == Joined(4) && to == 0 => vec![],
        _ => vec![message],
    });
    call.command(0, Command::Rotate);
    call.settle();
    let newest = call.members[0].session.epoch().unwrap();
    let own = call.said.iter().rev().find_map(|(index, message)| match message {
        conclave_shared::wire::ToRelay::Ack(ack) if *index == MALLORY => Some(*ack),
        _ => None,
    });
    let own = own.unwrap();
    assert_eq!(own.epoch, newest);
    for mac in [own.mac, AckMac::new([0; 32])] {
        let since = call.now;
        let forged = Acked { at: call.at(), from: Joined(4), epoch: newest, mac };
        call.input(0, Input::Received(forged.into()));
        call.assert_told(0, since, SOON, SecurityEvent::BadAck { from: Joined(4) });
        assert_ne!(call.members[0].session.active(), Some(newest), "member {silent} has not acknowledged");
    }
    let since = call.now;
    call.say(MALLORY, Ack { epoch: newest, mac: AckMac::new([9; 32]) });
    call.advance(500);
    call.assert_told(0, since, SOON, SecurityEvent::BadAck { from: MALLORY_S });
    call.relay_stops();
    call.advance(SOON);
    call.assert_harmless();
}

/// M13. A member plays another's frames again: in that member's stream, in its own, and after the key is gone. ->
/// harmless: each is dropped, and what is said next is heard.
#[test]
fn m13_replayed_frames() {
    let mut call = MEMBERS.call_of(4);
    let seat = |call: &crate::attack::Attack, joined: u64| {
        let members = call.members[0].session.members();
        members.iter().find(|member| member.joined == Joined(joined)).unwrap().seat
    };
    let (honest, own): (Seat, Seat) = (seat(&call, 3), seat(&call, 2));
    let frame = call.members[2].frames.seal(Codec::Opus, b"said once").unwrap();
    let now = call.now;
    let frames = &mut call.members[3].frames;
    assert_eq!(frames.open(now, honest, Codec::Opus, &frame, 0), Opened::Frame(b"said once".to_vec()));
    assert_eq!(frames.open(now, honest, Codec::Opus, &frame, 0), Opened::Dropped(OpenError::Duplicate));
    assert_eq!(frames.open(now, own, Codec::Opus, &frame, 0), Opened::Dropped(OpenError::WrongSeat(honest)));
    call.command(0, Command::Rotate);
    call.advance(SOON);
    let now = call.now;
    let again = call.members[3].frames.open(now, honest, Codec::Opus, &frame, 0);
    assert!(matches!(again, Opened::Dropped(_)), "{again:?}");
    call.assert_harmless();
    call.assert_no_alarm();
}

/// M14. A member that does not lead commits an epoch, and the relay passes it on. -> `commit_by_other` at everybody, at
/// once; no key of it is installed.
#[test]
fn m14_a_commit_by_somebody_who_does_not_lead() {
    let mut call = MEMBERS.call_of(4);
    let (since, current, before) = (call.now, call.assert_harmless(), call.newest(2));
    let mut mallory = Insider::of(&call, MALLORY);
    mallory.open(&mut call, &[Joined(1), Joined(3), Joined(4)]);
    let next = epoch(1, current.count() + 1);
    let plan = crate::attack::insider::Plan {
        epoch: next,
        prev: before.1,
        cause: conclave_shared::wire::sealed::Cause::Leave,
        add: vec![],
        remove: vec![Joined(4)],
    };
    let made = mallory.commit(&plan, |_| {});
    for index in [0, 2, 3] {
        let joined = call.members[index].session.joined().unwrap();
        let grant = made.commit.grants.iter().find(|(to, _)| *to == joined).map(|(_, grant)| grant.clone());
        let (add, remove, lost) = (vec![], vec![Joined(4)], vec![]);
        let broadcast = made.commit.broadcast.clone();
        let event = Committed { at: call.at(), from: MALLORY_S, epoch: next, add, remove, lost, broadcast, grant };
        call.input(index, Input::Received(event.into()));
        call.assert_told(index, since, SOON, SecurityEvent::CommitByOther { from: MALLORY_S, epoch: next });
        assert_eq!(call.newest(index), before);
    }
    call.advance(SOON);
    assert_eq!(call.assert_harmless(), current);
}

/// M15. Somebody who left comes back with the keys of then: echoes, messages, acknowledgements and frames. -> harmless:
/// all of it is ignored; it holds no live key.
#[test]
fn m15_an_old_member_with_old_keys() {
    let mut call = MEMBERS.call_of(4);
    let mut mallory = Insider::of(&call, MALLORY);
    let (old, before) = (call.assert_harmless(), call.newest(0));
    let frame = call.members[MALLORY].frames.seal(Codec::Opus, b"from before").unwrap();
    let seat = mallory.peers[&MALLORY_S].added.seat;
    call.cut(MALLORY);
    call.advance(SOON);
    let current = call.assert_harmless();
    for (epoch, content) in words(before.1).into_iter().flat_map(|word| [(old, word.clone()), (current, word)]) {
        let signed = mallory.body(epoch, None, content);
        for index in [0, 2, 3] {
            let body = BodyFrom { at: call.at(), from: MALLORY_S, signed: signed.clone() };
            call.input(index, Input::Received(body.into()));
        }
    }
    let now = call.now;
    let opened = call.members[2].frames.open(now, seat, Codec::Opus, &frame, 0);
    assert!(matches!(opened, Opened::Dropped(_)), "{opened:?}");
    call.assert_shut_out(MALLORY, 0);
    call.advance(SOON);
    assert_eq!(call.assert_harmless(), current);
    call.assert_no_alarm();
}
