//! Every bug that can be planted is found by random runs: `BUG_SEEDS` of them at most for each (200), the first to find it
//! is printed. `BUG=name` tries one alone.

use conclave_shared::planted::{Bug, plant};
use conclave_tests::run::{Failure, run_seed, run_seed_after};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Seeds for each bug where nobody says how many.
const SEEDS: u64 = 200;

fn seeds() -> u64 {
    std::env::var("BUG_SEEDS").map_or(SEEDS, |text| text.parse().expect("BUG_SEEDS is a number"))
}

/// Seeds whose run is clean with nothing planted, or is not.
type Clean = Mutex<BTreeMap<u64, bool>>;

/// The first run that shows a bug, and is clean without it.
fn find(bug: Bug, clean: &Clean) -> Option<Failure> {
    let mut failures = (1..=seeds()).filter_map(|seed| run_seed_after(seed, move || plant(Some(bug))).err());
    failures.find(|failure| {
        let known = clean.lock().expect("no panic").get(&failure.seed).copied();
        known.unwrap_or_else(|| {
            let is_clean = run_seed(failure.seed).is_ok();
            clean.lock().expect("no panic").insert(failure.seed, is_clean);
            is_clean
        })
    })
}

#[test]
fn every_planted_bug_is_found() {
    let only = std::env::var("BUG").ok();
    let chosen = |bug: &&Bug| only.as_ref().is_none_or(|only| *only == format!("{bug:?}"));
    let bugs: Vec<_> = Bug::ALL.iter().filter(chosen).copied().collect();
    assert!(!bugs.is_empty(), "BUG is none of {:?}", Bug::ALL);
    let (next, missed, clean) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Clean::default());
    let work = || {
        while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Some(Failure { seed, at, violation }) = find(*bug, &clean) else {
                println!("{bug:?}: not found in {} seeds", seeds());
                missed.lock().expect("no panic").push(*bug);
                continue;
            };
            println!("{:<20} seed {seed:<5} at {:>8.3} s  {violation}", format!("{bug:?}"), at.as_secs_f64());
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let missed = missed.into_inner().expect("no panic");
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn a_build_that_can_plant_bugs_has_none_of_its_own_accord() {
    let at_work = Bug::ALL.iter().filter(|bug| conclave_shared::planted::is(**bug));
    assert_eq!(at_work.count(), 0);
    for seed in 1..=3 {
        assert_eq!(run_seed(seed).err(), None);
    }
}
