//! One device: its Olm account, which signs and opens.

use std::fmt;
use thiserror::Error;
use vodozemac::olm::{Account, AccountPickle};
use zeroize::Zeroizing;

use crate::{
    crypto::random::{self, RandomError},
    id::{Curve25519Key, Ed25519Key, Signature},
    wire::encode,
};

/// A stored device cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a stored Conclave device")]
pub struct PickleError;

/// A device's private state as text, to be stored where only its owner can read it.
#[derive(Clone)]
pub struct DevicePickle(Zeroizing<String>);

impl DevicePickle {
    /// Wraps a text that was stored.
    #[must_use]
    pub fn from_text(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text to store.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DevicePickle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DevicePickle(…)")
    }
}

/// One device, with its private keys.
pub struct Device {
    account: Account,
}

impl Device {
    /// A new device.
    ///
    /// # Errors
    /// [`RandomError`] when the system gives no random bytes.
    pub fn generate() -> Result<Self, RandomError> {
        // The Olm library panics where the generator fails: ask the generator first.
        random::bytes::<1>()?;
        Ok(Self { account: Account::new() })
    }

    /// A device that was stored.
    ///
    /// # Errors
    /// [`PickleError`] when the text is not what [`pickle`](Self::pickle) gave.
    pub fn from_pickle(pickle: &DevicePickle) -> Result<Self, PickleError> {
        let pickle: AccountPickle = serde_json::from_str(pickle.expose()).map_err(|_| PickleError)?;
        Ok(Self { account: Account::from_pickle(pickle) })
    }

    /// The device's private state.
    #[must_use]
    pub fn pickle(&self) -> DevicePickle {
        DevicePickle::from_text(encode(&self.account.pickle()))
    }

    /// The fingerprint.
    #[must_use]
    pub fn ed25519(&self) -> Ed25519Key {
        Ed25519Key::new(*self.account.ed25519_key().as_bytes())
    }

    /// The Olm identity key.
    #[must_use]
    pub fn curve25519(&self) -> Curve25519Key {
        Curve25519Key::new(self.account.curve25519_key().to_bytes())
    }

    /// Signs.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> Signature {
        Signature::new(self.account.sign(bytes).to_bytes())
    }

    /// For opening and answering Olm sessions.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// For Olm sessions that others open: uses up a one-time key.
    pub(crate) fn account_mut(&mut self) -> &mut Account {
        &mut self.account
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("ed25519", &self.ed25519()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::UserName, identity::one_time::KEYS_PER_BATCH};

    #[test]
    fn a_device_survives_storing() {
        let mut device = Device::generate().expect("random bytes");
        let batch = device.new_keys();
        assert_eq!(batch.one_time_keys.len(), KEYS_PER_BATCH);
        let again = Device::from_pickle(&device.pickle()).expect("its own pickle");
        assert_eq!(again.ed25519(), device.ed25519());
        assert_eq!(again.curve25519(), device.curve25519());
        assert_eq!(Device::from_pickle(&DevicePickle::from_text("{}".into())).map(|_| ()), Err(PickleError));
    }

    #[test]
    fn a_card_verifies_and_a_changed_one_does_not() {
        let device = Device::generate().expect("random bytes");
        let name = UserName::new("Ana").expect("a name");
        let mut signed = device.card(&name, &name).expect("a card");
        let verified = signed.card().expect("its own signature");
        assert_eq!(verified.card.ed25519, device.ed25519());
        let changed = signed.text.get().replace("Ana", "Eve");
        signed.text = serde_json::value::RawValue::from_string(changed).expect("JSON");
        assert_eq!(signed.card(), Err(crate::wire::signed::SignedError::Signature));
    }
}
