use conclave_shared::{session::input::Command, wire::sealed::Cause};
use conclave_tests::{PeerId, run::scenario, world::World};

use super::support::{SOON, call_of, epoch, history, ms, settle_without};

fn the_second_leads(world: &mut World, members: &[PeerId]) {
    let before = world.now;
    world.run_until(SOON, "a new lead's epoch is active", |world| {
        world.peer(members[1]).session.active() == Some(epoch(2, 0))
    });
    let took = world.now.since(before);
    assert!(took < ms(2000), "{took:?}");
    settle_without(world);
    assert_eq!(world.lead(), Some(members[1]), "the next by order");
}

#[test]
fn a_lead_that_leaves_is_followed_by_the_next_in_order() {
    scenario(|world| {
        let members = call_of(world, 4);
        world.command(members[0], Command::Leave);
        the_second_leads(world, &members);
        assert_eq!(history(world, members[2]).len(), 3, "one commit removes the old lead and changes hands");
    });
}

#[test]
fn a_lead_whose_socket_closes_is_followed_by_the_next_in_order() {
    scenario(|world| {
        let members = call_of(world, 4);
        world.kill(members[0], ms(0));
        the_second_leads(world, &members);
        let causes: Vec<_> = history(world, members[2]).iter().skip(2).map(|(_, cause)| *cause).collect();
        assert_eq!(causes, [Cause::LeadChange, Cause::Leave], "its seat was kept for a while");
    });
}

#[test]
fn when_all_but_one_go_the_last_one_leads() {
    scenario(|world| {
        let members = call_of(world, 4);
        for peer in &members[..3] {
            world.kill(*peer, ms(10));
        }
        settle_without(world);
        assert_eq!(world.lead(), Some(members[3]));
        assert_eq!(world.peer(members[3]).session.members().len(), 1);
    });
}
