//! conclave-client
