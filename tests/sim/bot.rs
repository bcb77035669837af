use conclave_shared::{id::Role, session::input::Command, wire::sealed::Cause};
use conclave_tests::run::scenario;

use super::support::{call_of, epoch, history, joined, settle};

#[test]
fn a_bot_that_comes_later_leaves_the_lead_alone_and_is_first_in_succession() {
    scenario(|world| {
        let members = call_of(world, 3);
        let bot = joined(world, "bot", Role::LeadBot);
        assert_eq!(world.lead(), Some(members[0]));
        world.command(members[0], Command::Leave);
        settle(world);
        assert_eq!(world.lead(), Some(bot));
        assert_eq!(history(world, bot).last(), Some(&(epoch(2, 0), Cause::LeadChange)));
    });
}

#[test]
fn when_nobody_is_committed_the_first_to_come_starts_although_a_bot_waits() {
    scenario(|world| {
        world.media = false;
        let lead = world.connect("lead", Role::Member);
        let first = world.connect("first", Role::Member);
        let bot = world.connect("bot", Role::LeadBot);
        world.run_until(super::support::SOON, "all have a seat", |world| {
            [lead, first, bot].iter().all(|peer| world.peer(*peer).joined.is_some())
        });
        settle(world);
        assert_eq!(world.connected().len(), 3);
    });
}
