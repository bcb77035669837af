//! The same search while the relay's word is twisted and its members cheat. The catalogue of attacks is tried against
//! sessions in virtual time; here the ways in which they reach a relay are tried on the real one.

use conclave_shared::{
    id::{Joined, Term, encode_base64},
    identity::device::Device,
    session::{error::SecurityEvent, input::Command},
    wire::{self, Blob, Committed, Lead, Olm, OlmMessage, ToClient, ToRelay, signed::Signed},
};
use conclave_tests::programs::{Program, wait_for};
use futures_util::{SinkExt, StreamExt};
use serde_json::value::RawValue;
use tokio_tungstenite::{connect_async, tungstenite::Message};

use super::{
    between::Between,
    member::Member,
    search::{Keys, Runs, assert_clean, search},
};
use crate::SECRET;

/// Larger than anything that a relay takes.
const TOO_LARGE: usize = 2 << 20;
/// Newcomers at once.
const FLOOD: usize = 12;

const ANNA: usize = 0;
const BEN: usize = 1;
const CLEO: usize = 2;

struct Call {
    relay: Program,
    between: Between,
    keys: Keys,
    members: Vec<Member>,
    _directory: tempfile::TempDir,
}

impl Call {
    async fn of_three() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let environment = [("CONCLAVE_SECRET", SECRET), ("CONCLAVE_LOG", "trace"), ("RUST_LOG", "trace")];
        let (relay, url) = Program::relay(&environment, &directory.path().join("relay.log"));
        let between = Between::to(&url).await;
        let mut call = Self { relay, between, keys: Keys::default(), members: vec![], _directory: directory };
        for user in ["Anna", "Ben", "Cleo"] {
            call.join(user).await;
        }
        call
    }

    async fn join(&mut self, user: &str) {
        self.members.push(Member::join(&self.between.url, user, &self.keys).await);
        self.all_hold().await;
    }

    async fn all_hold(&mut self) {
        let count = self.members.len();
        for member in &mut self.members {
            member.among(count).await;
        }
    }

    /// Everybody switches to an epoch that the lead makes now.
    async fn rotate(&mut self) {
        self.members[ANNA].ask(Command::Rotate).await;
        self.all_hold().await;
    }

    /// An attack is over: the call goes on, and the relay holds no key.
    async fn stands(&mut self, what: &str) {
        self.between.stops();
        self.rotate().await;
        print!("{what}: ");
        assert_clean(&self.relay, &self.keys);
    }
}

fn commit(message: &ToClient) -> Option<Committed> {
    if let ToClient::Commit(commit) = message { Some(commit.clone()) } else { None }
}

fn with_text(signed: &Signed, change: impl Fn(&str) -> String) -> Signed {
    Signed { text: RawValue::from_string(change(signed.text.get())).expect("JSON"), signature: signed.signature }
}

/// Lies about who somebody is: a key of another in a newcomer's card.
async fn another_key_in_a_card(call: &mut Call) {
    let other = encode_base64(Device::generate().expect("random bytes").ed25519().as_bytes());
    call.between.lies(move |_, mut message| {
        if let ToClient::Joined(event) = &mut message {
            let own = event.member.card.card_unverified().expect("a card").card.ed25519;
            let own = encode_base64(own.as_bytes());
            event.member.card = with_text(&event.member.card, |text| text.replace(&own, &other));
        }
        vec![message]
    });
    let dora = Member::join(&call.between.url, "Dora", &call.keys).await;
    let bad = |event: &SecurityEvent| matches!(event, SecurityEvent::BadKeys { .. } | SecurityEvent::BadCard { .. });
    call.members[ANNA].warned("another key", bad).await;
    dora.ask(Command::Leave).await;
    call.stands("another key in a card").await;
}

/// Commits that passed, that are kept back, and that come with an old grant.
async fn commits(call: &mut Call) {
    let old = call.between.heard(BEN, commit);
    call.rotate().await;
    let again = old.clone();
    call.between.lies_once(BEN, move |message| {
        let ToClient::Body(body) = message else { return None };
        Some(vec![Committed { at: body.at, ..again.clone() }.into()])
    });
    let passed = |event: &SecurityEvent| matches!(event, SecurityEvent::EpochOutOfOrder { .. });
    call.members[BEN].warned("a passed epoch", passed).await;
    call.stands("a passed commit again").await;

    call.between.lies_once(BEN, |message| commit(message).map(|_| vec![]));
    call.rotate().await;
    call.stands("a commit kept back").await;

    call.between.lies_once(BEN, move |message| {
        let new = commit(message)?;
        Some(vec![Committed { grant: old.grant.clone(), ..new }.into()])
    });
    call.members[ANNA].ask(Command::Rotate).await;
    let refused = |event: &SecurityEvent| matches!(event, SecurityEvent::CommitRefused { .. });
    call.members[BEN].warned("an old grant", refused).await;
    call.all_hold().await;
    call.stands("an old grant").await;
}

