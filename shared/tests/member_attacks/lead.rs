//! A lead that cheats.

use crate::attack::insider::Plan;
use crate::{MALLORY, MALLORY_S, MEMBERS, attack::SOON, change_of_lead, commit, epoch, mallory_leads, refused};
use conclave_shared::{
    crypto::group::OutboundGroup,
    frame::{clear_bytes::Codec, sealer::SealError},
    id::{CardHash, Epoch, Joined, RosterHash, Seat, Term},
    session::{
        error::{CommitError, RosterError, SecurityEvent},
        input::Input,
        output::{Event, KeyMissing, PauseReason},
    },
    wire::{
        AwayReason, Broadcast, Commit, Committed, Lead, MemberAway, MemberJoined, ToClient, ToRelay,
        sealed::{Activate, Added, Beat, Cause},
    },
};

/// M1. The lead commits a roster of its own making: the hash that it signs is not that of what it adds and removes. ->
/// `commit_refused (roster)` at everybody, at once; no key of it is installed.
#[test]
fn m01_a_forged_roster() {
    let mut call = MEMBERS.call_of(4);
    let (since, before) = (call.now, call.newest(2));
    let mut mallory = mallory_leads(&mut call);
    let plan = change_of_lead(&call);
    commit(&mut call, &mut mallory, &plan, |commit| commit.roster = RosterHash::new([5; 32]));
    for index in [2, 3] {
        let hash = CommitError::Roster(RosterError::Hash);
        call.assert_told(index, since, SOON, refused(epoch(2, 0), hash));
        assert_eq!(call.newest(index), before);
    }
    call.assert_heard(2, &[3]);
}

/// M2. The lead adds somebody whom nobody but itself has ever seen. -> `commit_refused (card)` at everybody, at once; no
/// key of it is installed.
#[test]
fn m02_somebody_whom_nobody_has_seen() {
    let mut call = MEMBERS.call_of(4);
    let (since, before) = (call.now, call.newest(2));
    let mut mallory = mallory_leads(&mut call);
    let ghost = Added { seat: Seat(9), joined: Joined(9), card: CardHash::new([1; 32]), ..mallory.roster()[1] };
    let plan = Plan { add: vec![ghost], ..change_of_lead(&call) };
    commit(&mut call, &mut mallory, &plan, |_| {});
    for index in [2, 3] {
        call.assert_told(index, since, SOON, refused(epoch(2, 0), CommitError::Card(Joined(9))));
        assert_eq!(call.newest(index), before);
    }
}

/// M3. The lead grants one half of the call another broadcast than the relay has for all. -> `commit_refused (other
/// broadcast)` at that half, at once; no key of it is installed there.
#[test]
fn m03_two_halves_by_two_grants() {
    let mut call = MEMBERS.call_of(4);
    let (since, before) = (call.now, call.newest(3));
    let mut mallory = mallory_leads(&mut call);
    let plan = change_of_lead(&call);
    let one = mallory.commit(&plan, |_| {});
    let other = mallory.commit(&plan, |_| {});
    let grants = vec![one.commit.grants[0].clone(), other.commit.grants[1].clone()];
    call.say(MALLORY, Commit { grants, ..one.commit });
    call.settle();
    assert_eq!(call.members[2].session.epoch(), Some(epoch(2, 0)));
    call.assert_told(3, since, SOON, refused(epoch(2, 0), CommitError::OtherBroadcast));
    assert_eq!(call.newest(3), before);
}

/// M4. The lead commits the same epoch twice. -> `epoch_out_of_order` at everybody, at once; all stay with the first.
#[test]
fn m04_two_commits_for_one_epoch() {
    let mut call = MEMBERS.call_of(4);
    let since = call.now;
    let mut mallory = mallory_leads(&mut call);
    let plan = change_of_lead(&call);
    let first = commit(&mut call, &mut mallory, &plan, |_| {});
    commit(&mut call, &mut mallory, &plan, |_| {});
    for index in [2, 3] {
        let twice = SecurityEvent::EpochOutOfOrder { epoch: epoch(2, 0), current: epoch(2, 0) };
        call.assert_told(index, since, SOON, twice);
        assert_eq!(call.newest(index).1, first.transcript);
    }
    call.advance(SOON);
    call.assert_heard(2, &[3]);
}

