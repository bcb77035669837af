use conclave_shared::{id::Role, wire::sealed::Cause};
use conclave_tests::run::scenario;

use super::support::{epoch, history, joined};

#[test]
fn the_first_member_starts_alone_and_leads() {
    scenario(|world| {
        let first = joined(world, "first", Role::Member);
        assert_eq!(history(world, first), [(epoch(1, 0), Cause::Start)]);
        let peer = world.peer(first);
        assert!(peer.session.is_lead());
        assert_eq!(peer.active_since(epoch(1, 0)), peer.held_since(epoch(1, 0)), "nobody is waited for");
        assert!(peer.frames.seal_stats().sealed > 3, "frames are sealed with nobody there to see them");
    });
}
