//! Names for things, each its own type, so that none can stand in for another.
//!
//! Fixed-size byte strings travel as base64url without padding (RFC 4648 section 5) and print as a short prefix.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use thiserror::Error;

use crate::limits;

/// Encodes bytes as they stand in every message: base64url without padding.
#[must_use]
pub fn encode_base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes base64url without padding; refuses padding, other alphabets and stray trailing bits.
///
/// # Errors
/// [`IdError::Base64`] when the text is anything else.
pub fn decode_base64(text: &str) -> Result<Vec<u8>, IdError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| IdError::Base64)
}

/// Why a name or a byte string was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IdError {
    /// Not base64url without padding.
    #[error("not base64url without padding")]
    Base64,
    /// The byte string has the wrong length.
    #[error("expected {expected} bytes, got {got}")]
    Length {
        /// Bytes that the type has.
        expected: usize,
        /// Bytes that came.
        got: usize,
    },
    /// A call name that is empty, too long, or has other characters than `A-Z a-z 0-9 _ . -`.
    #[error("a call name has 1 to 64 characters of A-Z a-z 0-9 _ . -")]
    CallName,
    /// A user name that is empty, too long, or has control characters.
    #[error("a user name has 1 to 64 characters and no control characters")]
    UserName,
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $length]);

        impl $name {
            /// Bytes in this value.
            pub const LENGTH: usize = $length;

            /// Wraps exact bytes.
            #[must_use]
            pub const fn new(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }

            /// The exact bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }

            /// Reads exactly as many bytes as this type has.
            ///
            /// # Errors
            /// [`IdError::Length`] for any other number of bytes.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
                let exact = bytes.try_into().map_err(|_| IdError::Length { expected: $length, got: bytes.len() })?;
                Ok(Self(exact))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text = encode_base64(&self.0);
                write!(f, "{}…", text.get(..6).unwrap_or(&text))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&encode_base64(&self.0))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                let bytes = decode_base64(&text).map_err(D::Error::custom)?;
                Self::from_slice(&bytes).map_err(D::Error::custom)
            }
        }
    };
}

byte_id!(
    /// A device's Ed25519 public key: its fingerprint. Only the length is checked here; whether it is a usable point
    /// is checked where a signature is verified.
    Ed25519Key, 32
);
byte_id!(
    /// A Curve25519 public key: a device's Olm identity key, a one-time key or a fallback key.
    Curve25519Key, 32
);
byte_id!(
    /// An Ed25519 signature.
    Signature, 64
);
byte_id!(
    /// One life of a call, from its first member to its last: drawn by the first lead.
    Instance, 16
);
byte_id!(
    /// One join of one device: SHA-256 of its join proof. The same device joining again has another.
    JoinId, 32
);
byte_id!(
    /// SHA-256 of the exact text of a device card.
    CardHash, 32
);
byte_id!(
    /// Hash over the members of a roster.
    RosterHash, 32
);
byte_id!(
    /// Hash over everything that decides who may be admitted and how media is protected.
    PolicyHash, 32
);
byte_id!(
    /// Hash chain over all commits of a call.
    Transcript, 32
);
byte_id!(
    /// The public id of a Megolm session: its Ed25519 signing key.
    GroupId, 32
);
byte_id!(
    /// Drawn by the relay for each connection: what a join proof signs.
    RelayNonce, 32
);
byte_id!(
    /// Drawn by a device for each join.
    JoinNonce, 16
);
byte_id!(
    /// Drawn by a member for one request for a key.
    RequestNonce, 16
);
byte_id!(
    /// One life of a relay process; its sequence numbers mean nothing under another.
    RelayInstance, 16
);
byte_id!(
    /// SHA-256 over a batch of one-time keys.
    KeysHash, 32
);
byte_id!(
    /// What two holders of the same media secret may show each other; tells nothing of the secret.
    Fingerprint, 16
);
byte_id!(
    /// Proof that its sender holds an epoch: HMAC-SHA-256 under that epoch's authenticator key.
    AckMac, 32
);

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id!(
    /// The small number that a member has in frame headers. Given by the relay, the smallest free one, and reused.
    Seat, u16
);
number_id!(
    /// The order number of a join within a call. Never reused; decides succession and names members in signed bodies.
    Joined, u64
);
number_id!(
    /// The order number of an event in a call's log.
    Sequence, u64
);
number_id!(
    /// The reign of one lead. Rises by one with each change of lead.
    Term, u32
);

