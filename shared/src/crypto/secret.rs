//! The one type for secret bytes: boxed, so that moves leave no copies; wiped on drop; unprintable; compared in constant
//! time.

use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// `N` secret bytes.
pub struct Secret<const N: usize>(Box<Zeroizing<[u8; N]>>);

impl<const N: usize> Secret<N> {
    /// Zeros, to be written in place so that no copy of the secret lies on the stack.
    #[must_use]
    pub(super) fn zeroed() -> Self {
        Self(Box::new(Zeroizing::new([0; N])))
    }

    /// Takes exactly `N` bytes and wipes where they came from; `None` for any other number.
    pub fn take(bytes: &mut [u8]) -> Option<Self> {
        let secret = (bytes.len() == N).then(|| {
            let mut secret = Self::zeroed();
            secret.expose_mut().copy_from_slice(bytes);
            secret
        });
        bytes.zeroize();
        secret
    }

    /// Where to write the bytes.
    pub(crate) fn expose_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }

    /// The bytes, for the one call that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> Clone for Secret<N> {
    fn clone(&self) -> Self {
        Self(Box::new(Zeroizing::new(**self.0)))
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_nothing_and_wipes_its_source() {
        let mut source = [7_u8; 4];
        let secret = Secret::<4>::take(&mut source).expect("four bytes");
        assert_eq!(source, [0; 4]);
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(secret.expose(), &[7; 4]);
        assert_eq!(Secret::<4>::take(&mut [1; 5]), None);
    }
}
