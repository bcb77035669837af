//! AES-256-GCM for what is neither a frame nor Olm: broadcast sessions and application messages.

use aes_gcm::{
    Aes256Gcm, Nonce,
    aead::{Aead, KeyInit, Payload},
};
use thiserror::Error;

use super::{schedule::MessageKey, secret::Secret};

/// The ciphertext is not what this key sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the ciphertext does not open")]
pub struct OpenError;

/// Seals under a key that is used once: nonce zero, no additional data.
#[must_use]
pub fn seal_once(key: &Secret<32>, plaintext: &[u8]) -> Vec<u8> {
    seal(key.expose(), 0, &[], plaintext)
}

/// Opens what [`seal_once`] sealed.
///
/// # Errors
/// [`OpenError`].
pub fn open_once(key: &Secret<32>, ciphertext: &[u8]) -> Result<Vec<u8>, OpenError> {
    open(key.expose(), 0, &[], ciphertext)
}

/// A key of one use, set up ahead of that use: for a few bytes this is most of what AES-GCM costs.
pub struct WrappingKey(Box<Aes256Gcm>);

impl WrappingKey {
    /// Sets a key up.
    #[must_use]
    pub fn new(key: &Secret<32>) -> Self {
        Self(Box::new(Aes256Gcm::new(key.expose().into())))
    }

    /// Seals a key, nonce zero; this key is used up and wiped.
    #[must_use]
    pub fn seal(self, aad: &[u8], key: &Secret<32>) -> Vec<u8> {
        encrypt(&self.0, 0, aad, key.expose())
    }
}

/// Opens what [`WrappingKey::seal`] sealed.
///
/// # Errors
/// [`OpenError`]: sealed under another key, or for other additional data.
pub fn unwrap_key(wrapping: &Secret<32>, aad: &[u8], sealed: &[u8]) -> Result<Secret<32>, OpenError> {
    Secret::take(&mut open(wrapping.expose(), 0, aad, sealed)?).ok_or(OpenError)
}

/// Seals application message number `n` of its sender.
#[must_use]
pub fn seal_message(key: &MessageKey, n: u64, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    seal(key.expose(), n, aad, plaintext)
}

/// Opens application message number `n` of its sender.
///
/// # Errors
/// [`OpenError`].
pub fn open_message(key: &MessageKey, n: u64, aad: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, OpenError> {
    open(key.expose(), n, aad, ciphertext)
}

fn seal(key: &[u8; 32], n: u64, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    encrypt(&Aes256Gcm::new(key.into()), n, aad, plaintext)
}

fn encrypt(cipher: &Aes256Gcm, n: u64, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    // AES-GCM refuses only above 64 GiB.
    #[allow(clippy::expect_used)]
    cipher.encrypt(&nonce(n), Payload { msg: plaintext, aad }).expect("messages are bounded far below the limit of GCM")
}

fn open(key: &[u8; 32], n: u64, aad: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, OpenError> {
    Aes256Gcm::new(key.into()).decrypt(&nonce(n), Payload { msg: ciphertext, aad }).map_err(|_| OpenError)
}

/// `0 (4) ‖ n (u64 BE)`.
fn nonce(n: u64) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut nonce = [0; 12];
    nonce.iter_mut().skip(4).zip(n.to_be_bytes()).for_each(|(to, from)| *to = from);
    nonce.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_bit_number_or_context_does_not_open() {
        let key = Secret::take(&mut [3; 32]).expect("32 bytes");
        let sealed = seal_once(&key, b"session");
        assert_eq!(open_once(&key, &sealed).as_deref(), Ok(b"session".as_slice()));
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert_eq!(open_once(&key, &changed), Err(OpenError));
        }
        assert_eq!(open(key.expose(), 1, &[], &sealed), Err(OpenError));
        assert_eq!(open(key.expose(), 0, &[1], &sealed), Err(OpenError));
        assert_eq!(open_once(&key, &[]), Err(OpenError));
    }

    #[test]
    fn a_wrapped_key_opens_under_its_own_key_and_context_alone() {
        let key = |byte| Secret::take(&mut [byte; 32]).expect("32 bytes");
        let sealed = WrappingKey::new(&key(1)).seal(b"this", &key(2));
        assert_eq!(unwrap_key(&key(1), b"this", &sealed), Ok(key(2)));
        assert_eq!(unwrap_key(&key(3), b"this", &sealed), Err(OpenError));
        assert_eq!(unwrap_key(&key(1), b"that", &sealed), Err(OpenError));
        assert_eq!(unwrap_key(&key(1), b"this", &sealed[..47]), Err(OpenError));
        let short = seal(key(1).expose(), 0, b"this", &[2; 31]);
        assert_eq!(unwrap_key(&key(1), b"this", &short), Err(OpenError), "not a key");
    }
}
