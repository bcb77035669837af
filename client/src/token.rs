//! Making access tokens: the JWT (RFC 7519) that says who may join which call.
//!
//! A relay holds the other half: the same secret, or the public key. Whoever can make tokens can let anybody in, so this
//! belongs on a server or in the hands of whoever runs the relay.

use ed25519_dalek::{Signer, SigningKey, pkcs8::DecodePrivateKey};
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use zeroize::Zeroizing;

use conclave_shared::{
    id::{CallName, Role, UserName, decode_base64, encode_base64},
    wire::Token,
};

/// Bytes of a shared secret at least (RFC 7518 section 3.2: no less than the hash of HS256 has).
pub const SECRET_LENGTH: usize = 32;
/// How long a token may be good for: it is checked once, when joining.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Why no token can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// The secret could be guessed.
    #[error("CONCLAVE_SECRET is too short: it needs at least {SECRET_LENGTH} bytes (`openssl rand -hex 32` makes one)")]
    ShortSecret,
    /// The key file holds something else.
    #[error("not an Ed25519 private key in PEM form (`openssl genpkey -algorithm ed25519` makes one)")]
    Key,
    /// Longer than [`LONGEST`], or nothing.
    #[error("a token is good for one second to 24 hours")]
    Lifetime,
    /// The clock of this machine is before 1970.
    #[error("the clock of this machine is wrong")]
    Clock,
}

/// What signs tokens.
pub enum Issuer {
    /// HS256: the relay knows the same secret.
    Secret(Zeroizing<Vec<u8>>),
    /// EdDSA: the relay knows the public key only.
    Ed25519(Box<SigningKey>),
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Issuer::Secret(…)",
            Self::Ed25519(_) => "Issuer::Ed25519(…)",
        })
    }
}

/// What a token says.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'a> {
    /// The call.
    pub call: &'a CallName,
    /// The user; must be the one on the device card.
    pub user: &'a UserName,
    /// The role.
    pub role: Role,
    /// How long it is good for.
    pub lifetime: Duration,
}

impl Issuer {
    /// Reads a shared secret as the relay reads it: base64url of at least [`SECRET_LENGTH`] bytes stands for those bytes,
    /// any other text for itself.
    ///
    /// # Errors
    /// [`TokenError::ShortSecret`].
    pub fn secret(text: &str) -> Result<Self, TokenError> {
        let decoded = decode_base64(text).ok().filter(|bytes| bytes.len() >= SECRET_LENGTH);
        let bytes = Zeroizing::new(decoded.unwrap_or_else(|| text.as_bytes().to_vec()));
        if bytes.len() < SECRET_LENGTH { Err(TokenError::ShortSecret) } else { Ok(Self::Secret(bytes)) }
    }

    /// Reads an Ed25519 private key: PKCS #8 in PEM form.
    ///
    /// # Errors
    /// [`TokenError::Key`].
    pub fn ed25519(pem: &str) -> Result<Self, TokenError> {
        SigningKey::from_pkcs8_pem(pem.trim()).map(|key| Self::Ed25519(Box::new(key))).map_err(|_| TokenError::Key)
    }

    /// Makes a token.
    ///
    /// # Errors
    /// [`TokenError::Lifetime`], [`TokenError::Clock`].
    pub fn issue(&self, grant: &Grant<'_>) -> Result<Token, TokenError> {
        if grant.lifetime > LONGEST || grant.lifetime < Duration::from_secs(1) {
            return Err(TokenError::Lifetime);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| TokenError::Clock)?;
        let claims = Claims {
            sub: grant.user,
            iat: now.as_secs(),
            exp: (now + grant.lifetime).as_secs(),
            conclave: Conclave { call: grant.call, role: grant.role },
        };
        let header = Header { alg: if matches!(self, Self::Secret(_)) { "HS256" } else { "EdDSA" }, typ: "JWT" };
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = encode_base64(&self.sign(signed.as_bytes()));
        Ok(Token(format!("{signed}.{signature}")))
    }

    fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Secret(secret) => {
                // HMAC takes a key of any length.
                #[allow(clippy::expect_used)]
                let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret).expect("any length is a key");
                mac.update(bytes);
                mac.finalize().into_bytes().to_vec()
            }
            Self::Ed25519(key) => key.sign(bytes).to_bytes().to_vec(),
        }
    }
}

#[derive(Serialize)]
struct Header {
    alg: &'static str,
    typ: &'static str,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a UserName,
    iat: u64,
    exp: u64,
    conclave: Conclave<'a>,
}

#[derive(Serialize)]
struct Conclave<'a> {
    call: &'a CallName,
    role: Role,
}

fn part(value: &impl Serialize) -> String {
    encode_base64(conclave_shared::wire::encode(value).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key made for this test alone, by `openssl genpkey -algorithm ed25519`.
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";

    fn issue(issuer: &Issuer) -> String {
        let (call, user) = (CallName::new("demo").expect("a call"), UserName::new("Zoë").expect("a user"));
        let grant = Grant { call: &call, user: &user, role: Role::LeadBot, lifetime: Duration::from_secs(60) };
        issuer.issue(&grant).expect("a token").0
    }

    #[test]
    fn a_token_says_who_may_do_what_and_is_signed() {
        let secret = "a secret of thirty-two bytes or more";
        let token = issue(&Issuer::secret(secret).expect("long enough"));
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts[..] else { panic!("{token}") };
        assert_eq!(decode_base64(header).expect("base64url"), br#"{"alg":"HS256","typ":"JWT"}"#);
        let claims: serde_json::Value =
            serde_json::from_slice(&decode_base64(claims).expect("base64url")).expect("JSON");
        assert_eq!(claims["sub"], "Zoë");
        assert_eq!(claims["conclave"], serde_json::json!({ "call": "demo", "role": "lead_bot" }));
        assert_eq!(claims["exp"].as_u64().expect("exp") - claims["iat"].as_u64().expect("iat"), 60);
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes()).expect("a key");
        mac.update(token.rsplit_once('.').expect("three parts").0.as_bytes());
        assert_eq!(decode_base64(signature).expect("base64url"), mac.finalize().into_bytes().to_vec());
    }

    #[test]
    fn an_ed25519_key_signs_too_and_other_files_are_refused() {
        let issuer = Issuer::ed25519(PEM).expect("a key");
        let token = issue(&issuer);
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let Issuer::Ed25519(key) = issuer else { panic!("another issuer") };
        let signature = ed25519_dalek::Signature::from_slice(&decode_base64(signature).expect("base64url"));
        key.verifying_key().verify_strict(signed.as_bytes(), &signature.expect("64 bytes")).expect("verifies");
        assert_eq!(Issuer::ed25519("PEM").expect_err("no key"), TokenError::Key);
    }

    #[test]
    fn a_secret_is_read_as_the_relay_reads_it() {
        let Ok(Issuer::Secret(bytes)) = Issuer::secret(&encode_base64(&[7; 32])) else { panic!("no secret") };
        assert_eq!(**bytes, [7; 32]);
        assert_eq!(Issuer::secret("short").expect_err("five bytes"), TokenError::ShortSecret);
        assert_eq!(format!("{:?}", Issuer::secret(&"x y".repeat(20)).expect("long")), "Issuer::Secret(…)");
    }
}
