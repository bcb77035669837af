//! The key schedule: from the ratchet of a Megolm session to the keys of an epoch.
//!
//! ```text
//! secret  = HKDF-Extract(SHA-256, salt = transcript, ikm = 128 ratchet bytes)
//! media   = HKDF-Expand(secret, "conclave/1 media", 32)
//! sender  = HKDF-Expand(media, "conclave/1 sender" ‖ seat (u16 BE) ‖ sender's Ed25519, 16 or 32)      SFrame base_key
//! message = HKDF-Expand(secret, "conclave/1 message" ‖ seat (u16 BE) ‖ sender's Ed25519, 32)
//! auth    = HKDF-Expand(secret, "conclave/1 authenticator", 32)
//! ```
//!
//! The transcript is the salt: two halves of a call that a relay has told different stories hold different keys.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::secret::Secret;
use crate::{
    id::{AckMac, CallName, Ed25519Key, Fingerprint, Instance, Joined, PolicyHash, Seat, Transcript},
    wire::{label, signed::sha256},
};

/// The 128 ratchet bytes of a Megolm session at an epoch's index.
pub type Ratchet = Secret<128>;

/// What an epoch's keys come from.
pub struct EpochSecret(Secret<32>);

/// What the frame keys of an epoch come from.
#[derive(Clone, PartialEq, Eq)]
pub struct MediaSecret(Secret<32>);

/// Seals and opens the application messages of one sender in one epoch.
#[derive(Clone)]
pub struct MessageKey(Secret<32>);

/// Proves that its holder has an epoch.
#[derive(Clone)]
pub struct AuthKey(Secret<32>);

impl EpochSecret {
    /// Extracts the secret of an epoch.
    #[must_use]
    pub fn new(ratchet: &Ratchet, transcript: &Transcript) -> Self {
        let mut secret = Secret::zeroed();
        let salt = Some(transcript.as_bytes().as_slice()).filter(|_| !planted!(DropTranscript));
        let (mut extracted, _) = Hkdf::<Sha256>::extract(salt, ratchet.expose());
        secret.expose_mut().copy_from_slice(&extracted);
        extracted.zeroize();
        Self(secret)
    }

    /// The secret of all frame keys.
    #[must_use]
    pub fn media(&self) -> MediaSecret {
        MediaSecret(expand(&self.0, &[label::MEDIA]))
    }

    /// The message key of one sender.
    #[must_use]
    pub fn message(&self, seat: Seat, sender: &Ed25519Key) -> MessageKey {
        MessageKey(expand(&self.0, &[label::MESSAGE, &seat.0.to_be_bytes(), sender.as_bytes()]))
    }

    /// The authenticator key.
    #[must_use]
    pub fn auth(&self) -> AuthKey {
        AuthKey(expand(&self.0, &[label::AUTHENTICATOR]))
    }
}

impl MediaSecret {
    /// Wraps 32 bytes, for tests and vectors.
    #[must_use]
    pub fn new(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// The bytes, for a test that looks for them where they must not be.
    #[cfg(feature = "audit")]
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// The SFrame `base_key` of one sender: `N` is the key size of the suite (RFC 9605 section 4.5).
    #[must_use]
    pub fn sender<const N: usize>(&self, seat: Seat, sender: &Ed25519Key) -> Secret<N> {
        expand(&self.0, &[label::SENDER, &seat.0.to_be_bytes(), sender.as_bytes()])
    }

    /// Sixteen bytes that two holders may show each other to see that they hold the same secret.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let hash = sha256(&[label::FINGERPRINT, self.0.expose()]);
        let mut short = [0; 16];
        short.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        Fingerprint::new(short)
    }
}

impl MessageKey {
    /// The AES-256 key.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

impl AuthKey {
    /// The acknowledgement of one member: HMAC-SHA-256 over `joined (u64 BE)`.
    #[must_use]
    pub fn ack(&self, joined: Joined) -> AckMac {
        // HMAC takes a key of any length.
        #[allow(clippy::expect_used)]
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(self.0.expose()).expect("any length is a key");
        mac.update(&joined.0.to_be_bytes());
        AckMac::new(mac.finalize().into_bytes().into())
    }

    /// Checks an acknowledgement in constant time.
    #[must_use]
    pub fn verify(&self, joined: Joined, mac: &AckMac) -> bool {
        self.ack(joined).as_bytes().ct_eq(mac.as_bytes()).into()
    }
}

macro_rules! unprintable {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )*};
}
unprintable!(EpochSecret, MediaSecret, MessageKey, AuthKey);

/// The transcript before the first commit.
#[must_use]
pub fn genesis(call: &CallName, instance: &Instance, first_lead: &Ed25519Key) -> Transcript {
    let call = sha256(&[call.as_str().as_bytes()]);
    Transcript::new(sha256(&[label::GENESIS, &call, instance.as_bytes(), first_lead.as_bytes()]))
}

/// The transcript after a commit, given the commit's exact text.
#[must_use]
pub fn extend(previous: &Transcript, commit: &[u8]) -> Transcript {
    if planted!(StaleTranscript) {
        return *previous;
    }
    Transcript::new(sha256(&[label::TRANSCRIPT, previous.as_bytes(), &sha256(&[commit])]))
}

/// The policy of protocol version 1: SFrame with AES-128-GCM, whose suite number (RFC 9605 section 8.1) is 4.
#[must_use]
pub fn policy() -> PolicyHash {
    PolicyHash::new(sha256(&[label::POLICY, br#"{"suite":"AES_128_GCM_SHA256_128"}"#]))
}

/// The security code of a call: thirty digits that change with its devices and not with its rotations.
///
/// `SHA-256("conclave/1 code" ‖ instance ‖ Ed25519 keys in ascending order)`; six times five bytes of it, each read as
/// a big-endian number modulo 100,000.
#[must_use]
pub fn security_code(instance: &Instance, mut keys: Vec<Ed25519Key>) -> String {
    keys.sort_unstable();
    let mut hash = Sha256::new();
    hash.update(label::CODE);
    hash.update(instance.as_bytes());
    for key in &keys {
        hash.update(key.as_bytes());
    }
    let hash: [u8; 32] = hash.finalize().into();
    let groups = hash.chunks_exact(5).take(6).map(|five| {
        let number = five.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        format!("{:05}", number % 100_000)
    });
    groups.collect::<Vec<_>>().join(" ")
}

fn expand<const N: usize>(secret: &Secret<32>, info: &[&[u8]]) -> Secret<N> {
    const { assert!(N <= 255 * 32, "RFC 5869 section 2.3") };
    let mut key = Secret::zeroed();
    // RFC 5869 wants a pseudorandom key of at least the hash's 32 bytes, and this one has 32; expanding fails only above
    // the length that the assertion bounds. A zero key must never leave this function.
    #[allow(clippy::expect_used)]
    Hkdf::<Sha256>::from_prk(secret.expose())
        .and_then(|hkdf| hkdf.expand_multi_info(info, key.expose_mut()).map_err(|_| hkdf::InvalidPrkLength))
        .expect("both lengths are known at compile time");
    key
}
