//! What travels: one JSON object per WebSocket text message, its single key the message's name.
//!
//! [`ToRelay`] is what a client says, [`ToClient`] what the relay says; neither side can decode its own messages by
//! mistake. [`signed`] holds what devices sign, [`sealed`] what only members read, [`code`] every error that travels.
//! This module never sees a secret key.

pub mod code;
pub mod label;
pub mod sealed;
pub mod signed;
mod to_client;
mod to_relay;

pub use to_client::*;
pub use to_relay::*;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, de::Error as _};
use serde_json::value::RawValue;
use std::{collections::BTreeMap, fmt};
use thiserror::Error;

use crate::{
    id::{decode_base64, encode_base64},
    limits::{LimitError, check_text},
};

/// Why a text is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// Too long or nested too deeply.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// Not one JSON object with exactly one key. Carries no piece of the text: it may hold a token.
    #[error("not a JSON object with one key, at column {column}")]
    Envelope {
        /// Where parsing stopped.
        column: usize,
    },
    /// A message of this name is not spoken here. Peers of a newer minor revision may send such: ignore it.
    #[error("unknown message")]
    Unknown,
    /// The message's fields have wrong types, are missing, or break a rule of their type.
    #[error("malformed `{message}` at column {column}")]
    Malformed {
        /// The name of the message.
        message: &'static str,
        /// Where parsing stopped.
        column: usize,
    },
}

/// A set of messages that are told apart by their single key.
pub trait Tagged: Sized {
    /// Decodes the value that stood under `name`.
    ///
    /// # Errors
    /// [`WireError::Unknown`] for another name, [`WireError::Malformed`] for wrong fields.
    fn from_tagged(name: &str, value: &RawValue) -> Result<Self, WireError>;
}

/// Decodes one message after checking its size and depth.
///
/// # Errors
/// [`WireError`], naming what is wrong without repeating any of the text.
pub fn decode<T: Tagged>(text: &str, limit: usize) -> Result<T, WireError> {
    check_text(text, limit)?;
    let envelope: BTreeMap<String, &RawValue> =
        serde_json::from_str(text).map_err(|error| WireError::Envelope { column: error.column() })?;
    let mut entries = envelope.into_iter();
    match (entries.next(), entries.next()) {
        (Some((name, value)), None) => T::from_tagged(&name, value),
        _ => Err(WireError::Envelope { column: 0 }),
    }
}

/// Encodes a message, or a text to be signed, hashed or sealed.
///
/// Every type of this module encodes: the result is empty only if a type's `Serialize` broke its promise, and an empty
/// text is refused by every decoder.
#[must_use]
pub fn encode<T: Serialize>(message: &T) -> String {
    serde_json::to_string(message).unwrap_or_default()
}

/// Decodes the value under a name that is known.
fn decode_value<T: DeserializeOwned>(message: &'static str, value: &RawValue) -> Result<T, WireError> {
    serde_json::from_str(value.get()).map_err(|error| WireError::Malformed { message, column: error.column() })
}

/// Declares an enum of messages: each variant once, with its name on the wire.
macro_rules! messages {
    ($(#[$doc:meta])* $enum:ident { $($(#[$vdoc:meta])* $name:literal => $variant:ident($inner:ty),)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
        pub enum $enum {
            $($(#[$vdoc])* #[serde(rename = $name)] $variant($inner),)*
        }

        impl $enum {
            /// Every name of this direction, in protocol order.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The name of this message on the wire.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }
        }

        impl $crate::wire::Tagged for $enum {
            fn from_tagged(name: &str, value: &serde_json::value::RawValue) -> Result<Self, $crate::wire::WireError> {
                match name {
                    $($name => $crate::wire::decode_value($name, value).map(Self::$variant),)*
                    _ => Err($crate::wire::WireError::Unknown),
                }
            }
        }

        $(impl From<$inner> for $enum {
            fn from(inner: $inner) -> Self {
                Self::$variant(inner)
            }
        })*
    };
}
use messages;

/// Bytes of any length, base64url without padding on the wire.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Blob(pub Vec<u8>);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode_base64(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        decode_base64(&text).map(Self).map_err(D::Error::custom)
    }
}

/// An Olm message on its way: `[type, bytes]`, type 0 for a pre-key message, 1 for a normal one, and 2 for a normal one with
/// [`SEALED_KEY`] bytes behind it: a ready grant, whose Olm message was made before there was anything to grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OlmMessage(pub u8, pub Blob);

/// The type of a ready grant.
const READY: u8 = 2;
/// Bytes of a sealed key: the key and the tag of AES-GCM.
pub const SEALED_KEY: usize = 32 + 16;

impl OlmMessage {
    /// A ready grant: a normal Olm message, and the key that is sealed under what it carries.
    #[must_use]
    pub fn ready(mut message: Vec<u8>, sealed: &[u8]) -> Self {
        message.extend_from_slice(sealed);
        Self(READY, Blob(message))
    }

    /// Both parts of a ready grant; `None` for any other message, or one that is too short.
    #[must_use]
    pub fn split_ready(&self) -> Option<(Self, &[u8; SEALED_KEY])> {
        let (message, sealed) = self.1.0.split_last_chunk().filter(|_| self.0 == READY)?;
        Some((Self(1, Blob(message.to_vec())), sealed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MESSAGE_LENGTH;

    #[test]
    fn errors_say_where_and_never_what() {
        let secret = r#"{"join":{"token":"eyJhbGciOi"}}"#;
        let error = decode::<ToRelay>(secret, MESSAGE_LENGTH).expect_err("fields are missing");
        assert!(matches!(error, WireError::Malformed { message: "join", .. }), "{error:?}");
        assert!(!error.to_string().contains("eyJ"));
    }

    #[test]
    fn an_envelope_has_one_key() {
        for text in ["", "[]", "{}", "7", r#"{"a":1,"b":2}"#, r#"{"claim":{"of":[]}}x"#] {
            assert!(matches!(decode::<ToRelay>(text, 100), Err(WireError::Envelope { .. })), "{text}");
        }
        assert_eq!(decode::<ToRelay>(r#"{"novel":{}}"#, 100), Err(WireError::Unknown));
    }

    #[test]
    fn directions_do_not_mix() {
        let claim = encode(&ToRelay::from(Claim { of: vec![] }));
        assert!(decode::<ToRelay>(&claim, 100).is_ok());
        assert_eq!(decode::<ToClient>(&claim, 100), Err(WireError::Unknown));
    }
}
