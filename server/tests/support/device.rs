//! A device as the relay sees it: a key that signs, drawn from a seed.

// Shared by unit tests and socket tests, each of which use a part of it.
#![allow(dead_code, unreachable_pub)]

use conclave_shared::{
    id::{CallName, CardHash, Curve25519Key, Ed25519Key, JoinId, JoinNonce, KeysHash, RelayNonce, Signature, UserName},
    limits::VERSION,
    wire::{
        At, Join, Keys, Proof, Restore, Resume, Token, encode,
        signed::{Body, Card, Held, JoinProof, KeyBatch, Signed, card_bytes, join_bytes, keys_bytes, resume_bytes},
    },
};
use ed25519_dalek::{Signer as _, SigningKey};

pub struct Device {
    pub key: SigningKey,
    pub seed: u8,
    pub user: UserName,
}

impl Device {
    pub fn new(seed: u8) -> Self {
        Self { key: SigningKey::from_bytes(&[seed; 32]), seed, user: UserName::new(format!("user {seed}")).unwrap() }
    }

    pub fn ed25519(&self) -> Ed25519Key {
        Ed25519Key::new(self.key.verifying_key().to_bytes())
    }

    pub fn sign(&self, bytes: &[u8]) -> Signature {
        Signature::new(self.key.sign(bytes).to_bytes())
    }

    pub fn signed(&self, text: String, bytes: impl FnOnce(CardHash) -> Vec<u8>) -> Signed {
        let text = serde_json::value::RawValue::from_string(text).unwrap();
        let mut signed = Signed { text, signature: Signature::new([0; 64]) };
        signed.signature = self.sign(&bytes(CardHash::new(signed.text_hash())));
        signed
    }

    pub fn card(&self) -> Signed {
        let card = Card {
            v: VERSION,
            user: self.user.clone(),
            name: UserName::new("test").unwrap(),
            ed25519: self.ed25519(),
            curve25519: Curve25519Key::new([self.seed; 32]),
            capabilities: vec![],
        };
        self.signed(encode(&card), card_bytes)
    }

    /// Keys that name their owner and their number.
    pub fn batch(&self, first: u8, count: u8) -> KeyBatch {
        let key = |n: u8| {
            let mut bytes = [self.seed; 32];
            bytes[31] = n;
            Curve25519Key::new(bytes)
        };
        KeyBatch { one_time_keys: (first..first + count).map(key).collect(), fallback_key: key(first + 200) }
    }

    pub fn join(&self, call: &CallName, nonce: RelayNonce, token: Token) -> Join {
        self.join_with(call, nonce, token, self.batch(0, 4))
    }

    pub fn join_with(&self, call: &CallName, nonce: RelayNonce, token: Token, keys: KeyBatch) -> Join {
        let card = self.card();
        let proof = self.proof(call, nonce, &card, keys.hash().unwrap_or(KeysHash::new([0; 32])));
        let proof = Proof { nonce: proof.nonce, signature: proof.signature };
        Join { version: VERSION, call: call.clone(), token, card, proof, keys }
    }

    pub fn proof(&self, call: &CallName, relay_nonce: RelayNonce, card: &Signed, keys: KeysHash) -> JoinProof {
        let (nonce, signature) = (JoinNonce::new([self.seed; 16]), Signature::new([0; 64]));
        let mut proof = JoinProof { relay_nonce, nonce, keys, signature };
        proof.signature = self.sign(&join_bytes(call, CardHash::new(card.text_hash()), &proof));
        proof
    }

    pub fn join_id(&self, call: &CallName, proof: &JoinProof) -> JoinId {
        proof.join_id(call, CardHash::new(self.card().text_hash()))
    }

    pub fn resume(&self, call: &CallName, nonce: &RelayNonce, join: JoinId, after: At) -> Resume {
        let signature = self.sign(&resume_bytes(call, nonce, &join, None));
        Resume { version: VERSION, call: call.clone(), join, after, signature }
    }

    /// Brings back the seat that was taken with this proof.
    pub fn restore(
        &self,
        call: &CallName,
        nonce: &RelayNonce,
        (proof, token): (JoinProof, Token),
        held: Held,
    ) -> Restore {
        let join = self.join_id(call, &proof);
        let (card, keys) = (self.card(), self.keys(call, &join, self.batch(50, 4)));
        let signature = self.sign(&resume_bytes(call, nonce, &join, Some(&held)));
        Restore { version: VERSION, call: call.clone(), token, card, proof, held, keys, signature }
    }

    pub fn keys(&self, call: &CallName, join: &JoinId, keys: KeyBatch) -> Keys {
        let signature = self.sign(&keys_bytes(call, join, &keys.hash().unwrap()));
        Keys { keys, signature }
    }

    pub fn body(&self, body: &Body) -> Signed {
        self.signed(encode(body), |hash| hash.as_bytes().to_vec())
    }
}
