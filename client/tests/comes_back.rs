//! A connection that goes, a seat that is lost, a relay that is restarted: the device comes back by itself.

// Helpers of tests may fail as tests do.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::wildcard_enum_match_arm)]

mod support;

use std::time::Duration;

use conclave_client::{again::Relays, store::Store};
use conclave_shared::{
    frame::{clear_bytes::Codec, opener::Opened, sealer::SealError},
    id::Role,
    session::output::{EndReason, Event, Link},
    wire::AwayReason,
};
use support::{Member, Network, Relay};

fn link(event: &Event) -> Option<Link> {
    if let Event::Link(link) = event { Some(*link) } else { None }
}

/// The text of a message, and nothing that would be another epoch on the way there.
fn message(event: &Event) -> Option<String> {
    match event {
        Event::Message { payload, .. } => Some(String::from_utf8(payload.0.clone()).expect("text")),
        Event::Epoch(epoch) => panic!("a gap changes no key: {epoch:?}"),
        _ => None,
    }
}

async fn messages(member: &mut Member, last: &str) -> Vec<String> {
    let mut heard = Vec::new();
    while heard.last().is_none_or(|text| text != last) {
        heard.push(member.until(message).await);
    }
    heard
}

#[tokio::test]
async fn a_short_gap_costs_no_message_and_no_key() {
    let relay = Relay::start().await;
    let network = Network::to(&relay).await;
    let mut bot = Member::join(&relay, "bot", Role::LeadBot).await;
    let mut anna = Member::through(network.url().into(), "Anna", Role::Member, Store::memory()).await;
    let epoch = anna.sealing(2).await.epoch;
    assert_eq!(bot.sealing(2).await.epoch, epoch);
    for gap in 0..3 {
        // Said while the connection breaks, while it is gone, and after it came back.
        let say = async |number: u32| {
            let text = format!("{gap}.{number}").into_bytes();
            bot.client.send(None, text.clone()).await.expect("running");
            anna.client.send(None, text).await.expect("running");
        };
        for number in 0..5 {
            say(number).await;
        }
        network.set_whole(false);
        for number in 5..10 {
            say(number).await;
        }
        assert_eq!(anna.client.seal(Codec::Opus, b"on and on").map(|_| ()), Ok(()), "media goes on");
        tokio::time::sleep(Duration::from_millis(700)).await;
        network.set_whole(true);
        for number in 10..12 {
            say(number).await;
        }
        let all: Vec<String> = (0..12).map(|number| format!("{gap}.{number}")).collect();
        let last = all.last().expect("twelve");
        assert_eq!(messages(&mut bot, last).await, all);
        assert_eq!(messages(&mut anna, last).await, all);
    }
    let sealed = anna.client.seal(Codec::Opus, b"still here").expect("the same key");
    let seat = anna.client.seat().expect("a seat");
    assert_eq!(bot.client.open(seat, Codec::Opus, &sealed, 1), Opened::Frame(b"still here".to_vec()));
}

#[tokio::test]
async fn a_gap_is_told_to_the_application_and_to_the_others() {
    let relay = Relay::start().await;
    let network = Network::to(&relay).await;
    let mut bot = Member::join(&relay, "bot", Role::LeadBot).await;
    let mut anna = Member::through(network.url().into(), "Anna", Role::Member, Store::memory()).await;
    anna.sealing(2).await;
    network.set_whole(false);
    assert_eq!(anna.until(link).await, Link::Down);
    let away = |event: &Event| match event {
        Event::MemberAway { joined, reason } => Some((*joined, *reason)),
        _ => None,
    };
    assert_eq!(bot.until(away).await, (anna.me, AwayReason::Dropped));
    network.set_whole(true);
    assert_eq!(anna.until(link).await, Link::Up);
    assert_eq!(
        bot.until(|event| if let Event::MemberBack(joined) = event { Some(*joined) } else { None }).await,
        anna.me
    );
}

