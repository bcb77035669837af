//! What the relay passes on, and to whom.

use conclave_shared::{
    id::{AckMac, Epoch, Joined, Term},
    wire::{Ack, Blob, Claim, OlmMessage, ToClient, code::Code},
};
use std::collections::BTreeSet;

use crate::client::{Relay, body, commit, leave};

#[tokio::test]
async fn a_grant_is_seen_by_its_owner_alone() {
    let relay = Relay::start().await;
    let mut pair = relay.call().await;
    let (mut third, _) = relay.member(3).await;
    let mut granted = commit((1, 0), &[1, 2, 3]);
    let secret = |byte| OlmMessage(1, Blob(vec![byte; 40]));
    granted.grants = vec![(Joined(2), secret(2)), (Joined(3), secret(3))];
    pair.lead.send(&granted.into()).await;
    let mut grants = Vec::new();
    for client in [&mut pair.lead, &mut pair.member, &mut third] {
        let got = client.until(|message| matches!(message, ToClient::Commit(_))).await;
        let ToClient::Commit(got) = got else { panic!("{got:?}") };
        assert_eq!((got.from, got.epoch, got.add.len()), (Joined(1), Epoch(Term(1), 0), 3));
        grants.push(got.grant);
    }
    assert_eq!(grants, [None, Some(secret(2)), Some(secret(3))]);
}

#[tokio::test]
async fn a_one_time_key_is_handed_out_once() {
    let relay = Relay::start().await;
    let mut pair = relay.call().await;
    let mut seen = BTreeSet::from([Some(0)]);
    for round in 1..=6 {
        pair.lead.send(&Claim { of: vec![Joined(2)] }.into()).await;
        let ToClient::Claimed(claimed) = pair.lead.recv().await else { panic!("claimed") };
        assert_eq!(seen.insert(claimed.keys[0].index), round <= 4, "three keys, then the fallback key");
    }
    let low = pair.member.until(|message| matches!(message, ToClient::KeysLow(_))).await;
    assert!(matches!(low, ToClient::KeysLow(low) if low.left == 2));
}

#[tokio::test]
async fn the_lead_goes_and_the_next_is_named() {
    let relay = Relay::start().await;
    let mut pair = relay.call().await;
    pair.lead.send(&commit((1, 0), &[1, 2]).into()).await;
    pair.member.until(|message| matches!(message, ToClient::Commit(_))).await;
    drop(pair.lead);
    assert!(matches!(pair.member.recv().await, ToClient::Away(away) if away.joined == Joined(1)));
    let ToClient::Lead(lead) = pair.member.recv().await else { panic!("no lead") };
    assert_eq!((lead.term, lead.joined, lead.genesis), (Term(2), Joined(2), false));
    pair.member.send(&commit((2, 0), &[]).into()).await;
    assert!(matches!(pair.member.recv().await, ToClient::Commit(_)));
}

#[tokio::test]
async fn who_is_removed_reads_the_commit_and_then_why() {
    let relay = Relay::start().await;
    let mut pair = relay.call().await;
    pair.lead.send(&commit((1, 0), &[1, 2]).into()).await;
    let mut removal = commit((1, 1), &[]);
    removal.remove = vec![Joined(2)];
    pair.lead.send(&removal.into()).await;
    let (messages, number) = pair.member.closed().await;
    let names: Vec<_> = messages.iter().map(ToClient::name).collect();
    assert_eq!(names, ["commit", "commit", "left", "error"]);
    assert_eq!(number, Some(Code::Removed.number()));
}

#[tokio::test]
async fn acks_and_olm_messages_reach_one_member() {
    let relay = Relay::start().await;
    let mut pair = relay.call().await;
    let (mut third, _) = relay.member(3).await;
    third.send(&Ack { epoch: Epoch(Term(1), 0), mac: AckMac::new([1; 32]) }.into()).await;
    third.send(&body(1, Some(Joined(1))).into()).await;
    pair.lead.until(|message| matches!(message, ToClient::Ack(ack) if ack.from == Joined(3))).await;
    pair.lead.until(|message| matches!(message, ToClient::Body(_))).await;
    pair.member.until(|message| matches!(message, ToClient::Joined(_))).await;
    pair.goes_on().await;
}

#[tokio::test]
async fn a_call_that_all_have_left_begins_anew() {
    let relay = Relay::start().await;
    let (mut first, welcome) = relay.member(1).await;
    let instance = welcome.at.0;
    first.send(&leave().into()).await;
    loop {
        let (again, welcome) = relay.member(2).await;
        assert_eq!(welcome.at.0, instance, "the relay is the same");
        if welcome.joined == Joined(1) {
            break;
        }
        let mut again = again;
        again.send(&leave().into()).await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
