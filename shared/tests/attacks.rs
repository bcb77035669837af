//! Attacks of a relay on the keys themselves, and storms that end or split a call: each names what must hold.
#![cfg(feature = "audit")]
#![allow(missing_docs, unreachable_pub, dead_code, clippy::wildcard_enum_match_arm)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "attack/eve.rs"]
mod eve;
mod plain;

use conclave_shared::{
    crypto::{
        group::{Export, InboundGroup},
        pairwise::Pairwise,
        schedule::EpochSecret,
    },
    id::{JoinId, Joined, Role, Seat, Sequence, Signature, Term},
    limits,
    session::{
        error::SecurityEvent,
        input::{Command, Input},
        output::EndReason,
    },
    time::Timestamp,
    wire::{At, Claimed, ClaimedKey, Committed, MemberJoined, ToClient, sealed::Grant},
};
use eve::{NOW, RELAY, claim_of, curve_of, outsider, steal};
use plain::World;

fn call_of(members: usize) -> World {
    let mut world = World::new();
    for _ in 0..members {
        world.join(Role::Member);
        world.settle();
    }
    world
}

fn seat_of(world: &World, joined: u64) -> u16 {
    world.members[0].session.members().iter().find(|m| m.joined == Joined(joined)).unwrap().seat.0
}

/// The relay alone: a second `joined` for a committed member replaces its keys, then the lead changes.
#[test]
fn a_relay_that_describes_a_committed_member_anew_gets_no_key() {
    let mut world = call_of(4); // A=1 B=2 C=3 D=4; D is to be impersonated towards B
    let (mut eve, join) = outsider();
    let claim = claim_of(&join, seat_of(&world, 4), 4);
    let b_key = curve_of(&world, 2);
    world.input(1, Input::Received(MemberJoined { at: At(RELAY, Sequence(20)), member: claim }.into()));
    let batch = join.keys.clone();
    world.tamper = Box::new(move |to, mut message| {
        match &mut message {
            ToClient::Claimed(claimed) if to == 1 => {
                for key in claimed.keys.iter_mut().filter(|key| key.joined == Joined(4)) {
                    *key = ClaimedKey { joined: Joined(4), batch: batch.clone(), index: Some(0), signature: None };
                }
            }
            ToClient::Left(e) => e.at.1.0 += 100,
            ToClient::Lead(e) => e.at.1.0 += 100,
            ToClient::Commit(e) => e.at.1.0 += 100,
            _ => {}
        }
        vec![message]
    });
    world.cut(0);
    world.advance(3000);
    let commit = world
        .wire
        .iter()
        .rev()
        .find_map(|(to, m)| match m {
            ToClient::Commit(c) if *to == 3 && c.epoch.term() == Term(2) => Some(c.clone()),
            _ => None,
        })
        .expect("B's lead change");
    let stolen = steal(&mut eve, b_key, &commit);
    let real = world.members[1].epochs[&commit.epoch].0;
    assert_ne!(stolen, Some(real), "the relay holds the media secret of epoch {}", commit.epoch);
}

/// Impersonating a newcomer: the Olm session is opened to Eve's card, then the claim is swapped for the real one.
#[test]
fn a_grant_goes_to_the_device_that_is_committed_and_to_no_other() {
    let mut world = call_of(3);
    let (mut eve, join) = outsider();
    let lead_key = curve_of(&world, 1);
    // An epoch is in flight: nobody can acknowledge it.
    world.tamper = Box::new(|_, m| if matches!(m, ToClient::Ack(_) | ToClient::Body(_)) { vec![] } else { vec![m] });
    world.command(0, Command::Rotate);
    world.settle();
    // The honest device D joins; the lead is shown Eve first.
    let (batch, j2) = (join.keys.clone(), join.clone());
    world.tamper = Box::new(move |to, m| match (to, m) {
        (0, ToClient::Joined(real)) => {
            let lie = claim_of(&j2, real.member.seat.0, real.member.joined.0);
            let mut later = real.clone();
            later.at.1.0 += 0;
            let early = MemberJoined { at: real.at, member: lie };
            let keys =
                vec![ClaimedKey { joined: real.member.joined, batch: batch.clone(), index: Some(0), signature: None }];
            later.at.1.0 += 1;
            vec![early.into(), Claimed { keys }.into(), later.into()]
        }
        (0, ToClient::Claimed(_)) => vec![],
        (_, ToClient::Ack(_) | ToClient::Body(_)) => vec![],
        (_, ToClient::Commit(mut c)) => {
            c.at.1.0 += 10;
            vec![c.into()]
        }
        (_, m) => vec![m],
    });
    let d = world.join(Role::Member);
    world.settle();
    world.advance(500);
    let commit = world.wire.iter().rev().find_map(|(to, m)| match m {
        ToClient::Commit(c) if *to == d => Some(c.clone()),
        _ => None,
    });
    let Some(commit) = commit else { return };
    let opened =
        Pairwise::default().decrypt(NOW, &mut eve, (JoinId::new([0; 32]), &lead_key), commit.grant.as_ref().unwrap());
    let Ok(opened) = opened else { return };
    let grant: Grant = serde_json::from_slice(&opened.plaintext[33..]).unwrap();
    let mut session = grant.session;
    let mut group = InboundGroup::import(&Export::take(session.expose_mut()).unwrap()).unwrap();
    let index = group.index();
    let stolen = EpochSecret::new(&group.ratchet(index).unwrap(), &grant.transcript).media().fingerprint();
    let real = world.members[0].epochs[&commit.epoch].0;
    assert_eq!(stolen, real, "the lead took the first story");
    let listed = world.members[0].session.members().iter().find(|member| member.joined == Joined(4)).map(|m| m.ed25519);
    assert_eq!(listed, Some(eve.ed25519()), "Eve has the key under her own name, for everybody to see");
    assert_eq!(world.members[0].alarms(), [SecurityEvent::Rewritten { joined: Joined(4) }]);
}

