//! The relay's routes: the socket, the page, a health check.

use axum::{
    Extension, Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hyper_util::rt::TokioIo;
use std::{net::SocketAddr, path::Path, sync::Arc};
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tower_http::services::ServeDir;

use crate::{address::Waiting, config::Config, connection, connection::Relay, dev};

/// What the page may do. WASM needs its own word; blob and mediastream are camera pictures; sockets may go to another
/// relay that the page was built for.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; \
    connect-src 'self' ws: wss:; img-src 'self' data:; media-src 'self' blob: mediastream:; style-src 'self'; \
    object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Where an HTTP connection comes from.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// The port that it came to.
    pub(crate) port: u16,
    pub(crate) waiting: Arc<Waiting>,
    /// Its place among all connections of the relay: kept for as long as a socket that came of it lives.
    pub(crate) _place: Arc<OwnedSemaphorePermit>,
}

#[derive(Clone, Debug)]
struct Routes {
    relay: Arc<Relay>,
    allowed_origins: Arc<[String]>,
}

/// All routes. Requests must carry a [`Peer`].
pub(crate) fn router(relay: Arc<Relay>, config: &Config) -> Router {
    let state = Routes { relay, allowed_origins: config.allowed_origins.clone().into() };
    let mut router =
        Router::new().route("/v1/ws", get(socket)).route("/healthz", get(async || "ok\n")).with_state(state);
    if let Some(secret) = config.secret.clone().filter(|_| config.dev) {
        router = router.route("/dev/token", post(dev::token).with_state(dev::Mint::new(secret)));
    }
    let router = match &config.web_dir {
        Some(dir) => router.fallback_service(page(dir)),
        None => {
            router.fallback(async || (StatusCode::NOT_FOUND, "no page here: the relay runs without CONCLAVE_WEB_DIR\n"))
        }
    };
    router.layer(middleware::map_response(with_headers))
}

fn page(dir: &Path) -> Router {
    let files = ServeDir::new(dir).append_index_html_on_directories(true);
    Router::new().fallback_service(files).layer(middleware::from_fn(cache))
}

/// Built assets carry their hash in their name; everything else may change under it.
async fn cache(request: Request, next: middleware::Next) -> Response {
    let hashed = request.uri().path().starts_with("/assets/");
    let mut response = next.run(request).await;
    let lasting = hashed && response.status().is_success();
    let value = if lasting { "public, max-age=31536000, immutable" } else { "no-cache" };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(value));
    response
}

async fn with_headers(mut response: Response) -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(self), microphone=(self), display-capture=(self)"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Upgrades to a WebSocket (RFC 6455 section 4.2).
async fn socket(State(routes): State<Routes>, Extension(peer): Extension<Peer>, mut request: Request) -> Response {
    let headers = request.headers();
    if !origin_allowed(headers, &routes.allowed_origins) {
        return (StatusCode::FORBIDDEN, "this page may not connect here: see CONCLAVE_ALLOWED_ORIGINS\n")
            .into_response();
    }
    let Some(accept) = accept_key(headers) else {
        return (StatusCode::UPGRADE_REQUIRED, [(header::UPGRADE, "websocket")], "WebSocket, version 13\n")
            .into_response();
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(io) = upgrade.await {
            connection::serve(TokioIo::new(io), routes.relay, Arc::clone(&peer.waiting)).await;
            drop(peer);
        }
    });
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

fn accept_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let has = |name, token: &str| {
        let value = headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        value.is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    };
    let asked = has(header::CONNECTION, "upgrade")
        && has(header::UPGRADE, "websocket")
        && has(header::SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asked)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}

/// Browsers say which page connects: this relay's own, or one that the operator names. Others send no origin.
fn origin_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let own = ["http", "https"].iter().any(|scheme| {
        let rest = origin.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
        rest.is_some_and(|rest| host.is_some_and(|host| rest.eq_ignore_ascii_case(host)))
    });
    own || allowed.iter().any(|allowed| allowed.trim_end_matches('/').eq_ignore_ascii_case(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origin: Option<&'static str>, host: &'static str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        }
        origin_allowed(&headers, &["https://meet.example".to_owned()])
    }

    #[test]
    fn pages_of_the_relay_named_pages_and_native_clients_may_connect() {
        assert!(allowed(None, "relay.example"));
        assert!(allowed(Some("https://relay.example"), "relay.example"));
        assert!(allowed(Some("http://127.0.0.1:8080"), "127.0.0.1:8080"));
        assert!(allowed(Some("https://meet.example"), "relay.example"));
        for other in [
            "https://evil.example",
            "http://127.0.0.1:8081",
            "null",
            "https://meet.example.evil",
            "ftp://relay.example",
        ] {
            assert!(!allowed(Some(other), "relay.example"), "{other}");
        }
    }
}
