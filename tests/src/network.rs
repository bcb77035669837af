//! A network in virtual time: every link has its own seeded latency, a connection keeps its order, two connections do
//! not keep theirs with each other. Nothing is lost on a connection that stands; media links lose nothing either, so
//! that every frame that does not open is somebody's fault.

use conclave_shared::time::Timestamp;
use std::{collections::BTreeMap, time::Duration};

use crate::{PeerId, random::Dice};

/// How slow things are.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// The fastest link, in milliseconds.
    pub least: u64,
    /// Below what the slowest one stays, in milliseconds.
    pub below: u64,
    /// How much one message may be slower than the link, in milliseconds.
    pub jitter: u64,
}

impl Latency {
    /// The longest time a message takes.
    #[must_use]
    pub const fn longest(self) -> Duration {
        Duration::from_millis(self.below + self.jitter)
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self { least: 1, below: 120, jitter: 30 }
    }
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// A connection, towards the relay.
    Up(PeerId),
    /// A connection, from the relay.
    Down(PeerId),
    /// Media between two peers: not ordered.
    Media(PeerId, PeerId),
}

#[derive(Clone, Copy)]
struct State {
    base: u64,
    last: Timestamp,
}

/// All links.
pub struct Network {
    latency: Latency,
    dice: Dice,
    links: BTreeMap<Link, State>,
}

impl Network {
    /// A network whose latencies come from these dice.
    #[must_use]
    pub fn new(latency: Latency, dice: Dice) -> Self {
        Self { latency, dice, links: BTreeMap::new() }
    }

    /// When something that is sent now arrives.
    pub fn arrival(&mut self, now: Timestamp, link: Link) -> Timestamp {
        let Latency { least, below, jitter } = self.latency;
        let dice = &mut self.dice;
        let state = self
            .links
            .entry(link)
            .or_insert_with(|| State { base: least + dice.below((below - least).max(1)), last: Timestamp::ZERO });
        let at = now + Duration::from_millis(state.base + dice.below(jitter + 1));
        match link {
            Link::Media(..) => at,
            Link::Up(_) | Link::Down(_) => {
                state.last = state.last.max(at);
                state.last
            }
        }
    }

    /// Forgets the links of a peer that is gone.
    pub fn forget(&mut self, peer: PeerId) {
        self.links.retain(|link, _| match *link {
            Link::Up(one) | Link::Down(one) => one != peer,
            Link::Media(from, to) => from != peer && to != peer,
        });
    }

    /// How slow this network is.
    #[must_use]
    pub fn latency(&self) -> Latency {
        self.latency
    }
}
