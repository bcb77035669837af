//! The trace of a run as one hash: two runs with the same hash were the same, bit for bit. With `TRACE` set in the
//! environment it is printed, too.

use conclave_shared::time::Timestamp;
use sha2::{Digest, Sha256};
use std::fmt;

/// Everything that was delivered so far, hashed in order.
pub struct Trace {
    hash: Sha256,
    entries: u64,
    print: bool,
}

/// The hash of a whole run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceHash([u8; 32]);

impl Default for Trace {
    fn default() -> Self {
        Self { hash: Sha256::new(), entries: 0, print: std::env::var_os("TRACE").is_some() }
    }
}

impl Trace {
    /// Adds something that happened at a time: `what` says which kind, `to` whom it reached.
    pub fn add(&mut self, now: Timestamp, what: &str, to: u64, bytes: &[u8]) {
        self.hash.update(now.as_millis().to_be_bytes());
        self.hash.update((what.len() as u64).to_be_bytes());
        self.hash.update(what);
        self.hash.update(to.to_be_bytes());
        self.hash.update((bytes.len() as u64).to_be_bytes());
        self.hash.update(bytes);
        self.entries += 1;
        if self.print && what != "frame" {
            println!("{now:?} {what} {to}: {}", shorten(bytes));
        }
    }

    /// How many things were added.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The hash of all of it.
    #[must_use]
    pub fn finish(&self) -> TraceHash {
        TraceHash(self.hash.clone().finalize().into())
    }
}

impl fmt::Debug for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// As much of a text as tells what it is.
fn shorten(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if text.chars().count() > PRINTED { text.chars().take(PRINTED).chain("…".chars()).collect() } else { text.into() }
}

/// Characters of one printed entry.
const PRINTED: usize = 220;
