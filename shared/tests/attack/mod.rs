//! What all attacks have in common: the call that is attacked, what honest members must see of it, and what the relay
//! must never have seen.

pub mod eve;
pub mod insider;
pub mod listing;
pub mod scan;

use crate::plain::World;
use conclave_shared::{
    id::{Epoch, Fingerprint, Role, Transcript},
    session::{error::SecurityEvent, output::Event},
    time::Timestamp,
    wire::ToClient,
};
use std::{
    io::Write as _,
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Within this time an attack is harmless or told.
pub const SOON: u64 = 5_000;

/// How many attacks of a kind ran, and how many of them the protocol stood.
pub struct Suite {
    /// Its name, and the folder of its tests.
    pub name: &'static str,
    ended: AtomicUsize,
    stood: AtomicUsize,
}

impl Suite {
    pub const fn new(name: &'static str) -> Self {
        Self { name, ended: AtomicUsize::new(0), stood: AtomicUsize::new(0) }
    }

    /// A call of so many members, all of them devices of people, that is about to be attacked.
    pub fn call_of(&'static self, members: usize) -> Attack {
        let mut attack = Attack { world: World::new(), suite: self, ends: true };
        attack.joins(members);
        attack
    }

    fn end(&self, stood: bool) {
        let stood = self.stood.fetch_add(usize::from(stood), Ordering::SeqCst) + usize::from(stood);
        let ended = self.ended.fetch_add(1, Ordering::SeqCst) + 1;
        let all = listing::of(self.name).len();
        if ended == all {
            // Not by way of `println`, which a test that stood its ground keeps to itself.
            let line = format!("{stood} of {all} {}\n", self.name.replace('_', " "));
            std::io::stdout().write_all(line.as_bytes()).expect("somebody reads it");
        }
    }
}

/// A call under attack. When it ends, everything that its relay was sent and sent is searched for secrets.
pub struct Attack {
    world: World,
    suite: &'static Suite,
    /// It ends the attack, and not another call of the same attack.
    ends: bool,
}

impl Deref for Attack {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl DerefMut for Attack {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        let stood = !std::thread::panicking();
        let found = if stood { scan::of(&mut self.world) } else { vec![] };
        if self.ends || !stood {
            self.suite.end(stood && found.is_empty());
        }
        assert!(found.is_empty() || !stood, "the relay was shown {found:?}");
    }
}

impl Attack {
    /// So many members more, one after the other.
    pub fn joins(&mut self, members: usize) {
        for _ in 0..members {
            self.world.join(Role::Member);
            self.world.settle();
        }
        self.world.advance(3_000);
    }

    /// The attack goes on in another call.
    pub fn again(mut self) -> Self {
        self.ends = false;
        self
    }

    /// The relay does this to what it delivers, from now on.
    pub fn relay_does(&mut self, tamper: impl FnMut(usize, ToClient) -> Vec<ToClient> + 'static) {
        self.world.tamper = Box::new(tamper);
    }

    /// The relay is honest again.
    pub fn relay_stops(&mut self) {
        self.relay_does(|_, message| vec![message]);
    }

    /// The attack did nothing: all who are connected agree on epoch, roster and key, and go on sealing.
    pub fn assert_harmless(&mut self) -> Epoch {
        let epoch = self.world.assert_agreement();
        self.assert_sealing();
        epoch
    }

    /// Everybody who is connected seals, and everybody else opens it.
    pub fn assert_sealing(&mut self) {
        let live: Vec<_> = (0..self.world.members.len()).filter(|index| self.is_honest(*index)).collect();
        for from in &live {
            self.assert_heard(*from, &live);
        }
    }

    /// What one member seals, all these open.
    pub fn assert_heard(&mut self, from: usize, by: &[usize]) {
        use conclave_shared::frame::{clear_bytes::Codec, opener::Opened};
        let world = &mut self.world;
        let joined = world.members[from].session.joined().expect("it has a seat");
        let sealed = world.members[from].frames.seal(Codec::Opus, b"what is said here").expect("it seals");
        for to in by.iter().filter(|to| **to != from) {
            let known = world.members[*to].session.members();
            let seat = known.iter().find(|member| member.joined == joined).expect("it is in the roster").seat;
            let opened = world.members[*to].frames.open(world.now, seat, Codec::Opus, &sealed, 0);
            assert_eq!(opened, Opened::Frame(b"what is said here".to_vec()), "from {from} to {to}");
        }
    }

    fn is_honest(&self, index: usize) -> bool {
        !self.world.members[index].closed && !self.world.muted.contains(&index)
    }

    /// A member told of exactly this, and told it within a time of `since`.
    pub fn assert_told(&self, index: usize, since: Timestamp, within: u64, event: SecurityEvent) {
        let told = self.world.members[index].events.iter().zip(&self.world.members[index].times);
        let at = told.filter(|(told, at)| **told == Event::Security(event) && **at >= since).map(|(_, at)| *at).next();
        let alarms = self.world.members[index].alarms();
        let at = at.unwrap_or_else(|| panic!("member {index} told {alarms:?} and not {event:?}"));
        let late = at.as_millis() - since.as_millis();
        assert!(late <= within, "member {index} told {event:?} after {late} ms");
    }

    /// Nothing that a member was ever given leads to what another holds now.
    pub fn assert_shut_out(&mut self, outsider: usize, holder: usize) {
        let (fingerprint, transcript) = self.newest(holder);
        let out = &mut self.world.members[outsider].session;
        assert!(!out.could_derive(&transcript, &fingerprint), "member {outsider} holds a live key");
    }

    /// What a member's newest epoch is known by.
    pub fn newest(&self, index: usize) -> (Fingerprint, Transcript) {
        let member = &self.world.members[index];
        member.epochs[&member.session.epoch().expect("it holds an epoch")]
    }
}
