//! The memory of a relay, as somebody who has broken into its machine reads it.
//!
//! The relay is a process of its own and carries a whole call; the members are in this process, and every key that any of
//! them ever holds is looked for in everything that the relay can write to. A key that is planted is found there.

mod attacked;
mod between;
mod member;
mod search;

use conclave_shared::{id::encode_base64, session::input::Command};
use conclave_tests::programs::Program;
use std::time::Duration;

use crate::SECRET;
use member::Member;
use search::{Keys, Runs, assert_clean, search};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_of_a_whole_call_stands_in_the_relay_s_memory_or_log_and_a_planted_one_is_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let environment = [("CONCLAVE_SECRET", SECRET), ("CONCLAVE_LOG", "trace"), ("RUST_LOG", "trace")];
    let (relay, url) = Program::relay(&environment, &directory.path().join("relay.log"));
    let keys = Keys::default();
    let mut anna = Member::join(&url, "Anna", &keys).await;
    anna.among(1).await;
    let mut ben = Member::join(&url, "Ben", &keys).await;
    ben.among(2).await;
    let mut cleo = Member::join(&url, "Cleo", &keys).await;
    cleo.among(3).await;
    cleo.ask(Command::Send { to: None, payload: b"a message between members".to_vec() }).await;
    ben.ask(Command::Rotate).await;
    cleo.among(3).await;
    cleo.ask(Command::MissingKey).await;
    assert_clean(&relay, &keys);
    anna.ask(Command::Leave).await;
    ben.among(2).await;
    cleo.among(2).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_clean(&relay, &keys);

    // Somebody calls themselves by a key: the relay holds names.
    let planted = keys.lock().expect("no panic").iter().find(|key| key.len() == 32).cloned().expect("a key");
    let mut fool = Member::join(&url, &encode_base64(&planted), &keys).await;
    fool.among(3).await;
    let (_, found) = search(relay.id(), &Runs::of(&keys));
    assert!(found > 0, "a key was planted and not found");
    println!("the planted key was found in {found} places");
}
