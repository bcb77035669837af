//! conclave-server