/// One media secret and one roster: a term and a count within it, in this order.
///
/// Travels as `[term, count]`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub Term, pub u32);

impl Epoch {
    /// The first epoch of a term.
    #[must_use]
    pub const fn first(term: Term) -> Self {
        Self(term, 0)
    }

    /// The epoch after this one in the same term; `None` when the count is used up.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.1.checked_add(1).map(|count| Self(self.0, count))
    }

    /// The reign this epoch belongs to.
    #[must_use]
    pub const fn term(self) -> Term {
        self.0
    }

    /// The number of this epoch within its term.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.1
    }

    /// `term (u32 BE) ‖ count (u32 BE)`, as it enters signed and hashed bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        let (term, count) = bytes.split_at_mut(4);
        term.copy_from_slice(&self.0.0.to_be_bytes());
        count.copy_from_slice(&self.1.to_be_bytes());
        bytes
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({self})")
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $error:expr, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks and wraps a text.
            ///
            /// # Errors
            /// The [`IdError`] of this type when the text does not follow its rule.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                let check: fn(&str) -> bool = $check;
                if check(&text) { Ok(Self(text)) } else { Err($error) }
            }

            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }
    };
}

text_id!(
    /// What people join: 1 to 64 characters of `A-Z a-z 0-9 _ . -`.
    CallName,
    IdError::CallName,
    |text| (1..=limits::NAME_LENGTH).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
);
text_id!(
    /// Who somebody says they are: 1 to 64 characters, none of them a control character.
    UserName,
    IdError::UserName,
    |text| !text.trim().is_empty()
        && text.chars().count() <= limits::NAME_LENGTH
        && !text.chars().any(char::is_control)
);

/// What a member is in a call. Fixed by the commit that adds the member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A headless bot that stays for the whole call: first in succession.
    LeadBot,
    /// An ordinary participant.
    Member,
    /// Keeps what others send, and everybody sees that it does: last in succession, for it may go at any time.
    Recorder,
}

impl Role {
    /// The number that stands for the role in hashed bytes.
    #[must_use]
    pub const fn as_byte(self) -> u8 {
        match self {
            Self::LeadBot => 1,
            Self::Member => 2,
            Self::Recorder => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_33_byte_key_is_refused_before_any_curve_code_sees_it() {
        // RUSTSEC-2026-0510: this input panics inside vodozemac's own base64 decoder.
        let text = format!("\"{}\"", encode_base64(&[7; 33]));
        let error = serde_json::from_str::<Ed25519Key>(&text).expect_err("33 bytes are no key");
        assert!(error.to_string().contains("expected 32 bytes, got 33"), "{error}");
        assert!(serde_json::from_str::<Curve25519Key>(&text).is_err());
    }

    #[test]
    fn base64_has_one_spelling() {
        for text in ["AA==", "A A", "A+", "A/", "AB"] {
            assert_eq!(decode_base64(text), Err(IdError::Base64), "{text}");
        }
        assert_eq!(decode_base64("AA"), Ok(vec![0]));
    }

    #[test]
    fn identifiers_print_a_short_prefix() {
        assert_eq!(format!("{:?}", Ed25519Key::new([0; 32])), "Ed25519Key(AAAAAA…)");
    }

    #[test]
    fn names_follow_their_rules() {
        assert!(CallName::new("demo-1.x_Y").is_ok());
        for bad in ["", "a b", "ü", &"x".repeat(65)] {
            assert_eq!(CallName::new(bad), Err(IdError::CallName), "{bad}");
        }
        assert!(UserName::new("Zoë 🎈").is_ok());
        for bad in ["", "   ", "a\nb", &"x".repeat(65)] {
            assert_eq!(UserName::new(bad), Err(IdError::UserName), "{bad}");
        }
    }
}
