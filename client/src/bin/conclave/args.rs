//! Options that several commands share, and how their values are read.

use clap::Args;
use std::{env, fs, num::NonZeroU64, path::Path, time::Duration};
use zeroize::Zeroizing;

use conclave_client::token::Issuer;
use conclave_shared::id::{CallName, UserName};

use crate::exit::Failure;

/// Where the relay is.
#[derive(Debug, Args)]
pub(crate) struct Relay {
    /// Address of the relay: wss://relay.example, or ws://127.0.0.1:8080 on this machine
    #[arg(long, env = "CONCLAVE_URL", value_parser = str::parse::<conclave_client::transport::RelayUrl>)]
    pub(crate) url: conclave_client::transport::RelayUrl,
}

/// Where the relays of a call are.
#[derive(Debug, Args)]
pub(crate) struct RelayList {
    /// Address of the relay: wss://relay.example, or ws://127.0.0.1:8080 on this machine; several with commas between
    /// them take turns when one does not answer
    #[arg(long = "url", env = "CONCLAVE_URL", value_parser = str::parse::<conclave_client::again::Relays>)]
    pub(crate) relays: conclave_client::again::Relays,
}

/// What signs tokens.
#[derive(Debug, Args)]
pub(crate) struct Mint {
    /// Secret that the relay checks tokens with, at least 32 bytes; better set as a variable than given here
    #[arg(long, env = "CONCLAVE_SECRET", hide_env_values = true, value_name = "TEXT")]
    pub(crate) secret: Option<String>,
    /// File with an Ed25519 private key (PKCS #8, PEM); the relay then has CONCLAVE_ED25519_PUBLIC_KEY
    #[arg(long, value_name = "FILE", conflicts_with = "secret")]
    pub(crate) key: Option<std::path::PathBuf>,
}

impl Mint {
    /// What signs, if anything was given.
    ///
    /// A key file on the command line goes before a secret that happens to stand in the environment.
    pub(crate) fn issuer(&self) -> Result<Option<Issuer>, Failure> {
        if let Some(path) = &self.key {
            return Ok(Some(Issuer::ed25519(&read_private(path)?)?));
        }
        Ok(self.secret.as_deref().filter(|secret| !secret.is_empty()).map(Issuer::secret).transpose()?)
    }
}

/// Reads a key file that nobody else may read.
fn read_private(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let failed = |reason: String| Failure::File { path: path.display().to_string(), reason };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).map_err(|error| failed(error.to_string()))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(failed("it can be read by others; run `chmod 600` on it".to_owned()));
        }
    }
    fs::read_to_string(path).map(Zeroizing::new).map_err(|error| failed(error.to_string()))
}

/// Reads a call name.
pub(crate) fn call(text: &str) -> Result<CallName, conclave_shared::id::IdError> {
    CallName::new(text)
}

/// Reads a user name.
pub(crate) fn user(text: &str) -> Result<UserName, conclave_shared::id::IdError> {
    UserName::new(text)
}

/// Reads `90s`, `10m` or `2h`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str = "give a time such as 90s, 10m or 2h";
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (text.get(..at), 1),
        Some((at, 'm')) => (text.get(..at), 60),
        Some((at, 'h')) => (text.get(..at), 3600),
        _ => (Some(text), 1),
    };
    let number: NonZeroU64 = number.and_then(|number| number.parse().ok()).ok_or(WRONG)?;
    number.get().checked_mul(unit).map(Duration::from_secs).ok_or(WRONG)
}

/// Colours are wanted: see no-color.org.
pub(crate) fn colours() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "-1s", "0m", "1d", "99999999999999999999h", "9999999999999999h", "ü"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
