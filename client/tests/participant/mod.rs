//! Members of a call whose events go to their media.

// Each test program uses its own part of this. Helpers of tests may fail as tests do.
#![allow(dead_code, clippy::expect_used, clippy::panic)]

use crate::support::{Member, PATIENCE, Relay};
use conclave_client::{
    Client,
    media::{Clip, Frame, Media, MediaOptions, Sink, Stream, StreamReport},
};
use conclave_shared::{
    id::{Joined, Role},
    session::output::Event,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

pub(crate) fn clip(name: &str) -> Arc<Clip> {
    Arc::new(Clip::read(&fixture(name)).expect("a clip"))
}

/// A member whose events go to its media.
pub(crate) struct Participant {
    pub(crate) client: Client,
    pub(crate) media: Arc<Media>,
    pub(crate) me: Joined,
    epochs: Arc<AtomicU64>,
}

impl Participant {
    pub(crate) async fn join(relay: &Relay, user: &str, role: Role, options: MediaOptions) -> Self {
        let member = Member::join(relay, user, role).await;
        Self::begin(member, options).await
    }

    /// Lets a member that has just got its seat begin media.
    pub(crate) async fn begin(member: Member, options: MediaOptions) -> Self {
        let Member { client, mut events, me, seated } = member;
        let options = MediaOptions { addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], ..options };
        let media = Arc::new(Media::start(client.clone(), options).expect("media"));
        media.told(&seated).await;
        let epochs = Arc::new(AtomicU64::new(0));
        let (told, counted) = (media.clone(), epochs.clone());
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                assert!(!matches!(event, Event::Security(_)), "nobody is alarmed: {event:?}");
                if matches!(event, Event::Active(_)) {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                told.told(&event).await;
            }
        });
        Self { client, media, me, epochs }
    }

    pub(crate) async fn connected(&self, members: usize) {
        let mut connected = self.media.connected();
        let waiting = timeout(PATIENCE, connected.wait_for(|count| *count == members)).await;
        waiting.expect("connected in time").expect("the mesh is there");
    }

    /// Under how many epochs it has sealed.
    pub(crate) fn epochs(&self) -> u64 {
        self.epochs.load(Ordering::Relaxed)
    }

    /// The streams of one member.
    pub(crate) fn streams_of(&self, member: Joined) -> Vec<StreamReport> {
        self.media.streams().into_iter().filter(|report| report.stream.member == member).collect()
    }
}

/// Publishes these files, and checks what comes against them.
pub(crate) fn checked(names: &[&str], counts: &Checked) -> MediaOptions {
    let publish: Vec<Arc<Clip>> = names.iter().map(|name| clip(name)).collect();
    let known = publish.iter().flat_map(|clip| clip.data()).map(<[u8]>::to_vec).collect();
    let sink = Checker { known, counts: counts.clone() };
    MediaOptions { publish, sink: Some(Box::new(sink)), ..MediaOptions::default() }
}

/// Stops a publisher and waits until the other has everything that was sent: all of it came, and all of it opened.
pub(crate) async fn everything_opened(from: &Participant, to: &Participant, tracks: usize) {
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
pub(crate) struct Checked(pub(crate) Arc<Mutex<BTreeMap<Joined, (u64, u64)>>>);

impl Checked {
    /// Frames of a member that were published, and others.
    pub(crate) fn of(&self, member: Joined) -> (u64, u64) {
        self.0.lock().expect("no panic").get(&member).copied().unwrap_or_default()
    }
}

pub(crate) struct Checker {
    pub(crate) known: BTreeSet<Vec<u8>>,
    pub(crate) counts: Checked,
}

impl Sink for Checker {
    fn frame(&mut self, stream: &Stream, frame: Frame<'_>) {
        let known = self.known.contains(frame.data);
        let mut counts = self.counts.0.lock().expect("no panic");
        let (good, other) = counts.entry(stream.member).or_default();
        *if known { good } else { other } += 1;
    }
}
