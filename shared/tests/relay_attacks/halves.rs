//! Different stories for different members.

use crate::{
    RELAY,
    attack::{Attack, SOON},
    epoch, refused,
};
use conclave_shared::{
    frame::{clear_bytes::Codec, sealer::SealError},
    id::{Joined, Role, Term},
    identity::device::Device,
    session::{
        error::{CommitError, SecurityEvent},
        input::Input,
        output::{Event, PauseReason},
    },
    wire::{Lead, LeftReason, MemberLeft, ToClient},
};
use std::{cell::Cell, rc::Rc};

/// A9. The relay puts a device of its own into the call under the name of somebody who is in it. -> Everybody is told of
/// one device more, at once, and the security code changes; it holds no epoch from before it came. (Whose device it is,
/// people must compare.)
#[test]
fn a09_a_ghost_device_of_a_known_user() {
    let mut call = RELAY.call_of(3);
    let (before, code) = (call.newest(0), call.members[0].infos().last().unwrap().security_code.clone());
    let since = call.now;
    let ghost = call.join_as(Device::generate().unwrap(), Role::Member, "user 1");
    call.advance(2_000);
    for index in 0..3 {
        let told = |event: &Event| matches!(event, Event::MemberArrived(info) if info.joined == Joined(4));
        assert!(call.members[index].told(told).unwrap().as_millis() - since.as_millis() <= SOON);
        let info = (*call.members[index].infos().last().unwrap()).clone();
        let of_user = info.members.iter().filter(|member| member.user == "user 1");
        assert_eq!(of_user.map(|member| member.joined).collect::<Vec<_>>(), [Joined(2), Joined(4)]);
        assert_ne!(info.security_code, code);
    }
    assert!(!call.members[ghost].session.could_derive(&before.1, &before.0), "nothing from before it came");
    call.assert_harmless();
}

/// A10. The relay hides a device of its own from one member and shows it to the others. -> `commit_refused (card)` at that
/// member, at once; it installs no key that the ghost has, and stops sealing two seconds later.
#[test]
fn a10_a_ghost_that_is_hidden_from_one() {
    let mut call = RELAY.call_of(3);
    call.relay_does(|to, mut message| match &mut message {
        ToClient::Joined(event) if to == 1 && event.member.joined == Joined(4) => vec![],
        _ => vec![message],
    });
    let (since, before) = (call.now, call.newest(1));
    let ghost = call.join(Role::Member);
    call.advance(SOON);
    call.assert_told(1, since, SOON, refused(epoch(1, 3), CommitError::Card(Joined(4))));
    assert_eq!(call.newest(1), before);
    assert!(call.members[1].events.contains(&Event::Paused(PauseReason::Behind)));
    assert_eq!(call.members[1].frames.seal(Codec::Opus, b"sound"), Err(SealError::Paused));
    call.assert_shut_out(ghost, 1);
    call.assert_heard(0, &[2]);
}

/// The relay tells one member that somebody is gone, or that somebody leads.
fn tell(call: &mut Attack, to: &[usize], gone: &[u64], lead: (u32, u64)) {
    let mut events: Vec<ToClient> = Vec::new();
    for joined in gone {
        events.push(MemberLeft { at: call.at(), joined: Joined(*joined), reason: LeftReason::Closed }.into());
    }
    let (term, joined) = lead;
    if term > 0 {
        let lead = Lead { at: call.at(), term: Term(term), joined: Joined(joined), genesis: false };
        events.push(lead.into());
    }
    for index in to {
        for event in &events {
            call.input(*index, Input::Received(event.clone()));
        }
    }
}

/// Who a message comes from, and when; `None` for what comes from the relay itself.
fn author(message: &ToClient) -> Option<Joined> {
    match message {
        ToClient::Commit(event) => Some(event.from),
        ToClient::Body(event) => Some(event.from),
        ToClient::Olm(event) => Some(event.from),
        ToClient::Ack(event) => Some(event.from),
        _ => None,
    }
}

