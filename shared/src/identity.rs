//! Devices and how they are known.

pub mod device;
