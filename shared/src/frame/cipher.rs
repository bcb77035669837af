//! The cipher behind SFrame, with the key schedule of AES made once for each key.
//!
//! The `sframe` crate's own backends make it anew for every frame, which costs a frame of sound more than its encryption.
//! This one fills the crate's traits for backends: it derives what RFC 9605 section 4.4.2 says and keeps the finished
//! cipher with its key. Natively that is `ring`; a browser, where `ring` does not go, has the `aes-gcm` crate.

#[cfg(any(test, target_arch = "wasm32"))]
mod portable;
#[cfg(not(target_arch = "wasm32"))]
mod ring;

use hkdf::Hkdf;
use sframe::{
    CipherSuite,
    crypto::{
        AeadDecrypt, AeadEncrypt, DecryptionBufferView, EncryptionBufferView, KeyDerivation, get_hkdf_key_expand_label,
        get_hkdf_salt_expand_label,
    },
    error::SframeError,
    header::{Counter, KeyId},
    key::{GenericDecryptionKey, GenericEncryptionKey},
};
use sha2::Sha256;
use std::marker::PhantomData;
use zeroize::Zeroizing;

use super::{KEY_LENGTH, SUITE};

#[cfg(target_arch = "wasm32")]
type Best = portable::Key;
#[cfg(not(target_arch = "wasm32"))]
type Best = ring::Key;

/// A key to seal with.
pub(super) type EncryptionKey<K = Best> = GenericEncryptionKey<Cipher<K>, Derivation<K>>;
/// A key to open with.
pub(super) type DecryptionKey<K = Best> = GenericDecryptionKey<Cipher<K>, Derivation<K>>;

/// Bytes of a tag.
pub(super) const TAG: usize = SUITE.auth_tag_len();
const NONCE: usize = SUITE.nonce_len();

/// AES-128-GCM with one key, ready to be used for any number of frames.
pub(super) trait FrameKey: Sized {
    /// Makes the key schedule; `None` only if the library refuses a key of the right length.
    fn new(key: &[u8; KEY_LENGTH]) -> Option<Self>;

    /// Encrypts in place; the tag.
    fn seal(&self, nonce: [u8; NONCE], aad: &[u8], data: &mut [u8]) -> Option<[u8; TAG]>;

    /// Decrypts in place; the tag stands at the end of `data`. `None` when it is not authentic, and the data is of no use.
    fn open(&self, nonce: [u8; NONCE], aad: &[u8], data: &mut [u8]) -> Option<()>;
}

/// What is kept of a sender's key: the finished cipher, and the salt of its nonces.
pub(super) struct Kept<K> {
    key: K,
    salt: Zeroizing<[u8; NONCE]>,
}

impl<K> Kept<K> {
    /// The counter, exclusive-or the salt: RFC 9605 section 4.4.3.
    fn nonce(&self, counter: Counter) -> [u8; NONCE] {
        let mut nonce = *self.salt;
        if let Some(low) = nonce.last_chunk_mut() {
            *low = (Counter::from_be_bytes(*low) ^ counter).to_be_bytes();
        }
        nonce
    }
}

/// Makes [`Kept`] of base keys.
pub(super) struct Derivation<K>(PhantomData<K>);

impl<K: FrameKey> KeyDerivation for Derivation<K> {
    type Secret = Kept<K>;

    fn expand_from<M, I>(suite: CipherSuite, key_material: M, key_id: I) -> Result<Kept<K>, SframeError>
    where
        M: AsRef<[u8]>,
        I: Into<KeyId>,
    {
        let hkdf = Hkdf::<Sha256>::new(None, key_material.as_ref());
        let key_id = key_id.into();
        let (mut key, mut salt) = (Zeroizing::new([0; KEY_LENGTH]), Zeroizing::new([0; NONCE]));
        hkdf.expand(&get_hkdf_key_expand_label(key_id, suite), key.as_mut())
            .and_then(|()| hkdf.expand(&get_hkdf_salt_expand_label(key_id, suite), salt.as_mut()))
            .map_err(|_| SframeError::KeyDerivationFailure)?;
        Ok(Kept { key: K::new(&key).ok_or(SframeError::KeyDerivationFailure)?, salt })
    }
}

/// Uses [`Kept`]. There is one suite only.
pub(super) struct Cipher<K>(PhantomData<K>);

impl<K> TryFrom<CipherSuite> for Cipher<K> {
    type Error = SframeError;

    fn try_from(suite: CipherSuite) -> Result<Self, SframeError> {
        if suite == SUITE { Ok(Self(PhantomData)) } else { Err(SframeError::UnsupportedCipherSuite) }
    }
}

impl<K: FrameKey> AeadEncrypt for Cipher<K> {
    type Secret = Kept<K>;

    fn encrypt<'a, B>(&self, kept: &Kept<K>, buffer: B, counter: Counter) -> Result<(), SframeError>
    where
        B: Into<EncryptionBufferView<'a>>,
    {
        let EncryptionBufferView { aad, data, tag } = buffer.into();
        // Made only when they are needed: dropping one costs.
        let made = kept.key.seal(kept.nonce(counter), aad, data).ok_or_else(|| SframeError::EncryptionFailure)?;
        let place = <&mut [u8; TAG]>::try_from(tag).map_err(|_| SframeError::EncryptionFailure)?;
        *place = made;
        Ok(())
    }
}

impl<K: FrameKey> AeadDecrypt for Cipher<K> {
    type Secret = Kept<K>;

    fn decrypt<'a, B>(&self, kept: &Kept<K>, buffer: B, counter: Counter) -> Result<(), SframeError>
    where
        B: Into<DecryptionBufferView<'a>>,
    {
        let DecryptionBufferView { aad, data } = buffer.into();
        kept.key.open(kept.nonce(counter), aad, data).ok_or_else(|| SframeError::DecryptionFailure)
    }
}

#[cfg(test)]
mod tests;
