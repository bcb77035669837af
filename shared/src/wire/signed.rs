//! What devices sign, byte for byte, and the check of each signature.
//!
//! A signed text travels as it was signed (`RawValue`) and is never serialised again. Parts of variable length enter a
//! signature as their SHA-256, a body's text as itself at the very end.
//!
//! ```text
//! card   "conclave/1 card" ‖ SHA-256(card text)
//! join   "conclave/1 join" ‖ SHA-256(call) ‖ relay nonce (32) ‖ own nonce (16) ‖ SHA-256(card text) ‖ SHA-256(keys)
//! keys   "conclave/1 keys" ‖ SHA-256(call) ‖ join id (32) ‖ SHA-256(keys)
//! resume "conclave/1 resume" ‖ SHA-256(call) ‖ relay nonce (32) ‖ join id (32) ‖ SHA-256(held)
//! body   "conclave/1 body" ‖ SHA-256(call) ‖ instance (16) ‖ sender Ed25519 (32) ‖ sender's join id (32) ‖ body text
//!
//! keys   = number of one-time keys (u8) ‖ each (32) ‖ fallback key (32)
//! held   = 0x00   or   0x01 ‖ instance (16) ‖ term (u32 BE) ‖ lead (u64 BE) ‖ seat (u16 BE) ‖ joined (u64 BE) ‖ highest (u64 BE)
//! join id = SHA-256(the signed join bytes ‖ signature (64))
//! ```

use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{WireError, decode_value, label};
use crate::{
    id::{
        CallName, CardHash, Curve25519Key, Ed25519Key, Epoch, Instance, JoinId, JoinNonce, Joined, KeysHash,
        RelayNonce, Role, Seat, Signature, Term, UserName,
    },
    limits,
};

/// Why something signed was refused. Always the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignedError {
    /// The signature does not verify under the key (strictly: RFC 8032 with small-order keys refused).
    #[error("the signature does not verify")]
    Signature,
    /// The key is no usable Ed25519 public key.
    #[error("not an Ed25519 public key")]
    Key,
    /// The signed text is not what it should be.
    #[error(transparent)]
    Text(#[from] WireError),
    /// The card is longer than [`limits::CARD_LENGTH`] or lists too many capabilities.
    #[error("the card is too large")]
    CardTooLarge,
    /// The card is of another version.
    #[error("the card has version {0}")]
    CardVersion(u16),
    /// The batch has no key, or more than [`limits::ONE_TIME_KEYS`].
    #[error("a batch of one-time keys has one to {} of them, or a fallback key", limits::ONE_TIME_KEYS)]
    KeyCount,
}

/// A JSON text and the signature over it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Signed {
    /// The exact text that was signed.
    pub text: Box<RawValue>,
    /// The signature.
    pub signature: Signature,
}

impl PartialEq for Signed {
    fn eq(&self, other: &Self) -> bool {
        self.text.get() == other.text.get() && self.signature == other.signature
    }
}

impl Eq for Signed {}

/// A device's public keys and how it wants to be called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Always [`limits::VERSION`].
    pub v: u16,
    /// The user, as the access token names them.
    pub user: UserName,
    /// The device's own name: "Firefox on Linux", "lead bot".
    pub name: UserName,
    /// Fingerprint key: signs.
    pub ed25519: Ed25519Key,
    /// Olm identity key.
    pub curve25519: Curve25519Key,
    /// What the device can do beyond version 1, in words that both sides know.
    pub capabilities: Vec<String>,
}

/// A card whose signature verified, and its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCard {
    /// The card.
    pub card: Card,
    /// SHA-256 of its exact text.
    pub hash: CardHash,
}

impl Signed {
    /// SHA-256 of the text.
    #[must_use]
    pub fn text_hash(&self) -> [u8; 32] {
        sha256(&[self.text.get().as_bytes()])
    }

    /// Reads the text as a card without checking its signature.
    ///
    /// # Errors
    /// [`SignedError::Text`], [`SignedError::CardTooLarge`], [`SignedError::CardVersion`].
    pub fn card_unverified(&self) -> Result<VerifiedCard, SignedError> {
        if self.text.get().len() > limits::CARD_LENGTH {
            return Err(SignedError::CardTooLarge);
        }
        let card: Card = decode_value("card", &self.text)?;
        if card.v != limits::VERSION {
            return Err(SignedError::CardVersion(card.v));
        }
        if card.capabilities.len() > limits::CAPABILITIES {
            return Err(SignedError::CardTooLarge);
        }
        Ok(VerifiedCard { card, hash: CardHash::new(self.text_hash()) })
    }

    /// Reads the text as a card that its own key has signed.
    ///
    /// # Errors
    /// As [`card_unverified`](Self::card_unverified), and [`SignedError::Signature`] or [`SignedError::Key`].
    pub fn card(&self) -> Result<VerifiedCard, SignedError> {
        let verified = self.card_unverified()?;
        verify(&verified.card.ed25519, &card_bytes(verified.hash), &self.signature)?;
        Ok(verified)
    }
}

/// One-time keys and a fallback key, in the order in which they are signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyBatch {
    /// Each good for one Olm session.
    pub one_time_keys: Vec<Curve25519Key>,
    /// Used when the one-time keys have run out.
    pub fallback_key: Curve25519Key,
}

impl KeyBatch {
    /// SHA-256 over the batch.
    ///
    /// # Errors
    /// [`SignedError::KeyCount`] when there are more keys than a batch may have.
    pub fn hash(&self) -> Result<KeysHash, SignedError> {
        let count = u8::try_from(self.one_time_keys.len()).map_err(|_| SignedError::KeyCount)?;
        if usize::from(count) > limits::ONE_TIME_KEYS {
            return Err(SignedError::KeyCount);
        }
        let mut hash = Sha256::new();
        hash.update([count]);
        for key in &self.one_time_keys {
            hash.update(key.as_bytes());
        }
        hash.update(self.fallback_key.as_bytes());
        Ok(KeysHash::new(hash.finalize().into()))
    }
}

