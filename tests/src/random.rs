//! Randomness of a run: dice for what happens, and, in a build made for it, a seeded source under all cryptography.
//!
//! vodozemac takes no generator: it draws from one per thread that is seeded through `getrandom`. Built with
//! `RUSTFLAGS='--cfg getrandom_backend="custom"'`, `getrandom` asks [`seed_thread`]'s generator. So one fresh thread per
//! run, seeded before anything is drawn, makes a run with real cryptography come out the same, bit for bit.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use std::time::Duration;

/// Whether this build draws all randomness from seeds, so that a run can be replayed.
pub const SEEDED: bool = cfg!(getrandom_backend = "custom");

/// Decides what happens in a run.
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The dice of a seed. `stream` keeps the dice of different uses apart.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Self(generator)
    }

    /// A number below `bound`, which must not be zero. The bias of the remainder is of no interest here.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    /// True in `percent` of a hundred throws.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A time from `low` up to and without `high`, in milliseconds.
    pub fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(low + self.below(high - low))
    }

    /// One of some; `None` of none.
    pub fn pick<T: Copy>(&mut self, some: &[T]) -> Option<T> {
        if some.is_empty() { None } else { some.get(usize::try_from(self.below(some.len() as u64)).ok()?).copied() }
    }

    /// Random bytes that are no secret: what a relay draws.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}

/// Seeds the source of this thread's cryptography, where this build has one.
pub fn seed_thread(seed: u64) {
    #[cfg(getrandom_backend = "custom")]
    backend::seed(seed);
    #[cfg(not(getrandom_backend = "custom"))]
    let _ = seed;
}

#[cfg(getrandom_backend = "custom")]
mod backend {
    use super::{ChaCha8Rng, Rng, SeedableRng};
    use std::cell::RefCell;

    thread_local! {
        static SOURCE: RefCell<Option<ChaCha8Rng>> = const { RefCell::new(None) };
    }

    pub(super) fn seed(seed: u64) {
        SOURCE.set(Some(ChaCha8Rng::seed_from_u64(seed)));
    }

    /// What `getrandom` calls in this build. A thread that was not seeded gets an error: nothing may slip past the seed.
    // `getrandom` finds its backend by this symbol and hands it a pointer; there is no safe way to offer one.
    #[allow(unsafe_code)]
    #[unsafe(no_mangle)]
    unsafe extern "Rust" fn __getrandom_v03_custom(dest: *mut u8, len: usize) -> Result<(), getrandom::Error> {
        // SAFETY: `getrandom` owns `len` writable bytes at `dest` for as long as this call lasts; they are initialised
        // before a reference to them is made.
        let bytes = unsafe {
            dest.write_bytes(0, len);
            std::slice::from_raw_parts_mut(dest, len)
        };
        SOURCE.with_borrow_mut(|source| {
            source.as_mut().map(|source| source.fill_bytes(bytes)).ok_or(getrandom::Error::UNSUPPORTED)
        })
    }
}
