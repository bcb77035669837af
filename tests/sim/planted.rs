//! The checks can fail: each is shown something wrong and must say so.

use conclave_shared::{
    frame::{Frames, clear_bytes::Codec, opener::OpenError},
    id::{Role, RosterHash},
    limits,
    session::{
        error::{CommitError, SecurityEvent},
        input::Command,
        output::{EpochInfo, KeyUpdate},
    },
    wire::{Broadcast, ToClient},
};
use conclave_tests::{
    PeerId,
    invariants::{Checker, Violation},
    peer::{Line, Sealed},
    run::scenario,
    world::World,
};
use std::{collections::BTreeSet, sync::mpsc::channel};

use super::support::{SOON, call_of, epoch, ms};

/// What a world finds in a scenario that goes wrong.
fn found(wrong: impl FnOnce(&mut World) + Send + 'static) -> Vec<Violation> {
    let (give, take) = channel();
    scenario(move |world| {
        wrong(world);
        give.send(std::mem::take(&mut world.violations)).expect("taken below");
    });
    take.recv().expect("given above")
}

#[test]
fn a_leaver_that_is_granted_the_next_epoch_after_all_is_caught() {
    scenario(|world| {
        let members = call_of(world, 3);
        world.command(members[2], Command::Leave);
        world.run_for(SOON);
        let facts = world.checker.facts.get(&(1, epoch(1, 3))).expect("the epoch after the leave").clone();
        let honest = &mut world.peer_mut(members[2]).session;
        assert_eq!(Checker::could_derive(members[2], honest, false, epoch(1, 3), &facts), Ok(()));
        // The control: what the leaver would hold if it had been granted the epoch by mistake.
        let granted = &mut world.peer_mut(members[1]).session;
        let caught = Checker::could_derive(members[2], granted, false, epoch(1, 3), &facts);
        assert_eq!(caught, Err(Violation::OutsiderHolds { peer: members[2], epoch: epoch(1, 3) }));
    });
}

#[test]
fn somebody_gone_who_is_still_handed_its_grants_is_caught() {
    let violations = found(|world| {
        let members = call_of(world, 3);
        // The relay never tells: whoever is gone stays in the roster, and what it is shown opens.
        world.haunt(members[2], ms(60_000));
        world.command(members[0], Command::Rotate);
        world.run_for(SOON);
        assert_eq!(world.violations, [], "it is in the roster still");
        let facts = world.checker.facts.get_mut(&(1, epoch(1, 3))).expect("the new epoch");
        facts.members.remove(&conclave_shared::id::Joined(3));
        world.run_for(ms(500));
    });
    let of_ghost = |violation: &Violation| matches!(violation, Violation::StrayFrame { to: PeerId(3), .. });
    assert!(violations.first().is_some_and(of_ghost), "{violations:?}");
}

#[test]
fn a_wrong_commit_is_caught() {
    let violations = found(|world| {
        let members = call_of(world, 3);
        world.tamper(move |to, message| match message {
            ToClient::Commit(mut commit) if to == members[1] => {
                if let Broadcast::Ratchet(blob) = &mut commit.broadcast {
                    blob.0[40] ^= 1;
                }
                vec![commit.into()]
            }
            message => vec![message],
        });
        // Only the world knows that somebody lies.
        world.honest = true;
        world.connect("joiner", Role::Member);
        world.run_for(SOON);
    });
    let refused = SecurityEvent::CommitRefused { epoch: epoch(1, 3), reason: CommitError::Undecryptable };
    assert!(violations.contains(&Violation::Alarm { peer: PeerId(2), event: refused }), "{violations:?}");
}

#[test]
fn a_member_that_was_kept_from_a_commit_has_not_settled_and_loses_frames() {
    let violations = found(|world| {
        let members = call_of(world, 3);
        world.tamper(move |to, message| {
            // Not even what it asks for when it learns of the commit.
            let withheld = to == members[1] && matches!(message, ToClient::Commit(_) | ToClient::Olm(_));
            if withheld { Vec::new() } else { vec![message] }
        });
        world.connect("joiner", Role::Member);
        world.run_for(SOON);
        let settled = world.settled().expect_err("somebody has no key");
        assert!(matches!(settled, Violation::NotSettled { .. }), "{settled:?}");
    });
    let lost = |violation: &Violation| {
        matches!(violation, Violation::FrameLost { to: PeerId(2), error: OpenError::TimedOut, .. })
    };
    assert!(violations.first().is_some_and(lost), "{violations:?}");
}

