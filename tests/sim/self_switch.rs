use conclave_shared::{id::Role, session::input::Command};
use conclave_tests::run::scenario;

use super::support::{SOON, call_of, epoch, ms};

#[test]
fn a_member_that_hears_no_activate_switches_half_a_second_after_the_deadline() {
    scenario(|world| {
        let members = call_of(world, 3);
        let deaf = members[2];
        world.peer_mut(deaf).deaf_to_activate = true;
        world.connect("joiner", Role::Member);
        world.run_until(SOON, "it switched", |world| world.peer(deaf).session.active() == Some(epoch(1, 3)));
        let switched = |world: &conclave_tests::world::World, epoch| {
            let peer = world.peer(deaf);
            peer.active_since(epoch).expect("active").since(peer.held_since(epoch).expect("held"))
        };
        assert_eq!(switched(world, epoch(1, 3)), ms(1500), "a ratchet: one second and a half");
        world.command(members[1], Command::Leave);
        world.run_until(SOON, "it switched", |world| world.peer(deaf).session.active() == Some(epoch(1, 4)));
        assert_eq!(switched(world, epoch(1, 4)), ms(900), "a new session: 400 ms and half a second");
    });
}
