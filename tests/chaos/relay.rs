//! The relay is killed while people join, and stands still.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::time::sleep;

use conclave_tests::programs::{Program, wait_often};

use super::{
    ENVIRONMENT, Place, form,
    member::{Member, agree, assert_calm, frames_around},
};

/// How long the relay is gone.
const GONE: Duration = Duration::from_secs(1);
/// Between two joins.
const PACE: Duration = Duration::from_millis(25);

/// People who join one after the other, relay or no relay.
fn joining(url: &str, count: usize) -> (Arc<Mutex<Vec<Member>>>, tokio::task::JoinHandle<()>) {
    let members = Arc::new(Mutex::new(Vec::new()));
    let (url, into) = (url.to_owned(), members.clone());
    let task = tokio::spawn(async move {
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..count {
            let url = url.clone();
            waiting.spawn(async move { Member::join(&url, &format!("member {number}")).await });
            sleep(PACE).await;
            while let Some(Ok(member)) = waiting.try_join_next() {
                into.lock().expect("not poisoned").push(member);
            }
        }
        while let Some(Ok(member)) = waiting.join_next().await {
            into.lock().expect("not poisoned").push(member);
        }
    });
    (members, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_killed_while_people_join_costs_nobody_their_key() {
    let (joins, kills) = form((30, 1), (200, 3));
    let mut place = Place::new();
    let bot = place.first_bot();
    let (members, joined) = joining(&place.url, joins);
    let mut slowest = Duration::ZERO;
    let mut kept = 0;
    for kill in 1..=kills {
        let so_many = joins * kill / (kills + 1);
        let with_a_key = || {
            let members = members.lock().expect("not poisoned");
            members.iter().filter(|member| member.told().key().is_some()).count()
        };
        wait_often("members", || with_a_key() >= so_many);
        place.relay.crash();
        let killed = Instant::now();
        sleep(Duration::from_millis(100)).await;
        let held: Vec<_> = {
            let members = members.lock().expect("not poisoned");
            let held = |(at, member): (usize, &Member)| {
                let told = member.told();
                Some((at, told.key()?, told.rejoins))
            };
            members.iter().enumerate().filter_map(held).collect()
        };
        assert!(!held.is_empty(), "somebody had a key");
        sleep(GONE).await;
        for (at, key, _) in &held {
            let members = members.lock().expect("not poisoned");
            let told = members[*at].told();
            // Whoever holds an epoch that nobody could activate any more switches by itself.
            let same = told.key() == Some(*key) || told.key().is_some_and(|(epoch, _)| epoch > key.0);
            assert!(same, "a relay that is away takes no key: {:?} after {key:?}", told.key());
        }
        place.relay = Program::relay_again(&place.url, ENVIRONMENT, &place.file(&format!("relay {kill}")));
        let listens = Instant::now();
        let returned = |at: usize| {
            let members = members.lock().expect("not poisoned");
            let told = members[at].told();
            told.ups.last().copied().filter(|up| *up >= killed)
        };
        let lost = || {
            let members = members.lock().expect("not poisoned");
            held.iter().filter(|(at, _, rejoins)| members[*at].told().rejoins > *rejoins).count()
        };
        wait_often("everybody", || lost() > 0 || held.iter().all(|(at, ..)| returned(*at).is_some()));
        if lost() > 0 {
            let members = members.lock().expect("not poisoned");
            members.iter().for_each(|member| println!("{}", member.told().stands()));
        }
        assert_eq!(lost(), 0, "of {} who had a key so many lost it", held.len());
        let last = held.iter().filter_map(|(at, ..)| returned(*at)).max().expect("somebody");
        slowest = slowest.max(last.saturating_duration_since(listens));
        kept += held.len();
    }
    joined.await.expect("all join");
    let members = std::mem::take(&mut *members.lock().expect("not poisoned"));
    agree(&members, joins + 1);
    // A commit that the relay passed on to some when it was killed leaves a gap at the others, which they name.
    let gaps: usize = members.iter().map(|member| member.told().security.len()).sum();
    assert!(members.iter().all(|member| member.told().ended.is_none()));
    drop(bot);
    println!(
        "relay killed {kills}× during {joins} joins: {kept} of {kept} kept key and seat, all back {} ms after it \
         listened again (aim < 2000), all {joins} joined, {gaps} gaps named",
        slowest.as_millis()
    );
    assert!(slowest < Duration::from_secs(20), "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_stands_still_stops_no_frame_and_deposes_nobody() {
    let still = Duration::from_secs(form(8, 30));
    let place = Place::new();
    let _bot = place.first_bot();
    let mut members = Vec::new();
    for name in ["Anna", "Ben", "Clara", "Dora"] {
        members.push(Member::join(&place.url, name).await);
    }
    agree(&members, 5);
    let before: Vec<_> = members.iter().map(|member| member.told().standing()).collect();
    place.relay.stand_still(true);
    let (began, mut all, mut failed) = (Instant::now(), 0, 0);
    let mut goes_on = false;
    // Some seconds more, for what a relay might conclude from a silence that was its own.
    while began.elapsed() < still + Duration::from_secs(6) {
        if began.elapsed() >= still && !std::mem::replace(&mut goes_on, true) {
            place.relay.stand_still(false);
        }
        let (more, wrong) = frames_around(&members);
        all += more;
        failed += wrong;
        sleep(Duration::from_millis(50)).await;
    }
    let after: Vec<_> = members.iter().map(|member| member.told().standing()).collect();
    let left: usize = members.iter().map(|member| member.told().losses()).sum();
    println!(
        "relay stood still for {} s: {failed} of {all} frames failed, {left} left or removed, lead and key {}",
        still.as_secs(),
        if before == after { "the same" } else { "CHANGED" }
    );
    assert_eq!((failed, left), (0, 0));
    assert_eq!(before, after, "nobody was deposed and no key changed");
    assert_calm(&members);
    // And the call works: somebody joins.
    members.push(Member::join(&place.url, "Emil").await);
    agree(&members, 6);
}
