//! A relay that lies: each lie ends in a typed event and no key, and the rest of the call goes on.
#![cfg(feature = "audit")]
#![allow(missing_docs, unreachable_pub, dead_code, clippy::wildcard_enum_match_arm)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod plain;

use conclave_shared::{
    id::{AckMac, Epoch, Joined, Role, Seat, Term},
    session::{
        error::{CommitError, RosterError, SecurityEvent},
        input::{Command, Input},
        output::{EndReason, Event, KeyMissing},
    },
    wire::{Broadcast, Committed, Lead, ToClient, code::Code, signed::Signed},
};
use plain::World;
use serde_json::value::RawValue;

const fn epoch(term: u32, count: u32) -> Epoch {
    Epoch(Term(term), count)
}

const fn refused(epoch: Epoch, reason: CommitError) -> SecurityEvent {
    SecurityEvent::CommitRefused { epoch, reason }
}

fn call_of(members: usize) -> World {
    let mut world = World::new();
    for _ in 0..members {
        world.join(Role::Member);
        world.settle();
    }
    world
}

/// Changes the commits that one member is given.
fn change_commits(world: &mut World, victim: usize, change: impl Fn(&mut Committed) + 'static) {
    world.tamper = Box::new(move |to, mut message| {
        if let ToClient::Commit(commit) = &mut message
            && to == victim
        {
            change(commit);
        }
        vec![message]
    });
}

fn with_text(signed: &Signed, change: impl Fn(&str) -> String) -> Signed {
    Signed { text: RawValue::from_string(change(signed.text.get())).unwrap(), signature: signed.signature }
}

#[test]
fn a_lie_about_a_member_leaves_the_joiner_without_a_key() {
    let lies: [fn(&mut conclave_shared::wire::MemberClaim); 3] =
        [|claim| claim.role = Role::LeadBot, |claim| claim.seat = Seat(40), |claim| claim.committed = false];
    for lie in lies {
        let mut world = call_of(3);
        world.tamper = Box::new(move |_, mut message| {
            if let ToClient::Welcome(welcome) = &mut message {
                lie(&mut welcome.members[1]);
            }
            vec![message]
        });
        let joiner = world.join(Role::Member);
        world.settle();
        let reason = CommitError::Roster(RosterError::Hash);
        assert_eq!(world.members[joiner].alarms(), [refused(epoch(1, 3), reason)]);
        assert_eq!(world.members[joiner].session.epoch(), None);
    }
}

#[test]
fn another_card_under_a_members_name_leaves_the_joiner_without_a_key() {
    let mut world = call_of(2);
    let other = world.wire.iter().find_map(|(_, message)| match message {
        ToClient::Welcome(welcome) if welcome.joined == Joined(2) => Some(welcome.members[1].clone()),
        _ => None,
    });
    let other = other.unwrap();
    world.tamper = Box::new(move |to, mut message| {
        if let ToClient::Welcome(welcome) = &mut message
            && to == 2
        {
            welcome.members[0].card = other.card.clone();
            welcome.members[0].proof = other.proof.clone();
        }
        vec![message]
    });
    world.join(Role::Member);
    world.settle();
    assert_eq!(world.members[2].session.epoch(), None);
    assert!(!world.members[2].alarms().is_empty());
}

#[test]
fn a_lead_that_the_roster_does_not_name_is_refused() {
    let mut world = call_of(4);
    let at = world.wire.iter().rev().find_map(|(_, m)| if let ToClient::Commit(c) = m { Some(c.at) } else { None });
    let mut at = at.unwrap();
    let before = world.assert_agreement();
    let mut name = |world: &mut World, term, joined, genesis| {
        at.1.0 += 100;
        world.input(1, Input::Received(Lead { at, term: Term(term), joined: Joined(joined), genesis }.into()));
    };
    name(&mut world, 2, 3, false);
    name(&mut world, 4, 1, false);
    name(&mut world, 2, 2, true);
    let wrong = |named| SecurityEvent::WrongLead { term: Term(2), named: Joined(named) };
    let skipped = SecurityEvent::WrongTerm { term: Term(4), current: Term(1) };
    assert_eq!(world.members[1].alarms(), [wrong(3), skipped, wrong(2)]);
    assert_eq!(world.assert_agreement(), before);
}

