//! One member's network goes away, for a moment and for longer.

use std::time::{Duration, Instant};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};

use super::{
    Place, form,
    member::{Member, agree, assert_calm, wait_told},
};

/// What lies between a member and the relay.
struct Network {
    url: String,
    whole: watch::Sender<bool>,
}

impl Network {
    async fn to(relay: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("ws://{}", listener.local_addr().expect("an address"));
        let relay = relay.trim_start_matches("ws://").to_owned();
        let (whole, is_whole) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (mut whole, relay) = (is_whole.clone(), relay.clone());
                tokio::spawn(async move {
                    if !*whole.borrow() {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect(relay).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = whole.wait_for(|whole| !whole) => {}
                    }
                });
            }
        });
        Self { url, whole }
    }
}

async fn call(place: &Place, network: &Network) -> [Member; 3] {
    let anna = Member::join(&network.url, "Anna").await;
    let ben = Member::join(&place.url, "Ben").await;
    [anna, ben, Member::join(&place.url, "Clara").await]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_away_for_five_seconds_costs_no_message_and_no_key() {
    let place = Place::new();
    let _bot = place.first_bot();
    let network = Network::to(&place.url).await;
    let members = call(&place, &network).await;
    agree(&members, 4);
    let keys = || members.iter().map(|member| member.told().key()).collect::<Vec<_>>();
    let before = keys();
    network.whole.send_replace(false);
    let gone = Instant::now();
    for number in 0..10 {
        for (member, name) in members.iter().zip(["Anna", "Ben"]) {
            member.client.send(None, format!("{name} {number}").into_bytes()).await.expect("it runs");
        }
        sleep(Duration::from_millis(480)).await;
    }
    sleep(Duration::from_secs(5).saturating_sub(gone.elapsed())).await;
    network.whole.send_replace(true);
    let whole = Instant::now();
    wait_told("Anna", &members, || !members[0].told().ups.is_empty());
    let back = whole.elapsed();
    let from = |name: &str| (0..10).map(|number| format!("{name} {number}")).collect::<Vec<_>>();
    let of = |at: usize, name: &str| -> Vec<String> {
        members[at].told().messages.iter().filter(|text| text.starts_with(name)).cloned().collect()
    };
    wait_told("the last messages", &members, || {
        of(0, "Ben").len() >= 10 && of(1, "Anna").len() >= 10 && of(2, "Anna").len() >= 10
    });
    // Whatever came twice has come by now.
    sleep(Duration::from_millis(500)).await;
    for (at, name) in [(0, "Ben"), (1, "Anna"), (2, "Anna"), (2, "Ben")] {
        assert_eq!(of(at, name), from(name), "every message once and in order");
    }
    assert_eq!(keys(), before, "no rotation");
    assert!(members.iter().all(|member| member.told().losses() == 0));
    assert_calm(&members);
    println!("network away for 5 s: back in the seat after {} ms, same key, 40 of 40 messages once", back.as_millis());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_away_for_longer_ends_in_a_fresh_join_by_itself() {
    let away = Duration::from_secs(form(14, 30));
    let place = Place::new();
    let _bot = place.first_bot();
    let network = Network::to(&place.url).await;
    let members = call(&place, &network).await;
    agree(&members, 4);
    let before = members[0].told().me;
    network.whole.send_replace(false);
    let gone = Instant::now();
    agree(&members[1..], 3);
    let without = gone.elapsed();
    sleep(away.saturating_sub(gone.elapsed())).await;
    network.whole.send_replace(true);
    let whole = Instant::now();
    agree(&members, 4);
    let back = whole.elapsed();
    assert_ne!(members[0].told().me, before, "it joined afresh");
    assert_eq!(members[0].told().rejoins, 1);
    assert_calm(&members);
    println!(
        "network away for {} s: the others went on without it after {} ms (the seat is kept for 10 s), it was in again \
         by itself {} ms after the network was there",
        away.as_secs(),
        without.as_millis(),
        back.as_millis()
    );
    assert!(back < Duration::from_secs(30), "{back:?}");
}
