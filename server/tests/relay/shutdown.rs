//! The relay goes away politely.

use conclave_shared::wire::{ToClient, code::Code};
use std::time::{Duration, Instant};
use tokio::time::timeout;

use crate::client::Relay;

#[tokio::test]
async fn everybody_is_told_when_to_come_back_and_then_closed() {
    let drain = Duration::from_millis(600);
    let relay = Relay::with(|config| config.limits.drain = drain).await;
    let mut clients = Vec::new();
    for seed in 1..=4 {
        clients.push(relay.member(seed).await.0);
    }
    let mut waiting = relay.connect().await;
    let began = Instant::now();
    relay.stop.send(()).expect("the relay runs");
    assert_eq!(waiting.refused().await, Code::Closing);
    let mut retries = Vec::new();
    for client in &mut clients {
        let (messages, number) = client.closed().await;
        assert_eq!(number, Some(Code::Closing.number()));
        let closing = messages.iter().find_map(|message| match message {
            ToClient::Closing(closing) => Some(closing.retry_after),
            _ => None,
        });
        retries.push(closing.expect("told before"));
    }
    assert_eq!(retries, [150, 300, 450, 600], "not all at once");
    assert!(began.elapsed() >= drain);
    timeout(Duration::from_secs(5), relay.task).await.expect("it ends").expect("no panic").expect("no error");
}

#[tokio::test]
async fn without_anybody_it_ends_at_once() {
    let relay = Relay::with(|config| config.limits.drain = Duration::from_secs(10)).await;
    relay.stop.send(()).expect("the relay runs");
    timeout(Duration::from_secs(2), relay.task).await.expect("at once").expect("no panic").expect("no error");
}
