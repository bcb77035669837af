//! A call of N members for benches: all join with real devices, receive their first key and answer the lead once, so that
//! the lead can make ready grants for them; most are silent from then on. The relay's own work is not counted.

use crate::plain::World;
use conclave_shared::{
    id::Role,
    limits,
    session::{config::Config, timer::Timer},
    wire::ToClient,
};
use std::{cell::Cell, rc::Rc, time::Duration};

/// The lead, and the member whose work counts.
pub const LEAD: usize = 0;
pub const MEMBER: usize = 1;
/// Longer than any bench: nothing is done because time went by.
pub const NEVER: Duration = Duration::from_secs(1 << 24);
/// A change of membership is over after this many milliseconds of the call's own time.
const CHANGE: u64 = 100;

pub struct Call {
    pub world: World,
    /// Whoever has this index or a higher one hears the relay, and so do the first few.
    heard: Rc<Cell<usize>>,
}

impl Call {
    /// A call of `size` members (fewer where those that a bench adds would not be let in), of whom only the first
    /// `awake` go on hearing the relay.
    pub fn new(size: usize, awake: usize) -> Self {
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
        let heard = Rc::new(Cell::new(0));
        let hears = Rc::clone(&heard);
        world.tamper = Box::new(move |index, message| {
            let listens = index < awake || index >= hears.get();
            if listens || matches!(message, ToClient::Challenge(_)) { vec![message] } else { vec![] }
        });
        let mut call = Self { world, heard };
        let size = size.min(limits::MEMBERS - 2);
        for _ in 0..size {
            call.join();
        }
        call.hush();
        assert_eq!(call.world.members[LEAD].session.members().len(), size, "all are in");
        call
    }

    /// Somebody joins, shows the lead over Olm that it is there, and hears the relay until [`hush`](Self::hush).
    pub fn join(&mut self) -> usize {
        let joiner = self.world.join(Role::Member);
        self.heard.set(joiner);
        self.settle();
        assert!(self.world.members[joiner].session.active().is_some(), "the joiner has the key");
        joiner
    }

    /// Only the first few hear the relay.
    pub fn hush(&mut self) {
        self.heard.set(usize::MAX);
    }

    /// All that is to be done is done, idle work too.
    pub fn settle(&mut self) {
        self.world.advance(CHANGE);
        let due = self.world.members[LEAD].session.next_timer();
        assert!(!matches!(due, Some((_, Timer::ReadyGrants))), "the lead has made all ready grants");
        self.world.wire.clear();
        self.world.said.clear();
        self.world.costs.clear();
        for member in &mut self.world.members {
            member.events.clear();
            member.epochs.clear();
        }
    }

    pub fn spent(&self, who: &[usize]) -> Duration {
        who.iter().map(|index| self.world.members[*index].spent).sum()
    }
}
