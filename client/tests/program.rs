//! The program `conclave` as people and scripts use it: sentences, exit codes, lines of JSON.

// Helpers of tests may fail as tests do.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::wildcard_enum_match_arm)]

mod support;
#[path = "program/tls.rs"]
mod tls;

use serde_json::Value;
use std::process::{Output, Stdio};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use conclave_client::token::{Grant, Issuer};
use conclave_shared::{
    id::{CallName, Role, UserName},
    session::output::Event,
};
use support::{CALL, Member, PATIENCE, Relay, SECRET, token};

fn conclave(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conclave"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"CONCLAVE_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn finish(mut command: Command) -> Output {
    timeout(PATIENCE, command.output()).await.expect("the program ends").expect("the program runs")
}

/// Runs the program, which must fail with this code and say exactly one sentence, which it returns.
async fn fails(command: Command, code: i32) -> String {
    let output = finish(command).await;
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("conclave: "), "{said}");
    said
}

/// The program while it runs, and the lines that it prints.
struct Running {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut process = command.spawn().expect("the program starts");
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        Self { process, lines }
    }

    /// Waits for a line of JSON with this key, and returns what stands under it.
    async fn line(&mut self, key: &str) -> Value {
        let waiting = async {
            loop {
                let line = self.lines.next_line().await.expect("readable").expect("the program has not ended");
                let mut value: Value = serde_json::from_str(&line).expect("JSON");
                assert!(value["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
                if let Some(found) = value.get_mut(key) {
                    return found.take();
                }
            }
        };
        timeout(PATIENCE, waiting).await.expect("the line comes")
    }

    /// Sends the signal of service managers and of Ctrl-C.
    async fn signal(&self, name: &str) {
        let id = self.process.id().expect("running").to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &id]).status().await;
        assert!(status.expect("kill runs").success());
    }

    async fn ended(mut self) -> (Option<i32>, String) {
        let output = timeout(PATIENCE, async {
            let mut said = String::new();
            tokio::io::AsyncReadExt::read_to_string(&mut self.process.stderr.take().expect("piped"), &mut said)
                .await
                .expect("text");
            (self.process.wait().await.expect("ends").code(), said)
        });
        output.await.expect("the program ends")
    }
}

/// `conclave lead` or `conclave join` with the secret of the tests.
fn stay(command: &str, relay: &Relay, more: &[&str]) -> Command {
    let url = relay.url().to_string();
    let mut command = conclave(&[&[command, "--url", &url, "--call", CALL], more].concat());
    command.env("CONCLAVE_SECRET", SECRET);
    command
}

#[tokio::test]
async fn wrong_options_are_one_sentence() {
    for (arguments, part) in [
        (&["lead", "--url", "http://relay", "--call", "demo"][..], "must begin with wss:// or ws://"),
        (&["lead", "--url", "ws://user:pass@relay", "--call", "demo"], "must not hold a user name or password"),
        (&["join", "--url", "ws://127.0.0.1:1", "--call", "a call"], "a call name has 1 to 64 characters"),
        (&["join", "--url", "ws://127.0.0.1:1", "--call", "demo", "--user", " "], "a user name has 1 to 64"),
        (&["join", "--url", "ws://127.0.0.1:1", "--call", "demo"], "no access token"),
        (&["token", "--call", "demo", "--user", "Anna"], "set CONCLAVE_SECRET"),
        (&["token", "--call", "demo", "--user", "Anna", "--secret", "short"], "too short"),
        (&["token", "--call", "demo", "--user", "Anna", "--ttl", "soon"], "a time such as 90s"),
        (&["token", "--call", "demo", "--user", "Anna", "--ttl", "48h", "--secret", SECRET], "24 hours"),
        (&["load", "--url", "ws://127.0.0.1:1", "--members", "2", "--secret", SECRET], "--members must be from 3"),
    ] {
        let said = fails(conclave(arguments), 2).await;
        assert!(said.contains(part), "{arguments:?}: {said}");
        assert!(!said.contains("pass") || part.contains("password"), "{said}");
    }
}

