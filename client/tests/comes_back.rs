//! A connection that goes, a seat that is lost, a relay that is restarted: the device comes back by itself.

// Helpers of tests may fail as tests do.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::wildcard_enum_match_arm)]

mod support;

use conclave_client::{again::Relays, store::Store};
use conclave_shared::{
    frame::{clear_bytes::Codec, opener::Opened, sealer::SealError},
    id::Role,
    session::output::{EndReason, Event, Link},
};
use support::{Member, Network, Relay};

#[tokio::test]
async fn a_device_that_lost_its_seat_joins_afresh_with_the_same_frames() {
    let relay = Relay::start().await;
    let network = Network::to(&relay).await;
    let mut bot = Member::join(&relay, "bot", Role::LeadBot).await;
    let mut anna = Member::through(network.url().into(), "Anna", Role::Member, Store::memory()).await;
    let before = anna.sealing(2).await;
    bot.sealing(2).await;
    network.set_whole(false);
    let gone = bot.until(|event| matches!(event, Event::MemberLeft { .. }).then_some(()));
    gone.await;
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
