//! A relay behind a proxy that ends TLS, as it is run everywhere but on one's own machine.

use std::{net::SocketAddr, path::Path, sync::Arc};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

use super::{CALL, Relay, Running, SECRET, conclave, fails};

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

#[tokio::test]
async fn a_relay_behind_tls_is_reached_where_its_certificate_is_trusted_and_nowhere_else() {
    let relay = Relay::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = folder.path().join("ca.pem");
    let url = format!("wss://localhost:{}", proxy(relay.address, &certificate).await);
    let lead = || {
        let mut command = conclave(&["lead", "--json", "--url", &url, "--call", CALL]);
        command.env("CONCLAVE_SECRET", SECRET);
        command
    };
    let said = fails(lead(), 3).await;
    assert!(said.contains("no trusted TLS connection to wss://localhost"), "{said}");

    let mut trusting = lead();
    trusting.env("SSL_CERT_FILE", &certificate);
    let mut trusting = Running::start(trusting);
    assert_eq!(trusting.line("epoch").await["cause"], "start");
    trusting.process.kill().await.expect("it stops");
    relay.stop().await;
}
