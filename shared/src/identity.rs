//! Devices and how they are known.

mod card;
pub mod device;
mod one_time;
