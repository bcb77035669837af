use conclave_shared::{session::input::Command, wire::sealed::Cause};
use conclave_tests::run::scenario;
use std::time::Duration;

use super::support::{call_of, epoch, history, settle};

#[test]
fn a_session_lives_five_minutes_at_most() {
    scenario(|world| {
        let members = call_of(world, 3);
        world.media = false;
        world.run_for(Duration::from_secs(290));
        assert_eq!(world.newest(), Some(epoch(1, 2)));
        world.run_for(Duration::from_secs(10));
        assert_eq!(history(world, members[1]).last(), Some(&(epoch(1, 3), Cause::Timer)));
        world.run_for(Duration::from_secs(300));
        assert_eq!(history(world, members[1]).last(), Some(&(epoch(1, 4), Cause::Timer)));
        settle(world);
    });
}

#[test]
fn anybody_may_ask_for_a_new_session_and_one_in_five_seconds_is_granted() {
    scenario(|world| {
        let members = call_of(world, 3);
        world.command(members[2], Command::Rotate);
        settle(world);
        assert_eq!(history(world, members[1]).last(), Some(&(epoch(1, 3), Cause::Request)));
        world.command(members[1], Command::Rotate);
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.newest(), Some(epoch(1, 3)), "too soon after the last");
        world.command(members[0], Command::Rotate);
        settle(world);
        assert_eq!(world.newest(), Some(epoch(1, 4)), "the lead's own wish is not limited");
    });
}