/// The commit gave no key; asking for one did.
fn assert_healed(world: &World, index: usize) {
    let events = &world.members[index].events;
    assert!(events.contains(&Event::KeyMissing(KeyMissing::Refused)));
    assert!(events.contains(&Event::KeyFound));
    world.assert_agreement();
}

#[test]
fn a_withheld_swapped_or_changed_grant_gives_no_key() {
    type Change = fn(&mut Committed);
    let changes: [(Change, CommitError); 3] = [
        (|commit| commit.grant = None, CommitError::NoGrant),
        (|commit| commit.grant.as_mut().unwrap().1.0[40] ^= 1, CommitError::Grant),
        (|commit| commit.grant.as_mut().unwrap().0 = 0, CommitError::Grant),
    ];
    for (change, reason) in changes {
        let mut world = call_of(3);
        change_commits(&mut world, 1, change);
        world.command(0, Command::Rotate);
        world.advance(1000);
        assert_eq!(world.members[1].alarms()[0], refused(epoch(1, 3), reason));
        assert_eq!(world.members[2].session.active(), Some(epoch(1, 3)), "one silent member holds up nobody");
        assert_healed(&world, 1);
    }
}

#[test]
fn a_changed_broadcast_gives_no_key() {
    let mut world = call_of(3);
    change_commits(&mut world, 1, |commit| {
        if let Broadcast::Session(signed) = &mut commit.broadcast {
            *signed = with_text(signed, |text| text.replacen("\"n\":", "\"n\": ", 1));
        }
    });
    world.command(0, Command::Rotate);
    world.settle();
    assert_eq!(world.members[1].alarms(), [refused(epoch(1, 3), CommitError::OtherBroadcast)]);
    let mut world = call_of(3);
    change_commits(&mut world, 1, |commit| {
        if let Broadcast::Session(signed) = &mut commit.broadcast {
            let mut bytes = *signed.signature.as_bytes();
            bytes[3] ^= 1;
            signed.signature = conclave_shared::id::Signature::new(bytes);
        }
    });
    world.command(0, Command::Rotate);
    world.settle();
    assert_eq!(world.members[1].alarms(), [refused(epoch(1, 3), CommitError::Signature)]);
}

#[test]
fn a_changed_ratchet_message_gives_no_key() {
    let mut world = call_of(2);
    change_commits(&mut world, 1, |commit| {
        if let Broadcast::Ratchet(message) = &mut commit.broadcast {
            message.0[20] ^= 1;
        }
    });
    world.join(Role::Member);
    world.settle();
    assert_eq!(world.members[1].alarms(), [refused(epoch(1, 2), CommitError::Undecryptable)]);
    world.advance(100);
    assert_healed(&world, 1);
}

#[test]
fn a_commit_again_or_by_another_or_of_a_passed_term_is_refused() {
    let mut world = call_of(3);
    world.cut(0);
    world.advance(1500);
    let last = world.assert_agreement();
    let old = world.wire.iter().rev().filter_map(|(to, message)| match message {
        ToClient::Commit(commit) if *to == 2 => Some(commit.clone()),
        _ => None,
    });
    let old: Vec<_> = old.collect();
    let mut sequence = old[0].at;
    for (commit, from) in [(&old[0], old[0].from), (&old[1], old[1].from), (&old[0], Joined(3))] {
        sequence.1.0 += 100;
        let again = Committed { at: sequence, from, ..commit.clone() };
        world.input(2, Input::Received(again.into()));
    }
    let expected = [
        SecurityEvent::EpochOutOfOrder { epoch: last, current: last },
        SecurityEvent::CommitByOther { from: old[1].from, epoch: old[1].epoch },
        SecurityEvent::CommitByOther { from: Joined(3), epoch: last },
    ];
    assert_eq!(world.members[2].alarms(), expected);
    assert_eq!(world.assert_agreement(), last);
}

