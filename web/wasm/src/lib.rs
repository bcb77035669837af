//! conclave-wasm
