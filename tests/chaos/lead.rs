//! The lead is killed, and stands still.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::time::sleep;

use conclave_shared::{
    crypto::random,
    id::{Epoch, Role},
};
use conclave_tests::programs::{Program, wait_for};

use super::{
    Place, form,
    member::{Member, agree, assert_calm, wait_told},
};

/// Members that watch.
const MEMBERS: [&str; 4] = ["Anna", "Ben", "Clara", "Dora"];

async fn joined(place: &Place) -> Vec<Member> {
    let mut members = Vec::new();
    for name in MEMBERS {
        members.push(Member::join(&place.url, name).await);
    }
    members
}

/// The user name of whoever made the newest epoch.
fn leading(member: &Member) -> Option<String> {
    let told = member.told();
    let info = told.epochs.get(&told.active?)?;
    info.members.iter().find(|member| member.joined == info.lead).map(|lead| lead.user.clone())
}

fn bots_in(member: &Member) -> usize {
    member.told().roster().iter().filter(|member| member.role == Role::LeadBot).count()
}

/// All seal under an epoch of another reign.
fn passed(members: &[Member], before: Epoch) -> bool {
    members.iter().all(|member| member.told().active.is_some_and(|epoch| epoch.term() > before.term()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lead_that_is_killed_at_any_moment_is_followed() {
    let kills = form(3, 20);
    let place = Place::new();
    let mut bots: BTreeMap<String, Program> = BTreeMap::new();
    let start = |bots: &mut BTreeMap<String, Program>, number: usize| {
        let name = format!("bot {number}");
        bots.insert(name.clone(), place.bot(&name));
    };
    bots.insert("bot".to_owned(), place.first_bot());
    let members = joined(&place).await;
    start(&mut bots, 0);
    let mut times = Vec::new();
    for number in 0..kills {
        // Whoever follows must be a process as well, to be killed the next time; the third one may be just joining.
        wait_for("a bot that stands by", || {
            bots_in(&members[0]) >= 2 && leading(&members[0]).is_some_and(|lead| bots.contains_key(&lead))
        });
        start(&mut bots, number + 1);
        let draw = random::bytes().map_or(0, u64::from_be_bytes);
        sleep(Duration::from_millis(draw % 600)).await;
        let before = members[0].told().active.expect("a key");
        let lead = leading(&members[0]).expect("a lead");
        bots.remove(&lead).expect("a process leads").crash();
        let killed = Instant::now();
        wait_told("the next lead's key at all", &members, || passed(&members, before));
        times.push(killed.elapsed());
    }
    assert_calm(&members);
    let slowest = times.iter().max().expect("a kill").as_millis();
    times.sort();
    println!(
        "lead killed {kills}×: {kills} times the next one's epoch was active at all, p50 {} ms, slowest {slowest} ms after \
         the kill (aim < 2000)",
        times[times.len() / 2].as_millis()
    );
    assert!(slowest < 20_000, "{slowest} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lead_that_stands_still_is_followed_and_comes_back_as_a_member() {
    let still = Duration::from_secs(form(8, 30));
    let place = Place::new();
    let bot = place.first_bot();
    let members = joined(&place).await;
    agree(&members, 5);
    let before = members[0].told().active.expect("a key");
    let said = bot.printed().len();
    bot.stand_still(true);
    let stopped = Instant::now();
    wait_told("another lead's key at all", &members, || passed(&members, before));
    let took = stopped.elapsed();
    sleep(still.saturating_sub(took)).await;
    bot.stand_still(false);
    let goes_on = Instant::now();
    // It holds a key of the new reign, which everybody else seals under, and is in everybody's roster.
    let shares = || {
        let told = members[0].told();
        let Some((epoch, fingerprint)) = told.key() else { return false };
        let printed = bot.printed();
        let later = printed.get(said..).unwrap_or_default();
        let print = serde_json::to_string(&fingerprint).expect("text");
        let active = format!("\"active\":[{},{}]", epoch.term().0, epoch.count());
        later.contains(&print) && later.contains(&active) && epoch.term() > before.term()
    };
    wait_told("the one that stood still", &members, shares);
    let back = goes_on.elapsed();
    agree(&members, 5);
    println!(
        "lead stood still for {} s: another's epoch active at all after {} ms (aim < 5000), it was back as a member {} ms \
         after it went on",
        still.as_secs(),
        took.as_millis(),
        back.as_millis()
    );
    assert!(took < Duration::from_secs(20), "{took:?}");
    for member in &members {
        let told = member.told();
        assert_eq!((told.rejoins, &told.ended), (0, &None));
    }
}
