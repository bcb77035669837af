//! # Conclave: who makes the media keys, who gets them, when they change
//!
//! A call has a **relay** that everybody is connected to and nobody trusts, and members. One of them, the **lead**,
//! runs a Megolm group session; the ratchet of that session, put through HKDF, is the secret that all frame keys of an
//! **epoch** come from. Every join ratchets it one step, every leave replaces it.
//!
//! This crate is the whole protocol without any input or output of its own: no clock, no socket, no thread. A driver
//! (a Tokio task, a browser worker, a simulator) moves bytes and time in and out:
//!
//! ```text
//! bytes -> wire -> Input -> session -> Output -> wire -> bytes          keys -> frame -> media
//! ```
//!
//! Read [`session`] for the life of a call, [`wire`] for what travels, [`identity`] and [`crypto`] for the keys,
//! [`frame`] for what happens to media. The relay builds this crate with the feature `wire` alone, so it has no code
//! that could open anything.

/// Whether a bug of [`planted`] is at work here. Only the simulator's build has any.
#[cfg(planted)]
#[macro_export]
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::is($crate::planted::Bug::$bug)
    };
}

/// Whether a bug is at work here on purpose: none is, and a build like this one has no way to ask for any.
#[cfg(not(planted))]
#[macro_export]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

pub mod id;
pub mod limits;
#[cfg(planted)]
pub mod planted;
pub mod time;
pub mod wire;

#[cfg(feature = "session")]
pub mod crypto;
#[cfg(feature = "frame")]
pub mod frame;
#[cfg(feature = "session")]
pub mod identity;
#[cfg(feature = "session")]
pub mod session;
