//! What recording costs: one recorder in a process of its own, ten publishers of 30 pictures a second.

// Helpers of tests may fail as tests do; what was measured is printed.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm
)]
#![cfg(target_os = "linux")]

mod participant;
mod support;

use conclave_client::media::{Clip, MediaOptions};
use conclave_shared::id::Role;
use participant::Participant;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};
use support::{CALL, Relay, SECRET};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::{Instant, sleep},
};

const PUBLISHERS: usize = 10;
const MEASURED: Duration = Duration::from_secs(10);

/// Processor time that a process has used, in ticks of 1/100 s, as Linux on every architecture of ours counts them.
fn ticks(id: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).expect("it runs");
    // Fields 14 and 15, behind the name in parentheses, which may hold blanks.
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, of use on a machine that has nothing else to do: cargo test --test recorder_cost -- --ignored"]
async fn ten_streams_cost_a_recorder_part_of_one_core() {
    for bytes in [1_000, 10_000] {
        measure(bytes).await;
    }
}

/// A clip of thirty pictures a second of so many bytes each, two seconds long. Nobody decodes it: only the beginning of
/// each frame is that of VP8.
fn pictures(bytes: usize) -> Arc<Clip> {
    let mut file = b"DKIF\0\0\x20\0VP80\x40\x01\xb4\0\x1e\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    for n in 0..60_u64 {
        let key = [0x10, 2, 0, 0x9d, 1, 0x2a, 0x40, 1, 0xb4, 0];
        let mut frame = vec![1; bytes];
        if n == 0 {
            frame[..key.len()].copy_from_slice(&key);
        }
        file.extend(u32::try_from(bytes).expect("small").to_le_bytes());
        file.extend(n.to_le_bytes());
        file.extend(frame);
    }
    Arc::new(Clip::parse(&file).expect("a clip"))
}

async fn measure(bytes: usize) {
    let relay = Relay::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let mut publishers = Vec::new();
    for n in 0..PUBLISHERS {
        let options = MediaOptions { publish: vec![pictures(bytes)], ..MediaOptions::default() };
        publishers.push(Participant::join(&relay, &format!("Publisher{n}"), Role::Member, options).await);
    }
    let url = relay.url().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_conclave"));
    command.args(["join", "--json", "--url", &url, "--call", CALL, "--media-address", "127.0.0.1", "--report", "1s"]);
    command.arg("--record").arg(directory.path()).env("CONCLAVE_SECRET", SECRET);
    let mut recorder = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it starts");
    let id = recorder.id().expect("it runs");
    let mut lines = BufReader::new(recorder.stdout.take().expect("piped")).lines();
    let recorded = Arc::new(Mutex::new(BTreeMap::new()));
    let told = recorded.clone();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            let line: Value = serde_json::from_str(&line).expect("JSON");
            if let (Some(id), Some(count)) = (line["stream"]["id"].as_u64(), line["stream"]["recorded"].as_u64()) {
                told.lock().expect("no panic").insert(id, count);
            }
        }
    });
    for publisher in &publishers {
        publisher.connected(PUBLISHERS).await;
    }
    sleep(Duration::from_secs(2)).await;
    // As the recorder told it last: within a second.
    let frames = || recorded.lock().expect("no panic").values().sum::<u64>();
    let (before, first, begun) = (ticks(id), frames(), Instant::now());
    sleep(MEASURED).await;
    let (used, count, took) = (ticks(id) - before, frames() - first, begun.elapsed().as_secs_f64());
    #[allow(clippy::cast_precision_loss)]
    let (share, rate) = (used as f64 / took, count as f64 / took);
    println!(
        "recorder: {share:.1} % of one core for {PUBLISHERS} streams, {rate:.0} frames of {bytes} bytes recorded a second"
    );
    assert!(rate > 200.0, "it records what comes");
    assert!(share < 100.0, "one core is enough");
}
