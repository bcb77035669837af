//! Access tokens: who may join which call, in which role.
//!
//! A token is a JWT (RFC 7519) with `exp`, `sub` (the user) and `conclave: {call, role}`. Which algorithm is accepted
//! follows from what is configured, HS256 or EdDSA, and a key is only ever used with its own algorithm. A token is
//! never logged and never leaves the relay.

mod provider;

use conclave_shared::{
    id::{CallName, Role, UserName},
    limits,
    wire::{Token, code::Code},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;

use crate::{
    call::Admission,
    config::{Config, Secret},
};

/// How far the clocks of issuer and relay may be apart.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// Why a token admits nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AdmissionError {
    /// Not a token that the configured keys have signed, or without what a token must say.
    #[error("the token is not valid here")]
    Refused,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// It is for another call.
    #[error("the token is for another call")]
    WrongCall,
    /// Nothing to sign with, or the signature failed.
    #[error("no token can be minted")]
    Mint,
}

impl AdmissionError {
    /// The code that travels.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Refused | Self::Mint => Code::TokenRefused,
            Self::Expired => Code::TokenExpired,
            Self::WrongCall => Code::WrongCall,
        }
    }
}

/// What a token says.
#[derive(Serialize, Deserialize)]
struct Claims {
    exp: u64,
    sub: UserName,
    conclave: Grants,
}

/// The part of a token that is Conclave's own.
#[derive(Serialize, Deserialize)]
struct Grants {
    call: CallName,
    role: Role,
}

/// Checks tokens under the configured keys. Prints nothing of them.
pub struct Admissions {
    keys: Vec<(Algorithm, DecodingKey)>,
}

impl std::fmt::Debug for Admissions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admissions").finish_non_exhaustive()
    }
}

impl Admissions {
    /// Takes the keys from the configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        provider::install();
        let secret = config.secret.as_ref().map(|secret| (Algorithm::HS256, DecodingKey::from_secret(secret.expose())));
        let public = config.public_key.map(|key| (Algorithm::EdDSA, DecodingKey::from_ed_der(&key)));
        Self { keys: secret.into_iter().chain(public).collect() }
    }

    /// Checks a token for a call.
    ///
    /// # Errors
    /// [`AdmissionError`]; nothing of the token is in it.
    pub fn admit(&self, token: &Token, call: &CallName) -> Result<Admission, AdmissionError> {
        if token.0.len() > limits::TOKEN_LENGTH {
            return Err(AdmissionError::Refused);
        }
        let header = jsonwebtoken::decode_header(&token.0).map_err(|_| AdmissionError::Refused)?;
        let (algorithm, key) =
            self.keys.iter().find(|(algorithm, _)| *algorithm == header.alg).ok_or(AdmissionError::Refused)?;
        let mut validation = Validation::new(*algorithm);
        validation.leeway = LEEWAY.as_secs();
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "sub"]);
        let claims = match jsonwebtoken::decode::<Claims>(&token.0, key, &validation) {
            Ok(data) => data.claims,
            Err(error) if matches!(error.kind(), ErrorKind::ExpiredSignature) => return Err(AdmissionError::Expired),
            Err(_) => return Err(AdmissionError::Refused),
        };
        if claims.conclave.call != *call {
            return Err(AdmissionError::WrongCall);
        }
        Ok(Admission { call: claims.conclave.call, user: claims.sub, role: claims.conclave.role })
    }
}

/// Mints an HS256 token that is valid from now on for that long.
///
/// # Errors
/// [`AdmissionError::Mint`] when the clock stands before 1970.
pub fn mint(secret: &Secret, admission: Admission, valid: Duration) -> Result<Token, AdmissionError> {
    provider::install();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| AdmissionError::Mint)?;
    let claims = Claims {
        exp: now.as_secs().saturating_add(valid.as_secs()),
        sub: admission.user,
        conclave: Grants { call: admission.call, role: admission.role },
    };
    let key = EncodingKey::from_secret(secret.expose());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).map(Token).map_err(|_| AdmissionError::Mint)
}