#[tokio::test]
async fn without_a_relay_the_address_is_named() {
    let relay = Relay::start().await;
    let elsewhere = format!("ws://{}/healthz", relay.address);
    let mut command = conclave(&["lead", "--url", &elsewhere, "--call", CALL]);
    command.env("CONCLAVE_SECRET", SECRET);
    let said = fails(command, 3).await;
    assert!(said.contains("is not a relay") && said.contains("/v1/ws"), "{said}");
    let mut command = conclave(&["lead", "--url", &format!("wss://{}", relay.address), "--call", CALL]);
    command.env("CONCLAVE_SECRET", SECRET);
    let said = fails(command, 3).await;
    assert!(said.contains("no trusted TLS connection to wss://"), "{said}");
    let url = relay.url().to_string();
    relay.stop().await;
    for arguments in [&["lead", "--url", &url, "--call", CALL][..], &["load", "--url", &url, "--members", "5"]] {
        let mut command = conclave(arguments);
        command.env("CONCLAVE_SECRET", SECRET);
        let said = fails(command, 3).await;
        assert!(said.contains("no relay answers at ws://127.0.0.1"), "{said}");
    }
}

#[tokio::test]
async fn what_the_relay_refuses_comes_with_what_to_do() {
    let relay = Relay::start().await;
    let url = relay.url().to_string();
    let member = token("Anna", Role::Member).0;
    let (other, anna) = (CallName::new("other").expect("a call"), UserName::new("Anna").expect("a user"));
    let grant = Grant { call: &other, user: &anna, role: Role::Member, lifetime: PATIENCE };
    let elsewhere = Issuer::secret(SECRET).expect("long enough").issue(&grant).expect("a token").0;
    for (command, user, token, part) in [
        ("join", "Anna", "not.a.token", "not valid here"),
        ("join", "Anna", elsewhere.as_str(), "for another call"),
        ("join", "Ben", member.as_str(), "--user"),
    ] {
        let mut command = conclave(&[command, "--url", &url, "--call", CALL, "--user", user]);
        command.env("CONCLAVE_TOKEN", token);
        let said = fails(command, 4).await;
        assert!(said.contains(part), "{said}");
        assert!(!said.contains(token), "a token is never printed");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_key_file_that_cannot_be_used_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("device.key");
    let name = path.to_str().expect("text");
    std::fs::write(&path, "not a key").expect("written");
    for (mode, part) in [(0o644, "chmod 600"), (0o600, "not a device key file")] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("permissions");
        let mut command = conclave(&["join", "--url", "ws://127.0.0.1:1", "--call", CALL, "--device", name]);
        command.env("CONCLAVE_SECRET", SECRET);
        let said = fails(command, 5).await;
        assert!(said.contains(part) && said.contains(name), "{said}");
    }
    let said = fails(conclave(&["token", "--call", CALL, "--user", "Anna", "--key", "/nowhere"]), 5).await;
    assert!(said.contains("/nowhere"), "{said}");
}

#[tokio::test]
async fn a_printed_token_lets_its_user_in() {
    let relay = Relay::start().await;
    let mut command = conclave(&["token", "--call", CALL, "--user", "Zoë", "--role", "lead_bot", "--ttl", "1m"]);
    command.env("CONCLAVE_SECRET", SECRET);
    let output = finish(command).await;
    assert_eq!(output.status.code(), Some(0));
    let token = String::from_utf8(output.stdout).expect("text");
    let url = relay.url().to_string();
    let mut command = conclave(&["lead", "--url", &url, "--call", CALL, "--user", "Zoë"]);
    command.env("CONCLAVE_TOKEN", token.trim());
    let mut lead = Running::start(command);
    assert_eq!(lead.line("epoch").await["members"][0]["user"], "Zoë");
    lead.signal("TERM").await;
    assert_eq!(lead.line("ended").await, "left");
    assert_eq!(lead.ended().await, (Some(0), String::new()));
}

