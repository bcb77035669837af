use conclave_shared::{id::Role, wire::sealed::Cause};
use conclave_tests::run::scenario;
use std::time::Duration;

use super::support::{SOON, call_of, epoch, history};

#[test]
fn a_joiner_that_never_shows_itself_is_removed_after_ten_seconds() {
    scenario(|world| {
        let members = call_of(world, 2);
        let silent = world.connect("silent", Role::Member);
        world.run_until(SOON, "the relay has seated it", |world| world.model.here().len() == 3);
        world.peer_mut(silent).silent = true;
        world.run_until(SOON, "it is added", |world| world.newest() == Some(epoch(1, 2)));
        let lead = members[0];
        let added = world.now;
        let all = Duration::from_secs(12);
        world.run_until(all, "it is removed", |world| world.peer(lead).session.epoch() == Some(epoch(1, 3)));
        let took = world.now.since(added);
        assert!(Duration::from_millis(9_900) < took && took < Duration::from_millis(10_100), "{took:?}");
        assert_eq!(history(world, members[0]).last(), Some(&(epoch(1, 3), Cause::Remove)));
        assert_eq!(world.peer(silent).newest(), None, "it never held a key");
    });
}