#[test]
fn a_body_under_another_name_or_with_another_text_is_refused() {
    for rename in [true, false] {
        let mut world = call_of(3);
        world.tamper = Box::new(move |_, mut message| {
            if let ToClient::Body(body) = &mut message {
                if rename {
                    body.from = if body.from == Joined(2) { Joined(1) } else { body.from };
                } else {
                    body.signed = with_text(&body.signed, |text| text.replacen("\"n\":1", "\"n\":7", 1));
                }
            }
            vec![message]
        });
        world.command(1, Command::Send { to: None, payload: b"hello".to_vec() });
        world.settle();
        let from = if rename { Joined(1) } else { Joined(2) };
        assert_eq!(world.members[2].alarms(), [SecurityEvent::BadBody { from }]);
    }
}

#[test]
fn a_forged_acknowledgement_is_named_and_a_hidden_one_only_costs_the_deadline() {
    let mut world = call_of(3);
    world.tamper = Box::new(|_, mut message| {
        if let ToClient::Ack(ack) = &mut message {
            ack.mac = AckMac::new([0; 32]);
        }
        vec![message]
    });
    world.command(0, Command::Rotate);
    world.settle();
    assert_eq!(world.members[0].session.active(), Some(epoch(1, 2)));
    let bad = |joined| SecurityEvent::BadAck { from: Joined(joined) };
    assert_eq!(world.members[0].alarms(), [bad(2), bad(3)]);
    world.advance(401);
    assert_eq!(world.assert_agreement(), epoch(1, 3));
}

#[test]
fn a_joiner_that_never_shows_itself_is_removed() {
    let mut world = call_of(2);
    world.tamper = Box::new(|to, message| {
        let hidden = to == 0 && matches!(message, ToClient::Olm(_));
        if hidden { vec![] } else { vec![message] }
    });
    let ghost = world.join(Role::Member);
    world.advance(9_000);
    assert_eq!(world.members[0].session.members().len(), 3);
    world.advance(2_000);
    assert_eq!(world.members[0].session.members().len(), 2);
    assert_eq!(world.members[ghost].ended(), Some(EndReason::Closed(Code::LostSeat)));
    world.assert_agreement();
}

#[test]
fn without_activate_senders_switch_by_themselves() {
    let mut world = call_of(3);
    world.tamper = Box::new(|_, message| match message {
        ToClient::Body(_) => vec![],
        message => vec![message],
    });
    world.command(0, Command::Rotate);
    world.advance(899);
    assert_eq!(world.members[1].session.active(), Some(epoch(1, 2)));
    world.advance(2);
    assert_eq!(world.members[1].session.active(), Some(epoch(1, 3)));
}

#[test]
fn a_newcomer_on_a_taken_seat_or_with_an_old_number_stays_out_and_the_lead_goes_on() {
    type Lie = fn(&mut conclave_shared::wire::MemberClaim);
    let lies: [(Lie, SecurityEvent); 2] = [
        (
            |claim| claim.seat = Seat(1),
            SecurityEvent::BadClaim { joined: Joined(4), reason: RosterError::SeatTaken(Joined(4)) },
        ),
        (|claim| claim.card.signature = claim.proof.signature, SecurityEvent::BadKeys { joined: Joined(4) }),
    ];
    for (lie, expected) in lies {
        let mut world = call_of(3);
        world.tamper = Box::new(move |_, mut message| {
            if let ToClient::Joined(event) = &mut message
                && event.member.joined == Joined(4)
            {
                lie(&mut event.member);
            }
            vec![message]
        });
        let outsider = world.join(Role::Member);
        world.settle();
        world.join(Role::Member);
        world.settle();
        world.advance(2000);
        assert_eq!(world.members[outsider].session.epoch(), None);
        assert_eq!(world.members[0].alarms(), [expected]);
        assert_eq!(world.members[0].session.members().len(), 4, "the next newcomer is in");
        assert_eq!(world.members[0].ended(), None);
    }
}