#[tokio::test]
async fn a_lead_bot_and_a_member_tell_what_happens_and_leave_properly() {
    let relay = Relay::start().await;
    let mut lead = Running::start(stay("lead", &relay, &[]));
    assert_eq!(lead.line("lead_changed").await["me"], true);
    assert_eq!(lead.line("epoch").await["cause"], "start");
    let mut join = Running::start(stay("join", &relay, &["--json", "--user", "Anna"]));
    let (ours, theirs) = (join.line("epoch").await, lead.line("epoch").await);
    assert_eq!(theirs["cause"], "join");
    assert_eq!((&ours["fingerprint"], &ours["epoch"]), (&theirs["fingerprint"], &theirs["epoch"]));
    join.line("active").await;
    join.signal("INT").await;
    let frames = join.line("frames").await;
    assert!(frames["sealed"].as_u64() > Some(0), "{frames}");
    assert_eq!((&frames["opened"], &frames["failed"]), (&frames["sealed"], &Value::from(0)));
    assert_eq!(join.ended().await, (Some(0), String::new()));
    assert_eq!(lead.line("member_left").await["reason"], "left");
    assert_eq!(lead.line("epoch").await["cause"], "leave");
}

#[tokio::test]
async fn on_request_the_lines_are_words_without_colours() {
    let relay = Relay::start().await;
    let mut lead = Running::start(stay("lead", &relay, &["--text"]));
    let mut said = String::new();
    while !said.contains("active") {
        said.push_str(&timeout(PATIENCE, lead.lines.next_line()).await.expect("a line").expect("text").expect("more"));
        said.push('\n');
    }
    assert!(said.contains("epoch 1.0 after the start (new session), 1 member"), "{said}");
    assert!(said.contains("this device leads") && said.contains("code"), "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");
}

#[tokio::test]
async fn a_lead_bot_and_a_member_come_back_when_the_relay_does_with_the_same_key() {
    let relay = Relay::start().await;
    let address = relay.address.to_string();
    let mut lead = Running::start(stay("lead", &relay, &[]));
    lead.line("epoch").await;
    let mut join = Running::start(stay("join", &relay, &["--user", "Anna"]));
    join.line("active").await;
    relay.stop().await;
    for program in [&mut lead, &mut join] {
        assert_eq!(program.line("link").await, "down");
    }
    let _relay = Relay::start_at(&address).await;
    for program in [&mut lead, &mut join] {
        assert_eq!(program.line("link").await, "up");
    }
    // Nobody was replaced: the first key after that of the join is the one without the leaver.
    join.signal("INT").await;
    assert_eq!(lead.line("epoch").await["cause"], "leave");
    assert_eq!(join.ended().await, (Some(0), String::new()));
}

#[cfg(unix)]
#[tokio::test]
async fn whoever_stops_it_while_the_relay_is_away_does_not_wait() {
    let relay = Relay::start().await;
    let mut lead = Running::start(stay("lead", &relay, &["--text"]));
    let mut said = String::new();
    let mut until = async |lead: &mut Running, part: &str| {
        while !said.contains(part) {
            said += &timeout(PATIENCE, lead.lines.next_line()).await.expect("a line").expect("text").expect("more");
        }
    };
    until(&mut lead, "active").await;
    relay.stop().await;
    until(&mut lead, "connection lost; keys are kept, looking for the relay").await;
    let asked = std::time::Instant::now();
    lead.signal("INT").await;
    assert_eq!(lead.ended().await, (Some(0), String::new()));
    assert!(asked.elapsed() < std::time::Duration::from_secs(2), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn whoever_is_put_out_ends_with_a_code_of_its_own() {
    let relay = Relay::start().await;
    let mut bot = Member::join(&relay, "bot", Role::LeadBot).await;
    bot.sealing(1).await;
    let mut join = Running::start(stay("join", &relay, &["--user", "Anna"]));
    join.line("active").await;
    let anna =
        bot.until(|event| if let Event::MemberArrived(member) = event { Some(member.joined) } else { None }).await;
    bot.client.remove(anna).await.expect("running");
    let (code, said) = join.ended().await;
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("the lead removed this device"), "{said}");
}

#[tokio::test]
async fn a_small_load_test_finds_nothing_wrong_and_its_control() {
    let relay = Relay::start().await;
    let url = relay.url().to_string();
    let shape = ["--members", "5", "--churn", "240", "--duration", "3s", "--join-rate", "10", "--calls", "2", "--json"];
    let mut command = conclave(&[&["load", "--url", &url][..], &shape].concat());
    command.env("CONCLAVE_SECRET", SECRET);
    let output = finish(command).await;
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert_eq!((&report["wrong_keys"], &report["control_caught"]), (&0.into(), &true.into()));
    assert!(report["missed_rotations"].as_array().is_some_and(Vec::is_empty), "{report:#}");
    assert!(report["leaves"].as_u64() > Some(4) && report["leavers_checked"] == report["leaves"], "{report:#}");
    assert_eq!(report["joiners_checked"], report["joins"]);
    assert!(report["leave_to_all_switched_ms"]["p95"].as_f64() > Some(0.0), "{report:#}");
}

#[tokio::test]
async fn help_names_the_exit_codes() {
    for arguments in
        [&["--help"][..], &["lead", "--help"], &["join", "--help"], &["load", "--help"], &["token", "--help"]]
    {
        let output = finish(conclave(arguments)).await;
        assert_eq!(output.status.code(), Some(0));
        let help = String::from_utf8(output.stdout).expect("text");
        assert!(help.contains("Exit codes:") && help.contains("  6  "), "{help}");
    }
    let join = finish(conclave(&["join", "--help"])).await;
    let help = String::from_utf8(join.stdout).expect("text").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("nothing is sent") && help.contains("100 ms"), "{help}");
}

