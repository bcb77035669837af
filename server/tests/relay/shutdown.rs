//! The relay goes away politely.

use conclave_shared::{
    id::CallName,
    wire::{ToClient, code::Code},
};
use std::time::{Duration, Instant};
use tokio::time::timeout;

use crate::client::Relay;

#[tokio::test]
async fn everybody_is_told_when_to_come_back_and_a_call_goes_as_a_whole() {
    let drain = Duration::from_millis(600);
    let relay = Relay::with(|config| config.limits.drain = drain).await;
    let mut calls = Vec::new();
    for call in ["a", "b", "c"] {
        let call = CallName::new(call).expect("a name");
        calls.push([relay.joined(&call, 1).await, relay.joined(&call, 2).await, relay.joined(&call, 3).await]);
    }
    let mut waiting = relay.connect().await;
    relay.stop.send(()).expect("the relay runs");
    assert_eq!(waiting.refused().await, Code::Closing);
    let mut closed = Vec::new();
    for (call, due) in calls.iter_mut().zip([0, 200, 400]) {
        for client in call {
            let (messages, number) = client.closed().await;
            closed.push(Instant::now());
            assert_eq!(number, Some(Code::Closing.number()));
            let last = messages.last().expect("told before");
            assert!(
                matches!(last, ToClient::Closing(closing) if closing.retry_after == due),
                "and nothing of the others, who are neither away nor gone: {messages:?}"
            );
        }
    }
    assert!(closed[8] - closed[0] >= Duration::from_millis(300), "not all calls at once");
    timeout(Duration::from_secs(5), relay.task).await.expect("it ends").expect("no panic").expect("no error");
}

#[tokio::test]
async fn without_anybody_it_ends_at_once() {
    let relay = Relay::with(|config| config.limits.drain = Duration::from_secs(10)).await;
    relay.stop.send(()).expect("the relay runs");
    timeout(Duration::from_secs(2), relay.task).await.expect("at once").expect("no panic").expect("no error");
}
