//! What a device needs to come back by itself: addresses, tokens, and what to join with.

use futures_util::future::BoxFuture;
use std::{fmt, future::Future, str::FromStr, time::Duration};
use thiserror::Error;

use conclave_shared::{
    session::{Profile, config::Config},
    wire::Token,
};

use crate::transport::{RelayUrl, UrlProblem};

/// How long a token may take: the relay wants the answer to its challenge within five seconds.
const TOKEN_TIME: Duration = Duration::from_secs(4);

/// What lets a driver come back after its connection is gone.
#[derive(Debug)]
pub struct Again {
    /// Where relays of this call are.
    pub relays: Relays,
    /// Where access tokens come from when one is needed.
    pub tokens: TokenSource,
    /// What a session that joins afresh begins with, the token apart.
    pub profile: Profile,
    /// Its times.
    pub config: Config,
}

/// The addresses of a call's relays, at least one: the first is tried first, the next one after each failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relays {
    here: RelayUrl,
    next: Vec<RelayUrl>,
}

impl Relays {
    /// All of these, in this order.
    ///
    /// # Errors
    /// [`UrlProblem::Malformed`] when there are none.
    pub fn new(urls: impl IntoIterator<Item = RelayUrl>) -> Result<Self, UrlProblem> {
        let mut urls = urls.into_iter();
        let here = urls.next().ok_or(UrlProblem::Malformed)?;
        Ok(Self { here, next: urls.collect() })
    }

    /// The one whose turn it is.
    #[must_use]
    pub const fn here(&self) -> &RelayUrl {
        &self.here
    }

    /// How many there are.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // There is always one.
    pub const fn len(&self) -> usize {
        self.next.len() + 1
    }

    /// It is the next one's turn; after the last comes the first.
    pub fn go_on(&mut self) {
        self.next.push(self.here.clone());
        self.here = self.next.remove(0);
    }
}

impl From<RelayUrl> for Relays {
    fn from(here: RelayUrl) -> Self {
        Self { here, next: Vec::new() }
    }
}

impl From<&RelayUrl> for Relays {
    fn from(here: &RelayUrl) -> Self {
        here.clone().into()
    }
}

impl FromStr for Relays {
    type Err = UrlProblem;

    /// One address, or several with commas between them.
    fn from_str(text: &str) -> Result<Self, UrlProblem> {
        Self::new(text.split(',').map(str::parse).collect::<Result<Vec<_>, _>>()?)
    }
}

/// There is no token now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no access token could be had")]
pub struct NoToken;

type Asked = BoxFuture<'static, Result<Token, NoToken>>;

/// Where access tokens come from after the first one. A kept seat needs none; one is needed to join afresh, and to be
/// seated again by a relay that was restarted.
#[derive(Default)]
pub enum TokenSource {
    /// The first token is shown again. Once it has expired, a lost seat is lost.
    #[default]
    First,
    /// The application is asked for a fresh one.
    Ask(Box<dyn FnMut() -> Asked + Send>),
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "First",
            Self::Ask(_) => "Ask(…)",
        })
    }
}

impl TokenSource {
    /// Asks a function that answers at once, such as one that makes tokens.
    pub fn made_by(mut make: impl FnMut() -> Result<Token, NoToken> + Send + 'static) -> Self {
        Self::Ask(Box::new(move || {
            let made = make();
            Box::pin(async move { made })
        }))
    }

    /// Asks a function that takes its time, such as one that asks a server. After four seconds it counts as failed.
    pub fn fetched_by<F>(mut fetch: impl FnMut() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<Token, NoToken>> + Send + 'static,
    {
        Self::Ask(Box::new(move || Box::pin(fetch())))
    }

    /// Whether there can be another token than the first.
    #[must_use]
    pub const fn is_asked(&self) -> bool {
        matches!(self, Self::Ask(_))
    }

    /// A fresh token; nothing when the one that is there must do.
    pub(crate) fn ask(&mut self) -> BoxFuture<'static, Option<Token>> {
        let Self::Ask(ask) = self else { return Box::pin(async { None }) };
        let asked = ask();
        Box::pin(async move {
            let token = tokio::time::timeout(TOKEN_TIME, asked).await.unwrap_or(Err(NoToken));
            if token.is_err() {
                tracing::warn!("no fresh access token: the last one is shown again");
            }
            token.ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_take_turns() {
        let mut relays: Relays = "ws://a:1,ws://b:1, wss://c".parse().expect("addresses");
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(relays.here().to_string());
            relays.go_on();
        }
        assert_eq!(seen, ["ws://a:1/v1/ws", "ws://b:1/v1/ws", "wss://c/v1/ws", "ws://a:1/v1/ws"]);
        assert_eq!(relays.len(), 3);
        assert_eq!("ws://a:1,http://b".parse::<Relays>(), Err(UrlProblem::Scheme));
        assert_eq!(Relays::new([]), Err(UrlProblem::Malformed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_asked_for_each_time_and_not_waited_for_without_end() {
        let mut count = 0;
        let mut made = TokenSource::made_by(move || {
            count += 1;
            if count < 3 { Ok(Token(format!("token {count}"))) } else { Err(NoToken) }
        });
        for expected in [Some("token 1"), Some("token 2"), None] {
            assert_eq!(made.ask().await.map(|token| token.0).as_deref(), expected);
        }
        let mut slow = TokenSource::fetched_by(std::future::pending);
        assert!(slow.is_asked() && slow.ask().await.is_none());
        assert!(!TokenSource::First.is_asked() && TokenSource::First.ask().await.is_none());
        assert_eq!(format!("{slow:?}"), "Ask(…)");
    }
}
