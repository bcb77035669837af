//! Bad input: each kind gets its own code, and the call that it is sent into does not notice.

use conclave_shared::{
    id::{Joined, Signature},
    limits::{JSON_DEPTH, MESSAGE_LENGTH},
    wire::{AwayReason, Claim, Keys, LeftReason, ToClient, ToRelay, code::Code, encode},
};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use crate::{
    client::{Client, Pair, Relay, body, call, commit, token},
    device::Device,
};

/// A call of two and a third member, who misbehaves.
async fn three() -> (Relay, Pair, Client) {
    let relay = Relay::start().await;
    let mut pair = relay.call().await;
    let (third, _) = relay.member(3).await;
    pair.lead.until(|message| matches!(message, ToClient::Claimed(_))).await;
    pair.member.until(|message| matches!(message, ToClient::Joined(_))).await;
    (relay, pair, third)
}

/// What closes with a code: the others are told `refused`, and go on.
async fn closes(bad: Message, code: Code) {
    let (_relay, mut pair, mut third) = three().await;
    third.message(bad).await;
    assert_eq!(third.refused().await, code);
    for other in [&mut pair.lead, &mut pair.member] {
        let left = other.recv().await;
        let ToClient::Left(left) = left else { panic!("{left:?}") };
        assert_eq!((left.joined, left.reason), (Joined(3), LeftReason::Refused));
    }
    pair.goes_on().await;
}

/// What is refused and leaves the connection open: the others hear nothing at all.
async fn stays(bad: impl Into<String>, code: Code) {
    let (_relay, mut pair, mut third) = three().await;
    third.text(bad.into()).await;
    assert_eq!(third.error().await, code);
    pair.goes_on().await;
    third.send(&body(9, Some(Joined(2))).into()).await;
    assert!(matches!(pair.member.recv().await, ToClient::Body(event) if event.from == Joined(3)));
}

#[tokio::test]
async fn json_that_is_none() {
    for text in ["", "{", "nonsense", "[]", "null", "{}", r#"{"claim":{"of":[]},"ack":{}}"#, "\u{0}"] {
        closes(Message::Text(text.into()), Code::Malformed).await;
    }
}

#[tokio::test]
async fn wrong_types() {
    for text in [
        r#"{"claim":{}}"#,
        r#"{"claim":{"of":[-1]}}"#,
        r#"{"claim":{"of":["1"]}}"#,
        r#"{"claim":{"of":[18446744073709551616]}}"#,
        r#"{"ack":{"epoch":[1],"mac":"AA"}}"#,
        r#"{"olm":{"to":1,"message":[1,"not base64!"]}}"#,
        r#"{"olm":{"to":1,"message":[256,""]}}"#,
        r#"{"commit":7}"#,
        r#"{"body":{"text":{},"signature":"short"}}"#,
    ] {
        closes(Message::Text(text.into()), Code::Malformed).await;
    }
}

