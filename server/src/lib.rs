//! # The Conclave relay
//!
//! Carries public keys and sealed messages between the members of a call, gives every event its place in one order,
//! and admits by token. It holds no key of anybody, and links no code that could open what it carries.
//!
//! [`call`] is the heart: one machine per call without any input or output of its own, driven by sockets here and by
//! virtual time in a simulator. Around it (feature `net`): `calls` keeps one machine per call behind a lock,
//! `connection` is one socket, `http` the routes, `admission` the tokens, `config` what an operator may set.

pub mod call;

#[cfg(feature = "net")]
mod address;
#[cfg(feature = "net")]
pub mod admission;
#[cfg(feature = "net")]
mod calls;
#[cfg(feature = "net")]
pub mod config;
#[cfg(feature = "net")]
mod connection;
#[cfg(feature = "net")]
mod dev;
#[cfg(feature = "net")]
mod http;
#[cfg(feature = "net")]
mod serve;

#[cfg(feature = "net")]
pub use serve::run;
