use conclave_shared::id::Role;
use conclave_tests::run::scenario;

use super::support::{call_of, settle};

#[test]
fn twenty_joins_at_once_make_few_rotations() {
    scenario(|world| {
        call_of(world, 2);
        let before = world.model.commits;
        for number in 0..20 {
            world.connect(&format!("one of many {number}"), Role::Member);
        }
        settle(world);
        assert_eq!(world.connected().len(), 22);
        let commits = world.model.commits - before;
        assert!(commits <= 5, "{commits} rotations");
    });
}