/// M5. The lead and the relay give each half of the call its own commit of the same epoch. -> The halves never share a
/// key; `fork` at one half with the next beat, at the other with the first sign of life that crosses (within 5 s).
#[test]
fn m05_two_halves_with_the_relay_s_help() {
    let mut call = MEMBERS.call_of(4);
    let mut mallory = mallory_leads(&mut call);
    let plan = change_of_lead(&call);
    let since = call.now;
    let halves = [mallory.commit(&plan, |_| {}), mallory.commit(&plan, |_| {})];
    for (index, half) in [2, 3].into_iter().zip(&halves) {
        let Commit { epoch, broadcast, grants, .. } = half.commit.clone();
        let (add, remove, lost, from) = (vec![], vec![Joined(1)], vec![], MALLORY_S);
        let grant = Some(grants[index - 2].1.clone());
        let event = Committed { at: call.at(), from, epoch, add, remove, lost, broadcast, grant };
        call.input(index, Input::Received(event.into()));
        assert_eq!(call.newest(index).1, half.transcript);
    }
    assert_ne!(call.newest(2).0, call.newest(3).0);
    let beat = mallory.body(epoch(2, 0), None, Beat { transcript: halves[0].transcript, at: 2_000, heard: 0 });
    call.say(MALLORY, beat);
    call.settle();
    call.assert_told(3, since, SOON, SecurityEvent::Fork { from: MALLORY_S, epoch: epoch(2, 0) });
    call.assert_told(2, since, SOON, SecurityEvent::Fork { from: Joined(4), epoch: epoch(2, 0) });
    call.assert_shut_out(2, 3);
    call.assert_shut_out(3, 2);
}

/// M6. The lead adds somebody again who was removed, and the relay describes them again. -> `commit_refused (card)`, then
/// `commit_refused (roster)` at everybody, at once; whoever was
/// removed holds no live key.
#[test]
fn m06_somebody_removed_added_again() {
    let mut call = MEMBERS.call_of(4);
    let mut mallory = mallory_leads(&mut call);
    let removed = mallory.peers[&Joined(4)].added;
    let plan = Plan { remove: vec![Joined(1), Joined(4)], ..change_of_lead(&call) };
    let first = commit(&mut call, &mut mallory, &plan, |_| {});
    call.assert_shut_out(3, 2);
    mallory.peers.retain(|joined, _| [2, 3].contains(&joined.0));
    let since = call.now;
    let plan =
        Plan { epoch: epoch(2, 1), prev: first.transcript, cause: Cause::Request, add: vec![removed], remove: vec![] };
    commit(&mut call, &mut mallory, &plan, |_| {});
    call.assert_told(2, since, SOON, refused(epoch(2, 1), CommitError::Card(Joined(4))));
    // The relay helps, and describes the removed member again.
    let member = call.claimed(Joined(4));
    let described = MemberJoined { at: call.at(), member };
    call.input(2, Input::Received(described.into()));
    commit(&mut call, &mut mallory, &plan, |_| {});
    let reason = CommitError::Roster(RosterError::OutOfOrder(Joined(4)));
    call.assert_told(2, since, SOON, refused(epoch(2, 1), reason));
    assert_eq!(call.newest(2).1, first.transcript);
    call.assert_shut_out(3, 2);
}

/// M7. The lead says to switch before anybody has acknowledged, and to an epoch that does not exist. -> harmless for the
/// first; for the second `key_missing` at once and no more sealing after two seconds, until the lead is replaced.
#[test]
fn m07_an_early_word_to_switch() {
    let mut call = MEMBERS.call_of(4);
    let mut mallory = mallory_leads(&mut call);
    let plan = change_of_lead(&call);
    let made = mallory.commit(&plan, |_| {});
    call.say(MALLORY, made.commit);
    let early = mallory.body(epoch(2, 0), None, Activate {});
    call.say(MALLORY, early);
    call.settle();
    for index in [2, 3] {
        assert_eq!(call.members[index].session.active(), Some(epoch(2, 0)));
        call.assert_no_alarm_of(index);
    }
    call.assert_heard(2, &[3]);
    let nowhere = mallory.body(epoch(2, 7), None, Activate {});
    call.say(MALLORY, nowhere);
    call.advance(2_500);
    for index in [2, 3] {
        let events = &call.members[index].events;
        assert!(events.contains(&Event::KeyMissing(KeyMissing::Withheld)));
        assert!(events.contains(&Event::Paused(PauseReason::Behind)));
        assert_eq!(call.members[index].session.active(), Some(epoch(2, 0)));
        assert_eq!(call.members[index].frames.seal(Codec::Opus, b"sound"), Err(SealError::Paused));
    }
}

