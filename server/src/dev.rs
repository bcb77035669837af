//! Tokens without an account, for development: only for the relay's own page on this very machine.
//!
//! Any page that a browser on this machine shows could ask for a token, so all three must hold: the peer is on
//! loopback, the Host header is a loopback name with the relay's port (which stops names that an attacker points at
//! loopback), and the Origin header is exactly that host (which stops other pages, and browsers always send it).

use axum::{
    Extension, Json,
    extract::{DefaultBodyLimit, FromRequest, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use conclave_shared::id::{CallName, Role, UserName};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

use crate::{admission, call::Admission, config::Secret, http::Peer};

/// How long a minted token admits: longer than a working day, so that a page left open can join again.
const VALID: Duration = Duration::from_secs(12 * 3600);
/// Bytes of a request for a token.
const BODY: usize = 4096;
/// What a browser may call this machine.
const LOOPBACK_NAMES: &[&str] = &["localhost", "127.0.0.1", "[::1]"];

/// Mints under the relay's own secret.
#[derive(Clone, Debug)]
pub(crate) struct Mint {
    secret: Arc<Secret>,
}

impl Mint {
    pub(crate) fn new(secret: Secret) -> Self {
        Self { secret: Arc::new(secret) }
    }
}

#[derive(Deserialize)]
struct Wanted {
    call: CallName,
    user: UserName,
    #[serde(default)]
    role: Option<Role>,
}

#[derive(Serialize)]
struct Minted {
    token: conclave_shared::wire::Token,
}

/// `POST /dev/token {call, user, role?}` gives `{token}`.
pub(crate) async fn token(
    State(mint): State<Mint>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
) -> Response {
    if !peer.address.ip().to_canonical().is_loopback() || !own_page(request.headers(), peer.port) {
        return (StatusCode::FORBIDDEN, "tokens are minted for the relay's own page on this machine only\n")
            .into_response();
    }
    DefaultBodyLimit::max(BODY).apply(&mut request);
    let Json(Wanted { call, user, role }) = match Json::from_request(request, &()).await {
        Ok(wanted) => wanted,
        Err(rejection) => return rejection.into_response(),
    };
    let admission = Admission { call, user, role: role.unwrap_or(Role::Member) };
    match admission::mint(&mint.secret, admission, VALID) {
        Ok(token) => ([(header::CACHE_CONTROL, "no-store")], Json(Minted { token })).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn own_page(headers: &HeaderMap, port: u16) -> bool {
    let one = |name| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
    };
    let (Some(host), Some(origin)) = (one(header::HOST), one(header::ORIGIN)) else {
        return false;
    };
    let loopback = LOOPBACK_NAMES.iter().any(|name| {
        let rest = host.strip_prefix(name);
        // A browser leaves port 80 out.
        rest.is_some_and(|rest| rest == format!(":{port}") || (rest.is_empty() && port == 80))
    });
    loopback && origin.strip_prefix("http://") == Some(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn own(host: Option<&'static str>, origin: Option<&'static str>) -> bool {
        let mut headers = HeaderMap::new();
        let mut set = |name, value: Option<&'static str>| {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_static(value));
            }
        };
        set(header::HOST, host);
        set(header::ORIGIN, origin);
        own_page(&headers, 8080)
    }

    #[test]
    fn only_the_own_page_on_loopback_is_given_tokens() {
        for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080"] {
            let origin: &'static str = Box::leak(format!("http://{host}").into_boxed_str());
            assert!(own(Some(host), Some(origin)), "{host}");
        }
        let refused = [
            (None, Some("http://localhost:8080")),
            (Some("localhost:8080"), None),
            (Some("localhost:8080"), Some("http://127.0.0.1:8080")),
            (Some("localhost:8080"), Some("https://localhost:8080")),
            (Some("localhost:8080"), Some("http://evil.example")),
            (Some("localhost:8081"), Some("http://localhost:8081")),
            (Some("localhost"), Some("http://localhost")),
            (Some("evil.example:8080"), Some("http://evil.example:8080")),
            (Some("localhost.evil.example:8080"), Some("http://localhost.evil.example:8080")),
            (Some("127.0.0.1.evil.example:8080"), Some("http://127.0.0.1.evil.example:8080")),
        ];
        for (host, origin) in refused {
            assert!(!own(host, origin), "{host:?} {origin:?}");
        }
    }
}
