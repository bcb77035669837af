//! The two algorithms that tokens may have, for `jsonwebtoken`.
//!
//! Its own backends bring RSA and three more curves, which would be code that no token here can reach (and an RSA crate
//! with an open advisory). HMAC-SHA-256 and strict Ed25519 are in the tree anyway.

use ed25519_dalek::VerifyingKey;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{ErrorKind, Result},
};
use sha2::Sha256;
use signature::{Error, Signer, Verifier};

/// Makes these the algorithms of the process, unless another part of it has chosen before.
pub(super) fn install() {
    // An earlier choice stands: it may be this very one, or that of a program which embeds the relay.
    let _earlier = PROVIDER.install_default();
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    // Only for keys in JWK form, which the relay does not read.
    key_utils: KeyUtils::new_unimplemented(),
};

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    if *algorithm == Algorithm::HS256 && key.family() == AlgorithmFamily::Hmac {
        Ok(Box::new(Hs256::new(key.as_bytes())?))
    } else {
        Err(ErrorKind::InvalidAlgorithm.into())
    }
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let bytes = key.try_get_as_bytes()?;
    if *algorithm == Algorithm::HS256 && key.family() == AlgorithmFamily::Hmac {
        Ok(Box::new(Hs256::new(bytes)?))
    } else if *algorithm == Algorithm::EdDSA && key.family() == AlgorithmFamily::Ed {
        let exact = bytes.try_into().map_err(|_| ErrorKind::InvalidEddsaKey)?;
        Ok(Box::new(EdDsa(VerifyingKey::from_bytes(exact).map_err(|_| ErrorKind::InvalidEddsaKey)?)))
    } else {
        Err(ErrorKind::InvalidAlgorithm.into())
    }
}

struct Hs256(Hmac<Sha256>);

impl Hs256 {
    fn new(secret: &[u8]) -> Result<Self> {
        Ok(Self(Hmac::new_from_slice(secret).map_err(|_| ErrorKind::InvalidKeyFormat)?))
    }

    fn over(&self, message: &[u8]) -> Hmac<Sha256> {
        self.0.clone().chain_update(message)
    }
}

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        Ok(self.over(message).finalize().into_bytes().to_vec())
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    /// In constant time.
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        self.over(message).verify_slice(signature).map_err(|_| Error::new())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

struct EdDsa(VerifyingKey);

impl Verifier<Vec<u8>> for EdDsa {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|_| Error::new())?;
        self.0.verify_strict(message, &signature).map_err(|_| Error::new())
    }
}

impl JwtVerifier for EdDsa {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}
