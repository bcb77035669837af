//! Random runs, `SEEDS` of them from `SEED` on, over all cores, until `FAILURES` of them have failed.

use conclave_tests::{
    random::SEEDED,
    run::{Failure, Report, run_large, run_seed},
};
use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// Runs where nobody says how many: about a minute on two cores in the build that replays, a second in the ordinary one.
const DEFAULT: u64 = if SEEDED { 500 } else { 10 };

/// After how many runs a long search says how far it is.
const SAID_EVERY: usize = 5_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Runs `count` seeds from the first on over all cores, until enough of them have failed.
fn over_all_cores(
    (first, count): (u64, u64),
    run: impl Fn(u64) -> Result<Report, Failure> + Sync,
) -> (Vec<Report>, Vec<Failure>) {
    let enough = usize::try_from(number("FAILURES", 1)).expect("a number of failures");
    let (next, began) = (AtomicU64::new(first), Instant::now());
    let (reports, failures) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count || failures.lock().expect("no panic").len() >= enough {
                break;
            }
            match run(seed) {
                Ok(report) => {
                    let mut reports = reports.lock().expect("no panic");
                    reports.push(report);
                    if reports.len().is_multiple_of(SAID_EVERY) {
                        println!("{} of {count}, {:.0} s", reports.len(), began.elapsed().as_secs_f64());
                    }
                }
                Err(failure) => {
                    println!("seed {} fails at {:.3} s: {}", failure.seed, failure.at.as_secs_f64(), failure.violation);
                    failures.lock().expect("no panic").push(failure);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    (reports.into_inner().expect("no panic"), failures.into_inner().expect("no panic"))
}

/// Says what was run, and fails when anything did; `replay` is the test's name in the command that replays it.
fn tell(what: &str, began: Instant, (reports, failures): &(Vec<Report>, Vec<Failure>), replay: &str) {
    let virtual_time: f64 = reports.iter().map(|report| report.time.as_secs_f64()).sum();
    let changes: u64 = reports.iter().map(|report| report.changes).sum();
    let faults: u64 = reports.iter().map(|report| report.faults).sum();
    let epochs: usize = reports.iter().map(|report| report.epochs).sum();
    let entries: u64 = reports.iter().map(|report| report.entries).sum();
    let took = began.elapsed().as_secs_f64();
    println!(
        "{} {what}, {changes} joins and leaves, {faults} faults, {epochs} epochs, {entries} deliveries, {virtual_time:.0} s of calls in \
         {took:.1} s: {:.0} times real time",
        reports.len(),
        virtual_time / took
    );
    let command = if SEEDED {
        format!(".ci/simulator {replay}")
    } else {
        format!("cargo test -p conclave-tests --test sim {replay} -- --nocapture")
    };
    assert!(failures.is_empty(), "replay: SEED={} {command}", failures.first().map_or(0, |failure| failure.seed));
}

/// Runs that found a fault once, by the numbers that they have in the build that replays.
const ONCE_FAILED: [u64; 31] = [
    67, 180, 345, 575, 591, 962, 1735, 5086, 5397, 35600, 40155, 42741, 44899, 46018, 47690, 49351, 57663, 62267,
    62654, 68638, 70141, 73608, 75246, 80380, 82294, 89841, 92303, 94979, 95424, 97177, 98527,
];

#[test]
fn what_was_found_once_stays_mended() {
    let began = Instant::now();
    let run = |at: u64| run_seed(ONCE_FAILED[usize::try_from(at).expect("a place in the list")]);
    let all = over_all_cores((0, ONCE_FAILED.len() as u64), run);
    tell("runs that failed once", began, &all, "random_run");
}

#[test]
fn every_invariant_holds_in_every_random_run() {
    let began = Instant::now();
    let count = number("SEEDS", if std::env::var_os("SEED").is_some() { 1 } else { DEFAULT });
    let all = over_all_cores((number("SEED", 1), count), run_seed);
    tell("runs", began, &all, "random_run");
}

/// Seeds of calls of two hundred: `LARGE` of them, one in the ordinary tests of the build that replays.
#[test]
fn two_hundred_members_agree_whatever_happens() {
    let members = if SEEDED { 200 } else { 30 };
    let began = Instant::now();
    let seeds = (number("SEED", 1), number("LARGE", 1));
    let all = over_all_cores(seeds, |seed| run_large(seed, members));
    tell(&format!("calls of {members}"), began, &all, "two_hundred");
}
