//! Connections that break, a relay that is started anew, a lead that hangs: the same people go on in the same seats.

use conclave_shared::{
    id::{Instance, Joined, Role, Seat, Term},
    wire::{
        At, AwayReason, Ping, Resume, ToClient, Token, Welcome,
        code::Code,
        signed::{Held, JoinProof},
    },
};
use std::time::{Duration, Instant};

use crate::{
    client::{Client, Relay, body, call, commit, leave, token},
    device::Device,
};

/// What a client keeps of its seat.
struct Seated {
    device: Device,
    proof: JoinProof,
    after: At,
}

impl Seated {
    fn new(seed: u8, welcome: &Welcome) -> Self {
        let own = welcome.members.iter().find(|member| member.joined == welcome.joined).expect("listed");
        Self { device: Device::new(seed), proof: own.proof.clone(), after: welcome.at }
    }

    fn message(&self, client: &Client) -> Resume {
        let join = self.device.join_id(&call(), &self.proof);
        self.device.resume(&call(), &client.nonce, join, self.after)
    }

    async fn resume(&self, relay: &Relay) -> Client {
        let mut client = relay.connect().await;
        client.send(&self.message(&client).into()).await;
        client
    }

    fn hear(&mut self, message: &ToClient) {
        if let ToClient::Body(body) = message {
            self.after = body.at;
        }
    }
}

#[tokio::test]
async fn whoever_resumes_has_lost_nothing_and_hears_nothing_twice() {
    let relay = Relay::start().await;
    let mut pair = relay.call().await;
    pair.lead.send(&commit((1, 0), &[1, 2]).into()).await;
    let (mut third, welcome) = relay.member(3).await;
    let mut seated = Seated::new(3, &welcome);
    let mut heard = Vec::new();
    let mut n = 0;
    for round in 0..5 {
        for _ in 0..40 {
            n += 1;
            pair.lead.send(&body(n, None).into()).await;
        }
        // It reads some of that, and then its network is gone with the rest.
        for _ in 0..7 * round {
            let message = third.until(|message| matches!(message, ToClient::Body(_))).await;
            seated.hear(&message);
            heard.push(message);
        }
        drop(third);
        for _ in 0..40 {
            n += 1;
            pair.lead.send(&body(n, None).into()).await;
        }
        pair.lead.send(&Ping { n: 0 }.into()).await;
        pair.lead.until(|message| matches!(message, ToClient::Pong(_))).await;
        third = seated.resume(&relay).await;
        assert!(matches!(third.recv().await, ToClient::Resumed(resumed) if resumed.received == 0));
    }
    let expected: Vec<_> = (1..=n).map(|n| body(n, None)).collect();
    while heard.len() < expected.len() {
        let message = third.until(|message| matches!(message, ToClient::Body(_))).await;
        heard.push(message);
    }
    let heard: Vec<_> = heard
        .into_iter()
        .map(|message| if let ToClient::Body(body) = message { body.signed } else { leave() })
        .collect();
    assert_eq!(heard, expected);
    pair.goes_on().await;
}

#[tokio::test]
async fn a_long_absence_in_a_busy_call_comes_back_whole() {
    let relay = Relay::with(|config| {
        config.limits.messages_per_second = 10_000;
        config.limits.message_burst = 10_000;
    })
    .await;
    let mut pair = relay.call().await;
    let (third, welcome) = relay.member(3).await;
    let seated = Seated::new(3, &welcome);
    drop(third);
    // Far more than waits for any socket that is merely slow.
    for n in 1..=2000 {
        pair.lead.send(&body(n, None).into()).await;
    }
    pair.lead.send(&Ping { n: 0 }.into()).await;
    pair.lead.until(|message| matches!(message, ToClient::Pong(_))).await;
    let mut third = seated.resume(&relay).await;
    for n in 1..=2000 {
        let message = third.until(|message| matches!(message, ToClient::Body(_))).await;
        assert!(matches!(message, ToClient::Body(got) if got.signed == body(n, None)), "{n}");
    }
    third.until(|message| matches!(message, ToClient::Back(_))).await;
}

