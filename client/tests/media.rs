//! Native participants with media, in a call on a real relay and with real peer connections between them.

// Helpers of tests may fail as tests do.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::wildcard_enum_match_arm)]
#![cfg(feature = "media")]

mod support;

use conclave_client::media::{Clip, Format, Frame, Media, MediaOptions, Sink, Stream, StreamReport};
use conclave_shared::{
    id::{Joined, Role},
    session::output::Event,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};
use support::{Member, PATIENCE, Relay};
use tokio::time::{Instant, sleep, timeout};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn clip(name: &str) -> Arc<Clip> {
    Arc::new(Clip::read(&fixture(name)).expect("a clip"))
}

/// A member whose events go to its media.
struct Participant {
    media: Arc<Media>,
    me: Joined,
}

impl Participant {
    async fn join(relay: &Relay, user: &str, role: Role, options: MediaOptions) -> Self {
        let member = Member::join(relay, user, role).await;
        Self::begin(member, options).await
    }

    /// Lets a member that has just got its seat begin media.
    async fn begin(member: Member, options: MediaOptions) -> Self {
        let Member { client, mut events, me, seated } = member;
        let options = MediaOptions { addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], ..options };
        let media = Arc::new(Media::start(client.clone(), options).expect("media"));
        media.told(&seated).await;
        let told = media.clone();
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                assert!(!matches!(event, Event::Security(_)), "nobody is alarmed: {event:?}");
                told.told(&event).await;
            }
        });
        Self { media, me }
    }

    async fn connected(&self, members: usize) {
        let mut connected = self.media.connected();
        let waiting = timeout(PATIENCE, connected.wait_for(|count| *count == members)).await;
        waiting.expect("connected in time").expect("the mesh is there");
    }

    /// The streams of one member.
    fn streams_of(&self, member: Joined) -> Vec<StreamReport> {
        self.media.streams().into_iter().filter(|report| report.stream.member == member).collect()
    }
}

/// Publishes these files, and checks what comes against them.
fn checked(names: &[&str], counts: &Checked) -> MediaOptions {
    let publish: Vec<Arc<Clip>> = names.iter().map(|name| clip(name)).collect();
    let known = publish.iter().flat_map(|clip| clip.data()).map(<[u8]>::to_vec).collect();
    let sink = Checker { known, counts: counts.clone() };
    MediaOptions { publish, sink: Some(Box::new(sink)), ..MediaOptions::default() }
}

/// Stops a publisher and waits until the other has everything that was sent: all of it came, and all of it opened.
async fn everything_opened(from: &Participant, to: &Participant, tracks: usize) {
    from.media.pause(true);
    sleep(Duration::from_millis(300)).await;
    let sent: u64 = from.media.published().iter().map(|published| published.sent).sum();
    let opened = || to.streams_of(from.me).iter().map(|report| report.stats.opened).sum::<u64>();
    let begun = Instant::now();
    while opened() < sent && begun.elapsed() < Duration::from_secs(5) {
        sleep(Duration::from_millis(20)).await;
    }
    let streams = to.streams_of(from.me);
    assert_eq!(streams.len(), tracks, "{streams:#?}");
    assert_eq!(opened(), sent, "{streams:#?} {:#?}", from.media.published());
    for StreamReport { stats, stream, .. } in streams {
        assert_eq!(stats.frames_in, stats.opened + stats.duplicates, "{stream:?} {stats:?}");
        assert_eq!((stats.undecryptable, stats.dropped, stats.gaps), (0, 0, 0), "{stream:?} {stats:?}");
    }
    from.media.pause(false);
}

/// Counts frames, and compares each with those that were published.
#[derive(Clone, Default)]
struct Checked(Arc<Mutex<BTreeMap<Joined, (u64, u64)>>>);

impl Checked {
    /// Frames of a member that were published, and others.
    fn of(&self, member: Joined) -> (u64, u64) {
        self.0.lock().expect("no panic").get(&member).copied().unwrap_or_default()
    }
}

struct Checker {
    known: BTreeSet<Vec<u8>>,
    counts: Checked,
}

impl Sink for Checker {
    fn frame(&mut self, stream: &Stream, frame: Frame<'_>) {
        let known = self.known.contains(frame.data);
        let mut counts = self.counts.0.lock().expect("no panic");
        let (good, other) = counts.entry(stream.member).or_default();
        *if known { good } else { other } += 1;
    }
}

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
