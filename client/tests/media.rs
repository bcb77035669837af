//! Native participants with media, in a call on a real relay and with real peer connections between them.

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

use conclave_client::media::{Format, Kind, MediaOptions};
use conclave_shared::id::Role;
use participant::{Checked, Participant, checked, everything_opened};
use std::{collections::BTreeSet, time::Duration};
use support::Relay;
use tokio::time::{MissedTickBehavior, interval, sleep};

#[tokio::test(flavor = "multi_thread")]
async fn two_participants_see_and_hear_each_other_and_every_frame_opens() {
    let relay = Relay::start().await;
    let (at_anna, at_ben) = (Checked::default(), Checked::default());
    let anna = Participant::join(&relay, "Anna", Role::Member, checked(&["vp8.ivf", "opus.ogg"], &at_anna)).await;
    let ben = Participant::join(&relay, "Ben", Role::Member, checked(&["vp8.ivf", "opus.ogg"], &at_ben)).await;
    anna.connected(1).await;
    ben.connected(1).await;
    sleep(Duration::from_secs(5)).await;
    for (from, to, checked) in [(&anna, &ben, &at_ben), (&ben, &anna, &at_anna)] {
        everything_opened(from, to, 2).await;
        let (good, other) = checked.of(from.me);
        assert_eq!(other, 0, "every frame is one that was published");
        assert!(good > 300, "{good} frames in five seconds");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_codec_travels_and_several_tracks_of_a_kind() {
    let relay = Relay::start().await;
    let at_ben = Checked::default();
    let names = ["vp9.ivf", "av1.ivf", "h264.h264", "vp8.ivf", "opus.ogg", "opus.ogg"];
    let anna = Participant::join(&relay, "Anna", Role::Member, checked(&names, &Checked::default())).await;
    let ben = Participant::join(&relay, "Ben", Role::Member, checked(&names, &at_ben)).await;
    anna.connected(1).await;
    ben.connected(1).await;
    sleep(Duration::from_secs(4)).await;
    for (from, to) in [(&anna, &ben), (&ben, &anna)] {
        everything_opened(from, to, names.len()).await;
    }
    let formats: BTreeSet<Format> = ben.streams_of(anna.me).iter().map(|report| report.stream.format).collect();
    assert_eq!(formats.len(), Format::ALL.len());
    let (good, other) = at_ben.of(anna.me);
    assert!(good > 500 && other == 0, "{good} good frames, {other} others");
}

/// Rotations while media flows: asked for ten times a second, as often as `CONCLAVE_ROTATIONS` says. Fewer are made: a key is
/// kept for two seconds after its epoch, thirty-two at most, and what is asked for meanwhile is one rotation.
async fn rotate(lead: &Participant) -> u32 {
    let count = std::env::var("CONCLAVE_ROTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let mut tenth = interval(Duration::from_millis(100));
    tenth.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..count {
        tenth.tick().await;
        lead.client.rotate().await.expect("in the call");
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn no_frame_is_lost_to_a_rotation() {
    let relay = Relay::start().await;
    let (at_anna, at_ben) = (Checked::default(), Checked::default());
    let anna = Participant::join(&relay, "Anna", Role::Member, checked(&["vp8.ivf", "opus.ogg"], &at_anna)).await;
    let ben = Participant::join(&relay, "Ben", Role::Member, checked(&["vp8.ivf", "opus.ogg"], &at_ben)).await;
    anna.connected(1).await;
    ben.connected(1).await;
    let before = anna.epochs();
    let rotations = rotate(&anna).await;
    for (from, to) in [(&anna, &ben), (&ben, &anna)] {
        everything_opened(from, to, 2).await;
        let requests: u64 = from.media.published().iter().map(|published| published.key_requests).sum();
        assert_eq!(requests, 0, "a rotation needs no key frame");
    }
    let made = anna.epochs() - before;
    let frames = at_ben.of(anna.me).0 + at_anna.of(ben.me).0;
    println!("{rotations} rotations asked for, {made} epochs, {frames} frames: all opened");
    assert!(made > u64::from(rotations) / 4, "{made} epochs");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_packets_lost_every_frame_that_comes_whole_is_opened() {
    let relay = Relay::start().await;
    let lossy = |counts| MediaOptions { loss: 5, ..checked(&["vp8.ivf", "opus.ogg"], counts) };
    let (at_anna, at_ben) = (Checked::default(), Checked::default());
    let anna = Participant::join(&relay, "Anna", Role::Member, lossy(&at_anna)).await;
    let ben = Participant::join(&relay, "Ben", Role::Member, lossy(&at_ben)).await;
    anna.connected(1).await;
    ben.connected(1).await;
    let rotations = rotate(&anna).await;
    for (from, to, checked) in [(&anna, &ben, &at_ben), (&ben, &anna, &at_anna)] {
        from.media.pause(true);
        sleep(Duration::from_secs(2)).await;
        let (mut video, mut sent) = (0, 0);
        for report in to.streams_of(from.me) {
            let stats = report.stats;
            assert_eq!(stats.frames_in, stats.opened + stats.duplicates, "{stats:?}");
            assert_eq!((stats.undecryptable, stats.dropped), (0, 0), "{stats:?}");
            if report.stream.format.kind() == Kind::Video {
                video = stats.opened;
            }
        }
        let published = from.media.published();
        sent += published.iter().filter(|p| p.format.kind() == Kind::Video).map(|p| p.sent).sum::<u64>();
        println!("{rotations} rotations, 5 % of packets lost: {video} of {sent} pictures came, all of them opened");
        assert!(video * 100 >= sent * 95, "lost packets were asked for again: {video} of {sent} came");
        assert_eq!(checked.of(from.me).1, 0, "every frame is one that was published");
    }
}
