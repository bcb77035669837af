//! The programs themselves, each in a process of its own, at the highest log level.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{SECRET, needles::Needles};

/// The programs stand beside the tests' own directory: `make test` has built them.
fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    let path = own.ancestors().nth(2).expect("target/debug").join(name);
    assert!(path.exists(), "{} is not built: run `cargo build --workspace` first", path.display());
    path
}

/// Ends with the test, whatever happens in it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(name: &str, arguments: &[&str], output: &std::path::Path) -> Running {
    let file = std::fs::File::create(output).expect("a file");
    let mut command = Command::new(program(name));
    command.args(arguments).env("CONCLAVE_SECRET", SECRET).env("CONCLAVE_LOG", "trace").env("RUST_LOG", "trace");
    command.stdin(Stdio::null()).stdout(file.try_clone().expect("a handle")).stderr(file);
    Running(command.spawn().expect("it starts"))
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

#[test]
fn the_programs_print_no_secret_and_a_planted_one_is_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(name);
    let address = format!("127.0.0.1:{}", free_port());
    let url = format!("ws://{address}");
    let _relay = start("conclave-server", &["--listen", &address], &file("relay.log"));
    wait_for("the relay", || std::net::TcpStream::connect(&address).is_ok());
    let device = file("anna.device");
    let device = device.to_str().expect("a plain path");
    let _bot = start("conclave", &["lead", "--json", "--url", &url, "--call", "private"], &file("bot.log"));
    let anna = ["join", "--json", "--url", &url, "--call", "private", "--user", "Anna", "--device", device];
    let _anna = start("conclave", &anna, &file("anna.log"));
    let read = |name: &str| String::from_utf8_lossy(&std::fs::read(file(name)).unwrap_or_default()).into_owned();
    wait_for("Anna's key", || read("anna.log").contains("\"active\""));
    std::thread::sleep(Duration::from_secs(1));

    let mut needles = Needles::default();
    needles.text("the relay's secret", SECRET);
    needles.pickle(&serde_json::from_slice(&std::fs::read(device).expect("stored")).expect("JSON"));
    let all = ["relay.log", "bot.log", "anna.log"].map(read).join("\n");
    assert!(read("relay.log").lines().count() > 3, "at this level there is a log");
    assert_eq!(needles.found_in(&all), Vec::<&str>::new());
    // Every token is a JWT, and every JWT begins with the same letters: an encoded `{"`.
    if let Some(line) = all.lines().find(|line| line.contains("eyJ")) {
        panic!("a token in the output: {}", line.chars().take(120).collect::<String>());
    }
    let planted = all + needles.one("a stored device");
    assert_eq!(needles.found_in(&planted), ["a stored device"]);
}

fn wait_for(what: &str, ready: impl Fn() -> bool) {
    for _ in 0..600 {
        if ready() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{what} did not come within a minute");
}
