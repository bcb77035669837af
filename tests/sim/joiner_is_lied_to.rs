use conclave_shared::{
    id::{Role, Seat, UserName},
    identity::device::Device,
    session::error::{CommitError, RosterError, SecurityEvent},
    wire::{MemberClaim, ToClient},
};
use conclave_tests::run::scenario;

use super::support::{SOON, call_of, epoch};

/// The relay tells a joiner of the third member what is not so; what comes of it.
fn lie(about: usize, lie: impl Fn(&mut MemberClaim) + Send + 'static) -> Vec<SecurityEvent> {
    let (give, take) = std::sync::mpsc::channel();
    scenario(move |world| {
        let members = call_of(world, 3);
        world.media = false;
        world.tamper(move |to, mut message| {
            if let ToClient::Welcome(welcome) = &mut message
                && !members.contains(&to)
            {
                lie(&mut welcome.members[about]);
            }
            vec![message]
        });
        let joiner = world.connect("joiner", Role::Member);
        world.run_for(SOON);
        let peer = world.peer(joiner);
        assert!(peer.joined.is_some() && peer.newest().is_none() && peer.live.is_empty(), "it holds no key");
        give.send(peer.alarms()).expect("taken below");
    });
    take.recv().expect("given above")
}

fn refused(reason: CommitError) -> SecurityEvent {
    SecurityEvent::CommitRefused { epoch: epoch(1, 3), reason }
}

#[test]
fn another_role_another_seat_or_one_member_less_is_another_roster() {
    let hash = refused(CommitError::Roster(RosterError::Hash));
    assert_eq!(lie(2, |claim| claim.role = Role::LeadBot), [hash]);
    assert_eq!(lie(2, |claim| claim.seat = Seat(77)), [hash]);
    assert_eq!(lie(2, |claim| claim.committed = false), [hash]);
}

#[test]
fn another_card_is_another_roster_and_does_not_fit_the_proof() {
    let alarms = lie(2, |claim| {
        let name = UserName::new("member 2").expect("a name");
        claim.card = Device::generate().expect("random bytes").card(&name, &name).expect("a card");
    });
    let joined = conclave_shared::id::Joined(3);
    assert!(alarms.contains(&refused(CommitError::Roster(RosterError::Hash))), "{alarms:?}");
    assert!(alarms.contains(&SecurityEvent::BadProof { joined }), "{alarms:?}");
}

#[test]
fn another_card_of_the_lead_is_refused_before_its_grant_is_looked_at() {
    let alarms = lie(0, |claim| {
        let name = UserName::new("member 0").expect("a name");
        claim.card = Device::generate().expect("random bytes").card(&name, &name).expect("a card");
    });
    assert!(alarms.contains(&refused(CommitError::Lead)), "{alarms:?}");
}
