//! Whole calls of real sessions over a plain relay in memory.
#![cfg(feature = "audit")]
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

mod plain;

use conclave_shared::{
    id::{Epoch, Joined, Role, Term},
    session::{
        error::SecurityEvent,
        input::{Command, Input},
        output::{EndReason, Event, Output},
    },
    wire::{Blob, LeftReason, ToClient, sealed::Cause},
};
use plain::World;

fn epoch(term: u32, count: u32) -> Epoch {
    Epoch(Term(term), count)
}

fn call_of(members: usize) -> World {
    let mut world = World::new();
    for _ in 0..members {
        world.join(Role::Member);
        world.settle();
    }
    world.advance(0);
    world
}

#[test]
fn the_first_member_starts_and_others_ratchet_in() {
    let world = call_of(3);
    world.assert_no_alarm();
    assert_eq!(world.assert_agreement(), epoch(1, 2));
    let causes: Vec<_> = world.members[0].infos().iter().map(|info| info.cause).collect();
    assert_eq!(causes, [Cause::Start, Cause::Join, Cause::Join]);
    assert_eq!(world.members[2].infos().len(), 1, "a joiner holds nothing from before it came");
}

#[test]
fn a_joiner_cannot_derive_what_was_before_it() {
    let mut world = call_of(3);
    let before = world.members[0].epochs[&epoch(1, 1)];
    let own = world.members[0].epochs[&epoch(1, 2)];
    let joiner = &mut world.members[2].session;
    assert!(!joiner.could_derive(&before.1, &before.0));
    assert!(joiner.could_derive(&own.1, &own.0), "the audit finds what a device does hold");
}

#[test]
fn a_leaver_who_kept_everything_cannot_derive_what_comes_after_it() {
    let mut world = call_of(4);
    world.cut(2);
    world.advance(1000);
    assert_eq!(world.assert_agreement(), epoch(1, 4));
    assert_eq!(world.members[0].infos().last().map(|info| info.cause), Some(Cause::Leave));
    // It is shown everything that was sent to anybody.
    world.members[2].closed = false;
    for (_, message) in world.wire.clone() {
        world.input(2, Input::Received(message));
    }
    let after = world.members[0].epochs[&epoch(1, 4)];
    assert!(!world.members[2].epochs.contains_key(&epoch(1, 4)));
    assert!(!world.members[2].session.could_derive(&after.1, &after.0));
    world.assert_no_alarm_of(0);
}

#[test]
fn a_signed_leave_rotates_before_the_socket_closes() {
    let mut world = call_of(3);
    world.command(1, Command::Leave);
    world.advance(1000);
    world.assert_no_alarm();
    assert_eq!(world.members[1].ended(), Some(EndReason::Left));
    let left = Event::MemberLeft { joined: Joined(2), reason: LeftReason::Left };
    assert!(world.members[0].events.contains(&left));
    assert_eq!(world.assert_agreement(), epoch(1, 3));
}

#[test]
fn a_leave_on_a_connection_without_the_seat_says_nothing() {
    let mut world = call_of(3);
    let (now, session) = (world.now, &mut world.members[1].session);
    let _ = session.handle(now, Input::Disconnected);
    let outputs = session.handle(now, Input::Command(Command::Leave));
    let over = |output: &Output| matches!(output, Output::Event(Event::Ended(EndReason::Left)));
    assert!(outputs.iter().any(over), "it is over all the same");
    assert!(!outputs.iter().any(|output| matches!(output, Output::Send(_))), "{outputs:?}");
}

#[test]
fn when_the_lead_goes_the_next_by_order_leads_a_new_term() {
    for signed in [true, false] {
        let mut world = call_of(4);
        if signed {
            world.command(0, Command::Leave);
        } else {
            world.cut(0);
        }
        world.advance(1500);
        world.assert_no_alarm();
        assert_eq!(world.assert_agreement(), epoch(2, 0));
        assert!(world.members[1].session.is_lead());
        let joiner = world.join(Role::Member);
        world.advance(100);
        world.assert_no_alarm();
        assert_eq!(world.assert_agreement(), epoch(2, 1));
        assert!(world.members[joiner].alarms().is_empty());
    }
}

