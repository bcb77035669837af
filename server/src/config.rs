//! What an operator may set: flags, and the environment under the names in `.env.example`. Flags win.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Parser;
use conclave_shared::{limits, wire::IceServer};
use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};
use thiserror::Error;

/// Bytes of a secret below which guessing is cheaper than asking for a token: the output of SHA-256 (RFC 7518, 3.2).
pub const SECRET_LENGTH: usize = 32;

/// The relay of Conclave: carries public keys and sealed messages, and serves the page.
#[derive(Clone, Debug, Parser)]
#[command(name = "conclave-server", version)]
pub struct Options {
    /// Address and port to listen on.
    #[arg(long, env = "CONCLAVE_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Secret for HS256 access tokens, at least 32 bytes: base64url, or plain text. Better set in the environment:
    /// other users of the machine can read flags.
    #[arg(long, env = "CONCLAVE_SECRET", hide_env_values = true)]
    pub secret: Option<Secret>,
    /// Ed25519 public key for EdDSA access tokens: 32 bytes, base64url.
    #[arg(long, env = "CONCLAVE_ED25519_PUBLIC_KEY")]
    pub ed25519_public_key: Option<String>,
    /// STUN and TURN servers for clients: a JSON list of RTCIceServer objects.
    #[arg(long, env = "CONCLAVE_ICE_SERVERS", default_value = "[]", hide_env_values = true)]
    pub ice_servers: String,
    /// Folder of the built page.
    #[arg(long, env = "CONCLAVE_WEB_DIR")]
    pub web_dir: Option<PathBuf>,
    /// Origins of other pages that may connect, comma-separated, such as `https://meet.example`. Pages of this relay and
    /// clients that are no browser always may.
    #[arg(long, env = "CONCLAVE_ALLOWED_ORIGINS", value_delimiter = ',')]
    pub allowed_origins: Vec<String>,
    /// Development mode: mints tokens for this relay's own page on this machine.
    #[arg(long, env = "CONCLAVE_DEV")]
    pub dev: bool,
    /// What to log, such as info or conclave_server=debug.
    #[arg(long, env = "CONCLAVE_LOG", default_value = "info")]
    pub log: String,
    /// Calls at once.
    #[arg(long, env = "CONCLAVE_MAX_CALLS", default_value_t = 1000)]
    pub max_calls: usize,
    /// Members of a call.
    #[arg(long, env = "CONCLAVE_MAX_MEMBERS", default_value_t = limits::MEMBERS)]
    pub max_members: usize,
    /// Connections at once, over all addresses.
    #[arg(long, env = "CONCLAVE_MAX_CONNECTIONS", default_value_t = 20_000)]
    pub max_connections: usize,
    /// Connections of one address that have not joined yet.
    #[arg(long, env = "CONCLAVE_MAX_WAITING_PER_ADDRESS", default_value_t = 64)]
    pub max_waiting_per_address: u32,
    /// New WebSocket connections of one address in a second.
    #[arg(long, env = "CONCLAVE_MAX_NEW_PER_SECOND_PER_ADDRESS", default_value_t = 20)]
    pub max_new_per_second_per_address: u32,
    /// Messages of one member in a second; a lead has ten times as many.
    #[arg(long, env = "CONCLAVE_MESSAGES_PER_SECOND", default_value_t = 20)]
    pub messages_per_second: u32,
    /// Messages of one member at once, after a pause; a lead has ten times as many.
    #[arg(long, env = "CONCLAVE_MESSAGE_BURST", default_value_t = 60)]
    pub message_burst: u32,
    /// Seconds over which clients are sent away at shutdown, at most 10. One in development mode.
    #[arg(long, env = "CONCLAVE_DRAIN_SECONDS")]
    pub drain_seconds: Option<u64>,
}