#[tokio::test]
async fn a_body_that_is_none() {
    let signature = encode(&Signature::new([0; 64]));
    closes(Message::Text(format!(r#"{{"body":{{"text":{{}},"signature":{signature}}}}}"#).into()), Code::Malformed)
        .await;
}

#[tokio::test]
async fn binary() {
    closes(Message::Binary(vec![1, 2, 3].into()), Code::NotText).await;
}

#[tokio::test]
async fn too_large() {
    let text = |length: usize| format!(r#"{{"claim":{{"of":[{}]}}}}"#, " ".repeat(length - 19));
    stays(text(MESSAGE_LENGTH), Code::NotLead).await;
    closes(Message::Text(text(MESSAGE_LENGTH + 1).into()), Code::TooLarge).await;
    closes(Message::Text(text(2 * 1024 * 1024).into()), Code::TooLarge).await;
}

#[tokio::test]
async fn too_deep() {
    let text = |depth: usize| format!(r#"{{"novel":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
    stays(text(JSON_DEPTH), Code::UnknownMessage).await;
    closes(Message::Text(text(JSON_DEPTH + 1).into()), Code::TooDeep).await;
    closes(Message::Text(text(30_000).into()), Code::TooDeep).await;
}

#[tokio::test]
async fn not_utf_8() {
    let frame = Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true);
    closes(Message::Frame(frame), Code::Malformed).await;
}

#[tokio::test]
async fn too_many_fragments() {
    let (_relay, mut pair, mut third) = three().await;
    for n in 0..17 {
        let opcode = if n == 0 { Data::Text } else { Data::Continue };
        // The relay may have closed before the last.
        let _gone = futures_util::SinkExt::send(
            &mut third.socket,
            Message::Frame(Frame::message(vec![b' '], OpCode::Data(opcode), false)),
        )
        .await;
    }
    assert_eq!(third.refused().await, Code::Malformed);
    pair.goes_on().await;
}

#[tokio::test]
async fn sixteen_fragments_are_one_message() {
    let (_relay, mut pair, mut third) = three().await;
    let text = encode(&ToRelay::from(body(1, Some(Joined(2)))));
    let pieces: Vec<_> = text.as_bytes().chunks(text.len().div_ceil(16)).collect();
    assert_eq!(pieces.len(), 16);
    for (n, piece) in pieces.iter().enumerate() {
        let opcode = if n == 0 { Data::Text } else { Data::Continue };
        third.message(Message::Frame(Frame::message(piece.to_vec(), OpCode::Data(opcode), n == 15))).await;
    }
    assert!(matches!(pair.member.recv().await, ToClient::Body(_)));
}

#[tokio::test]
async fn unknown_messages() {
    stays(r#"{"novel":{"anything":[1,2,3]}}"#, Code::UnknownMessage).await;
}

#[tokio::test]
async fn what_only_the_lead_may_say() {
    stays(encode(&ToRelay::from(Claim { of: vec![Joined(1)] })), Code::NotLead).await;
    stays(encode(&ToRelay::from(commit((1, 0), &[3]))), Code::NotLead).await;
    stays(encode(&ToRelay::from(commit((0, 9), &[3]))), Code::PassedTerm).await;
}

#[tokio::test]
async fn what_the_lead_may_not_say_either() {
    let (_relay, mut pair, _third) = three().await;
    for (bad, code) in [
        (commit((1, 7), &[1]), Code::OutOfOrder),
        (commit((2, 0), &[1]), Code::OutOfOrder),
        (commit((1, 0), &[99]), Code::OutOfOrder),
    ] {
        pair.lead.send(&bad.into()).await;
        assert_eq!(pair.lead.error().await, code);
    }
    pair.lead.send(&commit((1, 0), &[1, 2, 3]).into()).await;
    assert!(matches!(pair.member.recv().await, ToClient::Commit(_)), "what was refused went to nobody");
    pair.goes_on().await;
}

#[tokio::test]
async fn members_that_are_not_there() {
    stays(r#"{"olm":{"to":99,"message":[1,"AAAA"]}}"#, Code::UnknownMember).await;
    stays(encode(&ToRelay::from(body(1, Some(Joined(99))))), Code::UnknownMember).await;
}

#[tokio::test]
async fn a_second_join_on_one_socket() {
    let device = Device::new(4);
    let join = device.join(&call(), conclave_shared::id::RelayNonce::new([0; 32]), token(&device));
    stays(encode(&ToRelay::from(join)), Code::AlreadyJoined).await;
}

#[tokio::test]
async fn later_keys_with_a_bad_signature() {
    let keys = Keys { keys: Device::new(3).batch(50, 5), signature: Signature::new([1; 64]) };
    closes(Message::Text(encode(&ToRelay::from(keys)).into()), Code::BadKeys).await;
}

#[tokio::test]
async fn the_same_device_again() {
    let (relay, mut pair, mut third) = three().await;
    let (_again, welcome) = relay.member(3).await;
    assert_eq!(welcome.joined, Joined(4));
    assert_eq!(third.refused().await, Code::Replaced);
    let left = pair.member.recv().await;
    assert!(matches!(left, ToClient::Left(left) if left.reason == LeftReason::Replaced));
    pair.goes_on().await;
}

#[tokio::test]
async fn a_member_that_is_just_gone() {
    let (_relay, mut pair, third) = three().await;
    drop(third);
    let away = pair.member.recv().await;
    assert!(matches!(away, ToClient::Away(away) if away.reason == AwayReason::Dropped));
    pair.goes_on().await;
}