#[test]
fn a_bot_that_comes_later_does_not_take_the_lead_but_inherits_it() {
    let mut world = call_of(2);
    let bot = world.join(Role::LeadBot);
    world.advance(100);
    assert!(world.members[0].session.is_lead());
    world.cut(0);
    world.advance(1500);
    world.assert_no_alarm();
    assert!(world.members[bot].session.is_lead());
    world.assert_agreement();
}

#[test]
fn ten_changes_a_second_are_all_made() {
    let mut world = call_of(3);
    let before = world.assert_agreement();
    for _ in 0..100 {
        world.command(0, Command::Rotate);
        world.advance(100);
    }
    world.advance(2000);
    world.assert_no_alarm();
    assert_eq!(world.assert_agreement(), epoch(1, before.count() + 100));
}

#[test]
fn a_storm_of_joins_makes_few_epochs_and_a_leave_goes_on_top() {
    let mut world = call_of(2);
    (0..20).for_each(|_| {
        world.join(Role::Member);
    });
    world.settle();
    world.cut(5);
    world.advance(2000);
    world.assert_no_alarm();
    let last = world.assert_agreement();
    assert!(last.count() < 8, "{last}");
    assert_eq!(world.members[0].session.members().len(), 21);
}

#[test]
fn rotation_by_request_command_and_timer_makes_new_sessions() {
    let mut world = call_of(3);
    world.command(0, Command::Rotate);
    world.advance(500);
    world.command(2, Command::Rotate);
    world.advance(500);
    world.advance(5 * 60 * 1000);
    world.assert_no_alarm();
    let causes: Vec<_> = world.members[1].infos().iter().map(|info| info.cause).skip(2).collect();
    assert_eq!(causes, [Cause::Request, Cause::Request, Cause::Timer]);
    world.assert_agreement();
}

#[test]
fn the_lead_removes_a_member() {
    let mut world = call_of(3);
    world.command(1, Command::Remove(Joined(3)));
    let refused = world.members[1].events.last().cloned();
    assert!(matches!(refused, Some(Event::CommandFailed(_))), "only the lead can: {refused:?}");
    world.command(0, Command::Remove(Joined(3)));
    world.advance(1000);
    assert_eq!(world.members[2].ended(), Some(EndReason::Removed));
    world.assert_agreement();
}

#[test]
fn messages_reach_all_or_one_and_nobody_else() {
    let mut world = call_of(3);
    world.command(1, Command::Send { to: None, payload: b"all".to_vec() });
    world.command(1, Command::Send { to: Some(Joined(3)), payload: b"one".to_vec() });
    world.settle();
    world.assert_no_alarm();
    let message = |direct, text: &[u8]| Event::Message { from: Joined(2), direct, payload: Blob(text.to_vec()) };
    assert!(world.members[0].events.contains(&message(false, b"all")));
    assert!(!world.members[0].events.contains(&message(true, b"one")));
    assert!(world.members[2].events.contains(&message(false, b"all")));
    assert!(world.members[2].events.contains(&message(true, b"one")));
}

#[test]
fn everybody_leaves_and_a_new_call_begins_under_the_same_name() {
    let mut world = call_of(2);
    let first = world.members[0].infos().last().map(|info| info.security_code.clone());
    world.cut(0);
    world.cut(1);
    world.join(Role::Member);
    world.advance(100);
    world.join(Role::Member);
    world.advance(100);
    world.assert_agreement();
    assert_ne!(world.members[2].infos().last().map(|info| info.security_code.clone()), first);
}

#[test]
fn a_replayed_body_changes_nothing_and_is_named() {
    let mut world = call_of(3);
    world.command(1, Command::Send { to: None, payload: b"once".to_vec() });
    world.settle();
    let body = world.wire.iter().rev().find_map(|(to, message)| match message {
        ToClient::Body(body) if *to == 0 => Some(body.clone()),
        _ => None,
    });
    let mut body = body.expect("it was delivered");
    body.at.1.0 += 1000;
    world.input(0, Input::Received(ToClient::Body(body)));
    assert_eq!(world.members[0].alarms(), [SecurityEvent::Replay { from: Joined(2), n: 1 }]);
}