/// The secret of HS256 tokens: prints nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps bytes.
    ///
    /// # Errors
    /// [`ConfigError::ShortSecret`] for fewer than [`SECRET_LENGTH`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, ConfigError> {
        if bytes.len() < SECRET_LENGTH { Err(ConfigError::ShortSecret(bytes.len())) } else { Ok(Self(bytes)) }
    }

    /// The bytes, for the one place that signs and verifies.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::str::FromStr for Secret {
    type Err = ConfigError;

    /// Base64url of at least [`SECRET_LENGTH`] bytes stands for those bytes, any other text for itself.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let decoded = URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() >= SECRET_LENGTH);
        Self::new(decoded.unwrap_or_else(|| text.as_bytes().to_vec()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why the relay does not start. Always the operator's to mend.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// Nothing to check tokens with.
    #[error(
        "set CONCLAVE_SECRET (at least {SECRET_LENGTH} bytes) or CONCLAVE_ED25519_PUBLIC_KEY: \
         there is no default, and without one nobody could be admitted"
    )]
    NoKey,
    /// The secret can be guessed.
    #[error("CONCLAVE_SECRET has {0} bytes and needs at least {SECRET_LENGTH}: openssl rand -base64 48")]
    ShortSecret(usize),
    /// The key for EdDSA tokens is none.
    #[error("CONCLAVE_ED25519_PUBLIC_KEY is not a 32-byte Ed25519 public key in base64url")]
    PublicKey,
    /// The list of ICE servers cannot be read.
    #[error("CONCLAVE_ICE_SERVERS is not a JSON list of {{\"urls\": [\"…\"]}} objects: {0}")]
    IceServers(String),
    /// The folder of the page does not exist.
    #[error("CONCLAVE_WEB_DIR is no folder: {0}")]
    WebDir(PathBuf),
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

/// What the relay runs with: checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Checks HS256 tokens.
    pub secret: Option<Secret>,
    /// Checks EdDSA tokens.
    pub public_key: Option<[u8; 32]>,
    /// For the members of every call.
    pub ice_servers: Vec<IceServer>,
    /// The built page.
    pub web_dir: Option<PathBuf>,
    /// Other pages that may connect.
    pub allowed_origins: Vec<String>,
    /// Mint tokens for the relay's own page on loopback.
    pub dev: bool,
    /// Every bound.
    pub limits: Limits,
}

/// Every bound that the relay itself enforces. Sizes are the protocol's: [`conclave_shared::limits`].
#[derive(Clone, Debug)]
pub struct Limits {
    /// Calls at once.
    pub calls: usize,
    /// Members of a call.
    pub members: usize,
    /// Connections at once, over all addresses.
    pub connections: usize,
    /// Connections of one address that have not joined yet.
    pub waiting_per_address: u32,
    /// New WebSocket connections of one address in a second.
    pub new_per_second_per_address: u32,
    /// Messages of one member in a second.
    pub messages_per_second: u32,
    /// Messages of one member at once.
    pub message_burst: u32,
    /// From the challenge to the join.
    pub join_time: Duration,
    /// For the head of an HTTP request: half-open requests cost the relay nothing after it.
    pub header_time: Duration,
    /// Between two pings; two that stay unanswered end a connection.
    pub ping_every: Duration,
    /// Over which clients are sent away at shutdown.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: 1000,
            members: limits::MEMBERS,
            connections: 20_000,
            waiting_per_address: 64,
            new_per_second_per_address: 20,
            messages_per_second: 20,
            message_burst: 60,
            join_time: Duration::from_secs(5),
            header_time: Duration::from_secs(5),
            ping_every: Duration::from_secs(10),
            drain: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// A relay that admits by HS256 tokens under this secret, everything else at its default.
    #[must_use]
    pub fn with_secret(secret: Secret) -> Self {
        Self {
            secret: Some(secret),
            public_key: None,
            ice_servers: Vec::new(),
            web_dir: None,
            allowed_origins: Vec::new(),
            dev: false,
            limits: Limits::default(),
        }
    }
}

impl TryFrom<Options> for Config {
    type Error = ConfigError;

