//! Native clients on a real relay: who holds which key, and why.

// Helpers of tests may fail as tests do.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::wildcard_enum_match_arm)]

mod support;

use conclave_client::store::Store;
use conclave_shared::{
    frame::{clear_bytes::Codec, opener::Opened, sealer::SealError},
    id::Role,
    session::{
        error::CommandError,
        output::{EndReason, EpochInfo, Event},
    },
    wire::{LeftReason, code::Code, sealed::Cause},
};
use support::{Member, PATIENCE, Relay};

/// Waits until everybody seals under one epoch with all of them, and checks that it is the same key.
async fn agree(members: &mut [&mut Member]) -> EpochInfo {
    let count = members.len();
    let mut agreed: Option<EpochInfo> = None;
    for member in members {
        let info = member.sealing(count).await;
        let first = agreed.get_or_insert_with(|| info.clone());
        assert_eq!((info.epoch, info.fingerprint), (first.epoch, first.fingerprint));
        assert_eq!((info.roster, &info.security_code), (first.roster, &first.security_code));
    }
    agreed.expect("somebody is in the call")
}

#[tokio::test]
async fn a_lead_bot_and_two_members_hold_one_key_and_open_each_others_frames() {
    let relay = Relay::start().await;
    let mut bot = Member::join(&relay, "bot", Role::LeadBot).await;
    let start = bot.sealing(1).await;
    assert_eq!(start.cause, Cause::Start);
    let mut anna = Member::join(&relay, "Anna", Role::Member).await;
    assert_eq!(anna.client.seal(Codec::Opus, b"too early").unwrap_err(), SealError::NoKey);
    let two = agree(&mut [&mut bot, &mut anna]).await;
    assert_eq!((two.cause, two.lead), (Cause::Join, bot.me));
    let mut ben = Member::join(&relay, "Ben", Role::Member).await;
    let three = agree(&mut [&mut bot, &mut anna, &mut ben]).await;
    assert_eq!(three.cause, Cause::Join);
    assert_eq!(three.epoch.term(), two.epoch.term());
    assert_ne!(three.fingerprint, two.fingerprint);
    assert_ne!(three.security_code, two.security_code, "the code changes with people");
    let sealed = anna.client.seal(Codec::Opus, b"hello").expect("a key");
    assert!(!sealed.windows(5).any(|window| window == b"hello"));
    let seat = anna.client.seat().expect("a seat");
    assert_eq!(ben.client.open(seat, Codec::Opus, &sealed, 1), Opened::Frame(b"hello".to_vec()));
    assert!(matches!(ben.client.open(seat, Codec::Opus, &sealed, 2), Opened::Dropped(_)), "a frame opens once");
}

#[tokio::test]
async fn a_leave_makes_a_new_session_that_the_leaver_does_not_hold() {
    let relay = Relay::start().await;
    let mut bot = Member::join(&relay, "bot", Role::LeadBot).await;
    let mut anna = Member::join(&relay, "Anna", Role::Member).await;
    agree(&mut [&mut bot, &mut anna]).await;
    let mut ben = Member::join(&relay, "Ben", Role::Member).await;
    agree(&mut [&mut bot, &mut anna, &mut ben]).await;
    ben.client.leave().await.expect("running");
    assert_eq!(ben.until(ended).await, EndReason::Left);
    assert_eq!(ben.client.seal(Codec::Opus, b"late").unwrap_err(), SealError::NoKey);
    let left = anna.until(|event| match event {
        Event::MemberLeft { joined, reason } => Some((*joined, *reason)),
        _ => None,
    });
    assert_eq!(left.await, (ben.me, LeftReason::Left));
    let two = agree(&mut [&mut bot, &mut anna]).await;
    assert_eq!(two.cause, Cause::Leave);
}

#[tokio::test]
async fn when_the_lead_leaves_the_next_one_leads() {
    let relay = Relay::start().await;
    let mut anna = Member::join(&relay, "Anna", Role::Member).await;
    anna.sealing(1).await;
    let mut ben = Member::join(&relay, "Ben", Role::Member).await;
    let before = agree(&mut [&mut anna, &mut ben]).await;
    assert_eq!(before.lead, anna.me);
    anna.client.leave().await.expect("running");
    let after = ben.sealing(1).await;
    assert_eq!((after.cause, after.lead), (Cause::LeadChange, ben.me));
    assert!(after.epoch.term() > before.epoch.term());
}

#[tokio::test]
async fn a_lead_bot_never_takes_the_lead_from_a_living_one_and_goes_before_members() {
    let relay = Relay::start().await;
    let mut anna = Member::join(&relay, "Anna", Role::Member).await;
    anna.sealing(1).await;
    let mut ben = Member::join(&relay, "Ben", Role::Member).await;
    agree(&mut [&mut anna, &mut ben]).await;
    let mut bot = Member::join(&relay, "bot", Role::LeadBot).await;
    let three = agree(&mut [&mut anna, &mut ben, &mut bot]).await;
    assert_eq!((three.cause, three.lead), (Cause::Join, anna.me));
    anna.client.leave().await.expect("running");
    let two = agree(&mut [&mut ben, &mut bot]).await;
    assert_eq!((two.cause, two.lead), (Cause::LeadChange, bot.me));
}

