use conclave_shared::{
    session::{input::Command, output::EndReason},
    wire::sealed::Cause,
};
use conclave_tests::{random::Dice, run::scenario};

use super::support::{call_of, epoch, history, ms, settle, settle_without};

#[test]
fn a_signed_leave_makes_a_new_session_that_the_leaver_cannot_derive() {
    scenario(|world| {
        let members = call_of(world, 3);
        world.command(members[1], Command::Leave);
        assert_eq!(world.peer(members[1]).ended(), Some(EndReason::Left));
        assert!(world.peer(members[1]).live.is_empty(), "its frame keys are wiped");
        settle(world);
        assert_eq!(history(world, members[2]).last(), Some(&(epoch(1, 3), Cause::Leave)));
        world.audit(&mut Dice::new(1, 1), usize::MAX).expect("the leaver derives nothing of it");
    });
}

#[test]
fn a_closed_socket_does_the_same_and_whoever_went_learns_nothing_from_what_is_said_after() {
    scenario(|world| {
        let members = call_of(world, 4);
        world.haunt(members[1], ms(0));
        settle_without(world);
        assert_eq!(history(world, members[2]).last(), Some(&(epoch(1, 4), Cause::Leave)));
        world.command(members[3], Command::Leave);
        let id = world.send(members[0], None);
        settle(world);
        let ghost = world.peer(members[1]);
        assert_eq!(ghost.newest().map(|info| info.epoch), Some(epoch(1, 3)), "all was shown to it, none opened");
        assert!(ghost.messages().iter().all(|(_, payload)| *payload != id.to_be_bytes()));
        world.audit(&mut Dice::new(1, 1), usize::MAX).expect("it derives nothing of it");
    });
}

#[test]
fn a_removed_member_is_told_and_shut_out() {
    scenario(|world| {
        let members = call_of(world, 3);
        let second = world.joined(members[1]);
        world.command(members[0], Command::Remove(second));
        settle(world);
        assert_eq!(world.peer(members[1]).ended(), Some(EndReason::Removed));
        assert_eq!(history(world, members[2]).last(), Some(&(epoch(1, 3), Cause::Remove)));
    });
}
