use conclave_shared::{
    id::{Epoch, Role},
    session::input::Command,
};
use conclave_tests::{PeerId, run::scenario, world::World};
use std::time::Duration;

use super::support::{SOON, call_of, epoch, ms};

/// From the moment at which the lead itself holds an epoch to the moment at which it switches.
fn waited(world: &mut World, lead: PeerId, epoch: Epoch) -> Duration {
    world.run_until(SOON, "it is active", |world| world.peer(lead).session.active() == Some(epoch));
    let peer = world.peer(lead);
    peer.active_since(epoch).expect("active").since(peer.held_since(epoch).expect("held"))
}

/// The scenarios' links take at most 45 ms: a commit has come back, and all acknowledgements with it, in two rounds.
const ROUND: Duration = ms(90);

#[test]
fn an_epoch_is_active_as_soon_as_all_have_acknowledged_it() {
    scenario(|world| {
        let members = call_of(world, 5);
        world.connect("joiner", Role::Member);
        assert!(waited(world, members[0], epoch(1, 5)) < ROUND);
        world.command(members[1], Command::Leave);
        assert!(waited(world, members[0], epoch(1, 6)) < ROUND);
    });
}

#[test]
fn one_silent_member_holds_up_a_join_for_a_second_and_the_next_not_at_all() {
    scenario(|world| {
        let members = call_of(world, 4);
        world.peer_mut(members[2]).silent = true;
        world.connect("joiner", Role::Member);
        let took = waited(world, members[0], epoch(1, 4));
        assert!(ms(1000) - ROUND <= took && took <= ms(1000), "{took:?}");
        world.connect("another", Role::Member);
        let took = waited(world, members[0], epoch(1, 5));
        assert!(took < ROUND, "who was late last time is not waited for: {took:?}");
    });
}

#[test]
fn one_silent_member_holds_up_a_leave_for_four_hundred_milliseconds() {
    scenario(|world| {
        let members = call_of(world, 4);
        world.peer_mut(members[2]).silent = true;
        world.command(members[1], Command::Leave);
        let took = waited(world, members[0], epoch(1, 4));
        assert!(ms(400) - ROUND <= took && took <= ms(400), "{took:?}");
    });
}