/// A joiner that one lead gave up survives as a claim at the next one, and ends its session.
#[test]
fn a_joiner_that_was_given_up_does_not_end_the_next_lead() {
    let mut world = call_of(3);
    world.tamper = Box::new(|to, m| match m {
        ToClient::Claimed(c) if to == 0 && c.keys.iter().any(|k| k.joined == Joined(4)) => vec![],
        m => vec![m],
    });
    let _bad = world.join(Role::Member); // 4
    world.advance(5000);
    let _good = world.join(Role::Member); // 5
    world.advance(2000);
    assert!(world.members[4].session.epoch().is_some());
    world.cut(0);
    world.advance(5000);
    assert_eq!(world.members[1].ended(), None);
}

/// An honest relay; a joiner's socket closes while the commit that adds it is on its way.
#[test]
fn a_joiner_that_goes_while_it_is_added_splits_nothing() {
    let mut world = call_of(3);
    let index = world.members.len();
    world.crossing = Some(index);
    world.join(Role::Member);
    world.advance(20_000);
    world.assert_agreement();
}

/// One lie about a seat ends the lead with an internal error.
#[test]
fn a_lie_about_a_seat_does_not_end_the_lead() {
    let mut world = call_of(3);
    world.tamper = Box::new(|to, mut m| {
        if let ToClient::Joined(e) = &mut m
            && to == 0
        {
            e.member.seat = Seat(0);
        }
        vec![m]
    });
    world.join(Role::Member);
    world.settle();
    assert_eq!(world.members[0].ended(), None);
}

/// A refused commit changes nothing: its hints remove the lead's claim.
#[test]
fn a_refused_commit_changes_nothing() {
    let mut world = call_of(3);
    let old = world
        .wire
        .iter()
        .rev()
        .find_map(|(to, m)| match m {
            ToClient::Commit(c) if *to == 1 => Some(c.clone()),
            _ => None,
        })
        .unwrap();
    let mut at = old.at;
    at.1.0 += 100;
    world.input(1, Input::Received(Committed { at, add: vec![], remove: vec![Joined(1)], ..old }.into()));
    world.tamper = Box::new(|_, mut m| {
        if let ToClient::Commit(c) = &mut m {
            c.at.1.0 += 200;
        }
        vec![m]
    });
    world.command(0, Command::Rotate);
    world.advance(1000);
    assert_eq!(world.members[1].session.epoch(), world.members[0].session.epoch());
}

/// How large the commit of a storm is.
#[test]
fn a_storm_fits_into_one_commit() {
    let mut world = call_of(2);
    world.tamper = Box::new(|_, m| if matches!(m, ToClient::Ack(_) | ToClient::Body(_)) { vec![] } else { vec![m] });
    world.command(0, Command::Rotate);
    world.settle();
    for _ in 0..100 {
        world.join(Role::Member);
        world.settle();
    }
    world.advance(500);
    let (add, bytes) = *world.commits.iter().max_by_key(|(_, b)| *b).unwrap();
    assert!(bytes / add.max(1) * limits::JOINERS_PER_COMMIT < limits::COMMIT_LENGTH / 2);
}

