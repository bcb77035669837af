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
fn a_recorder_is_in_the_roster_as_such_and_leads_only_when_nobody_else_is_left() {
    scenario(|world| {
        let members = call_of(world, 1);
        let recorder = joined(world, "recorder", Role::Recorder);
        let second = joined(world, "second", Role::Member);
        world.command(members[0], Command::Leave);
        settle(world);
        assert_eq!(world.lead(), Some(second), "not the recorder, which came before");
        world.command(second, Command::Leave);
        settle(world);
        assert_eq!(world.lead(), Some(recorder));
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
