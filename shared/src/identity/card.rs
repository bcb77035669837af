//! The card by which a device shows itself.

use super::device::Device;
use crate::{
    id::{CardHash, UserName},
    limits,
    wire::signed::{Card, Signed, card_bytes, sha256},
};

impl Device {
    /// The device's card, signed.
    ///
    /// # Errors
    /// A `serde_json` error, if a name could not be written as JSON.
    pub fn card(&self, user: &UserName, name: &UserName) -> Result<Signed, serde_json::Error> {
        let card = Card {
            v: limits::VERSION,
            user: user.clone(),
            name: name.clone(),
            ed25519: self.ed25519(),
            curve25519: self.curve25519(),
            capabilities: Vec::new(),
        };
        let text = serde_json::value::to_raw_value(&card)?;
        let hash = CardHash::new(sha256(&[text.get().as_bytes()]));
        Ok(Signed { signature: self.sign(&card_bytes(hash)), text })
    }
}
