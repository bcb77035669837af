//! Access tokens against a relay that knows a secret.

use conclave_server::{
    admission::Admissions,
    config::{Config, Secret},
};
use conclave_shared::{id::CallName, limits, wire::Token};
use std::sync::LazyLock;

/// What the corpus's tokens are signed with.
pub(crate) const SECRET: &[u8] = b"no secret at all: tokens of the corpus";

static RELAY: LazyLock<Admissions> = LazyLock::new(|| Admissions::new(&Config::with_secret(secret())));

pub(crate) fn secret() -> Secret {
    Secret::new(SECRET.to_vec()).expect("long enough")
}

pub(crate) fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let call = CallName::new("demo").expect("a name");
    if let Ok(admission) = RELAY.admit(&Token(text.into()), &call) {
        assert_eq!(admission.call, call);
        assert!(text.len() <= limits::TOKEN_LENGTH);
        let [_, claims, signature] = text.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
        // Nobody can sign but who has the secret: a token with anything changed is refused.
        let swapped: String = signature.chars().rev().collect();
        let other = text.replace(signature, &swapped);
        assert!(other == text || RELAY.admit(&Token(other), &call).is_err());
        let unsigned = format!("eyJhbGciOiJub25lIn0.{claims}.");
        assert!(RELAY.admit(&Token(unsigned), &call).is_err(), "the algorithm is the relay's choice");
    }
}
