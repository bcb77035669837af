//! Secrets and what is made of them. Only this module touches key bytes.

pub mod random;
pub mod schedule;
pub mod secret;
