//! # The tests of whole calls
//!
//! This crate is a simulator: [`world::World`] holds any number of real sessions and the relay's own machine, moves them
//! in virtual time over a seeded [`network`], and lets [`invariants`] look at everything that comes out. [`run`] makes a
//! random run from a seed; a run of one seed is the same every time (see [`random`]). [`model`] is what a call should
//! look like, written as plainly as possible.
//!
//! The tests that use it stand in `sim/`: one small file for each scenario, and `sim/seeds.rs` for the random runs.
//! `e2e/` runs the real programs over real sockets, `privacy/` searches everything they log for secrets.

pub mod invariants;
pub mod model;
pub mod network;
pub mod peer;
#[cfg(feature = "net")]
pub mod programs;
pub mod random;
pub mod relay;
pub mod run;
pub mod transcript;
pub mod world;

/// One join of one device in a simulated call: numbered in the order in which they connect, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);
