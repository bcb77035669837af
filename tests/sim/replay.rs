//! A seed is a whole run. Needs the build with the seeded generator: `RUSTFLAGS='--cfg getrandom_backend="custom"'`.
#![cfg(getrandom_backend = "custom")]

use conclave_tests::run::run_seed;

#[test]
fn a_seed_replays_bit_for_bit_and_another_seed_is_another_run() {
    let first = run_seed(11).expect("no violation");
    let again = run_seed(11).expect("no violation");
    assert_eq!(first, again);
    let other = run_seed(12).expect("no violation");
    assert_ne!(first.trace, other.trace);
}
