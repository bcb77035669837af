//! Beats, echoes, leases and requests: what a relay gains that keeps things to itself.
#![cfg(feature = "audit")]
#![allow(missing_docs, unreachable_pub, dead_code, clippy::wildcard_enum_match_arm)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod plain;

use conclave_shared::{
    frame::{clear_bytes::Codec, sealer::SealError},
    id::{Epoch, Joined, RelayNonce, Role, Sequence, Term},
    session::{
        error::SecurityEvent,
        input::{Command, Input},
        output::{EndReason, Event, KeyMissing, PauseReason},
    },
    wire::{
        BodyFrom, Challenge, MemberJoined, Ping, Pong, Resumed, ToClient, ToRelay, code::Code, sealed::Content,
        signed::Body,
    },
};
use plain::World;
use std::{cell::Cell, rc::Rc};

/// What the relay keeps from a member.
fn withhold(world: &mut World, victim: usize, what: fn(&ToClient) -> bool) -> Rc<Cell<bool>> {
    let on = Rc::new(Cell::new(true));
    let withholds = Rc::clone(&on);
    world.tamper = Box::new(
        move |index, message| {
            if index == victim && withholds.get() && what(&message) { vec![] } else { vec![message] }
        },
    );
    on
}

fn content_of(message: &ToClient) -> Option<(Joined, Content)> {
    let ToClient::Body(body) = message else { return None };
    let content = Body::parse(&body.signed).and_then(|body| Content::parse(&body.content));
    Some((body.from, content.ok()?))
}

fn is_beat(message: &ToClient) -> bool {
    matches!(content_of(message), Some((_, Content::Beat(_))))
}

fn is_alive_of(message: &ToClient, from: Joined) -> bool {
    matches!(content_of(message), Some((of, Content::Alive(_))) if of == from)
}

/// Whom of its roster a member has no sign of, by its session and, the same, by what its application was told.
fn unconfirmed(world: &World, index: usize) -> Vec<Joined> {
    let member = &world.members[index];
    let roster: Vec<_> = member.session.members().iter().map(|info| info.joined).collect();
    let told = |joined: &Joined| {
        let times = member.events.iter().filter(|event| **event == Event::MemberConfirmed(*joined)).count();
        assert!(times <= 1, "told once");
        times == 1 || member.session.joined() == Some(*joined)
    };
    let open: Vec<_> = roster.iter().copied().filter(|joined| !told(joined)).collect();
    let silent: Vec<_> = roster.into_iter().filter(|joined| !member.session.is_confirmed(*joined)).collect();
    assert_eq!(open, silent);
    silent
}

fn seals(world: &mut World, index: usize) -> Result<(), SealError> {
    world.members[index].frames.seal(Codec::Opus, b"sound").map(|_| ())
}

#[test]
fn a_quiet_call_stays_as_it_is() {
    let mut world = World::of(4);
    let epoch = world.assert_agreement();
    world.advance(120_000);
    assert_eq!(world.assert_agreement(), epoch, "no rotation before its time");
    world.assert_no_alarm();
    let pauses = world.members.iter().flat_map(|member| &member.events);
    assert_eq!(pauses.filter(|event| matches!(event, Event::Paused(_) | Event::KeyMissing(_))).count(), 0);
    assert!(seals(&mut world, 3).is_ok());
}

#[test]
fn who_comes_to_a_lead_that_was_alone_for_long_hears_of_no_silence() {
    let mut world = World::of(1);
    world.advance(60_000);
    world.join(Role::Member);
    let on = withhold(&mut world, 0, |message| matches!(message, ToClient::Body(_)));
    for second in 0..60 {
        on.set(second < 9);
        world.advance(1_000);
        for index in 0..2 {
            assert!(seals(&mut world, index).is_ok());
            assert_eq!(world.members[index].alarms(), [], "after {second} s");
        }
    }
}

