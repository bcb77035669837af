//! Random runs, `SEEDS` of them from `SEED` on, over all cores, until `FAILURES` of them have failed.

use conclave_tests::{
    random::SEEDED,
    run::{Failure, run_large, run_seed},
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

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Seeds of calls of two hundred: `LARGE` of them, one in the ordinary tests of the build that replays.
#[test]
fn a_call_of_two_hundred_holds_every_invariant() {
    let (count, members) = if SEEDED { (number("LARGE", 1), 200) } else { (number("LARGE", 1), 30) };
    let first = number("SEED", 1);
    let (mut changes, mut faults, mut epochs, mut time) = (0, 0, 0, 0.0);
    let began = Instant::now();
    for seed in first..first + count {
        let report = run_large(seed, members).unwrap_or_else(|failure| {
            panic!(
                "seed {} of a large call fails at {:.3} s: {}",
                failure.seed,
                failure.at.as_secs_f64(),
                failure.violation
            )
        });
        changes += report.changes;
        faults += report.faults;
        epochs += report.epochs;
        time += report.time.as_secs_f64();
    }
    let took = began.elapsed().as_secs_f64();
    println!(
        "{count} calls of {members}: {changes} joins and leaves, {faults} faults, {epochs} epochs, {time:.0} s of calls in \
         {took:.1} s"
    );
}

#[test]
fn every_invariant_holds_in_every_random_run() {
    let first = number("SEED", 1);
    let count = number("SEEDS", if std::env::var_os("SEED").is_some() { 1 } else { DEFAULT });
    let enough = usize::try_from(number("FAILURES", 1)).expect("a number of failures");
    let began = Instant::now();
    let next = AtomicU64::new(first);
    let (reports, failures) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count || failures.lock().expect("no panic").len() >= enough {
                break;
            }
            match run_seed(seed) {
                Ok(report) => reports.lock().expect("no panic").push(report),
                Err(failure) => failures.lock().expect("no panic").push(failure),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let reports = reports.into_inner().expect("no panic");
    let virtual_time: f64 = reports.iter().map(|report| report.time.as_secs_f64()).sum();
    let changes: u64 = reports.iter().map(|report| report.changes).sum();
    let faults: u64 = reports.iter().map(|report| report.faults).sum();
    let epochs: usize = reports.iter().map(|report| report.epochs).sum();
    let entries: u64 = reports.iter().map(|report| report.entries).sum();
    let took = began.elapsed().as_secs_f64();
    println!(
        "{} runs, {changes} joins and leaves, {faults} faults, {epochs} epochs, {entries} deliveries, {virtual_time:.0} s of calls in \
         {took:.1} s: {:.0} times real time",
        reports.len(),
        virtual_time / took
    );
    let failures: Vec<Failure> = failures.into_inner().expect("no panic");
    for Failure { seed, at, violation } in &failures {
        println!("seed {seed} fails at {:.3} s: {violation}", at.as_secs_f64());
    }
    let command = if SEEDED {
        ".ci/simulator random_run"
    } else {
        "cargo test -p conclave-tests --test sim random_run -- --nocapture"
    };
    assert!(failures.is_empty(), "replay: SEED={} {command}", failures.first().map_or(0, |failure| failure.seed));
}
