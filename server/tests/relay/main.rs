//! The relay over real sockets: what it serves, and everything bad that can be sent to it.

// Helpers are part of the tests: what fails in them fails a test.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm
)]

mod admission;
mod bad_input;
mod client;
mod dependencies;
#[path = "../support/device.rs"]
mod device;
mod http;
mod limits;
mod passing;
mod resuming;
mod shutdown;
