use conclave_shared::{id::Role, session::output::Event, wire::ToClient};
use conclave_tests::run::scenario;

use super::support::{SOON, call_of, epoch, renumber, settle};

#[test]
fn a_message_of_an_epoch_that_has_not_come_waits_for_it() {
    scenario(|world| {
        let members = call_of(world, 3);
        let [lead, _, late] = [members[0], members[1], members[2]];
        let mut kept = None;
        // The relay hands out a message before the commit that opens its epoch.
        world.tamper(move |to, mut message| match &message {
            _ if to != late => vec![message],
            ToClient::Commit(commit) if commit.epoch == epoch(1, 3) => {
                kept = Some((commit.at.1.0, message));
                Vec::new()
            }
            ToClient::Body(body) if kept.is_some() && body.signed.text.get().contains(r#""message""#) => {
                let number = body.at.1.0;
                let Some((first, mut commit)) = kept.take() else { return vec![message] };
                renumber(&mut message, |_| first);
                renumber(&mut commit, |_| number);
                vec![message, commit]
            }
            ToClient::Body(_) if kept.is_some() => Vec::new(),
            _ => vec![message],
        });
        world.connect("joiner", Role::Member);
        world.run_until(SOON, "the join is committed", |world| world.peer(lead).session.epoch() == Some(epoch(1, 3)));
        let id = world.send(lead, None);
        world.run_until(SOON, "it came", |world| !world.peer(late).messages().is_empty());
        let events = &world.peer(late).events;
        let place =
            |wanted: &dyn Fn(&Event) -> bool| events.iter().rposition(|(_, event)| wanted(event)).expect("it came");
        let opened = place(&|event| matches!(event, Event::Message { payload, .. } if payload.0 == id.to_be_bytes()));
        assert!(place(&|event| matches!(event, Event::Epoch(info) if info.epoch == epoch(1, 3))) < opened);
        assert_eq!(world.peer(late).alarms(), []);
        settle(world);
    });
}
