//! Proof that those who are out are out: a device that keeps everything it was ever given, and tries all of it.
//!
//! A hoarding device gives up its own forward secrecy and nobody else's. This is for load tests and simulations.

mod roster;

pub use roster::SymbolicRoster;

use serde_json::Value;
use zeroize::Zeroizing;

use super::Session;
use crate::{
    crypto::{group::InboundGroup, schedule::EpochSecret},
    id::{Fingerprint, Transcript},
};

/// How many ratchets of a kept session are looked for where they must not be.
const SHOWN: u32 = 8;
/// What is public in a stored device or session, by its name there.
const PUBLIC: [&str; 3] = ["parent_ratchet_key", "public_keys", "session_keys"];
/// Bytes from which on a value is long enough to be a key.
const KEY: usize = 16;

/// Every Megolm session that a device was given, as it was given.
#[derive(Default)]
pub(super) struct Hoard {
    kept: Option<Vec<InboundGroup>>,
    steps: u32,
}

impl Hoard {
    /// Keeps a copy of a session before anything of it is forgotten.
    pub(super) fn keep(&mut self, session: &mut InboundGroup) {
        let Some(kept) = &mut self.kept else { return };
        let index = session.index();
        if let Ok(copy) = session.export(index).and_then(|export| InboundGroup::import(&export)) {
            kept.push(copy);
        }
    }
}

impl Session {
    /// Keeps every Megolm session from here on, for [`could_derive`](Self::could_derive), which tries the ratchet of each
    /// `steps` steps ahead of where it began: no fewer than there are joins in the call.
    pub fn hoard(&mut self, steps: u32) {
        self.hoard.kept.get_or_insert_default();
        self.hoard.steps = steps;
    }

    /// Whether anything that this device kept leads to the epoch with this transcript and fingerprint, at any index of
    /// any session. True for the epochs that it was granted; must be false for those before it came and after it left.
    pub fn could_derive(&mut self, transcript: &Transcript, fingerprint: &Fingerprint) -> bool {
        let Hoard { kept, steps } = &mut self.hoard;
        kept.iter_mut().flatten().any(|session| {
            let first = session.index();
            (first..first.saturating_add(*steps)).any(|index| {
                let ratchet = session.ratchet(index);
                ratchet
                    .is_ok_and(|ratchet| EpochSecret::new(&ratchet, transcript).media().fingerprint() == *fingerprint)
            })
        })
    }

    /// Every secret that this device holds, for a test that looks for them where they must not be: the private keys of
    /// the device, the keys of its Olm sessions, and the ratchets of the Megolm sessions that it kept.
    pub fn secrets(&mut self) -> Vec<Zeroizing<Vec<u8>>> {
        let mut found = Vec::new();
        let device = serde_json::from_str(self.device.pickle().expose()).unwrap_or_default();
        collect(&device, "", &mut found);
        for session in self.call().into_iter().flat_map(|call| call.olm.pickles()) {
            collect(&session, "", &mut found);
        }
        for session in self.hoard.kept.iter_mut().flatten() {
            let first = session.index();
            let ratchets = (first..first.saturating_add(SHOWN)).filter_map(|index| session.ratchet(index).ok());
            found.extend(ratchets.map(|ratchet| Zeroizing::new(ratchet.expose().to_vec())));
        }
        found
    }
}

/// The secret byte strings in what the Olm library stores. What is public there is told by its name.
fn collect(json: &Value, name: &str, found: &mut Vec<Zeroizing<Vec<u8>>>) {
    match json {
        Value::Array(list) => {
            let bytes: Option<Vec<u8>> = list.iter().map(|byte| byte.as_u64()?.try_into().ok()).collect();
            match bytes {
                Some(bytes) if bytes.len() >= KEY => found.push(Zeroizing::new(bytes)),
                _ => list.iter().for_each(|inner| collect(inner, name, found)),
            }
        }
        Value::Object(fields) => {
            for (field, inner) in fields {
                // The peer's half of a ratchet is stored under the same name as the own one.
                let of_the_peer = field == "ratchet_key" && name != "active_ratchet";
                if !of_the_peer && !PUBLIC.contains(&field.as_str()) {
                    collect(inner, field, found);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
