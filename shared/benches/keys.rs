//! What a call costs at its size: `make bench` prints the table.
//!
//! A call of N members in which the lead, one member and whoever joins are real sessions that compute; the others have
//! joined with real devices and are silent from then on. The relay's own work is not counted.
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

#[path = "../tests/plain/mod.rs"]
mod plain;

use conclave_shared::{
    frame::{clear_bytes::Codec, opener::Opened},
    id::{Role, Seat},
    limits,
    session::config::Config,
    wire::ToClient,
};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use plain::World;
use std::{cell::RefCell, rc::Rc, time::Duration};

const SIZES: [usize; 4] = [2, 10, 100, 1000];
/// The lead, and the member whose work counts.
const LEAD: usize = 0;
const MEMBER: usize = 1;
/// Bytes of a frame: between a frame of sound and one of video.
const FRAME: usize = 1000;
/// Longer than any bench: nothing is done because time went by.
const NEVER: Duration = Duration::from_secs(1 << 24);
/// A change of membership is over after this many milliseconds of the call's own time.
const CHANGE: u64 = 100;

/// A call of `size` members (one less where the next would not be let in), of whom those after the first two fell silent.
struct Call {
    world: World,
    /// The one index behind those two that hears the relay.
    heard: Rc<RefCell<Option<usize>>>,
}

impl Call {
    fn new(size: usize) -> Self {
        let mut world = World::new();
        let step = Duration::from_millis(10);
        world.config = Config {
            activate_session: step,
            activate_ratchet: step,
            switch_margin: step,
            retire: step,
            rotation: NEVER,
            presence: NEVER,
            claim: NEVER,
            beat: NEVER,
            alive: NEVER,
            hidden: NEVER,
            leave: NEVER,
            lease_warning: NEVER,
            lease: NEVER,
            behind: NEVER,
            absent: NEVER,
        };
        let heard = Rc::new(RefCell::new(None));
        let hears = Rc::clone(&heard);
        world.tamper = Box::new(move |index, message| {
            let listens = index <= MEMBER || *hears.borrow() == Some(index);
            if listens || matches!(message, ToClient::Challenge(_)) { vec![message] } else { vec![] }
        });
        let mut call = Self { world, heard };
        let size = size.min(limits::MEMBERS - 1);
        for _ in 0..size {
            call.world.join(Role::Member);
            call.settle();
        }
        assert_eq!(call.world.members[LEAD].session.members().len(), size, "all are in");
        call
    }

    fn settle(&mut self) {
        self.world.advance(CHANGE);
        self.world.wire.clear();
        for member in &mut self.world.members {
            member.events.clear();
            member.epochs.clear();
        }
    }

    fn spent(&self, who: &[usize]) -> Duration {
        who.iter().map(|index| self.world.members[*index].spent).sum()
    }

    /// Somebody joins and leaves again: what the lead and the joiner, then the lead and the member computed for it.
    fn cycle(&mut self) -> (Duration, Duration) {
        let before = self.spent(&[LEAD]);
        let joiner = self.world.join(Role::Member);
        *self.heard.borrow_mut() = Some(joiner);
        self.settle();
        let join = self.spent(&[LEAD, joiner]) - before;
        assert!(self.world.members[joiner].session.active().is_some(), "the joiner has the key");

        let before = self.spent(&[LEAD, MEMBER]);
        let epoch = self.world.members[MEMBER].session.active();
        self.world.cut(joiner);
        self.settle();
        let leave = self.spent(&[LEAD, MEMBER]) - before;
        assert!(self.world.members[MEMBER].session.active() > epoch, "the member has switched");
        // Nothing of it is needed any more, and a bench makes many.
        self.world.members.truncate(joiner);
        (join, leave)
    }
}

fn membership(criterion: &mut Criterion) {
    for size in SIZES {
        let mut call = Call::new(size);
        for (name, joins) in [("join", true), ("leave", false)] {
            let mut group = criterion.benchmark_group(name);
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter_custom(|times| {
                    let pick = |(join, leave): (Duration, Duration)| if joins { join } else { leave };
                    (0..times).map(|_| pick(call.cycle())).sum()
                });
            });
            group.finish();
        }
    }
}

fn frames(criterion: &mut Criterion) {
    for size in SIZES {
        let mut call = Call::new(size);
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