#[tokio::test]
async fn a_relay_that_is_restarted_gets_everybody_back_with_the_same_key() {
    let relay = Relay::start().await;
    let address = relay.address.to_string();
    let mut bot = Member::join(&relay, "bot", Role::LeadBot).await;
    let mut anna = Member::join(&relay, "Anna", Role::Member).await;
    let before = anna.sealing(2).await;
    assert_eq!(bot.sealing(2).await.fingerprint, before.fingerprint);
    relay.stop().await;
    for member in [&mut bot, &mut anna] {
        assert_eq!(member.until(link).await, Link::Down);
    }
    let relay = Relay::start_at(&address).await;
    for member in [&mut bot, &mut anna] {
        assert_eq!(member.until(link).await, Link::Up);
    }
    anna.client.send(None, b"everybody is here".to_vec()).await.expect("running");
    assert_eq!(bot.until(message).await, "everybody is here");
    let sealed = bot.client.seal(Codec::Opus, b"the same key").expect("a key");
    let seat = bot.client.seat().expect("a seat");
    assert_eq!(anna.client.open(seat, Codec::Opus, &sealed, 1), Opened::Frame(b"the same key".to_vec()));
    // The lead leads on: it lets somebody in.
    let mut ben = Member::join(&relay, "Ben", Role::Member).await;
    let joined = ben.sealing(3).await;
    assert_eq!((joined.epoch.term(), joined.lead), (before.epoch.term(), bot.me));
    assert_eq!(anna.sealing(3).await.fingerprint, joined.fingerprint);
}

#[tokio::test]
async fn a_device_that_lost_its_seat_joins_afresh_with_the_same_frames() {
    let relay = Relay::start().await;
    let network = Network::to(&relay).await;
    let mut bot = Member::join(&relay, "bot", Role::LeadBot).await;
    let mut anna = Member::through(network.url().into(), "Anna", Role::Member, Store::memory()).await;
    let before = anna.sealing(2).await;
    bot.sealing(2).await;
    network.set_whole(false);
    bot.sealing(1).await;
    network.set_whole(true);
    anna.until(|event| matches!(event, Event::Link(Link::Rejoining)).then_some(())).await;
    let after = anna.sealing(2).await;
    assert_eq!(bot.sealing(2).await.fingerprint, after.fingerprint);
    assert!(after.epoch > before.epoch);
    let me = after.members.iter().find(|member| member.user == "Anna").expect("in the roster");
    let was = before.members.iter().find(|member| member.user == "Anna").expect("in the roster");
    assert_eq!(me.ed25519, was.ed25519, "the same device");
    assert!(me.joined > anna.me, "in a join of its own");
    let sealed = anna.client.seal(Codec::Opus, b"here again").expect("a key");
    let seat = anna.client.seat().expect("a seat");
    assert_eq!(seat, me.seat);
    assert_eq!(bot.client.open(seat, Codec::Opus, &sealed, 1), Opened::Frame(b"here again".to_vec()));
}

#[tokio::test]
async fn where_one_relay_is_gone_the_next_address_is_tried() {
    let gone = Relay::start().await;
    let address = gone.url();
    gone.stop().await;
    let relay = Relay::start().await;
    let relays = Relays::new([address, relay.url()]).expect("two addresses");
    let mut anna = Member::through(relays, "Anna", Role::Member, Store::memory()).await;
    anna.sealing(1).await;
}

#[tokio::test]
async fn whoever_leaves_while_the_relay_is_away_does_not_wait_for_it() {
    let relay = Relay::start().await;
    let mut anna = Member::join(&relay, "Anna", Role::Member).await;
    anna.sealing(1).await;
    relay.stop().await;
    anna.until(|event| matches!(event, Event::Link(_)).then_some(())).await;
    anna.client.leave().await.expect("running");
    assert_eq!(
        anna.until(|event| if let Event::Ended(why) = event { Some(*why) } else { None }).await,
        EndReason::Left
    );
    assert_eq!(anna.client.seal(Codec::Opus, b"late").unwrap_err(), SealError::NoKey);
}