/// Nothing crosses between two halves, by their indices, while the switch is on.
fn part(call: &mut Attack, halves: [&'static [usize]; 2]) -> Rc<Cell<bool>> {
    let on = Rc::new(Cell::new(true));
    let parted = Rc::clone(&on);
    call.relay_does(move |to, message| {
        let half = |index: usize| halves.iter().position(|half| half.contains(&index));
        let from = author(&message).map(|from| usize::try_from(from.0).unwrap() - 1);
        let crosses = from.is_some_and(|from| half(from) != half(to));
        if crosses && parted.get() { vec![] } else { vec![message] }
    });
    on
}

/// A12. The relay keeps the lead in the dark and has the others follow a second one. -> The first lead tells
/// `commit_by_other` as soon as anything of the second reaches it; while nothing does, it stops sealing within 45 s; it
/// never holds the key of the others.
#[test]
fn a12_two_leads_at_once() {
    let mut call = RELAY.call_of(4);
    let parted = part(&mut call, [&[0], &[1, 2, 3]]);
    (call.lead, call.also) = (Some((Term(2), Joined(2))), Some((Term(1), Joined(1))));
    tell(&mut call, &[1, 2, 3], &[1], (2, 2));
    call.advance(SOON);
    assert_eq!(call.members[1].session.epoch(), Some(epoch(2, 0)));
    assert!(call.members[0].session.is_lead() && call.members[1].session.is_lead());
    for other in 1..4 {
        call.assert_shut_out(0, other);
        assert_ne!(call.newest(0), call.newest(other));
    }
    call.assert_heard(1, &[2, 3]);
    call.advance(45_000);
    assert_eq!(call.members[0].frames.seal(Codec::Opus, b"sound"), Err(SealError::Paused));
    assert!(call.members[0].events.contains(&Event::Paused(PauseReason::Lease)));
    parted.set(false);
    let since = call.now;
    call.advance(SOON);
    let told = |event: &Event| matches!(event, Event::Security(SecurityEvent::CommitByOther { from: Joined(2), epoch }) if epoch.term() == Term(2));
    assert!(call.members[0].told(told).unwrap().as_millis() - since.as_millis() <= SOON);
    call.assert_shut_out(0, 1);
    call.assert_heard(1, &[2, 3]);
}

/// A13. The relay lets two halves of a call follow different leads of the same term, and brings them together again. ->
/// The halves never share a key; `commit_by_other` with the first beat that crosses, `fork` with the first sign of life
/// of a member (within 5 s).
#[test]
fn a13_a_fork_and_its_merge() {
    let mut call = RELAY.call_of(5);
    call.relay_does(
        |_, message| if matches!(message, ToClient::Left(_) | ToClient::Lead(_)) { vec![] } else { vec![message] },
    );
    call.cut(0);
    call.settle();
    let parted = part(&mut call, [&[1, 3], &[2, 4]]);
    call.lead = Some((Term(2), Joined(2)));
    call.also = Some((Term(2), Joined(3)));
    tell(&mut call, &[1, 3], &[1], (2, 2));
    tell(&mut call, &[2, 4], &[1, 2], (2, 3));
    call.advance(SOON);
    for index in 1..5 {
        assert_eq!(call.members[index].session.epoch().unwrap().term(), Term(2));
    }
    assert_eq!(call.newest(1), call.newest(3));
    assert_eq!(call.newest(2), call.newest(4));
    assert_ne!(call.newest(1).0, call.newest(2).0);
    for (one, other) in [(1, 2), (3, 4), (2, 1), (4, 3)] {
        call.assert_shut_out(one, other);
    }
    call.assert_heard(1, &[3]);
    call.assert_heard(2, &[4]);

    parted.set(false);
    let since = call.now;
    call.advance(SOON);
    let by_other =
        |event: &Event| matches!(event, Event::Security(SecurityEvent::CommitByOther { from: Joined(3), .. }));
    for index in [1, 3] {
        assert!(call.members[index].told(by_other).unwrap().as_millis() - since.as_millis() <= SOON);
    }
    for (index, from) in [(2, 4), (4, 4)] {
        let forked = |event: &Event| matches!(event, Event::Security(SecurityEvent::Fork { from: other, .. }) if other.0 == from);
        assert!(call.members[index].told(forked).is_some(), "{:?}", call.members[index].alarms());
    }
    for (one, other) in [(1, 2), (3, 4), (2, 1), (4, 3)] {
        call.assert_shut_out(one, other);
    }
}
