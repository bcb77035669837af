//! A hostile relay against real sessions: the catalogue of `docs/THREATS.md`, one test for each attack.
#![cfg(feature = "audit")]
#![allow(missing_docs, unreachable_pub, dead_code, clippy::wildcard_enum_match_arm)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../attack/mod.rs"]
mod attack;
#[path = "../plain/mod.rs"]
mod plain;

mod halves;
mod keeping;
mod keys;
mod leads;
mod ready;
mod replays;
mod texts;

use attack::Suite;
use conclave_shared::{
    id::{Epoch, Joined, Term},
    session::error::{CommitError, SecurityEvent},
    wire::signed::Signed,
};
use serde_json::value::RawValue;

static RELAY: Suite = Suite::new("relay_attacks");

const fn epoch(term: u32, count: u32) -> Epoch {
    Epoch(Term(term), count)
}

const fn refused(epoch: Epoch, reason: CommitError) -> SecurityEvent {
    SecurityEvent::CommitRefused { epoch, reason }
}

const fn bad_keys(joined: u64) -> SecurityEvent {
    SecurityEvent::BadKeys { joined: Joined(joined) }
}

/// The same signature over another text.
fn with_text(signed: &Signed, change: impl Fn(&str) -> String) -> Signed {
    Signed { text: RawValue::from_string(change(signed.text.get())).unwrap(), signature: signed.signature }
}
