//! What a socket may cost: time, memory, messages, connections.

use conclave_shared::{
    id::Joined,
    wire::{AwayReason, Claim, ToClient, ToRelay, code::Code, encode},
};
use futures_util::SinkExt as _;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Relay, body, commit};

#[tokio::test]
async fn no_join_in_time() {
    let relay = Relay::with(|config| config.limits.join_time = Duration::from_millis(300)).await;
    let mut pair = relay.call().await;
    let mut silent = relay.connect().await;
    let began = Instant::now();
    assert_eq!(silent.refused().await, Code::JoinTimeout);
    assert!(began.elapsed() < Duration::from_secs(4));
    tokio::time::sleep(Duration::from_millis(400)).await;
    pair.goes_on().await;
}

#[tokio::test]
async fn a_flood_of_messages() {
    let relay = Relay::start().await;
    let mut pair = relay.call().await;
    let (mut third, _) = relay.member(3).await;
    let unknown = encode(&ToRelay::from(Claim { of: vec![] }));
    for _ in 0..200 {
        if third.socket.send(Message::Text(unknown.clone().into())).await.is_err() {
            break;
        }
    }
    let (messages, number) = third.closed().await;
    assert_eq!(number, Some(Code::TooFast.number()));
    let answered = messages.len();
    assert!((50..150).contains(&answered), "a burst passes: {answered}");
    let away = pair.member.until(|message| matches!(message, ToClient::Away(_))).await;
    assert!(matches!(away, ToClient::Away(away) if away.joined == Joined(3)), "it may come back: {away:?}");
    pair.goes_on().await;
}

#[tokio::test]
async fn a_flood_of_pings() {
    let relay = Relay::start().await;
    let mut pair = relay.call().await;
    let (mut third, _) = relay.member(3).await;
    for _ in 0..200 {
        if third.socket.send(Message::Ping(vec![0; 100].into())).await.is_err() {
            break;
        }
    }
    assert_eq!(third.closed().await.1, Some(Code::TooFast.number()));
    pair.goes_on().await;
}

