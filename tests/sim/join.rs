use conclave_shared::{id::Role, wire::sealed::Cause};
use conclave_tests::{random::Dice, run::scenario};

use super::support::{call_of, epoch, history, joined};

#[test]
fn a_join_ratchets_and_the_joiner_holds_nothing_from_before() {
    scenario(|world| {
        let members = call_of(world, 2);
        let third = joined(world, "third", Role::Member);
        let causes = [(epoch(1, 0), Cause::Start), (epoch(1, 1), Cause::Join), (epoch(1, 2), Cause::Join)];
        assert_eq!(history(world, members[0]), causes);
        assert_eq!(history(world, third), [(epoch(1, 2), Cause::Join)]);
        world.audit(&mut Dice::new(1, 1), usize::MAX).expect("nobody derives what came before");
        let seat = world.peer(members[0]).seat.expect("a seat");
        let stats = world.peer(third).frames.stats(seat);
        assert!(stats.opened > 3 && stats.undecryptable == 0, "{stats:?}");
    });
}
