//! Keys that others open Olm sessions with, each used once.

use super::device::Device;
use crate::{id::Curve25519Key, wire::signed::KeyBatch};

/// One-time keys in the batch of a join: one for each lead that a call may see, and some to replace broken sessions.
pub(super) const KEYS_PER_BATCH: usize = 5;

impl Device {
    /// Makes a batch of one-time keys and a new fallback key. The device changes: store it before the batch leaves.
    ///
    /// The fallback key before the last stays usable, for a sender that still has the older one.
    pub fn new_keys(&mut self) -> KeyBatch {
        let account = self.account_mut();
        let created = account.generate_one_time_keys(KEYS_PER_BATCH).created;
        account.generate_fallback_key();
        let fallback = account.fallback_key().into_values().next();
        account.mark_keys_as_published();
        KeyBatch {
            one_time_keys: created.iter().map(|key| Curve25519Key::new(key.to_bytes())).collect(),
            fallback_key: fallback.map_or(Curve25519Key::new([0; 32]), |key| Curve25519Key::new(key.to_bytes())),
        }
    }
}