#[test]
fn a_counter_that_starts_again_under_its_key_is_caught() {
    scenario(|world| {
        let members = call_of(world, 2);
        let peer = world.peer(members[1]);
        let (seat, epoch) = (peer.seat.expect("a seat"), peer.session.active().expect("a key"));
        // A process that lost its counters and went on with its keys.
        let media = conclave_shared::crypto::schedule::MediaSecret::new(
            conclave_shared::crypto::secret::Secret::take(&mut [7; 32]).expect("32 bytes"),
        );
        let senders = std::sync::Arc::new([(seat, conclave_shared::id::Ed25519Key::new([1; 32]))].into());
        let seal = || {
            let mut frames = Frames::new(conclave_shared::id::Ed25519Key::new([1; 32]));
            frames.apply(KeyUpdate::Install { epoch, media: media.clone(), senders: std::sync::Arc::clone(&senders) });
            frames.apply(KeyUpdate::Activate(epoch));
            let bytes = frames.seal(Codec::Opus, b"frame").expect("a key");
            let fingerprint = media.fingerprint();
            Sealed { from: members[1], seat, life: 1, epoch, fingerprint, plain: b"frame".to_vec(), bytes }
        };
        let mut checker = Checker::default();
        assert_eq!(checker.sealed(&seal()), Ok(()));
        let again = checker.sealed(&seal());
        assert!(matches!(again, Err(Violation::CounterTwice { counter: 0, .. })), "{again:?}");
    });
}

#[test]
fn two_live_keys_under_one_key_id_are_caught() {
    let media = || {
        let secret = conclave_shared::crypto::secret::Secret::take(&mut [7; 32]).expect("32 bytes");
        conclave_shared::crypto::schedule::MediaSecret::new(secret)
    };
    let install =
        |count| KeyUpdate::Install { epoch: epoch(1, count), media: media(), senders: std::sync::Arc::default() };
    let mut live = BTreeSet::new();
    assert_eq!(Checker::keys(PeerId(1), &mut live, &install(3)), Ok(()));
    let twice = Checker::keys(PeerId(1), &mut live, &install(67));
    assert_eq!(twice, Err(Violation::KidTwice { peer: PeerId(1), epoch: epoch(1, 67), live: epoch(1, 3) }));
    assert_eq!(Checker::keys(PeerId(1), &mut live, &KeyUpdate::Retire(epoch(1, 3))), Ok(()));
    assert_eq!(Checker::keys(PeerId(1), &mut live, &install(67)), Ok(()), "the older one is wiped first");
    let many = (4..66).find_map(|count| Checker::keys(PeerId(1), &mut live, &install(count)).err());
    assert_eq!(many, Some(Violation::TooManyEpochs { peer: PeerId(1), live: limits::LIVE_EPOCHS + 1 }));
}

#[test]
fn two_halves_of_a_call_that_were_told_different_stories_are_caught() {
    scenario(|world| {
        let members = call_of(world, 2);
        let peer = world.peers.remove(&members[1]).expect("a peer");
        let info = peer.newest().expect("an epoch").clone();
        let transcript = peer.session.transcript().expect("a transcript");
        let now = world.now;
        let mut differs = |info: EpochInfo| world.checker.holds(now, &peer, &info, transcript);
        assert_eq!(differs(info.clone()), Ok(()));
        let fork = EpochInfo { roster: RosterHash::new([9; 32]), ..info.clone() };
        assert!(matches!(differs(fork), Err(Violation::Disagreement { what: "roster", .. })));
        let fork = EpochInfo { fingerprint: conclave_shared::id::Fingerprint::new([9; 16]), ..info.clone() };
        assert!(matches!(differs(fork), Err(Violation::Disagreement { what: "key", .. })));
        let again = EpochInfo { epoch: epoch(1, 9), ..info };
        assert_eq!(differs(again), Err(Violation::SecretTwice(epoch(1, 1), epoch(1, 9))));
    });
}

#[test]
fn a_message_that_never_comes_or_comes_twice_is_caught() {
    let violations = found(|world| {
        let members = call_of(world, 3);
        let kept_from = members[1];
        world.tamper(move |to, message| {
            let withheld = to == kept_from && matches!(message, ToClient::Body(_));
            if withheld { Vec::new() } else { vec![message] }
        });
        let id = world.send(members[2], None);
        world.run_for(SOON);
        let joined = world.joined(members[1]);
        assert_eq!(world.settled(), Err(Violation::MessageLost { joined, id }));
        let peer = world.peers.remove(&members[0]).expect("a peer");
        assert_eq!(peer.line, Line::Up);
        let twice = world.checker.delivered(&peer, &id.to_be_bytes());
        assert_eq!(twice, Err(Violation::StrayMessage { peer: members[0], id }));
    });
    assert_eq!(violations, []);
}
