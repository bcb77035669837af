//! The programs themselves, each in a process of its own, as people start them.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// How long anything may take, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
const OFTEN: Duration = Duration::from_millis(5);

/// A program that ends with the test, whatever happens in it. Both its outputs go to one file.
pub struct Program {
    child: Child,
    output: PathBuf,
}

impl Program {
    /// Starts a program of this workspace.
    ///
    /// # Panics
    /// When it is not built, or does not start.
    #[must_use]
    pub fn start(name: &str, arguments: &[&str], environment: &[(&str, &str)], output: &Path) -> Self {
        let file = std::fs::File::create(output).expect("a file");
        let mut command = Command::new(built(name));
        command.args(arguments).envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a handle")).stderr(file);
        Self { child: command.spawn().expect("it starts"), output: output.to_owned() }
    }

    /// A relay on a free port, and its address.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn relay(environment: &[(&str, &str)], output: &Path) -> (Self, String) {
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = port.expect("a free port").to_string();
        let relay = Self::start("conclave-server", &["--listen", &address], environment, output);
        wait_for("the relay", || std::net::TcpStream::connect(&address).is_ok());
        (relay, format!("ws://{address}"))
    }

    /// Its number in this system.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A relay at an address that an earlier one had.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn relay_again(url: &str, environment: &[(&str, &str)], output: &Path) -> Self {
        let address = url.trim_start_matches("ws://");
        let relay = Self::start("conclave-server", &["--listen", address], environment, output);
        wait_often("the relay", || std::net::TcpStream::connect(address).is_ok());
        relay
    }

    /// Makes it stand still, as a suspended machine does, or go on.
    ///
    /// # Panics
    /// When it has ended, or this machine has no `kill`.
    pub fn stand_still(&self, still: bool) {
        let signal = if still { "-STOP" } else { "-CONT" };
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.expect("this machine has kill").success(), "it runs");
    }

    /// Everything that it printed so far.
    #[must_use]
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// Ends it like a crash does: nothing is said to anybody.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn crash(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ran");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so.
///
/// # Panics
/// When it is not within a minute.
pub fn wait_for(what: &str, ready: impl Fn() -> bool) {
    look(what, LOOK, ready);
}

/// The same, looking so often that what is measured is hardly longer for it.
///
/// # Panics
/// When it is not within a minute.
pub fn wait_often(what: &str, ready: impl Fn() -> bool) {
    look(what, OFTEN, ready);
}

fn look(what: &str, pause: Duration, ready: impl Fn() -> bool) {
    let looks = PATIENCE.as_millis() / pause.as_millis();
    for _ in 0..looks {
        if ready() {
            return;
        }
        std::thread::sleep(pause);
    }
    panic!("{what} did not come within {PATIENCE:?}");
}

/// Where a program of this workspace is: beside the tests' own directory.
///
/// # Panics
/// When it is not built.
#[must_use]
pub fn built(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    let path = own.ancestors().nth(2).expect("target/debug").join(name);
    assert!(path.exists(), "{} is not built: run `cargo build --workspace` first", path.display());
    path
}
