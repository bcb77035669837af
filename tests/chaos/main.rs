//! Things break on purpose: processes are killed and made to stand still, networks go away. The call must go on.
//!
//! Relay and leads are the real programs; members run in this process, so that every key and every frame can be looked
//! at. What must hold is asserted; how long it took is printed, and asserted only with so much room that a busy machine
//! passes. `CHAOS=long` is the form of `make chaos`: more of everything, and pauses of half a minute.

mod lead;
mod member;
mod network;
mod relay;

use std::path::PathBuf;

use conclave_tests::programs::{Program, wait_for};

const SECRET: &str = "a secret that only the chaos tests know";
const CALL: &str = "demo";
/// Every connection comes from this machine.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("CONCLAVE_SECRET", SECRET),
    ("CONCLAVE_LOG", "warn"),
    ("CONCLAVE_MAX_CONNECTIONS", "4000"),
    ("CONCLAVE_MAX_WAITING_PER_ADDRESS", "2000"),
    ("CONCLAVE_MAX_NEW_PER_SECOND_PER_ADDRESS", "2000"),
    ("CONCLAVE_MESSAGES_PER_SECOND", "200"),
    ("CONCLAVE_MESSAGE_BURST", "400"),
];

/// This one, or in the long form that one.
fn form<T>(quick: T, long: T) -> T {
    if std::env::var("CHAOS").is_ok_and(|form| form == "long") { long } else { quick }
}

/// A relay, what it is reached at, and where programs write to.
struct Place {
    relay: Program,
    url: String,
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (relay, url) = Program::relay(ENVIRONMENT, &directory.path().join("relay"));
        Self { relay, url, directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The first to come, which leads.
    fn first_bot(&self) -> Program {
        let bot = self.bot("bot");
        wait_for("the bot's key", || bot.printed().contains("\"active\""));
        bot
    }

    /// A lead bot in a process of its own.
    fn bot(&self, user: &str) -> Program {
        let arguments = ["lead", "--json", "--url", &self.url, "--call", CALL, "--user", user];
        Program::start("conclave", &arguments, ENVIRONMENT, &self.file(user))
    }
}
