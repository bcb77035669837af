//! What a call costs at its size: `make bench` prints the table.
//!
//! A call of N members in which the lead, one member and whoever joins are real sessions that compute; the others have
//! joined with real devices, answered once, and are silent from then on. The relay's own work is not counted.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod call;
#[path = "../tests/plain/mod.rs"]
mod plain;

use call::{Call, LEAD, MEMBER};
use conclave_shared::{
    frame::{clear_bytes::Codec, opener::Opened},
    id::Seat,
};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use std::time::Duration;

const SIZES: [usize; 4] = [2, 10, 100, 1000];
/// The lead and the member whose work counts.
const AWAKE: usize = 2;
/// Bytes of a frame: between a frame of sound and one of video.
const FRAME: usize = 1000;

/// Somebody joins and leaves again: what the lead and the joiner, then the lead and the member computed for it.
fn cycle(call: &mut Call) -> (Duration, Duration) {
    let before = call.spent(&[LEAD]);
    let joiner = call.join();
    let join = call.spent(&[LEAD, joiner]) - before;

    let before = call.spent(&[LEAD, MEMBER]);
    let epoch = call.world.members[MEMBER].session.active();
    call.world.cut(joiner);
    call.settle();
    let leave = call.spent(&[LEAD, MEMBER]) - before;
    assert!(call.world.members[MEMBER].session.active() > epoch, "the member has switched");
    // Nothing of it is needed any more, and a bench makes many.
    call.world.members.truncate(joiner);
    (join, leave)
}

fn membership(criterion: &mut Criterion) {
    for size in SIZES {
        let mut call = Call::new(size, AWAKE);
        for (name, joins) in [("join", true), ("leave", false)] {
            let mut group = criterion.benchmark_group(name);
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter_custom(|times| {
                    let pick = |(join, leave): (Duration, Duration)| if joins { join } else { leave };
                    (0..times).map(|_| pick(cycle(&mut call))).sum()
                });
            });
            group.finish();
        }
    }
}

fn frames(criterion: &mut Criterion) {
    for size in SIZES {
        let mut call = Call::new(size, AWAKE);
        let (leads, members) = call.world.members.split_at_mut(MEMBER);
        let (lead, member) = (&mut leads[LEAD].frames, &mut members[0].frames);
        let frame = [7; FRAME];
        let mut group = criterion.benchmark_group("seal");
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| lead.seal(Codec::Vp8, &frame).expect("there is a key"));
        });
        group.finish();
        let mut group = criterion.benchmark_group("open");
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_batched(
                || lead.seal(Codec::Vp8, &frame).expect("there is a key"),
                |sealed| match member.open(call.world.now, Seat(0), Codec::Vp8, &sealed, 0) {
                    Opened::Frame(frame) => frame,
                    other => panic!("{other:?}"),
                },
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

fn fast() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! { name = keys; config = fast(); targets = membership, frames }
criterion_main!(keys);
