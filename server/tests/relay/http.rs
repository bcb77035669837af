//! The page, the health check, origins, and tokens for development.

use std::{path::PathBuf, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::client::{Relay, call};

/// One request on a connection of its own; the whole answer as text.
async fn request(relay: &Relay, head: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(relay.address).await.expect("the relay accepts");
    let length = body.len();
    let text = format!("{head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    socket.write_all(text.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    timeout(Duration::from_secs(20), socket.read_to_end(&mut answer)).await.expect("in time").expect("read");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(relay: &Relay, path: &str) -> String {
    request(relay, &format!("GET {path} HTTP/1.1\r\nHost: {}", relay.address), "").await
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or_default()
}

/// A folder with a page, and a file beside it that must never be served.
fn site() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("site");
    let dist = root.join("dist");
    std::fs::create_dir_all(dist.join("assets")).expect("a folder");
    for (name, text) in [
        ("dist/index.html", "<title>page</title>"),
        ("dist/assets/core-1a2b.wasm", "wasm"),
        ("dist/assets/main-1a2b.js", "js"),
        ("secret.txt", "never served"),
    ] {
        std::fs::write(root.join(name), text).expect("written");
    }
    dist
}

#[tokio::test]
async fn the_page_comes_with_its_types_and_rules() {
    let relay = Relay::with(|config| config.web_dir = Some(site())).await;
    let page = get(&relay, "/").await.to_lowercase();
    assert_eq!(status(&page), "200");
    for header in [
        "content-type: text/html",
        "content-security-policy: default-src 'self'; script-src 'self' 'wasm-unsafe-eval'",
        "x-content-type-options: nosniff",
        "cache-control: no-cache",
    ] {
        assert!(page.contains(header), "{header} in {page}");
    }
    let wasm = get(&relay, "/assets/core-1a2b.wasm").await;
    assert!(wasm.contains("application/wasm") && wasm.contains("immutable"), "{wasm}");
    assert!(get(&relay, "/assets/main-1a2b.js").await.contains("text/javascript"));
    let missing = get(&relay, "/assets/gone.js").await;
    assert_eq!(status(&missing), "404");
    assert!(missing.contains("no-cache"), "{missing}");
}

#[tokio::test]
async fn nothing_outside_the_folder_is_served() {
    let relay = Relay::with(|config| config.web_dir = Some(site())).await;
    for path in ["/../secret.txt", "/assets/../../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "//secret.txt"]
    {
        let answer = get(&relay, path).await;
        assert!(!answer.contains("never served"), "{path}: {answer}");
        assert_ne!(status(&answer), "200", "{path}");
    }
}

#[tokio::test]
async fn health_and_no_page() {
    let relay = Relay::start().await;
    let health = get(&relay, "/healthz").await;
    assert!(status(&health) == "200" && health.ends_with("ok\n"), "{health}");
    assert_eq!(status(&get(&relay, "/").await), "404");
    assert_eq!(status(&get(&relay, "/v1/ws").await), "426");
    let minted = request(&relay, &format!("POST /dev/token HTTP/1.1\r\nHost: {}", relay.address), "{}").await;
    assert_ne!(status(&minted), "200", "tokens are minted in development mode only");
}

async fn upgrade(relay: &Relay, origin: &str) -> String {
    let mut socket = TcpStream::connect(relay.address).await.expect("the relay accepts");
    let head = format!(
        "GET /v1/ws HTTP/1.1\r\nHost: {}\r\n{origin}Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        relay.address
    );
    socket.write_all(head.as_bytes()).await.expect("written");
    let mut answer = [0; 1024];
    let read = socket.read(&mut answer).await.expect("read");
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test]
async fn pages_of_others_may_not_connect() {
    let relay = Relay::with(|config| config.allowed_origins = vec!["https://meet.example".to_owned()]).await;
    let own = format!("Origin: http://{}\r\n", relay.address);
    for allowed in ["", own.as_str(), "Origin: https://meet.example\r\n"] {
        let answer = upgrade(&relay, allowed).await.to_lowercase();
        assert_eq!(status(&answer), "101", "{allowed}");
        // The example of RFC 6455 section 1.3.
        assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
        assert!(!answer.contains("permessage-deflate"));
    }
    for refused in ["Origin: https://evil.example\r\n", "Origin: null\r\n", "Origin: http://127.0.0.1:1\r\n"] {
        assert_eq!(status(&upgrade(&relay, refused).await), "403", "{refused}");
    }
}

#[tokio::test]
async fn development_mode_mints_for_its_own_page_alone() {
    let relay = Relay::with(|config| config.dev = true).await;
    let own = format!("http://{}", relay.address);
    let ask = async |host: &str, origin: &str, body: &str| {
        let head = format!("POST /dev/token HTTP/1.1\r\nHost: {host}\r\n{origin}Content-Type: application/json");
        request(&relay, &head, body).await
    };
    let wanted = r#"{"call":"demo","user":"user 3"}"#;
    let host = relay.address.to_string();
    let answer = ask(&host, &format!("Origin: {own}\r\n"), wanted).await;
    assert_eq!(status(&answer), "200");
    assert!(answer.contains("no-store"));
    for (host, origin) in [
        (host.as_str(), String::new()),
        (host.as_str(), "Origin: https://evil.example\r\n".to_owned()),
        ("evil.example", "Origin: http://evil.example\r\n".to_owned()),
        ("localhost:1", "Origin: http://localhost:1\r\n".to_owned()),
    ] {
        assert_eq!(status(&ask(host, &origin, wanted).await), "403", "{host} {origin}");
    }
    let origin = format!("Origin: {own}\r\n");
    let long = format!(r#"{{"call":"demo","user":"{}"}}"#, "x".repeat(10_000));
    for bad in ["", "{}", r#"{"call":"no such name!","user":"a"}"#, &long] {
        assert!(status(&ask(&host, &origin, bad).await).starts_with('4'), "{bad}");
    }

    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let minted: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let token = conclave_shared::wire::Token(minted["token"].as_str().expect("a token").to_owned());
    let mut client = relay.connect().await;
    let join = crate::device::Device::new(3).join(&call(), client.nonce, token);
    client.send(&join.into()).await;
    assert!(matches!(client.recv().await, conclave_shared::wire::ToClient::Welcome(_)));
}
