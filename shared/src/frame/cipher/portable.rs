//! AES-128-GCM of the `aes-gcm` crate, which wipes its keys by itself.

use aes_gcm::{
    Aes128Gcm, KeyInit,
    aead::{AeadInOut, Nonce, Tag},
};

use super::{FrameKey, KEY_LENGTH, NONCE, TAG};

/// A key and its schedule, on the heap: moving it leaves no copy behind.
pub(in crate::frame) struct Key(Box<Aes128Gcm>);

impl FrameKey for Key {
    fn new(key: &[u8; KEY_LENGTH]) -> Option<Self> {
        Some(Self(Box::new(Aes128Gcm::new(key.into()))))
    }

    fn seal(&self, nonce: [u8; NONCE], aad: &[u8], data: &mut [u8]) -> Option<[u8; TAG]> {
        let nonce = Nonce::<Aes128Gcm>::from(nonce);
        self.0.encrypt_inout_detached(&nonce, aad, data.into()).ok().map(Into::into)
    }

    fn open(&self, nonce: [u8; NONCE], aad: &[u8], data: &mut [u8]) -> Option<()> {
        let nonce = Nonce::<Aes128Gcm>::from(nonce);
        let (data, tag) = data.split_last_chunk_mut::<TAG>()?;
        let tag = Tag::<Aes128Gcm>::from(*tag);
        self.0.decrypt_inout_detached(&nonce, aad, data.into(), &tag).ok()
    }
}
