//! Secrets and what is made of them. Only this module touches key bytes.

pub mod group;
pub mod pairwise;
pub mod random;
pub mod schedule;
pub mod seal;
pub mod secret;