    fn try_from(options: Options) -> Result<Self, ConfigError> {
        let public_key = options.ed25519_public_key.as_deref().map(parse_public_key).transpose()?;
        let secret = match options.secret {
            // Development mode needs something to mint with; it is gone with the process.
            None if options.dev => Some(random_secret()?),
            None if public_key.is_none() => return Err(ConfigError::NoKey),
            secret => secret,
        };
        let ice_servers = serde_json::from_str(&options.ice_servers)
            .map_err(|error| ConfigError::IceServers(format!("column {}", error.column())))?;
        if let Some(missing) = options.web_dir.as_ref().filter(|dir| !dir.is_dir()) {
            return Err(ConfigError::WebDir(missing.clone()));
        }
        let defaults = Limits::default();
        let drain = options.drain_seconds.unwrap_or(if options.dev { 1 } else { 10 });
        Ok(Self {
            secret,
            public_key,
            ice_servers,
            web_dir: options.web_dir,
            allowed_origins: options.allowed_origins.into_iter().filter(|origin| !origin.is_empty()).collect(),
            dev: options.dev,
            limits: Limits {
                calls: options.max_calls,
                members: options.max_members.min(usize::from(u16::MAX)),
                connections: options.max_connections,
                waiting_per_address: options.max_waiting_per_address,
                new_per_second_per_address: options.max_new_per_second_per_address,
                messages_per_second: options.messages_per_second,
                message_burst: options.message_burst,
                drain: Duration::from_secs(drain).min(defaults.drain),
                ..defaults
            },
        })
    }
}

fn parse_public_key(text: &str) -> Result<[u8; 32], ConfigError> {
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| ConfigError::PublicKey)?;
    let key: [u8; 32] = bytes.try_into().map_err(|_| ConfigError::PublicKey)?;
    let usable = ed25519_dalek::VerifyingKey::from_bytes(&key).is_ok_and(|key| !key.is_weak());
    if usable { Ok(key) } else { Err(ConfigError::PublicKey) }
}

fn random_secret() -> Result<Secret, ConfigError> {
    let mut bytes = vec![0; SECRET_LENGTH];
    getrandom::fill(&mut bytes).map_err(|_| ConfigError::Random)?;
    Secret::new(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn config(flags: &[&str]) -> Result<Config, ConfigError> {
        let options = Options::try_parse_from([&["conclave-server"], flags].concat()).expect("flags parse");
        Config::try_from(options)
    }

    #[test]
    fn without_a_key_the_relay_does_not_start() {
        let error = config(&[]).expect_err("no key");
        assert_eq!(error, ConfigError::NoKey);
        assert!(error.to_string().contains("CONCLAVE_SECRET"), "{error}");
    }

    #[test]
    fn development_mode_draws_its_own_secret_and_never_the_same() {
        let secret = || config(&["--dev"]).expect("starts").secret.expect("has one");
        assert_ne!(secret(), secret());
    }

    #[test]
    fn a_short_secret_is_refused_in_one_sentence_that_does_not_repeat_it() {
        let error = "hunter2".parse::<Secret>().expect_err("seven bytes");
        assert_eq!(error, ConfigError::ShortSecret(7));
        assert!(!error.to_string().contains("hunter2"));
        assert!(Options::try_parse_from(["conclave-server", "--secret", "hunter2"]).is_err());
    }

    #[test]
    fn a_secret_is_base64url_or_text_and_never_printed() {
        let text = "A".repeat(43);
        let secret: Secret = text.parse().expect("43 characters are 32 bytes of base64url");
        assert_eq!(secret.expose().len(), 32);
        let plain: Secret = "correct horse battery staple, twice over".parse().expect("long enough");
        assert_eq!(plain.expose(), b"correct horse battery staple, twice over");
        assert_eq!(format!("{plain:?}"), "Secret(…)");
    }

    #[test]
    fn keys_and_lists_that_cannot_be_used_are_refused() {
        let small_order = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for key in ["", "AAAA", "no!", small_order] {
            assert_eq!(config(&["--ed25519-public-key", key]).expect_err("no key"), ConfigError::PublicKey, "{key}");
        }
        let error = config(&["--dev", "--ice-servers", "{}"]).expect_err("no list");
        assert!(matches!(error, ConfigError::IceServers(_)));
        let ice = r#"[{"urls":["turn:t.example"],"username":"u","credential":"c"}]"#;
        assert_eq!(config(&["--dev", "--ice-servers", ice]).expect("a list").ice_servers.len(), 1);
    }

    #[test]
    fn every_variable_is_documented() {
        let example = include_str!("../../.env.example");
        let command = Options::command();
        let variables: Vec<_> = command.get_arguments().filter_map(|argument| argument.get_env()).collect();
        assert!(variables.len() > 10);
        for variable in variables {
            let name = variable.to_str().expect("ASCII");
            let documented = example.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{name}=")));
            assert!(documented, "{name} is missing in .env.example");
        }
    }
}
