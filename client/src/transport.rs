//! One WebSocket to a relay: text messages in both directions, nothing else.

use futures_util::{SinkExt, StreamExt};
use std::{fmt, str::FromStr, sync::Arc, time::Duration};
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{
        self, Message, Utf8Bytes,
        error::UrlError,
        http::{StatusCode, Uri},
        protocol::WebSocketConfig,
    },
};

use conclave_shared::{limits, wire::code::Code};

/// How long connecting may take, TLS and the upgrade included: a relay answers in milliseconds, a far one in a second.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may stay silent. A relay pings every few seconds, so this much silence is a dead network. A
/// relay that stands still for half a minute is none: it goes on with everybody still connected.
pub const SILENCE: Duration = Duration::from_secs(40);
/// How long one write may take until the relay counts as gone.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the closing handshake may take; nothing depends on it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes read from the socket at once: most messages are under 2 KiB, and a load test has thousands of sockets.
const READ_BUFFER: usize = 8 * 1024;
/// Bytes waiting to be written at most: two of the largest messages.
const WRITE_BUFFER: usize = 2 * limits::COMMIT_LENGTH;
/// Where a relay listens for WebSockets.
const ENDPOINT: &str = "/v1/ws";

/// Why an address is no address of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UrlProblem {
    /// Not a URL at all, or one without a host.
    #[error("the relay's address must look like wss://relay.example or ws://127.0.0.1:8080")]
    Malformed,
    /// A URL of something else.
    #[error("the relay's address must begin with wss:// or ws://")]
    Scheme,
    /// User name or password in the address. They would reach logs of proxies, and no relay reads them.
    #[error("the relay's address must not hold a user name or password: tokens are sent in the first message")]
    Credentials,
}

/// The address of a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayUrl(Uri);

impl RelayUrl {
    /// The connection is encrypted on its way.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.scheme_str() == Some("wss")
    }

    /// Anybody on the way can read access tokens and names (never keys): plain `ws://` beyond this machine.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        !self.is_tls() && !self.is_loopback()
    }

    /// The relay is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.0.host().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    }
}

impl FromStr for RelayUrl {
    type Err = UrlProblem;