/// A claim that is swapped between key and commit: the lead commits a join of nobody, which all refuse.
#[test]
fn the_lead_never_commits_a_join_of_nobody() {
    let mut world = call_of(3);
    world.tamper = Box::new(|_, m| if matches!(m, ToClient::Ack(_) | ToClient::Body(_)) { vec![] } else { vec![m] });
    world.command(0, Command::Rotate);
    world.settle();
    world.tamper = Box::new(move |to, m| match (to, m) {
        (0, ToClient::Claimed(c)) => vec![c.into()],
        (_, ToClient::Ack(_) | ToClient::Body(_)) => vec![],
        (_, m) => vec![m],
    });
    world.join(Role::Member);
    world.settle();
    let joined = world
        .wire
        .iter()
        .rev()
        .find_map(|(to, m)| match m {
            ToClient::Joined(j) if *to == 0 => Some(j.clone()),
            _ => None,
        })
        .unwrap();
    let mut lie = joined.clone();
    lie.at.1.0 += 1;
    lie.member.card.signature = Signature::new([1; 64]);
    world.tamper = Box::new(|_, mut m| {
        if let ToClient::Commit(c) = &mut m {
            c.at.1.0 += 10;
        }
        vec![m]
    });
    lie.at.1.0 += 5;
    world.now = Timestamp::from_millis(600);
    world.input(0, Input::Received(lie.into()));
    world.advance(500);
    assert_eq!(world.members[1].session.epoch(), world.members[0].session.epoch());
}

/// A commit that the relay refuses (or drops) while the reign goes on.
#[test]
fn a_refused_commit_does_not_stop_the_lead_for_good() {
    let mut world = call_of(4);
    world.refuse_commits = 1;
    world.cut(3);
    world.advance(1000);
    world.cut(2);
    world.advance(600_000);
    assert_eq!(world.members[0].ended(), Some(EndReason::OutOfStep));
    assert!(world.members[1].session.is_lead());
    assert_eq!(world.members[1].session.members().len(), 1, "both who left are out");
}

/// The relay keeps a removed member as a claim of the next in succession: it ends when it leads.
#[test]
fn a_hidden_removal_does_not_end_the_next_lead() {
    let mut world = call_of(4);
    world.tamper = Box::new(|to, m| match m {
        ToClient::Left(l) if to == 1 && l.joined == Joined(4) => vec![],
        ToClient::Commit(mut c) if to == 1 => {
            c.remove.retain(|j| *j != Joined(4));
            vec![c.into()]
        }
        m => vec![m],
    });
    world.cut(3);
    world.advance(1000);
    world.join(Role::Member); // 5
    world.advance(1000);
    // the relay still hands out a key of the removed device
    let batch = world
        .wire
        .iter()
        .find_map(|(_, m)| match m {
            ToClient::Claimed(c) => c.keys.iter().find(|k| k.joined == Joined(4)).cloned(),
            _ => None,
        })
        .unwrap();
    world.tamper = Box::new(move |to, m| match m {
        ToClient::Claimed(mut c) if to == 1 => {
            c.keys.push(batch.clone());
            vec![c.into()]
        }
        m => vec![m],
    });
    world.cut(0);
    world.advance(5000);
    assert_eq!(world.members[1].ended(), None);
}

/// One device, two entries.
#[test]
fn one_device_has_one_entry() {
    let mut world = call_of(3);
    let real = world
        .wire
        .iter()
        .rev()
        .find_map(|(to, m)| match m {
            ToClient::Joined(j) if *to == 0 => Some(j.clone()),
            _ => None,
        })
        .unwrap();
    let key = world
        .wire
        .iter()
        .find_map(|(_, m)| match m {
            ToClient::Claimed(c) => c.keys.iter().find(|k| k.joined == Joined(3)).cloned(),
            _ => None,
        })
        .unwrap();
    for i in 0..3 {
        let mut clone = real.clone();
        clone.at.1.0 += 100;
        clone.member.joined = Joined(9);
        clone.member.seat = Seat(9);
        world.input(i, Input::Received(clone.into()));
    }
    world.input(0, Input::Received(Claimed { keys: vec![ClaimedKey { joined: Joined(9), ..key }] }.into()));
    world.tamper = Box::new(|_, mut m| {
        if let ToClient::Commit(c) = &mut m {
            c.at.1.0 += 200;
        }
        vec![m]
    });
    world.make_up(Joined(9), Joined(3));
    world.settle();
    assert_eq!(world.members[1].session.members().len(), 3);
}
