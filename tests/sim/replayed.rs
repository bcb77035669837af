use conclave_shared::{id::Role, session::error::SecurityEvent, wire::ToClient};
use conclave_tests::{PeerId, run::scenario, world::World};

use super::support::{call_of, epoch, joined, renumber, settle};

/// The relay hands one peer some of its events twice, each with a number of its own.
fn twice(world: &mut World, peer: PeerId, which: fn(&ToClient) -> bool) {
    world.tamper(move |to, mut message| {
        if to != peer {
            return vec![message];
        }
        renumber(&mut message, |number| number * 10);
        let mut again = message.clone();
        renumber(&mut again, |number| number + 1);
        if which(&message) { vec![message, again] } else { vec![message] }
    });
}

#[test]
fn a_replayed_message_is_a_security_event_and_no_second_message() {
    scenario(|world| {
        let members = call_of(world, 3);
        twice(world, members[2], |message| matches!(message, ToClient::Body(_)));
        world.send(members[1], None);
        settle(world);
        let alarms = world.peer(members[2]).alarms();
        assert!(!alarms.is_empty() && alarms.iter().all(|alarm| matches!(alarm, SecurityEvent::Replay { .. })));
        assert_eq!(world.peer(members[2]).messages().len(), 1);
    });
}

#[test]
fn a_replayed_commit_is_a_security_event_and_changes_nothing() {
    scenario(|world| {
        let members = call_of(world, 3);
        twice(world, members[2], |message| matches!(message, ToClient::Commit(_)));
        joined(world, "joiner", Role::Member);
        let (again, current) = (epoch(1, 3), epoch(1, 3));
        assert_eq!(world.peer(members[2]).alarms(), [SecurityEvent::EpochOutOfOrder { epoch: again, current }]);
        settle(world);
    });
}
