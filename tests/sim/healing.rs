//! How long it takes until a member has the key again that it missed.

use conclave_shared::{
    session::{
        input::Command,
        output::{Event, KeyMissing},
    },
    wire::{Broadcast, ToClient},
};
use conclave_tests::{PeerId, run::scenario, world::World};
use std::time::Duration;

use super::support::{SOON, call_of, ms};

/// Spoils one commit on its way to a member; from when it told that the key is missing until it has it.
fn heals(world: &mut World, spoil: fn(&mut conclave_shared::wire::Committed)) -> Duration {
    let members = call_of(world, 4);
    let victim: PeerId = members[2];
    let mut spoiled = false;
    world.tamper(move |to, message| match message {
        ToClient::Commit(mut commit) if to == victim && !spoiled => {
            spoiled = true;
            spoil(&mut commit);
            vec![commit.into()]
        }
        message => vec![message],
    });
    world.command(members[0], Command::Rotate);
    world.run_for(SOON);
    let at = |world: &World, what: &Event| {
        let events = &world.peer(victim).events;
        events.iter().find(|(_, event)| event == what).map(|(at, _)| *at).expect("told")
    };
    let missing = at(world, &Event::KeyMissing(KeyMissing::Refused));
    let found = at(world, &Event::KeyFound);
    world.untamper();
    world.settled().expect("everybody agrees again");
    found.since(missing)
}

#[test]
fn a_missed_key_is_back_within_half_a_second() {
    scenario(|world| {
        let took = heals(world, |commit| {
            if let Broadcast::Session(signed) = &mut commit.broadcast {
                let mut bytes = *signed.signature.as_bytes();
                bytes[0] ^= 1;
                signed.signature = conclave_shared::id::Signature::new(bytes);
            }
        });
        println!("a missed key is back after {} ms (links of 5 to 45 ms)", took.as_millis());
        assert!(took < ms(500), "{took:?}");
    });
}

#[test]
fn a_broken_olm_session_is_replaced_within_a_second() {
    scenario(|world| {
        let took = heals(world, |commit| {
            if let Some(grant) = &mut commit.grant {
                grant.1.0[40] ^= 1;
            }
        });
        println!("a key on a broken Olm session is back after {} ms (links of 5 to 45 ms)", took.as_millis());
        assert!(took < ms(1_000), "{took:?}");
    });
}
