//! The critical path of a leave and of a change of lead, beside what is aimed at: `make bench` prints both tables.
//!
//! Computing time of one thread, medians. A leave counts the lead from the word that somebody left to its written upload,
//! and one member from the text that comes to the installed key; everything else (the lead's own installing,
//! acknowledgements, activation) stands in nobody's way. A change of lead counts the new lead from the relay's word to its
//! written upload, with an Olm session opened to every member on the way.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::print_stdout,
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
    identity::device::Device,
    wire::{self, ToClient, signed::verify},
};
use cpu_time::ThreadTime;
use plain::World;
use std::{hint::black_box, time::Duration};
use vodozemac::{Curve25519PublicKey, Curve25519SecretKey};

/// Members, leaves that are measured, and the aims: microseconds of a leave, milliseconds of a change of lead.
const SIZES: [(usize, usize, f64, f64); 3] = [(10, 101, 100.0, 2.5), (100, 51, 230.0, 25.0), (1000, 15, 1550.0, 250.0)];
/// The lead and those who lead after it.
const AWAKE: usize = 6;
/// Longest message that is read.
const LIMIT: usize = 1 << 24;

/// One change: what whoever leads computed for it, then what one member did.
#[derive(Clone, Copy)]
struct Change {
    lead: Duration,
    member: Duration,
}

impl Change {
    fn critical(self) -> Duration {
        self.lead + self.member
    }
}

/// What the device `who` computed until its upload was written down, and to read the messages called `read`.
fn until_upload(world: &World, who: usize, read: &str) -> Duration {
    let end = world.costs.iter().position(|cost| cost.who == who && cost.what == ("send", "commit"));
    let costs = &world.costs[..=end.expect("it commits")];
    let computed: Duration = costs.iter().filter(|cost| cost.who == who).map(|cost| cost.spent).sum();
    computed + reading(world, who, read)
}

/// What reading the messages of a name takes.
fn reading(world: &World, who: usize, name: &str) -> Duration {
    let messages = world.wire.iter().filter(|(to, message)| *to == who && message.name() == name);
    let times = messages.map(|(_, message)| {
        let text = wire::encode(message);
        let began = ThreadTime::now();
        let message = wire::decode::<ToClient>(&text, LIMIT);
        let spent = began.elapsed();
        assert!(message.is_ok(), "the relay's own message");
        spent
    });
    times.sum()
}

/// What the first commit that comes costs a member, the reading of it included.
fn following(world: &World, who: usize) -> Duration {
    let cost = world.costs.iter().find(|cost| cost.who == who && cost.what == ("receive", "commit"));
    cost.expect("a commit comes").spent + reading(world, who, "commit")
}

/// Two leave, one right after the other: the first finds ready grants, the second does not.
fn leaves(call: &mut Call) -> [Change; 2] {
    let first = call.join();
    let second = call.join();
    call.hush();
    call.settle();
    let both = [first, second].map(|leaver| {
        let before = call.world.members[MEMBER].session.epoch();
        call.world.costs.clear();
        call.world.wire.clear();
        call.world.cut(leaver);
        call.world.settle();
        assert!(call.world.members[MEMBER].session.epoch() > before, "the member has the key");
        Change { lead: until_upload(&call.world, LEAD, "left"), member: following(&call.world, MEMBER) }
    });
    call.settle();
    call.world.members.truncate(first);
    both
}

/// The lead is gone and `next` leads.
fn lead_change(call: &mut Call, next: usize) -> Change {
    call.world.cut(next - 1);
    call.world.advance(1);
    assert!(call.world.members[next].session.is_lead(), "succession");
    let witness = next + 1;
    let change = Change { lead: until_upload(&call.world, next, "claimed"), member: following(&call.world, witness) };
    call.world.advance(100);
    assert_eq!(call.world.members[witness].session.active(), call.world.members[next].session.active());
    call.world.costs.clear();
    call.world.wire.clear();
    change
}

fn median(changes: &[Change], of: impl Fn(Change) -> Duration) -> f64 {
    let mut times: Vec<_> = changes.iter().map(|change| of(*change)).collect();
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

/// What no design of this kind goes without: the lead signs once, the member verifies once and agrees on one key over Curve25519.
fn least() -> f64 {
    let device = Device::generate().expect("a device");
    let (own, other) = (Curve25519SecretKey::new(), Curve25519PublicKey::from(&Curve25519SecretKey::new()));
    let mut times: Vec<_> = (0..301_u32)
        .map(|n| {
            let (text, began) = (n.to_be_bytes(), ThreadTime::now());
            let signature = device.sign(&text);
            verify(&device.ed25519(), &text, &signature).expect("its own");
            black_box(own.diffie_hellman(&other));
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn main() {
    println!("\nA leave: microseconds until a member has the new key, JSON and base64 included (medians)");
    println!(
        "(one signature made, one verified and one Curve25519 agreement alone: {:.0} microseconds here)\n",
        least()
    );
    println!("members                 lead    member  critical path       aim     ratio");
    let mut changes = Vec::new();
    for (size, times, aim, cold_aim) in SIZES {
        let mut call = Call::new(size, AWAKE);
        let pairs: Vec<_> = (0..times).map(|_| leaves(&mut call)).collect();
        for (index, name) in ["ready grants", "none ready"].into_iter().enumerate() {
            let changes: Vec<_> = pairs.iter().map(|pair| pair[index]).collect();
            let [lead, member] = [median(&changes, |change| change.lead), median(&changes, |change| change.member)];
            let critical = median(&changes, Change::critical);
            let aimed = if index == 0 { format!("{aim:>10.0}{:>10.2}", critical / aim) } else { String::new() };
            println!("{size:>7} {name:<13}{lead:>9.0}{member:>10.0}{critical:>15.0}{aimed}");
        }
        let leads: Vec<_> = (1..AWAKE - 1).map(|next| lead_change(&mut call, next)).collect();
        changes.push((size, leads, cold_aim));
    }
    println!("\nA change of lead, cold: milliseconds until a member has the new key (medians)\n");
    println!("members             new lead    member  critical path       aim     ratio");
    for (size, leads, aim) in changes {
        let millis = |of: fn(Change) -> Duration| median(&leads, of) / 1000.0;
        let [lead, member] = [millis(|change| change.lead), millis(|change| change.member)];
        let critical = millis(Change::critical);
        println!("{size:>7}{:>22.2}{member:>10.2}{critical:>15.2}{aim:>10.1}{:>10.2}", lead, lead / aim);
    }
}
