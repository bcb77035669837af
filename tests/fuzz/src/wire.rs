//! What travels in the clear: messages in both directions, signed bodies, cards.
//!
//! Whatever decodes must say the same after it was written down and read again.

use conclave_shared::{
    id::Signature,
    limits,
    wire::{
        self, Tagged, ToClient, ToRelay,
        sealed::Content,
        signed::{Body, Signed},
    },
};
use serde_json::value::RawValue;
use std::fmt::Debug;

pub(crate) fn to_client(data: &[u8]) {
    message::<ToClient>(data, limits::FROM_RELAY_LENGTH);
}

pub(crate) fn to_relay(data: &[u8]) {
    message::<ToRelay>(data, limits::COMMIT_LENGTH);
}

fn message<T: Tagged + serde::Serialize + PartialEq + Debug>(data: &[u8], limit: usize) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(message) = wire::decode::<T>(text, limit) else { return };
    let again = wire::decode::<T>(&wire::encode(&message), limit);
    assert_eq!(again, Ok(message));
}

pub(crate) fn body(data: &[u8]) {
    let Some(signed) = signed(data) else { return };
    let Ok(body) = Body::parse(&signed) else { return };
    let text = wire::encode(&body);
    let again = serde_json::from_str::<Body>(&text).expect("what was read can be read again");
    assert_eq!((again.epoch, again.n, again.to), (body.epoch, body.n, body.to));
    assert_eq!(again.content.get(), body.content.get());
    let Ok(content) = Content::parse(&body.content) else { return };
    let text = RawValue::from_string(wire::encode(&content)).expect("JSON");
    assert_eq!(Content::parse(&text), Ok(content));
}

pub(crate) fn card(data: &[u8]) {
    let Some(signed) = split(data) else { return };
    let Ok(unverified) = signed.card_unverified() else {
        assert!(signed.card().is_err(), "what cannot be read cannot be verified");
        return;
    };
    assert!(signed.text.get().len() <= limits::CARD_LENGTH);
    assert!(unverified.card.capabilities.len() <= limits::CAPABILITIES);
    assert_eq!(unverified.hash.as_bytes(), &signed.text_hash());
    if let Ok(verified) = signed.card() {
        assert_eq!(verified, unverified);
        // A signature of one text is none of another.
        let other = RawValue::from_string(format!("{} ", signed.text.get()));
        if let Ok(text) = other {
            let other = Signed { text, signature: signed.signature };
            assert!(other.text.get() == signed.text.get() || other.card().is_err());
        }
    }
}

/// Any JSON, under a signature that nobody made.
fn signed(data: &[u8]) -> Option<Signed> {
    let text = RawValue::from_string(String::from_utf8(data.to_vec()).ok()?).ok()?;
    Some(Signed { text, signature: Signature::new([0; 64]) })
}

/// A signature and the JSON behind it.
fn split(data: &[u8]) -> Option<Signed> {
    let (signature, text) = data.split_first_chunk::<64>()?;
    Some(Signed { signature: Signature::new(*signature), ..signed(text)? })
}
