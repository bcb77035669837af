//! A relay process for one load test.

use std::{io::Write, net::SocketAddr, path::Path, time::Duration};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

use conclave_client::{
    load::Shape,
    token::Issuer,
    transport::{RelayUrl, Transport},
};
use conclave_shared::{crypto::random, id::encode_base64};

use crate::exit::Failure;

/// How long the relay may take until it answers.
const START: Duration = Duration::from_secs(10);
/// How often it is asked.
const POLL: Duration = Duration::from_millis(50);

/// A relay that ends with the test, however that ends.
pub(super) struct Relay {
    process: Child,
}

impl Relay {
    /// Ends the relay: it serves nobody else.
    pub(super) async fn stop(mut self) {
        let _ = self.process.kill().await;
    }
}

/// Starts a relay on a free port of this machine. All connections of a load test come from one address, so the bounds
/// per address are raised to what the test needs; everything else is as it is for everybody.
pub(super) async fn spawn(program: &Path, shape: &Shape) -> Result<(Relay, RelayUrl, Issuer), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Relay(format!("{}: {error}", program.display()));
    let address = free_address().map_err(|error| failed(&error))?;
    let secret = encode_base64(&random::bytes::<32>().map_err(|error| failed(&error))?);
    let connections = shape.calls.saturating_mul(shape.members).saturating_mul(2).saturating_add(100).to_string();
    let mut command = Command::new(program);
    // Nothing of a relay that is configured in this environment may show in the figures.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"CONCLAVE_")) {
        command.env_remove(name);
    }
    let process = command
        .arg("--listen")
        .arg(address.to_string())
        .env("CONCLAVE_SECRET", &secret)
        .env("CONCLAVE_LOG", std::env::var("CONCLAVE_LOG").unwrap_or_else(|_| "warn".to_owned()))
        .env("CONCLAVE_MAX_CALLS", shape.calls.saturating_add(1).to_string())
        .env("CONCLAVE_MAX_CONNECTIONS", &connections)
        .env("CONCLAVE_MAX_WAITING_PER_ADDRESS", &connections)
        .env("CONCLAVE_MAX_NEW_PER_SECOND_PER_ADDRESS", &connections)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(&error))?;
    let url: RelayUrl = format!("ws://{address}").parse().map_err(|error| failed(&error))?;
    let mut relay = Relay { process };
    relay.wait(&url).await.map_err(|error| failed(&error))?;
    let said = format!("started a relay of its own on {address}, with per-address limits raised for this test");
    let _ = writeln!(std::io::stderr(), "{said}");
    Ok((relay, url, Issuer::secret(&secret)?))
}

impl Relay {
    async fn wait(&mut self, url: &RelayUrl) -> Result<(), String> {
        let end = Instant::now() + START;
        loop {
            match Transport::connect(url).await {
                Ok(transport) => {
                    transport.close().await;
                    return Ok(());
                }
                Err(error) if Instant::now() > end => return Err(error.to_string()),
                Err(_) => {}
            }
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(format!("it ended at once, {status}"));
            }
            sleep(POLL).await;
        }
    }
}

/// A port that nobody listens on: the system chooses it, and it is free again until the relay takes it.
fn free_address() -> std::io::Result<SocketAddr> {
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()
}
