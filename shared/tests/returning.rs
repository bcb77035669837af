//! What a device does that comes back, or that is told by a relay what others remember.
#![cfg(feature = "audit")]
#![allow(missing_docs, unreachable_pub, dead_code, clippy::wildcard_enum_match_arm)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod plain;

use conclave_shared::{
    id::{Epoch, Joined, RelayNonce, Term},
    session::{
        error::SecurityEvent,
        input::{Command, Input},
        output::Event,
    },
    wire::{Challenge, Lead, MemberBack, Resumed, ToClient, ToRelay, sealed::Content, signed::Body},
};
use plain::World;

fn heard(world: &World, index: usize) -> usize {
    world.members[index].events.iter().filter(|event| matches!(event, Event::Message { .. })).count()
}

/// The newest epoch that a member sealed an application message under.
fn said_under(world: &World, index: usize) -> Option<Epoch> {
    world.said.iter().rev().filter(|(from, _)| *from == index).find_map(|(_, said)| {
        let ToRelay::Body(signed) = said else { return None };
        let body = Body::parse(signed).ok()?;
        matches!(Content::parse(&body.content), Ok(Content::Message(_))).then_some(body.epoch)
    })
}

#[test]
fn what_waits_is_said_after_the_last_of_several_returns_and_not_after_an_earlier_one() {
    let mut world = World::of(3);
    let received = world.said.iter().filter(|(index, said)| *index == 2 && !matches!(said, ToRelay::Join(_))).count();
    let relay = world.at().0;
    world.input(2, Input::Disconnected);
    world.command(2, Command::Send { to: None, payload: b"waits".to_vec() });
    world.input(2, Input::Received(Challenge { versions: vec![1], nonce: RelayNonce::new([8; 32]), relay }.into()));
    let earlier = MemberBack { at: world.at(), joined: Joined(3) };
    let until = world.at().1;
    let last = MemberBack { at: world.at(), joined: Joined(3) };
    let received = u64::try_from(received).unwrap();
    world.input(2, Input::Received(Resumed { received, until }.into()));
    world.input(2, Input::Received(earlier.into()));
    world.settle();
    assert_eq!(said_under(&world, 2), None, "what came since has not been heard yet");
    world.input(2, Input::Received(last.into()));
    world.settle();
    assert_eq!((said_under(&world, 2), heard(&world, 0)), (world.members[2].session.epoch(), 1));
}

#[test]
fn a_term_whose_lead_was_refused_counts_and_the_next_lawful_one_is_followed() {
    let mut world = World::of(4);
    let name = |world: &mut World, term, joined| {
        let event = Lead { at: world.at(), term: Term(term), joined: Joined(joined), genesis: false };
        for index in [1, 2, 3] {
            world.input(index, Input::Received(event.into()));
        }
    };
    name(&mut world, 2, 3);
    name(&mut world, 4, 1);
    name(&mut world, 3, 1);
    let wrong = SecurityEvent::WrongLead { term: Term(2), named: Joined(3) };
    let skipped = SecurityEvent::WrongTerm { term: Term(4), current: Term(1) };
    for index in [1, 2, 3] {
        assert_eq!(world.members[index].alarms(), [wrong, skipped]);
        let followed = |event: &Event| matches!(event, Event::LeadChanged { term: Term(3), joined: Joined(1), .. });
        assert!(world.members[index].events.iter().any(followed));
    }
}

#[test]
fn a_lead_that_missed_an_epoch_of_the_last_reign_takes_nobody_who_asks_in_it_for_a_forger() {
    let mut world = World::of(3);
    world.tamper = Box::new(|to, message| match &message {
        ToClient::Commit(_) if to == 1 => vec![],
        _ => vec![message],
    });
    world.command(0, Command::Rotate);
    world.settle();
    let newest = world.members[2].session.epoch();
    assert!(newest > world.members[1].session.epoch());
    world.tamper = Box::new(|_, message| vec![message]);
    world.cut(0);
    world.command(2, Command::MissingKey);
    world.advance(1_000);
    let fork = |event: &SecurityEvent| matches!(event, SecurityEvent::Fork { .. });
    assert!(!world.members[1].alarms().iter().any(fork), "{:?}", world.members[1].alarms());
}
