//! AES-128-GCM of `ring`.

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use std::hint::black_box;

use super::{FrameKey, KEY_LENGTH, NONCE, TAG};

/// A key and its schedule, on the heap: moving it leaves no copy behind.
pub(in crate::frame) struct Key(Box<LessSafeKey>);

impl FrameKey for Key {
    fn new(key: &[u8; KEY_LENGTH]) -> Option<Self> {
        Some(Self(Box::new(LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key).ok()?))))
    }

    fn seal(&self, nonce: [u8; NONCE], aad: &[u8], data: &mut [u8]) -> Option<[u8; TAG]> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), data).ok()?;
        tag.as_ref().try_into().ok()
    }

    fn open(&self, nonce: [u8; NONCE], aad: &[u8], data: &mut [u8]) -> Option<()> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_in_place(nonce, Aad::from(aad), data).ok()?;
        Some(())
    }
}

impl Drop for Key {
    /// `ring` wipes nothing: another key is written over this one.
    fn drop(&mut self) {
        if let Ok(zero) = UnboundKey::new(&AES_128_GCM, &[0; KEY_LENGTH]) {
            *self.0 = LessSafeKey::new(zero);
            // Nobody reads it any more, so the compiler would leave the writing out.
            black_box(&*self.0);
        }
    }
}