/// What a device holds of a call in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The life of the call.
    pub instance: Instance,
    /// The newest reign that it knows.
    pub term: Term,
    /// Whose it is.
    pub lead: Joined,
    /// Its seat.
    pub seat: Seat,
    /// Its order number.
    pub joined: Joined,
    /// The highest order number that was ever committed or announced: later members come above it.
    pub highest: Joined,
    /// Its role in the roster.
    pub role: Role,
}

impl Held {
    /// The hash under which this is signed; of nothing held, when absent.
    #[must_use]
    pub fn hash(held: Option<&Self>) -> [u8; 32] {
        held.map_or_else(
            || sha256(&[&[0]]),
            |held| {
                sha256(&[
                    &[1],
                    held.instance.as_bytes(),
                    &held.term.0.to_be_bytes(),
                    &held.lead.0.to_be_bytes(),
                    &held.seat.0.to_be_bytes(),
                    &held.joined.0.to_be_bytes(),
                    &held.highest.0.to_be_bytes(),
                    &[held.role.as_byte()],
                ])
            },
        )
    }
}

/// A join proof as it travels to all members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinProof {
    /// What the relay drew for the connection.
    pub relay_nonce: RelayNonce,
    /// What the device drew.
    pub nonce: JoinNonce,
    /// The keys that it brought.
    pub keys: KeysHash,
    /// Over [`join_bytes`].
    pub signature: Signature,
}

impl JoinProof {
    /// The name of this join.
    #[must_use]
    pub fn join_id(&self, call: &CallName, card: CardHash) -> JoinId {
        JoinId::new(sha256(&[&join_bytes(call, card, self), self.signature.as_bytes()]))
    }

    /// Checks the proof against the card that joined.
    ///
    /// # Errors
    /// [`SignedError::Signature`] or [`SignedError::Key`].
    pub fn verify(&self, call: &CallName, card: &VerifiedCard) -> Result<JoinId, SignedError> {
        verify(&card.card.ed25519, &join_bytes(call, card.hash, self), &self.signature)?;
        Ok(self.join_id(call, card.hash))
    }
}

/// What a signed body says, and to whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Body {
    /// The epoch that it is about or was sent in.
    pub epoch: Epoch,
    /// Strictly rising per join.
    pub n: u64,
    /// For one member alone; for all when absent.
    pub to: Option<Joined>,
    /// One object with one key: see [`Content`](super::sealed::Content).
    pub content: Box<RawValue>,
}

impl Body {
    /// Reads the text of a body without checking its signature.
    ///
    /// # Errors
    /// [`WireError::Malformed`].
    pub fn parse(signed: &Signed) -> Result<Self, WireError> {
        decode_value("body", &signed.text)
    }
}

/// SHA-256 over the parts, one after the other.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// Verifies strictly: refuses small-order keys and non-canonical signatures.
///
/// # Errors
/// [`SignedError::Key`] when the key is no point of the curve, [`SignedError::Signature`] when it did not sign this.
pub fn verify(key: &Ed25519Key, bytes: &[u8], signature: &Signature) -> Result<(), SignedError> {
    let key = VerifyingKey::from_bytes(key.as_bytes()).map_err(|_| SignedError::Key)?;
    key.verify_strict(bytes, &ed25519_dalek::Signature::from_bytes(signature.as_bytes()))
        .map_err(|_| SignedError::Signature)
}

/// The bytes that a card's signature covers.
#[must_use]
pub fn card_bytes(card: CardHash) -> Vec<u8> {
    [label::CARD, card.as_bytes()].concat()
}

/// The bytes that a join proof's signature covers.
#[must_use]
pub fn join_bytes(call: &CallName, card: CardHash, proof: &JoinProof) -> Vec<u8> {
    [
        label::JOIN,
        &sha256(&[call.as_str().as_bytes()]),
        proof.relay_nonce.as_bytes(),
        proof.nonce.as_bytes(),
        card.as_bytes(),
        proof.keys.as_bytes(),
    ]
    .concat()
}

/// The bytes that a device signs to take its seat again.
#[must_use]
pub fn resume_bytes(call: &CallName, nonce: &RelayNonce, join: &JoinId, held: Option<&Held>) -> Vec<u8> {
    let call = sha256(&[call.as_str().as_bytes()]);
    [label::RESUME, &call, nonce.as_bytes(), join.as_bytes(), &Held::hash(held)].concat()
}

/// The bytes that the signature over later one-time keys covers.
#[must_use]
pub fn keys_bytes(call: &CallName, join: &JoinId, keys: &KeysHash) -> Vec<u8> {
    [label::KEYS, &sha256(&[call.as_str().as_bytes()]), join.as_bytes(), keys.as_bytes()].concat()
}

/// Who speaks in which life of which call: everything in front of a body's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// The call.
    pub call: CallName,
    /// Its life.
    pub instance: Instance,
    /// The sender's key.
    pub ed25519: Ed25519Key,
    /// The sender's join.
    pub join: JoinId,
}

/// The bytes that a body's signature covers.
#[must_use]
pub fn body_bytes(speaker: &Speaker, text: &str) -> Vec<u8> {
    [
        label::BODY,
        &sha256(&[speaker.call.as_str().as_bytes()]),
        speaker.instance.as_bytes(),
        speaker.ed25519.as_bytes(),
        speaker.join.as_bytes(),
        text.as_bytes(),
    ]
    .concat()
}
