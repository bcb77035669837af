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
    // AES-GCM refuses only above 64 GiB.
    #[allow(clippy::expect_used)]
    Aes256Gcm::new(key.into())
        .encrypt(&nonce(n), Payload { msg: plaintext, aad })
        .expect("messages are bounded far below the limit of GCM")
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
}