    fn from_str(text: &str) -> Result<Self, UrlProblem> {
        let uri: Uri = text.trim().parse().map_err(|_| UrlProblem::Malformed)?;
        let authority = uri.authority().ok_or(UrlProblem::Malformed)?;
        if !matches!(uri.scheme_str(), Some("ws" | "wss")) {
            return Err(UrlProblem::Scheme);
        }
        if authority.as_str().contains('@') {
            return Err(UrlProblem::Credentials);
        }
        if uri.path() != "/" {
            return Ok(Self(uri));
        }
        let mut parts = uri.into_parts();
        parts.path_and_query = ENDPOINT.parse().ok();
        Uri::from_parts(parts).map(Self).map_err(|_| UrlProblem::Malformed)
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Nobody answers there.
    #[error("no relay answers at {url}: {reason}; check the address, and that the relay runs")]
    Unreachable {
        /// Where.
        url: RelayUrl,
        /// What the system says.
        reason: std::io::Error,
    },
    /// Nothing happened in time.
    #[error("no answer from {url} within {seconds} seconds; check the address and the network")]
    TimedOut {
        /// Where.
        url: RelayUrl,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Something answered that is no relay.
    #[error("{url} is not a relay (it answered {status}); the address of a relay ends in {ENDPOINT}")]
    NotARelay {
        /// Where.
        url: RelayUrl,
        /// HTTP status.
        status: u16,
    },
    /// The relay takes no more connections.
    #[error("the relay at {url} takes no more connections from here (it answered {status}); try again later")]
    Busy {
        /// Where.
        url: RelayUrl,
        /// HTTP status.
        status: u16,
    },
    /// TLS failed: an untrusted or wrong certificate.
    #[error("no trusted TLS connection to {url}: {reason}")]
    Tls {
        /// Where.
        url: RelayUrl,
        /// What the TLS library says.
        reason: String,
    },
    /// What answered speaks no WebSocket.
    #[error("{url} does not speak WebSocket: {reason}")]
    Protocol {
        /// Where.
        url: RelayUrl,
        /// What is wrong.
        reason: String,
    },
}

/// What came from the relay.
#[derive(Debug)]
pub enum Incoming {
    /// One message.
    Text(Utf8Bytes),
    /// The connection is over. The code is there when the relay closed it with one.
    Closed(Option<Code>),
}

/// A connected WebSocket.
pub struct Transport {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

impl Transport {
    /// Connects.
    ///
    /// # Errors
    /// [`ConnectError`]: one sentence with what to do.
    pub async fn connect(url: &RelayUrl) -> Result<Self, ConnectError> {
        Self::connect_within(url, CONNECT_TIMEOUT).await
    }

    /// Connects, or gives up after so long.
    ///
    /// # Errors
    /// [`ConnectError`]: one sentence with what to do.
    pub async fn connect_within(url: &RelayUrl, limit: Duration) -> Result<Self, ConnectError> {
        if url.is_exposed() {
            tracing::warn!(%url, "not encrypted: whoever is on the way can read the access token; use wss://");
        }
        let connector = if url.is_tls() { Connector::Rustls(tls(url)?) } else { Connector::Plain };
        let attempt = connect_async_tls_with_config(url.to_string(), Some(config()), true, Some(connector));
        match timeout(limit, attempt).await {
            Err(_) => Err(ConnectError::TimedOut { url: url.clone(), seconds: limit.as_secs() }),
            Ok(Err(error)) => Err(explain(url, error)),
            Ok(Ok((socket, _response))) => {
                tracing::debug!(%url, "connected");
                Ok(Self { socket })
            }
        }
    }

    /// Waits for the next message. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Incoming {
        loop {
            let Ok(message) = timeout(SILENCE, self.socket.next()).await else {
                tracing::info!(seconds = SILENCE.as_secs(), "the relay has gone silent");
                return Incoming::Closed(None);
            };
            match message {
                Some(Ok(Message::Text(text))) => return Incoming::Text(text),
                Some(Ok(Message::Close(frame))) => {
                    let number = frame.map_or(0, |frame| u16::from(frame.code));
                    tracing::debug!(number, "the relay closes");
                    return Incoming::Closed(Code::ALL.iter().copied().find(|code| code.number() == number));
                }
                // The library answers pings by itself. No relay sends binary: nothing in it could be meant for us.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_) | Message::Binary(_))) => {}
                Some(Err(error)) => {
                    tracing::debug!(%error, "the connection broke");
                    return Incoming::Closed(None);
                }
                None => return Incoming::Closed(None),
            }
        }
    }

    /// Queues one message; [`flush`](Self::flush) sends what is queued. `false`: the connection is gone.
    pub async fn feed(&mut self, text: String) -> bool {
        matches!(timeout(WRITE_TIMEOUT, self.socket.feed(Message::text(text))).await, Ok(Ok(())))
    }

    /// Sends what is queued. `false`: the connection is gone.
    pub async fn flush(&mut self) -> bool {
        matches!(timeout(WRITE_TIMEOUT, self.socket.flush()).await, Ok(Ok(())))
    }

    /// Says goodbye and closes.
    pub async fn close(mut self) {
        let goodbye = async {
            let _ = self.socket.close(None).await;
            // What was sent last must leave before the socket goes: the relay's answer says that it has arrived.
            while let Some(Ok(_)) = self.socket.next().await {}
        };
        let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(limits::COMMIT_LENGTH))
        .max_frame_size(Some(limits::COMMIT_LENGTH))
}

/// TLS with the system's certificate authorities.
fn tls(url: &RelayUrl) -> Result<Arc<rustls::ClientConfig>, ConnectError> {
    let failed = |reason: String| ConnectError::Tls { url: url.clone(), reason };
    let mut roots = rustls::RootCertStore::empty();
    let (added, _unreadable) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err(failed("this system has no certificate authorities installed".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Turns what the library says into what a person can act on.
fn explain(url: &RelayUrl, error: tungstenite::Error) -> ConnectError {
    let url = url.clone();
    #[allow(clippy::wildcard_enum_match_arm)] // The library may add variants; each has a sentence of its own.
    match error {
        tungstenite::Error::Io(reason) if reason.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            ConnectError::Tls { url, reason: reason.to_string() }
        }
        tungstenite::Error::Io(reason) => ConnectError::Unreachable { url, reason },
        tungstenite::Error::Tls(reason) => ConnectError::Tls { url, reason: reason.to_string() },
        tungstenite::Error::Url(UrlError::UnableToConnect(_)) => {
            ConnectError::Unreachable { url, reason: std::io::ErrorKind::ConnectionRefused.into() }
        }
        tungstenite::Error::Http(response) => {
            let status = response.status();
            let busy = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status);
            let status = status.as_u16();
            if busy { ConnectError::Busy { url, status } } else { ConnectError::NotARelay { url, status } }
        }
        other => ConnectError::Protocol { url, reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_path_gets_the_endpoint() {
        let url: RelayUrl = "ws://127.0.0.1:8080".parse().expect("an address");
        assert_eq!(url.to_string(), "ws://127.0.0.1:8080/v1/ws");
        let proxied: RelayUrl = "wss://example.org/calls/v1/ws".parse().expect("an address");
        assert_eq!(proxied.to_string(), "wss://example.org/calls/v1/ws");
    }

    #[test]
    fn other_addresses_are_refused_with_their_reason() {
        for (text, problem) in [
            ("", UrlProblem::Malformed),
            ("relay", UrlProblem::Scheme),
            ("127.0.0.1:8080", UrlProblem::Scheme),
            ("/v1/ws", UrlProblem::Malformed),
            ("http://relay.example", UrlProblem::Scheme),
            ("ws://user:pass@relay.example", UrlProblem::Credentials),
        ] {
            assert_eq!(text.parse::<RelayUrl>(), Err(problem), "{text:?}");
        }
    }

    #[test]
    fn only_plain_connections_beyond_this_machine_are_exposed() {
        let exposed = |text: &str| text.parse::<RelayUrl>().expect("an address").is_exposed();
        assert!(exposed("ws://relay.example") && exposed("ws://192.0.2.1:80"));
        assert!(!exposed("wss://relay.example") && !exposed("ws://localhost:1") && !exposed("ws://[::1]:1"));
    }
}
