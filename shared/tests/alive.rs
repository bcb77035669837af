//! Beats, echoes, leases and requests: what a relay gains that keeps things to itself.
#![cfg(feature = "audit")]
#![allow(missing_docs, unreachable_pub, dead_code, clippy::wildcard_enum_match_arm)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod plain;

use conclave_shared::{
    frame::{clear_bytes::Codec, sealer::SealError},
    id::{Epoch, Joined, Role, Term},
    session::{
        error::SecurityEvent,
        input::Command,
        output::{EndReason, Event, KeyMissing, PauseReason},
    },
    wire::{ToClient, ToRelay, code::Code, sealed::Content, signed::Body},
};
use plain::World;
use std::{cell::Cell, rc::Rc};

fn call_of(members: usize) -> World {
    let mut world = World::new();
    for _ in 0..members {
        world.join(Role::Member);
        world.settle();
    }
    world.advance(3_000);
    world
}

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

fn is_beat(message: &ToClient) -> bool {
    let ToClient::Body(body) = message else { return false };
    let content = Body::parse(&body.signed).and_then(|body| Content::parse(&body.content));
    matches!(content, Ok(Content::Beat(_)))
}

fn seals(world: &mut World, index: usize) -> Result<(), SealError> {
    world.members[index].frames.seal(Codec::Opus, b"sound").map(|_| ())
}

#[test]
fn a_quiet_call_stays_as_it_is() {
    let mut world = call_of(4);
    let epoch = world.assert_agreement();
    world.advance(120_000);
    assert_eq!(world.assert_agreement(), epoch, "no rotation before its time");
    world.assert_no_alarm();
    let pauses = world.members.iter().flat_map(|member| &member.events);
    assert_eq!(pauses.filter(|event| matches!(event, Event::Paused(_) | Event::KeyMissing(_))).count(), 0);
    assert!(seals(&mut world, 3).is_ok());
}

#[test]
fn beats_that_are_withheld_are_told_and_a_question_that_is_answered_prolongs_the_lease() {
    let mut world = call_of(2);
    withhold(&mut world, 1, is_beat);
    world.advance(8_000);
    assert_eq!(world.members[1].alarms(), [SecurityEvent::LeadSilent { term: Term(1) }]);
    world.advance(100_000);
    assert!(!world.members[1].events.contains(&Event::KeyFound), "nothing was missing");
    assert!(seals(&mut world, 1).is_ok());
    world.assert_no_alarm_of(0);
}

#[test]
fn who_hears_nothing_of_the_lead_stops_sealing_within_the_lease() {
    let mut world = call_of(2);
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
    let mut world = call_of(3);
    withhold(&mut world, 1, is_beat);
    world.advance(45_000);
    assert_eq!(world.members[1].ended(), Some(EndReason::Closed(Code::LostSeat)));
    assert_eq!(seals(&mut world, 1), Err(SealError::NoKey));
    world.assert_no_alarm_of(0);
}

#[test]
fn a_commit_that_is_withheld_is_noticed_by_the_next_beat_and_asked_for() {
    let mut world = call_of(4);
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
    let mut world = call_of(4);
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
    let mut world = call_of(4);
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
    let mut world = call_of(4);
    world.members[0].closed = true;
    world.advance(20_000);
    let suspects: Vec<_> = world.said.iter().filter(|(_, said)| matches!(said, ToRelay::Suspect(_))).collect();
    assert_eq!(suspects.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn a_key_that_frames_lack_is_asked_for_and_only_so_often() {
    let mut world = call_of(3);
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
    let mut world = call_of(3);
    let epoch = world.assert_agreement();
    world.command(1, Command::Remove(Joined(3)));
    world.advance(1_000);
    assert_eq!(world.assert_agreement(), epoch);
    assert_eq!(epoch, Epoch(Term(1), 2));
}
