//! Recordings: what ffprobe decodes is what was opened.

// Helpers of tests may fail as tests do; what was measured is printed.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm
)]

mod participant;
mod support;

use conclave_client::media::{Format, MediaOptions, StreamReport};
use conclave_shared::id::Role;
use participant::{Checked, Participant, checked, fixture};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};
use support::Relay;
use tokio::time::{Instant, sleep};

/// How many frames ffprobe decodes from a file; it must find nothing wrong with any of them.
fn decoded(path: &Path) -> u64 {
    let arguments = ["-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"];
    let output = Command::new("ffprobe").args(arguments).arg(path).output().expect("ffprobe runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{}: {said}", path.display());
    let text = String::from_utf8_lossy(&output.stdout).trim().trim_end_matches(',').to_owned();
    text.parse().unwrap_or_else(|_| panic!("{}: no number of frames in {text:?}", path.display()))
}

fn has_ffprobe() -> bool {
    let found = Command::new("ffprobe").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("skipped: there is no ffprobe here; on Debian: apt-get install ffmpeg");
    }
    found
}

/// The file that a stream was recorded to.
fn file(directory: &Path, report: &StreamReport) -> std::path::PathBuf {
    let kind = report.stream.format.kind();
    let extension = match report.stream.format {
        Format::Opus => "ogg",
        Format::H264 => "h264",
        _ => "ivf",
    };
    let StreamReport { stream, .. } = report;
    directory.join(format!("{}-{}-{}-{}.{extension}", stream.user, stream.member, kind.as_str(), stream.number))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_over_twenty_joins_and_leaves_plays_from_its_first_to_its_last_frame() {
    if !has_ffprobe() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let relay = Relay::start().await;
    let publishes = |names: &[&str]| checked(names, &Checked::default());
    let anna = Participant::join(&relay, "Anna", Role::Member, publishes(&["vp8.ivf", "opus.ogg"])).await;
    let records = MediaOptions { record: Some(directory.path().to_owned()), ..MediaOptions::default() };
    let recorder = Participant::join(&relay, "Recorder", Role::Recorder, records).await;
    recorder.connected(1).await;
    for (n, video) in (0..20).zip(["vp8.ivf", "vp9.ivf", "av1.ivf", "h264.h264"].into_iter().cycle()) {
        let guest =
            Participant::join(&relay, &format!("Guest{n}"), Role::Member, publishes(&[video, "opus.ogg"])).await;
        recorder.connected(2).await;
        let begun = Instant::now();
        while recorder.streams_of(guest.me).len() < 2 {
            assert!(begun.elapsed() < Duration::from_secs(30), "the guest's media comes");
            sleep(Duration::from_millis(20)).await;
        }
        sleep(Duration::from_millis(300)).await;
        guest.client.leave().await.expect("in the call");
        recorder.connected(1).await;
    }
    anna.media.pause(true);
    sleep(Duration::from_millis(500)).await;
    let reports = recorder.media.close().expect("all is written");
    assert_eq!(reports.len(), 42, "a picture and a sound of each");
    let mut frames = 0;
    for report in &reports {
        let stats = report.stats;
        assert_eq!((stats.undecryptable, stats.dropped), (0, 0), "{report:?}");
        assert_eq!(stats.recorded, stats.opened, "{report:?}");
        let path = file(directory.path(), report);
        assert_eq!(decoded(&path), stats.opened, "{report:?}");
        frames += stats.opened;
    }
    println!("{} files, {frames} frames opened, recorded and decoded by ffprobe", reports.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_records_who_is_no_recorder_in_the_roster() {
    let directory = tempfile::tempdir().expect("a directory");
    let relay = Relay::start().await;
    let options = checked(&["vp8.ivf"], &Checked::default());
    let anna = Participant::join(&relay, "Anna", Role::Member, options).await;
    let records = MediaOptions { record: Some(directory.path().to_owned()), ..MediaOptions::default() };
    let spy = Participant::join(&relay, "Spy", Role::Member, records).await;
    spy.connected(1).await;
    sleep(Duration::from_secs(1)).await;
    let streams = spy.streams_of(anna.me);
    assert!(streams.iter().any(|report| report.stats.opened > 0), "the key is the same for all: {streams:?}");
    assert_eq!(fs::read_dir(directory.path()).expect("there").count(), 0, "and nothing is written");
    assert!(fixture("vp8.ivf").exists());
}
