//! The line to the relay: whole, being made, or gone.

use futures_util::future::BoxFuture;
use std::{future::pending, time::Duration};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use conclave_shared::wire::{Challenge, Token, code::Code};

use crate::transport::{ConnectError, Incoming, RelayUrl, Transport};

/// How long one try may take. Short of the usual time: when a network comes back, a new connection is there sooner than
/// the old one's next packet.
const TRY_TIME: Duration = Duration::from_secs(3);

/// Where the line stands.
pub(super) enum Line {
    /// Texts go both ways.
    Up(Transport),
    /// A pause and then a connection, with a fresh token if one was asked for.
    Connecting(BoxFuture<'static, (Result<Transport, ConnectError>, Option<Token>)>),
    /// The challenge of a new connection waits for a fresh token. Both are there until the token is.
    Asking(Option<(Transport, Challenge)>, BoxFuture<'static, Option<Token>>),
    /// There is none, and the session has to be told.
    Gone,
}

/// What happened on it.
pub(super) enum Happened {
    /// A message.
    Text(Utf8Bytes),
    /// The connection is over. The code is there when the relay closed it with one.
    Closed(Option<Code>),
    /// There is none.
    Gone,
    /// There is a new one, and a fresh token if one was asked for and came.
    Connected(Transport, Option<Token>),
    /// There is no new one yet.
    Failed(ConnectError),
    /// The challenge can be answered, with this token if one came.
    Token(Transport, Challenge, Option<Token>),
}

impl Line {
    /// A line that comes up after a pause, if it does.
    pub(super) fn connecting(pause: Duration, url: RelayUrl, token: Option<BoxFuture<'static, Option<Token>>>) -> Self {
        Self::Connecting(Box::pin(async move {
            sleep(pause).await;
            let token = match token {
                Some(asked) => asked.await,
                None => None,
            };
            (Transport::connect_within(&url, TRY_TIME).await, token)
        }))
    }

    /// Waits for what happens next. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Happened {
        match self {
            Self::Up(transport) => match transport.next().await {
                Incoming::Text(text) => Happened::Text(text),
                Incoming::Closed(code) => Happened::Closed(code),
            },
            Self::Connecting(trying) => match trying.await {
                (Ok(transport), token) => Happened::Connected(transport, token),
                (Err(error), _) => Happened::Failed(error),
            },
            Self::Asking(waiting, token) => {
                let token = token.await;
                match waiting.take() {
                    Some((transport, challenge)) => Happened::Token(transport, challenge, token),
                    // Taken already, by a caller that did not put another line here.
                    None => pending().await,
                }
            }
            Self::Gone => Happened::Gone,
        }
    }

    /// Queues a text; without a connection there is nowhere for it to go.
    pub(super) async fn feed(&mut self, text: String) {
        if let Self::Up(transport) = self
            && !transport.feed(text).await
        {
            *self = Self::Gone;
        }
    }

    /// Sends what is queued.
    pub(super) async fn flush(&mut self) {
        if let Self::Up(transport) = self
            && !transport.flush().await
        {
            *self = Self::Gone;
        }
    }

    /// The open connection, if there is one.
    pub(super) fn into_transport(self) -> Option<Transport> {
        match self {
            Self::Up(transport) => Some(transport),
            Self::Asking(waiting, _) => waiting.map(|(transport, _)| transport),
            Self::Connecting(_) | Self::Gone => None,
        }
    }
}
