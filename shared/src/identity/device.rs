//! One device: its Olm account, which signs and opens.

use std::fmt;
use zeroize::Zeroizing;

/// A device's private state as text, to be stored where only its owner can read it.
#[derive(Clone)]
pub struct DevicePickle(Zeroizing<String>);

impl fmt::Debug for DevicePickle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DevicePickle(…)")
    }
}
