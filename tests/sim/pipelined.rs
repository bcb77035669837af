use conclave_shared::{id::Role, session::input::Command, wire::sealed::Cause};
use conclave_tests::run::scenario;

use super::support::{SOON, call_of, epoch, history, settle};

#[test]
fn a_leave_goes_on_top_of_a_join_that_is_still_in_flight() {
    scenario(|world| {
        let members = call_of(world, 4);
        let [lead, leaver, silent] = [members[0], members[1], members[2]];
        // Somebody hangs: the join is not activated before its deadline.
        world.peer_mut(silent).silent = true;
        let joiner = world.connect("joiner", Role::Member);
        world.run_until(SOON, "the join is committed", |world| world.peer(lead).session.epoch() == Some(epoch(1, 4)));
        world.command(leaver, Command::Leave);
        world.run_until(SOON, "the leave is committed", |world| world.peer(lead).session.epoch() == Some(epoch(1, 5)));
        let active = world.peer(lead).session.active();
        assert_eq!(active, Some(epoch(1, 3)), "two epochs are granted and not yet active");
        assert_eq!(history(world, lead)[4..], [(epoch(1, 4), Cause::Join), (epoch(1, 5), Cause::Leave)]);
        world.run_until(SOON, "the newest is activated", |world| world.peer(lead).session.active() == world.newest());
        assert_eq!(world.peer(lead).active_since(epoch(1, 4)), None, "nobody ever sealed under the one in between");
        world.run_until(SOON, "the joiner too", |world| world.peer(joiner).session.active() == Some(epoch(1, 5)));
    });
}

#[test]
fn a_lone_leave_waits_for_nothing() {
    scenario(|world| {
        let members = call_of(world, 5);
        world.command(members[2], Command::Leave);
        let before = world.now;
        world.run_until(SOON, "all have switched", |world| {
            world.connected().iter().all(|peer| world.peer(*peer).session.active() == Some(epoch(1, 5)))
        });
        let took = world.now.since(before);
        assert!(took < world_round_trips(3), "{took:?}");
        settle(world);
    });
}

/// The scenarios' links take at most 45 ms each way.
const fn world_round_trips(number: u32) -> std::time::Duration {
    std::time::Duration::from_millis(90 * number as u64)
}