#[test]
fn beats_that_are_withheld_are_told_and_a_question_that_is_answered_prolongs_the_lease() {
    let mut world = World::of(2);
    withhold(&mut world, 1, is_beat);
    world.advance(8_000);
    assert_eq!(world.members[1].alarms(), [SecurityEvent::LeadSilent { term: Term(1) }]);
    world.advance(70_000);
    assert!(!world.members[1].events.contains(&Event::KeyFound), "nothing was missing");
    assert!(seals(&mut world, 1).is_ok());
    world.advance(60_000);
    assert_eq!(seals(&mut world, 1), Err(SealError::Paused), "a lead that nobody has heard for so long answers nobody");
    world.assert_no_alarm_of(0);
}

#[test]
fn who_hears_nothing_of_the_lead_stops_sealing_within_the_lease() {
    let mut world = World::of(2);
    let on = withhold(&mut world, 1, |message| is_beat(message) || matches!(message, ToClient::Olm(_)));
    world.advance(42_000);
    assert!(seals(&mut world, 1).is_ok());
    world.advance(5_000);
    assert_eq!(seals(&mut world, 1), Err(SealError::Paused));
    assert!(world.members[1].events.contains(&Event::Paused(PauseReason::Lease)));
    on.set(false);
    world.advance(10_000);
    assert!(seals(&mut world, 1).is_ok());
    assert!(world.members[1].events.contains(&Event::Resumed));
}

#[test]
fn who_hears_nothing_while_others_do_is_taken_for_gone_and_may_join_again() {
    let mut world = World::of(3);
    withhold(&mut world, 1, is_beat);
    world.advance(45_000);
    assert_eq!(world.members[1].ended(), Some(EndReason::Closed(Code::LostSeat)));
    assert_eq!(seals(&mut world, 1), Err(SealError::NoKey));
    world.assert_no_alarm_of(0);
}

#[test]
fn a_commit_that_is_withheld_is_noticed_by_the_next_beat_and_asked_for() {
    let mut world = World::of(4);
    let before = world.assert_agreement();
    withhold(&mut world, 1, |message| matches!(message, ToClient::Commit(_)));
    world.cut(3);
    world.advance(3_000);
    let events = &world.members[1].events;
    assert!(events.contains(&Event::KeyMissing(KeyMissing::Withheld)) && events.contains(&Event::KeyFound));
    assert!(world.assert_agreement() > before);
}

#[test]
fn who_is_kept_from_the_newest_epoch_stops_sealing_two_seconds_after_hearing_of_it() {
    let mut world = World::of(4);
    let on = withhold(&mut world, 1, |message| matches!(message, ToClient::Commit(_) | ToClient::Olm(_)));
    world.cut(3);
    world.advance(4_500);
    assert_eq!(seals(&mut world, 1), Err(SealError::Paused), "whoever left could open it");
    assert!(world.members[1].events.contains(&Event::Paused(PauseReason::Behind)));
    on.set(false);
    world.advance(10_000);
    world.assert_agreement();
    assert!(seals(&mut world, 1).is_ok());
}

#[test]
fn a_leave_that_the_relay_hides_is_found_out() {
    let mut world = World::of(4);
    world.members[3].closed = true;
    world.advance(28_000);
    assert_eq!(world.members[0].session.members().len(), 4);
    world.advance(14_000);
    assert_eq!(world.members[0].session.members().len(), 3);
    world.assert_agreement();
    world.assert_no_alarm();
}

