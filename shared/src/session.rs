//! The life of one device in one call.

pub mod config;
pub mod error;
pub mod input;
pub mod output;
