//! A relay behind a proxy that ends TLS, as it is run everywhere but on one's own machine.

#![allow(clippy::expect_used, clippy::wildcard_enum_match_arm)]

mod support;

use std::{net::SocketAddr, path::Path, process::Stdio, sync::Arc};
use tokio::{
    io::{AsyncBufReadExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    process::Command,
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

use support::{CALL, PATIENCE, Relay, SECRET};

/// A proxy for the relay with a certificate for `localhost` that it signed itself; the certificate is written to the file.
async fn proxy(relay: SocketAddr, file: &Path) -> u16 {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(file, own.cert.pem()).expect("written");
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .expect("they belong together");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust the certificate hangs up here.
                let Ok(mut outer) = acceptor.accept(socket).await else { return };
                let mut inner = TcpStream::connect(relay).await.expect("the relay listens");
                let _ = copy_bidirectional(&mut outer, &mut inner).await;
            });
        }
    });
    port
}

fn lead(port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conclave"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"CONCLAVE_")) {
        command.env_remove(name);
    }
    command.args(["lead", "--json", "--url", &format!("wss://localhost:{port}"), "--call", CALL]);
    command.env("CONCLAVE_SECRET", SECRET).stdin(Stdio::null()).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[tokio::test]
async fn a_relay_behind_tls_is_reached_where_its_certificate_is_trusted_and_nowhere_else() {
    let relay = Relay::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = folder.path().join("ca.pem");
    let port = proxy(relay.address, &certificate).await;

    let output = timeout(PATIENCE, lead(port).output()).await.expect("it ends").expect("it runs");
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("no trusted TLS connection to wss://localhost"), "{said}");

    let mut trusting = lead(port).env("SSL_CERT_FILE", &certificate).spawn().expect("it starts");
    let mut lines = BufReader::new(trusting.stdout.take().expect("piped")).lines();
    let leads = async {
        while let Some(line) = lines.next_line().await.expect("readable") {
            if line.contains("\"epoch\"") {
                return true;
            }
        }
        false
    };
    assert!(timeout(PATIENCE, leads).await.expect("in time"), "it makes the first epoch");
    trusting.kill().await.expect("it stops");
    relay.stop().await;
}
