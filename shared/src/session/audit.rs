//! Proof that those who are out are out: a device that keeps everything it was ever given, and tries all of it.
//!
//! A hoarding device gives up its own forward secrecy and nobody else's. This is for load tests and simulations.

mod roster;

pub use roster::SymbolicRoster;

use super::Session;
use crate::{
    crypto::{group::InboundGroup, schedule::EpochSecret},
    id::{Fingerprint, Transcript},
};

/// How far ahead of where a kept session began its ratchet is tried.
const STEPS: u32 = 2048;

/// Every Megolm session that a device was given, as it was given.
#[derive(Default)]
pub(super) struct Hoard(Option<Vec<InboundGroup>>);

impl Hoard {
    /// Keeps a copy of a session before anything of it is forgotten.
    pub(super) fn keep(&mut self, session: &mut InboundGroup) {
        let Some(kept) = &mut self.0 else { return };
        let index = session.index();
        if let Ok(copy) = session.export(index).and_then(|export| InboundGroup::import(&export)) {
            kept.push(copy);
        }
    }
}

impl Session {
    /// Keeps every Megolm session from here on, for [`could_derive`](Self::could_derive).
    pub fn hoard(&mut self) {
        self.hoard.0.get_or_insert_default();
    }

    /// Whether anything that this device kept leads to the epoch with this transcript and fingerprint, at any index of
    /// any session. True for the epochs that it was granted; must be false for those before it came and after it left.
    pub fn could_derive(&mut self, transcript: &Transcript, fingerprint: &Fingerprint) -> bool {
        self.hoard.0.iter_mut().flatten().any(|session| {
            let first = session.index();
            (first..first.saturating_add(STEPS)).any(|index| {
                let ratchet = session.ratchet(index);
                ratchet
                    .is_ok_and(|ratchet| EpochSecret::new(&ratchet, transcript).media().fingerprint() == *fingerprint)
            })
        })
    }
}