#[tokio::test]
async fn a_lead_may_say_ten_times_as_much_and_commit_a_mebibyte() {
    let relay = Relay::start().await;
    let mut pair = relay.call().await;
    for _ in 0..200 {
        pair.lead.send(&Claim { of: vec![] }.into()).await;
    }
    pair.goes_on().await;
    let mut large = commit((1, 0), &[1, 2]);
    large.broadcast = conclave_shared::wire::Broadcast::Ratchet(conclave_shared::wire::Blob(vec![1; 600 * 1024]));
    pair.lead.send(&large.into()).await;
    let got = pair.member.until(|message| matches!(message, ToClient::Commit(_))).await;
    assert!(encode(&got).len() > 700 * 1024);
    pair.goes_on().await;
    let padded = format!(r#"{{"claim":{{"of":[{}]}}}}"#, " ".repeat(70 * 1024));
    pair.lead.text(padded).await;
    let (messages, number) = pair.lead.closed().await;
    assert_eq!(number, Some(Code::TooLarge.number()), "only commits are that large: {messages:?}");
}

#[tokio::test]
async fn a_slow_consumer() {
    let relay = Relay::with(|config| {
        config.limits.messages_per_second = 100_000;
        config.limits.message_burst = 100_000;
    })
    .await;
    let mut pair = relay.call().await;
    let (mut slow, _) = relay.member(3).await;
    let content =
        serde_json::value::RawValue::from_string(format!(r#"{{"x":"{}"}}"#, "x".repeat(40_000))).expect("JSON");
    let signed = crate::device::Device::new(1).body(&conclave_shared::wire::signed::Body {
        epoch: conclave_shared::id::Epoch::first(conclave_shared::id::Term(1)),
        n: 1,
        to: Some(Joined(3)),
        content,
    });
    // The third does not read: the kernel takes some of it, then the relay's queue, then it has to go.
    let away = loop {
        pair.lead.send(&signed.clone().into()).await;
        if let Ok(message) = timeout(Duration::from_millis(1), pair.member.recv()).await
            && let ToClient::Away(away) = message
        {
            break away;
        }
    };
    assert_eq!(
        (away.joined, away.reason),
        (Joined(3), AwayReason::Dropped),
        "it may come back and take its seat again"
    );
    pair.goes_on().await;
    let (messages, number) = slow.closed().await;
    assert!(messages.len() > 10, "what was queued before still came: {}", messages.len());
    assert_eq!(number, Some(Code::SlowConsumer.number()));
}

#[tokio::test]
async fn a_client_that_answers_no_ping() {
    let relay = Relay::with(|config| config.limits.ping_every = Duration::from_millis(100)).await;
    let (mut alive, _) = relay.member(1).await;
    let (mute, _) = relay.member(2).await;
    // `mute` is never read from, so its library never answers.
    let away = alive.until(|message| matches!(message, ToClient::Away(_))).await;
    assert!(matches!(away, ToClient::Away(away) if away.joined == Joined(2)));
    drop(mute);
    let answered = timeout(Duration::from_secs(1), alive.recv()).await;
    assert!(answered.is_err(), "who answers stays: {answered:?}");
}

#[tokio::test]
async fn too_many_connections_that_have_not_joined() {
    let relay = Relay::with(|config| config.limits.waiting_per_address = 4).await;
    let mut pair = relay.call().await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(relay.connect().await);
    }
    assert_eq!(relay.socket().await.refused().await, Code::TooManyConnections);
    pair.goes_on().await;
    drop(waiting);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (_third, _) = relay.member(3).await;
}

#[tokio::test]
async fn half_open_sockets_of_one_address_are_dropped() {
    let relay = Relay::with(|config| config.limits.waiting_per_address = 4).await;
    let mut pair = relay.call().await;
    let mut sockets = Vec::new();
    for _ in 0..50 {
        sockets.push(TcpStream::connect(relay.address).await.expect("the kernel accepts"));
    }
    let mut dropped = 0;
    for socket in &mut sockets {
        let read = timeout(Duration::from_millis(100), socket.read_u8()).await;
        dropped += usize::from(matches!(read, Ok(Err(_))));
    }
    assert_eq!(dropped, 42, "twice the bound stay");
    pair.goes_on().await;
}

#[tokio::test]
async fn too_many_new_connections_in_a_second() {
    let relay = Relay::with(|config| config.limits.new_per_second_per_address = 5).await;
    let mut refused = 0;
    for _ in 0..10 {
        let mut client = relay.socket().await;
        if let ToClient::Error(refusal) = client.recv().await {
            assert_eq!(refusal.code, Code::TooManyConnections);
            refused += 1;
        }
    }
    assert!((3..=5).contains(&refused), "{refused}");
    tokio::time::sleep(Duration::from_millis(400)).await;
    relay.connect().await;
}

#[tokio::test]
async fn more_connections_than_the_relay_may_have() {
    let relay = Relay::with(|config| config.limits.connections = 3).await;
    let mut pair = relay.call().await;
    let (third, _) = relay.member(3).await;
    let mut fourth = TcpStream::connect(relay.address).await.expect("the kernel accepts");
    assert!(timeout(Duration::from_secs(5), fourth.read_u8()).await.expect("dropped at once").is_err());
    pair.goes_on().await;
    drop(third);
    pair.member.until(|message| matches!(message, ToClient::Left(_))).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    relay.connect().await;
}

#[tokio::test]
async fn a_head_that_never_ends() {
    let relay = Relay::with(|config| config.limits.header_time = Duration::from_millis(300)).await;
    let mut pair = relay.call().await;
    let mut socket = TcpStream::connect(relay.address).await.expect("the relay accepts");
    socket.write_all(b"GET /v1/ws HTTP/1.1\r\nHost: ").await.expect("written");
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(5), socket.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the relay hangs up by itself");
    pair.goes_on().await;
}

#[tokio::test]
async fn a_full_call_and_a_full_relay() {
    let relay = Relay::with(|config| {
        config.limits.members = 2;
        config.limits.calls = 1;
    })
    .await;
    let mut pair = relay.call().await;
    let mut third = relay.connect().await;
    let device = crate::device::Device::new(3);
    third.send(&device.join(&crate::client::call(), third.nonce, crate::client::token(&device)).into()).await;
    assert_eq!(third.refused().await, Code::CallFull);

    let other = conclave_shared::id::CallName::new("other").expect("a name");
    let admission = conclave_server::call::Admission {
        call: other.clone(),
        user: device.user.clone(),
        role: conclave_shared::id::Role::Member,
    };
    let token = conclave_server::admission::mint(&crate::client::secret(), admission, Duration::from_secs(60));
    let mut elsewhere = relay.connect().await;
    elsewhere.send(&device.join(&other, elsewhere.nonce, token.expect("minted")).into()).await;
    assert_eq!(elsewhere.refused().await, Code::TooManyCalls);
    pair.goes_on().await;
    pair.lead.send(&body(1, Some(Joined(2))).into()).await;
    assert!(matches!(pair.member.recv().await, ToClient::Body(_)));
}
