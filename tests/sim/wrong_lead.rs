use conclave_shared::{
    id::{Joined, Term},
    session::error::SecurityEvent,
    wire::ToClient,
};
use conclave_tests::run::scenario;

use super::support::{SOON, call_of, epoch, ms};

#[test]
fn a_relay_that_names_another_lead_than_the_roster_does_is_not_believed() {
    scenario(|world| {
        let members = call_of(world, 4);
        let fooled = members[3];
        world.tamper(move |to, message| match message {
            ToClient::Lead(mut lead) if to == fooled => {
                lead.joined = Joined(3);
                vec![lead.into()]
            }
            message => vec![message],
        });
        world.media = false;
        world.kill(members[0], ms(0));
        world.run_for(SOON);
        assert_eq!(
            world.peer(fooled).alarms().first(),
            Some(&SecurityEvent::WrongLead { term: Term(2), named: Joined(3) })
        );
        assert_eq!(world.peer(fooled).session.epoch(), Some(epoch(1, 3)), "the old epoch stays");
        assert_eq!(world.peer(members[2]).session.epoch(), Some(epoch(2, 0)));
    });
}

#[test]
fn a_relay_that_takes_the_lead_from_a_living_member_is_not_believed() {
    scenario(|world| {
        let members = call_of(world, 3);
        let fooled = members[2];
        let mut lied = false;
        world.tamper(move |to, message| match message {
            ToClient::Body(body) if to == fooled && !lied => {
                lied = true;
                let lead =
                    conclave_shared::wire::Lead { at: body.at, term: Term(2), joined: Joined(2), genesis: false };
                vec![lead.into()]
            }
            message => vec![message],
        });
        world.send(members[1], None);
        world.run_for(SOON);
        let wrong = SecurityEvent::WrongLead { term: Term(2), named: Joined(2) };
        assert_eq!(world.peer(fooled).alarms(), [wrong]);
    });
}
