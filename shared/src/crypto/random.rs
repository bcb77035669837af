//! The one door through which randomness comes in.
//!
//! It leads to `getrandom`, whose backend a simulator replaces by a seeded one; vodozemac draws from the same source.

use thiserror::Error;

/// The system gave no random bytes: nothing can be made safely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the system's random generator failed")]
pub struct RandomError;

/// Draws random bytes.
///
/// # Errors
/// [`RandomError`] when the system gives none.
pub fn bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| RandomError)?;
    Ok(bytes)
}