#[tokio::test]
async fn a_recorder_needs_its_grant_and_finishes_its_files() {
    let relay = Relay::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path().to_str().expect("text");
    let fixture = |name: &str| format!("{}/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut command = stay("join", &relay, &["--user", "Anna", "--record", at]);
    command.env("CONCLAVE_TOKEN", token("Anna", Role::Member).0);
    let said = fails(command, 4).await;
    assert!(said.contains("--role recorder"), "{said}");

    let (video, audio) = (fixture("vp8.ivf"), fixture("opus.ogg"));
    let publish = ["--user", "Anna", "--publish", &video, "--publish-audio", &audio, "--media-address", "127.0.0.1"];
    let mut anna = Running::start(stay("join", &relay, &publish));
    anna.line("active").await;
    let record = ["--user", "Recorder", "--record", at, "--media-address", "127.0.0.1", "--report", "1s"];
    let mut recorder = Running::start(stay("join", &relay, &record));
    let seen = anna.line("member_arrived").await;
    assert_eq!(seen["role"], "recorder", "everybody sees it");
    while recorder.line("stream").await["opened"].as_u64().is_none_or(|opened| opened < 30) {}
    recorder.signal("TERM").await;
    recorder.line("ended").await;
    let mut last = Vec::new();
    for _ in 0..2 {
        last.push(recorder.line("stream").await);
    }
    assert_eq!(recorder.ended().await, (Some(0), String::new()));
    for stream in last {
        assert_eq!(stream["undecryptable"], 0, "{stream}");
        assert_eq!(stream["recorded"], stream["opened"], "{stream}");
        if stream["format"] == "vp8" {
            let name = format!("Anna-{}-video-1.ivf", stream["member"]);
            let bytes = std::fs::read(directory.path().join(name)).expect("a recording");
            let frames = u32::from_le_bytes(bytes[24..28].try_into().expect("four bytes"));
            assert_eq!(stream["recorded"], frames, "the header counts the frames");
        }
    }
    anna.signal("INT").await;
    let published = anna.line("published").await;
    assert!(published["sent"].as_u64().is_some_and(|sent| sent > 0), "{published}");
}

#[tokio::test]
async fn a_file_that_cannot_be_published_is_named_with_its_reason() {
    let relay = Relay::start().await;
    let fixture = |name: &str| format!("{}/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").to_owned();
    for (option, path, reason) in [
        ("--publish", "/nowhere.ivf".to_owned(), "No such file"),
        ("--publish", manifest, "give an IVF file"),
        ("--publish", fixture("opus.ogg"), "--publish-audio"),
        ("--publish-audio", fixture("vp8.ivf"), "holds no sound"),
    ] {
        let said = fails(stay("join", &relay, &[option, &path]), 5).await;
        assert!(said.contains(reason) && said.contains(&path), "{said}");
    }
}