#[tokio::test]
async fn what_a_client_said_is_counted_so_that_it_says_nothing_twice() {
    let relay = Relay::start().await;
    let mut pair = relay.call().await;
    let (mut third, welcome) = relay.member(3).await;
    let seated = Seated::new(3, &welcome);
    for n in 1..=5 {
        third.send(&body(n, Some(Joined(2))).into()).await;
    }
    third.text(r#"{"of the future":{}}"#.into()).await;
    third.send(&Ping { n: 0 }.into()).await;
    third.until(|message| matches!(message, ToClient::Pong(_))).await;
    let mut again = seated.resume(&relay).await;
    assert!(matches!(again.recv().await, ToClient::Resumed(resumed) if resumed.received == 7));
    assert_eq!(third.closed().await.1, Some(Code::Replaced.number()), "the connection that it gave up");
    for n in 1..=5 {
        let message = pair.member.until(|message| matches!(message, ToClient::Body(_))).await;
        assert!(matches!(message, ToClient::Body(got) if got.signed == body(n, Some(Joined(2)))), "{n}");
    }
    pair.goes_on().await;
}

#[tokio::test]
async fn a_seat_is_taken_again_by_its_own_device_only_and_of_a_call_that_there_is() {
    let relay = Relay::start().await;
    let mut pair = relay.call().await;
    let (mut third, welcome) = relay.member(3).await;
    let seated = Seated::new(3, &welcome);

    let mut thief = relay.connect().await;
    let join = seated.device.join_id(&call(), &seated.proof);
    thief.send(&Device::new(4).resume(&call(), &thief.nonce, join, seated.after).into()).await;
    assert_eq!(thief.refused().await, Code::LostSeat);

    let mut replayed = relay.connect().await;
    let mut once = relay.connect().await;
    let message = seated.message(&once);
    replayed.send(&message.clone().into()).await;
    assert_eq!(replayed.refused().await, Code::LostSeat, "signed for another connection");
    pair.goes_on().await;
    third.send(&leave().into()).await;
    for client in [&mut pair.lead, &mut pair.member] {
        client.until(|message| matches!(message, ToClient::Left(_))).await;
    }
    once.send(&message.into()).await;
    assert_eq!(once.refused().await, Code::LostSeat, "it said that it leaves");

    let mut nowhere = relay.connect().await;
    let mut message = seated.message(&nowhere);
    message.call = conclave_shared::id::CallName::new("another").expect("a name");
    nowhere.send(&message.into()).await;
    assert_eq!(nowhere.refused().await, Code::LostSeat);
    pair.goes_on().await;
}

#[tokio::test]
async fn who_sent_too_fast_comes_back_to_its_seat() {
    let relay = Relay::start().await;
    let mut pair = relay.call().await;
    let (mut third, welcome) = relay.member(3).await;
    let seated = Seated::new(3, &welcome);
    for _ in 0..200 {
        third.send(&Ping { n: 0 }.into()).await;
    }
    assert_eq!(third.closed().await.1, Some(Code::TooFast.number()));
    let mut third = seated.resume(&relay).await;
    let ToClient::Resumed(resumed) = third.recv().await else { panic!("not resumed") };
    assert!((50..150).contains(&resumed.received), "{resumed:?}");
    pair.goes_on().await;
}

#[tokio::test]
async fn a_seat_that_nobody_comes_back_to_is_given_up() {
    let relay = Relay::start().await;
    let mut pair = relay.call().await;
    let (third, welcome) = relay.member(3).await;
    let seated = Seated::new(3, &welcome);
    drop(third);
    let away = pair.lead.until(|message| matches!(message, ToClient::Away(_))).await;
    assert!(matches!(away, ToClient::Away(away) if away.reason == AwayReason::Dropped));
    let began = Instant::now();
    let mut beat = tokio::time::interval(Duration::from_secs(1));
    let left = loop {
        tokio::select! {
            _ = beat.tick() => pair.lead.send(&Ping { n: 0 }.into()).await,
            message = pair.member.recv() => if let ToClient::Left(left) = message { break left },
        }
    };
    assert_eq!(left.joined, Joined(3));
    let mut late = seated.resume(&relay).await;
    assert_eq!(late.refused().await, Code::LostSeat);
    assert!(began.elapsed() > Duration::from_secs(8) && began.elapsed() < Duration::from_secs(12));
}

#[tokio::test]
async fn a_call_that_everybody_dropped_out_of_ends_and_makes_room() {
    let relay = Relay::with(|config| config.limits.calls = 1).await;
    let (only, welcome) = relay.member(1).await;
    let mut seated = Seated::new(1, &welcome);
    drop(only);
    let another = conclave_shared::id::CallName::new("another").expect("a name");
    tokio::time::sleep(Duration::from_secs(8)).await;
    let mut back = seated.resume(&relay).await;
    assert!(matches!(back.recv().await, ToClient::Resumed(_)), "as long as its time runs");
    let lead = back.until(|message| matches!(message, ToClient::Lead(lead) if lead.term == Term(2))).await;
    if let ToClient::Lead(lead) = lead {
        seated.after = lead.at;
    }
    drop(back);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(seated.resume(&relay).await.refused().await, Code::LostSeat);
    relay.joined(&another, 2).await;
}

#[tokio::test]
async fn a_lead_that_hangs_is_followed_by_the_next() {
    let relay = Relay::start().await;
    let mut pair = relay.call().await;
    pair.lead.send(&commit((1, 0), &[1, 2]).into()).await;
    let began = Instant::now();
    let lead = pair.member.until(|message| matches!(message, ToClient::Lead(_))).await;
    assert!(matches!(lead, ToClient::Lead(lead) if (lead.term, lead.joined) == (Term(2), Joined(2))));
    let took = began.elapsed();
    assert!(took > Duration::from_millis(2500) && took < Duration::from_secs(5), "{took:?}");
    pair.lead.send(&Ping { n: 0 }.into()).await;
    pair.member.until(|message| matches!(message, ToClient::Back(back) if back.joined == Joined(1))).await;
    pair.goes_on().await;
}

/// Brings a seat back to a relay that knows nothing.
async fn restore(relay: &Relay, seated: &Seated, held: Held) -> Client {
    let mut client = relay.connect().await;
    let with = (seated.proof.clone(), token(&seated.device));
    let restore = seated.device.restore(&call(), &client.nonce, with, held);
    client.send(&Box::new(restore).into()).await;
    client
}

#[tokio::test]
async fn a_relay_that_is_started_anew_is_told_by_its_members_who_they_are() {
    let relay = Relay::start().await;
    let mut pair = relay.call().await;
    pair.lead.send(&commit((1, 0), &[1, 2]).into()).await;
    let (_third, welcome) = relay.member(3).await;
    let of = |seed: u8| {
        let member = welcome.members.iter().find(|member| member.joined.0 == u64::from(seed)).expect("listed");
        Seated { device: Device::new(seed), proof: member.proof.clone(), after: welcome.at }
    };
    let held = |joined: u64| Held {
        instance: Instance::new([1; 16]),
        term: Term(1),
        lead: Joined(1),
        seat: Seat(u16::try_from(joined - 1).expect("small")),
        joined: Joined(joined),
        highest: Joined(2),
        role: Role::Member,
    };
    let relay = relay.restart().await;

    let mut gone = of(2).resume(&relay).await;
    assert_eq!(gone.refused().await, Code::LostSeat, "numbers of another relay");
    let mut forged = relay.connect().await;
    let stranger = Token(token(&Device::new(4)).0);
    let restore_with = of(2).device.restore(&call(), &forged.nonce, (of(2).proof, stranger), held(2));
    forged.send(&Box::new(restore_with).into()).await;
    assert_eq!(forged.refused().await, Code::UserMismatch, "who may be in the call is seen anew");

    let mut member = restore(&relay, &of(2), held(2)).await;
    let ToClient::Welcome(back) = member.recv().await else { panic!("no welcome") };
    assert_eq!((back.seat, back.joined, back.lead), (Seat(1), Joined(2), None));
    assert_ne!(back.at.0, welcome.at.0, "another relay");
    let mut early = relay.connect().await;
    let newcomer = Device::new(5);
    early.send(&newcomer.join(&call(), early.nonce, token(&newcomer)).into()).await;
    assert_eq!(early.refused().await, Code::LostSeat, "in a moment");
    let mut lead = restore(&relay, &of(1), held(1)).await;
    let named = member.until(|message| matches!(message, ToClient::Lead(_))).await;
    assert!(
        matches!(named, ToClient::Lead(lead) if (lead.term, lead.joined, lead.genesis) == (Term(1), Joined(1), false))
    );
    lead.send(&commit((1, 17), &[]).into()).await;
    member.until(|message| matches!(message, ToClient::Commit(_))).await;
    let (_newcomer, welcome) = relay.member(5).await;
    let next = Joined(1003);
    assert_eq!(
        (welcome.joined, welcome.lead),
        (next, Some((Term(1), Joined(1)))),
        "with room for those not committed yet"
    );
    let mut pair = crate::client::Pair::new(lead, member);
    pair.goes_on().await;
}
