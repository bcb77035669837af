//! What fuzzing tries: every decoder, and a whole session, each a function of any bytes that panics when something is
//! wrong.
//!
//! The same functions are run in two ways. `make fuzz` drives them with libFuzzer, which learns from the branches that an
//! input reaches (`engine/`, a crate of its own outside the workspace). Ordinary tests replay `corpus/`, the inputs worth
//! keeping, and a few thousand changes of each (`tests/fuzz_corpus` in the crate above).
//!
//! [`TARGETS`] lists them; [`seeds`] makes the first inputs of each from a real call.

mod frames;
mod olm;
mod sealed;
pub mod seeds;
mod session;
mod token;
mod wire;

// The plain relay of the core's own tests.
#[allow(dead_code, unreachable_pub, missing_docs)]
#[path = "../../../shared/tests/plain/mod.rs"]
mod plain;

/// One thing to fuzz.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of it and of its folder in `corpus/`.
    pub name: &'static str,
    /// Tries one input. Panics when a property does not hold.
    pub run: fn(&[u8]),
    /// Longest input that is of use, in bytes.
    pub longest: usize,
}

/// Everything that is fuzzed.
pub const TARGETS: &[Target] = &[
    Target { name: "to_client", run: wire::to_client, longest: 16 << 10 },
    Target { name: "to_relay", run: wire::to_relay, longest: 16 << 10 },
    Target { name: "body", run: wire::body, longest: 8 << 10 },
    Target { name: "card", run: wire::card, longest: 4 << 10 },
    Target { name: "grant", run: sealed::grant, longest: 2 << 10 },
    Target { name: "commit", run: sealed::commit, longest: 8 << 10 },
    Target { name: "olm", run: olm::olm, longest: 1 << 10 },
    Target { name: "group", run: olm::group, longest: 1 << 10 },
    Target { name: "frame", run: frames::frame, longest: 2 << 10 },
    Target { name: "codec", run: frames::codec_rules, longest: 2 << 10 },
    Target { name: "token", run: token::token, longest: 6 << 10 },
    Target { name: "session", run: session::session, longest: 512 },
];

/// The target of a name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}