#[tokio::test]
async fn members_ask_for_a_rotation_and_the_lead_removes() {
    let relay = Relay::start().await;
    let mut bot = Member::join(&relay, "bot", Role::LeadBot).await;
    let mut anna = Member::join(&relay, "Anna", Role::Member).await;
    let before = agree(&mut [&mut bot, &mut anna]).await;
    anna.client.rotate().await.expect("running");
    let after = agree(&mut [&mut bot, &mut anna]).await;
    assert_eq!(after.cause, Cause::Request);
    assert_eq!(after.security_code, before.security_code, "the code does not change with rotations");
    assert_ne!(after.fingerprint, before.fingerprint);
    anna.client.remove(bot.me).await.expect("running");
    let failed = |event: &Event| if let Event::CommandFailed(error) = event { Some(*error) } else { None };
    assert_eq!(anna.until(failed).await, CommandError::NotLead);
    bot.client.remove(anna.me).await.expect("running");
    assert!(matches!(anna.until(ended).await, EndReason::Removed | EndReason::Closed(Code::Removed)));
    assert_eq!(bot.sealing(1).await.cause, Cause::Remove);
}

#[tokio::test]
async fn messages_go_to_all_or_to_one() {
    let relay = Relay::start().await;
    let mut bot = Member::join(&relay, "bot", Role::LeadBot).await;
    let mut anna = Member::join(&relay, "Anna", Role::Member).await;
    agree(&mut [&mut bot, &mut anna]).await;
    let mut ben = Member::join(&relay, "Ben", Role::Member).await;
    agree(&mut [&mut bot, &mut anna, &mut ben]).await;
    anna.client.send(Some(bot.me), b"for the bot".to_vec()).await.expect("running");
    anna.client.send(None, b"for all".to_vec()).await.expect("running");
    assert_eq!(bot.until(message).await, (anna.me, true, b"for the bot".to_vec()));
    assert_eq!(bot.until(message).await, (anna.me, false, b"for all".to_vec()));
    assert_eq!(ben.until(message).await, (anna.me, false, b"for all".to_vec()), "and not what was for the bot");
}

#[tokio::test]
async fn dropping_the_last_handle_leaves_properly() {
    let relay = Relay::start().await;
    let mut bot = Member::join(&relay, "bot", Role::LeadBot).await;
    let mut anna = Member::join(&relay, "Anna", Role::Member).await;
    agree(&mut [&mut bot, &mut anna]).await;
    let Member { client, events, me, .. } = anna;
    drop(client);
    events.outcome().await.expect("the device was stored");
    let left = |event: &Event| match event {
        Event::MemberLeft { joined, reason } => Some((*joined, *reason)),
        _ => None,
    };
    assert_eq!(bot.until(left).await, (me, LeftReason::Left));
}

#[tokio::test]
async fn a_stored_device_is_the_same_device_when_it_comes_back() {
    let relay = Relay::start().await;
    let mut bot = Member::join(&relay, "bot", Role::LeadBot).await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::file(folder.path().join("anna.key"));
    let mut keys = Vec::new();
    for _ in 0..2 {
        let mut anna = Member::with_store(&relay, "Anna", Role::Member, store.clone()).await;
        let two = agree(&mut [&mut bot, &mut anna]).await;
        keys.push(two.members.iter().find(|member| member.joined == anna.me).expect("in the roster").ed25519);
        anna.client.leave().await.expect("running");
        bot.sealing(1).await;
    }
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test]
async fn an_application_that_does_not_read_its_events_loses_events_and_no_keys() {
    let relay = Relay::start().await;
    let mut bot = Member::join(&relay, "bot", Role::LeadBot).await;
    let mut anna = Member::join(&relay, "Anna", Role::Member).await;
    agree(&mut [&mut bot, &mut anna]).await;
    for _ in 0..1500 {
        bot.client.send(None, b"unread".to_vec()).await.expect("running");
    }
    bot.client.rotate().await.expect("running");
    let rotated = bot.sealing(2).await;
    assert_eq!(rotated.cause, Cause::Request);
    let sealed = bot.client.seal(Codec::Opus, b"hello").expect("a key");
    let seat = bot.client.seat().expect("a seat");
    let opened = async {
        // The key comes on its own connection; a frame without one waits, and is released with it.
        match anna.client.open(seat, Codec::Opus, &sealed, 1) {
            Opened::Frame(frame) => frame,
            Opened::Held => loop {
                if let Some((_, frame)) = anna.client.release().pop() {
                    return frame.expect("it opens");
                }
                tokio::task::yield_now().await;
            },
            Opened::Dropped(error) => panic!("{error}"),
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, opened).await.expect("the key comes"), b"hello");
    assert!(anna.events.missed() > 0);
}

fn ended(event: &Event) -> Option<EndReason> {
    if let Event::Ended(reason) = event { Some(*reason) } else { None }
}

fn message(event: &Event) -> Option<(conclave_shared::id::Joined, bool, Vec<u8>)> {
    match event {
        Event::Message { from, direct, payload } => Some((*from, *direct, payload.0.clone())),
        _ => None,
    }
}
