//! What a hostile relay and a hostile lead can make of taking a seat again, and of asking for a key.
#![cfg(feature = "audit")]
#![allow(missing_docs, unreachable_pub, dead_code, clippy::wildcard_enum_match_arm)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../attack/mod.rs"]
mod attack;
#[path = "../plain/mod.rs"]
mod plain;

mod grants;
mod keeping;
mod seats;

use attack::{Attack, Suite};
use conclave_shared::{
    id::{RelayInstance, RelayNonce},
    session::input::Input,
    wire::{Challenge, ToRelay},
};

static RESUME: Suite = Suite::new("resume_attacks");

/// The life of the relay that every call begins with.
const SAME: RelayInstance = RelayInstance::new([9; 16]);
const ANOTHER: RelayInstance = RelayInstance::new([8; 16]);
const NONCE: RelayNonce = RelayNonce::new([0x77; 32]);

/// A member's connection drops, and a relay of this life challenges it: what it answers.
fn comes_back(call: &mut Attack, index: usize, relay: RelayInstance) -> ToRelay {
    call.input(index, Input::Disconnected);
    let challenge = Challenge { versions: vec![1], nonce: NONCE, relay };
    call.input(index, Input::Received(challenge.into()));
    call.settle();
    let answer = call
        .said
        .iter()
        .rev()
        .find(|(from, said)| *from == index && matches!(said, ToRelay::Resume(_) | ToRelay::Restore(_)));
    answer.expect("it answers").1.clone()
}