/// Signed words that were changed, and a lead that nobody's roster names.
async fn words(call: &mut Call) {
    call.between.lies_once(BEN, |message| {
        let ToClient::Body(mut body) = message.clone() else { return None };
        body.signed = with_text(&body.signed, |text| text.replacen("\"n\":", "\"n\":1", 1));
        Some(vec![body.into()])
    });
    let changed = |event: &SecurityEvent| matches!(event, SecurityEvent::BadBody { .. });
    call.members[BEN].warned("a changed body", changed).await;
    call.stands("a changed body").await;

    call.between.lies_once(BEN, |message| {
        let ToClient::Body(body) = message else { return None };
        Some(vec![Lead { at: body.at, term: Term(2), joined: Joined(3), genesis: false }.into()])
    });
    let wrong = |event: &SecurityEvent| matches!(event, SecurityEvent::WrongLead { .. });
    call.members[BEN].warned("a wrong lead", wrong).await;
    call.stands("a wrong lead").await;
}

/// A member says what others said, and what nobody would.
async fn cheats(call: &mut Call) {
    let bens = call.between.said(BEN, "body");
    call.between.say(CLEO, Message::text(bens));
    let forged = |event: &SecurityEvent| matches!(event, SecurityEvent::BadBody { .. });
    call.members[ANNA].warned("somebody else's body", forged).await;
    call.stands("somebody else's body").await;

    let cleos = call.between.said(CLEO, "ack");
    call.between.say(BEN, Message::text(cleos));
    let forged = |event: &SecurityEvent| matches!(event, SecurityEvent::BadAck { .. });
    call.members[ANNA].warned("somebody else's acknowledgement", forged).await;
    call.stands("somebody else's acknowledgement").await;

    let noise = Olm { to: Joined(1), message: OlmMessage(1, Blob(vec![3; 64])) };
    call.between.say(CLEO, Message::text(wire::encode(&ToRelay::from(noise))));
    call.stands("noise for an Olm message").await;

    let annas = call.between.said(ANNA, "commit");
    call.between.say(CLEO, Message::text(annas));
    call.stands("the lead's commit from a member").await;
}

/// What comes from nobody: a seat claimed with another's words, and what is no message.
async fn strangers(call: &mut Call, relay: &str) {
    let join = call.between.said(BEN, "join");
    let deep = "[".repeat(10_000);
    let large = "x".repeat(TOO_LARGE);
    for said in [Message::text(join), Message::text(deep), Message::text(large), Message::binary(vec![0; 100])] {
        let (mut socket, _) = connect_async(format!("{relay}/v1/ws")).await.expect("a connection");
        // The relay may have closed it before the last byte.
        let _ = socket.send(said).await;
        let closing = async { while let Some(Ok(_)) = socket.next().await {} };
        tokio::time::timeout(crate::PATIENCE, closing).await.expect("the relay closes it");
    }
    call.stands("strangers").await;
}

async fn a_flood(call: &mut Call) {
    let mut crowd = Vec::new();
    for number in 0..FLOOD {
        crowd.push(Member::join(&call.between.url, &format!("number {number}"), &call.keys).await);
    }
    for member in &crowd {
        member.ask(Command::Leave).await;
    }
    call.stands("a flood").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_stands_in_the_relay_s_memory_or_log_during_attacks_and_a_planted_one_is_found() {
    let mut call = Call::of_three().await;
    let relay = call.between.relay.clone();
    another_key_in_a_card(&mut call).await;
    commits(&mut call).await;
    words(&mut call).await;
    cheats(&mut call).await;
    strangers(&mut call, &relay).await;
    // A second device under the name of somebody who is in the call.
    call.join("Anna").await;
    call.stands("a ghost").await;
    a_flood(&mut call).await;

    let planted = call.keys.lock().expect("no panic").iter().find(|key| key.len() == 32).cloned().expect("a key");
    let message = OlmMessage(1, Blob(planted));
    let said = ToRelay::from(Olm { to: Joined(1), message: message.clone() });
    call.between.say(CLEO, Message::text(wire::encode(&said)));
    wait_for("the planted key", || {
        call.between.has_heard(ANNA, |heard| matches!(heard, ToClient::Olm(olm) if olm.message == message))
    });
    let (_, found) = search(call.relay.id(), &Runs::of(&call.keys));
    assert!(found > 0, "a key was planted and not found");
    println!("the planted key was found in {found} places");
}
