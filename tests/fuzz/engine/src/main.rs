//! libFuzzer around one target: FUZZ_TARGET names it. All randomness comes from one seed, so that an input that fails
//! fails again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use std::{cell::RefCell, sync::LazyLock};

static TARGET: LazyLock<conclave_fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let names: Vec<_> = conclave_fuzz::TARGETS.iter().map(|target| target.name).collect();
    conclave_fuzz::target(&name).unwrap_or_else(|| panic!("FUZZ_TARGET is one of {names:?}"))
});

fuzz_target!(|data: &[u8]| {
    // The generators of the libraries are drawn once for each thread: a new one starts from the seed again.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            SOURCE.set(Some(ChaCha8Rng::seed_from_u64(7)));
            (TARGET.run)(data);
        });
    });
});

thread_local! {
    static SOURCE: RefCell<Option<ChaCha8Rng>> = const { RefCell::new(None) };
}

/// What `getrandom` calls in this build.
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(dest: *mut u8, len: usize) -> Result<(), getrandom::Error> {
    // SAFETY: `getrandom` owns `len` writable bytes at `dest` for as long as this call lasts; they are initialised before
    // a reference to them is made.
    let bytes = unsafe {
        dest.write_bytes(0, len);
        std::slice::from_raw_parts_mut(dest, len)
    };
    SOURCE.with_borrow_mut(|source| {
        source.get_or_insert_with(|| ChaCha8Rng::seed_from_u64(7)).fill_bytes(bytes);
    });
    Ok(())
}