/// M8. A new lead goes on with a session that the last one knows, or begins its term with an old transcript. ->
/// `commit_refused` at everybody, at once; no key of it is installed.
#[test]
fn m08_a_new_lead_without_a_new_session() {
    let mut call = MEMBERS.call_of(4);
    let (since, before) = (call.now, call.newest(2));
    let mut mallory = mallory_leads(&mut call);
    let plan = change_of_lead(&call);
    let made = mallory.commit(&plan, |_| {});
    let message = OutboundGroup::new().unwrap().encrypt(b"{}");
    call.say(MALLORY, Commit { broadcast: Broadcast::Ratchet(message), ..made.commit });
    call.settle();
    call.assert_told(2, since, SOON, refused(epoch(2, 0), CommitError::Binding));
    commit(&mut call, &mut mallory, &plan, |commit| commit.prev = conclave_shared::id::Transcript::new([3; 32]));
    call.assert_told(2, since, SOON, refused(epoch(2, 0), CommitError::Transcript));
    commit(&mut call, &mut mallory, &plan, |commit| commit.cause = Cause::Join);
    call.assert_told(3, since, SOON, refused(epoch(2, 0), CommitError::Binding));
    commit(&mut call, &mut mallory, &plan, |commit| commit.policy = conclave_shared::id::PolicyHash::new([0; 32]));
    call.assert_told(3, since, SOON, refused(epoch(2, 0), CommitError::Policy));
    assert_eq!(call.newest(2), before);
    assert_eq!(call.newest(3), before);
}

/// M9. The lead swaps the grants of two members. -> `commit_refused (grant)` at both, at once; no key is installed.
#[test]
fn m09_grants_for_somebody_else() {
    let mut call = MEMBERS.call_of(4);
    let (since, before) = (call.now, call.newest(2));
    let mut mallory = mallory_leads(&mut call);
    let plan = change_of_lead(&call);
    let mut made = mallory.commit(&plan, |_| {});
    let (one, other) = made.commit.grants.split_at_mut(1);
    std::mem::swap(&mut one[0].1, &mut other[0].1);
    call.say(MALLORY, made.commit);
    call.settle();
    for index in [2, 3] {
        call.assert_told(index, since, SOON, refused(epoch(2, 0), CommitError::Grant));
        assert_eq!(call.newest(index), before);
    }
    let opened = call.wire.iter().filter(|(_, message)| matches!(message, ToClient::Commit(_))).count();
    assert!(opened > 0);
}

/// M26. The lead speaks of an epoch that it never made, and goes. -> `key_missing` at everybody, at once; the next two decline,
/// as they should for somebody who has it, and the third leads from the epoch that all hold.
#[test]
fn m26_an_epoch_that_nobody_has() {
    let mut call = MEMBERS.call_of(6);
    let mut mallory = mallory_leads(&mut call);
    let beat = mallory.body(epoch(2, 7), None, Beat { transcript: call.newest(2).1, at: 2_000, heard: 2_000 });
    call.say(MALLORY, beat);
    call.settle();
    for (term, from) in [(3, 2), (4, 3), (5, 4)] {
        let away = MemberAway { at: call.at(), joined: Joined(from), reason: AwayReason::Dropped };
        call.all(None, &away.into());
        let named = Lead { at: call.at(), term: Term(term), joined: Joined(from + 1), genesis: false };
        call.lead = Some((Term(term), named.joined));
        call.all(None, &named.into());
        call.advance(100);
    }
    let declined: Vec<_> =
        call.said.iter().filter(|(_, said)| matches!(said, ToRelay::Decline(_))).map(|(index, _)| *index).collect();
    assert_eq!(declined, [2, 3]);
    call.advance(1_000);
    for index in 2..6 {
        assert!(call.members[index].events.contains(&Event::KeyMissing(KeyMissing::Withheld)), "member {index}");
        assert_eq!(call.members[index].session.epoch().map(Epoch::term), Some(Term(5)), "member {index}");
    }
}
