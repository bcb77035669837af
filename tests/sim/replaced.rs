use conclave_shared::{session::output::EndReason, wire::code::Code};
use conclave_tests::run::scenario;

use super::support::{call_of, settle};

#[test]
fn a_device_that_joins_again_replaces_its_older_join() {
    scenario(|world| {
        let members = call_of(world, 3);
        let commits = world.model.commits;
        let again = world.reconnect(members[1]);
        settle(world);
        assert_eq!(world.peer(members[1]).ended(), Some(EndReason::Closed(Code::Replaced)));
        assert!(world.joined(again) > world.joined(members[2]), "another join, another number");
        let roster = world.peer(members[2]).session.members();
        assert_eq!(roster.len(), 3);
        assert_eq!(roster.iter().filter(|member| member.user == "member 1").count(), 1);
        assert!(
            world.model.commits - commits <= 2,
            "one commit removes and adds, or two when the add needs its key first"
        );
    });
}

#[test]
fn a_lead_that_joins_again_is_an_ordinary_member() {
    scenario(|world| {
        let members = call_of(world, 3);
        world.reconnect(members[0]);
        settle(world);
        assert_eq!(world.lead(), Some(members[1]));
        assert_eq!(world.peer(members[2]).session.members().len(), 3);
    });
}
