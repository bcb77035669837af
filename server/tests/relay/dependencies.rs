//! The relay links nothing that could open what it carries.

use std::process::Command;

/// Olm and Megolm, frame encryption, AEADs, key agreement; and a crypto library that brings all of them.
const FORBIDDEN: &[&str] = &[
    "vodozemac",
    "sframe",
    "aead",
    "aes",
    "aes-gcm",
    "chacha20poly1305",
    "x25519-dalek",
    "ring",
    "aws-lc-rs",
    "openssl",
];

/// Names of all crates that a crate links.
fn tree(package: &str) -> Vec<String> {
    let arguments =
        ["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}", "--locked"];
    let output = Command::new(env!("CARGO")).args(arguments).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().filter_map(|line| line.split_whitespace().next()).map(ToOwned::to_owned).collect()
}

fn forbidden(tree: &[String]) -> Vec<&str> {
    FORBIDDEN.iter().copied().filter(|name| tree.iter().any(|found| found == name)).collect()
}

#[test]
fn no_crate_that_could_open_a_message_is_linked() {
    let server = tree("conclave-server");
    assert!(server.iter().any(|name| name == "tokio-tungstenite"), "the tree was read: {server:?}");
    assert_eq!(forbidden(&server), Vec::<&str>::new());
}

#[test]
fn the_check_finds_such_a_crate_where_there_is_one() {
    let shared = forbidden(&tree("conclave-shared")).join(" ");
    for expected in ["vodozemac", "sframe", "aes-gcm", "x25519-dalek"] {
        assert!(shared.contains(expected), "{expected} in {shared}");
    }
}
