//! Things that cross on the wire. Each of these once went wrong in a random run.

use conclave_shared::{id::Role, session::input::Command};
use conclave_tests::run::scenario;

use super::support::{SOON, call_of, ms, settle, settle_without};

#[test]
fn a_newcomer_goes_while_the_commit_that_adds_it_is_on_its_way() {
    for after in (0..200).step_by(10) {
        scenario(move |world| {
            let members = call_of(world, 3);
            let newcomer = world.connect("newcomer", Role::Member);
            world.run_for(ms(after));
            world.kill(newcomer, ms(0));
            settle_without(world);
            assert_eq!(world.peer(members[2]).session.members().len(), 3);
        });
    }
}

#[test]
fn a_newcomer_is_removed_while_it_says_that_it_is_there() {
    for after in (0..100).step_by(10) {
        scenario(move |world| {
            let members = call_of(world, 2);
            let newcomer = world.connect("newcomer", Role::Member);
            world.run_until(SOON, "it is in", |world| world.peer(members[0]).session.members().len() == 3);
            world.run_for(ms(after));
            let joined = world.joined(newcomer);
            world.command(members[0], Command::Remove(joined));
            settle(world);
        });
    }
}

#[test]
fn the_lead_goes_while_the_next_in_order_leaves() {
    for after in (0..60).step_by(5) {
        scenario(move |world| {
            let members = call_of(world, 4);
            world.command(members[1], Command::Leave);
            world.run_for(ms(after));
            world.kill(members[0], ms(0));
            settle_without(world);
            assert_eq!(world.lead(), Some(members[2]));
        });
    }
}

#[test]
fn the_lead_goes_while_others_come_and_nobody_else_is_committed() {
    for after in (0..250).step_by(10) {
        scenario(move |world| {
            let members = call_of(world, 1);
            for number in 0..3 {
                let role = if number == 2 { Role::LeadBot } else { Role::Member };
                world.connect(&format!("newcomer {number}"), role);
            }
            world.run_for(ms(after));
            world.kill(members[0], ms(0));
            settle_without(world);
            assert_eq!(world.connected().len(), 3);
        });
    }
}
