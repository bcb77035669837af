use conclave_shared::id::Role;
use conclave_tests::run::scenario;

use super::support::{SOON, call_of, epoch, ms};

#[test]
fn the_old_key_stays_two_seconds_after_the_switch_and_is_wiped_then() {
    scenario(|world| {
        let members = call_of(world, 2);
        let second = members[1];
        world.connect("joiner", Role::Member);
        world.run_until(SOON, "it switched", |world| world.peer(second).session.active() == Some(epoch(1, 2)));
        world.run_for(ms(1999));
        assert!(world.peer(second).live.contains(&epoch(1, 1)));
        world.run_for(ms(1));
        assert_eq!(world.peer(second).live.iter().copied().collect::<Vec<_>>(), [epoch(1, 2)]);
    });
}