#[test]
fn a_lead_that_falls_silent_is_suspected_by_everybody_once() {
    let mut world = World::of(4);
    world.members[0].closed = true;
    world.advance(20_000);
    let suspects: Vec<_> = world.said.iter().filter(|(_, said)| matches!(said, ToRelay::Suspect(_))).collect();
    assert_eq!(suspects.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn who_leads_next_waits_for_keys_however_late_its_pings_of_before_are_answered() {
    let mut world = World::of(4);
    world.tamper = Box::new(|index, message| match (index, &message) {
        (1, ToClient::Pong(Pong { n: 0 })) => vec![],
        (1, ToClient::Lead(_)) => vec![message, Pong { n: 0 }.into()],
        _ => vec![message],
    });
    world.advance(3_500);
    assert!(!world.said.iter().any(|(index, said)| *index == 1 && matches!(said, ToRelay::Ping(_))), "the lead beats");
    world.muted.insert(0);
    world.advance(4_500);
    assert!(world.said.iter().any(|(index, said)| *index == 1 && matches!(said, ToRelay::Ping(Ping { n: 0 }))));
    world.cut(0);
    world.advance(100);
    assert_eq!(world.members[1].session.members().len(), 3);
    world.assert_agreement();
}

#[test]
fn a_key_that_frames_lack_is_asked_for_and_only_so_often() {
    let mut world = World::of(3);
    for _ in 0..100 {
        world.command(1, Command::MissingKey);
        world.settle();
    }
    let events = &world.members[1].events;
    assert!(events.contains(&Event::KeyMissing(KeyMissing::Frames)) && events.contains(&Event::KeyFound));
    let answers = world.wire.iter().filter(|(index, message)| *index == 1 && matches!(message, ToClient::Olm(_)));
    assert!(answers.count() <= 10, "the lead answers within limits");
    world.assert_no_alarm();
}

#[test]
fn nobody_but_the_lead_removes_and_nobody_asks_in_another_s_name() {
    let mut world = World::of(3);
    let epoch = world.assert_agreement();
    world.command(1, Command::Remove(Joined(3)));
    world.advance(1_000);
    assert_eq!(world.assert_agreement(), epoch);
    assert_eq!(epoch, Epoch(Term(1), 2));
}

#[test]
fn in_an_honest_call_everybody_is_confirmed_to_everybody_within_twelve_seconds() {
    let mut world = World::of(5);
    world.advance(40_000);
    let new = world.join(Role::Member);
    world.settle();
    assert_eq!(unconfirmed(&world, 0), [], "the lead heard it over Olm");
    assert_eq!(unconfirmed(&world, 1), [Joined(6)]);
    assert_eq!(unconfirmed(&world, new), [2, 3, 4, 5].map(Joined), "the lead's own grant speaks for it");
    world.advance(12_000);
    for index in 0..=new {
        assert_eq!(unconfirmed(&world, index), [], "to member {index}");
    }
    world.assert_no_alarm();
}

#[test]
fn in_a_call_where_members_tell_the_lead_alone_a_newcomer_still_hears_of_all() {
    let mut world = World::new();
    for _ in 0..34 {
        world.join(Role::Member);
    }
    world.settle();
    world.advance(45_000);
    let new = world.join(Role::Member);
    world.settle();
    assert_eq!(unconfirmed(&world, new).len(), 33);
    world.advance(12_000);
    assert_eq!((unconfirmed(&world, new), unconfirmed(&world, 0), unconfirmed(&world, 33)), (vec![], vec![], vec![]));
    world.assert_no_alarm();
}

#[test]
fn a_word_that_opens_under_the_newest_key_confirms_as_well() {
    let mut world = World::of(3);
    let new = world.join(Role::Member);
    world.settle();
    assert_eq!(unconfirmed(&world, new), [Joined(2), Joined(3)]);
    world.command(1, Command::Send { to: None, payload: b"welcome".to_vec() });
    world.settle();
    assert_eq!(unconfirmed(&world, new), [Joined(3)]);
}

#[test]
fn a_member_whose_leave_the_relay_hides_stays_unconfirmed_to_a_newcomer_until_it_is_removed() {
    let mut world = World::of(4);
    world.advance(20_000);
    world.members[3].closed = true;
    let new = world.join(Role::Member);
    world.advance(12_000);
    assert_eq!(unconfirmed(&world, new), [Joined(4)]);
    // What it said before the newcomer came says nothing about now.
    let old = world.wire.iter().rev().find(|(_, message)| is_alive_of(message, Joined(4)));
    let Some((_, ToClient::Body(old))) = old.cloned() else { panic!("it was alive") };
    let replayed = BodyFrom { at: world.at(), ..old };
    world.input(new, Input::Received(replayed.into()));
    assert_eq!(unconfirmed(&world, new), [Joined(4)]);
    world.advance(30_000);
    assert_eq!(world.members[new].session.members().len(), 4);
    assert!(!world.members[new].session.is_confirmed(Joined(4)));
    assert_eq!(unconfirmed(&world, new), []);
    world.assert_no_alarm();
}

#[test]
fn somebody_whom_the_relay_makes_up_is_confirmed_by_nobody_s_word() {
    let mut world = World::of(3);
    let new = world.join(Role::Member);
    world.advance(12_000);
    let mut member = world.claimed(Joined(2));
    member.joined = Joined(9);
    let joined = MemberJoined { at: world.at(), member };
    world.input(new, Input::Received(joined.into()));
    let alive = world.wire.iter().rev().find(|(_, message)| is_alive_of(message, Joined(2)));
    let Some((_, ToClient::Body(alive))) = alive.cloned() else { panic!("it was alive") };
    let borrowed = BodyFrom { at: world.at(), from: Joined(9), ..alive };
    world.input(new, Input::Received(borrowed.into()));
    world.advance(12_000);
    assert!(!world.members[new].session.is_confirmed(Joined(9)));
    assert!(!world.members[new].events.contains(&Event::MemberConfirmed(Joined(9))));
    assert_eq!(unconfirmed(&world, new), [], "the others are as they were");
}

#[test]
fn a_member_whose_signs_of_life_the_relay_holds_back_is_unconfirmed_until_they_come() {
    let mut world = World::of(3);
    let on = withhold(&mut world, 3, |message| is_alive_of(message, Joined(2)));
    let new = world.join(Role::Member);
    world.advance(28_000);
    assert_eq!(unconfirmed(&world, new), [Joined(2)]);
    on.set(false);
    world.advance(10_000);
    assert_eq!(unconfirmed(&world, new), []);
    world.assert_no_alarm();
}

#[test]
fn a_dropped_connection_and_a_change_of_lead_take_nothing_back() {
    let mut world = World::of(4);
    world.advance(12_000);
    assert_eq!(unconfirmed(&world, 2), []);
    let received = world.said.iter().filter(|(index, said)| *index == 2 && !matches!(said, ToRelay::Join(_))).count();
    let relay = world.at().0;
    world.input(2, Input::Disconnected);
    let challenge = Challenge { versions: vec![1], nonce: RelayNonce::new([8; 32]), relay };
    world.input(2, Input::Received(challenge.into()));
    world.input(2, Input::Received(Resumed { received: u64::try_from(received).unwrap(), until: Sequence(0) }.into()));
    assert_eq!(unconfirmed(&world, 2), []);
    world.cut(0);
    world.advance(2_000);
    assert_eq!(world.lead.map(|(_, lead)| lead), Some(Joined(2)));
    assert_eq!(unconfirmed(&world, 2), []);
    world.assert_agreement();
    world.assert_no_alarm();
}

#[test]
fn a_newcomer_whom_a_regrant_tells_of_is_confirmed_by_its_own_sign() {
    let mut world = World::of(3);
    world.advance(12_000);
    let on = withhold(&mut world, 1, |message| matches!(message, ToClient::Commit(_)));
    world.join(Role::Member);
    world.settle();
    on.set(false);
    assert_eq!(world.members[1].session.members().len(), 3);
    world.advance(2_500);
    assert!(world.members[1].events.contains(&Event::KeyFound), "it was granted anew");
    assert_eq!(unconfirmed(&world, 1), [Joined(4)], "the others are as they were");
    world.advance(10_000);
    assert_eq!(unconfirmed(&world, 1), []);
    world.assert_agreement();
    world.assert_no_alarm();
}
