//! Publishing a clip: played in a loop at its own rate, sealed once for all, handed to every connection.

use bytes::Bytes;
use conclave_shared::frame::sealer::SealError;
use serde::Serialize;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::broadcast,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{clip::Clip, format::Format};
use crate::Client;

/// Sealed frames that may wait for a slow connection: two seconds of video. It then goes on with the next key frame.
const WAITING: usize = 64;
/// Between two key frames that were asked for: whoever asks more often gets no more of them.
const BETWEEN_KEYS: Duration = Duration::from_millis(300);
/// A clip that fell behind so far, because the machine slept, goes on from here instead of catching up.
const BEHIND: Duration = Duration::from_secs(1);

/// One sealed frame on its way.
#[derive(Debug)]
pub(super) struct Sealed {
    /// When it is shown, since the clip began.
    pub(super) time: Duration,
    /// Decoding can begin here.
    pub(super) key: bool,
    pub(super) frame: Bytes,
}

/// What became of the frames of a published clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Published {
    /// What it is encoded in.
    pub format: Format,
    /// Frames sealed while somebody was connected.
    pub sealed: u64,
    /// Frames that were not sent because there was no key.
    pub refused: u64,
    /// Sealed frames written to connections, each connection counted.
    pub sent: u64,
    /// How often a receiver asked for a key frame.
    pub key_requests: u64,
}

/// A clip that is being published. Dropping it ends that.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) format: Format,
    frames: broadcast::Sender<Arc<Sealed>>,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    paused: AtomicBool,
    key_wanted: AtomicBool,
    sealed: AtomicU64,
    refused: AtomicU64,
    sent: AtomicU64,
    key_requests: AtomicU64,
}

impl Publication {
    /// Begins to play a clip.
    pub(super) fn begin(client: Client, clip: Arc<Clip>) -> Self {
        let (frames, _) = broadcast::channel(WAITING);
        let state = Arc::new(State::default());
        let format = clip.format();
        let task = tokio::spawn(play(client, clip, frames.clone(), state.clone()));
        Self { format, frames, state, task }
    }

    /// The sealed frames from here on. The next one is a key frame soon.
    pub(super) fn frames(&self) -> broadcast::Receiver<Arc<Sealed>> {
        let frames = self.frames.subscribe();
        self.state.key_wanted.store(true, Ordering::Relaxed);
        frames
    }

    /// A receiver cannot decode what comes.
    pub(super) fn want_key(&self) {
        self.state.key_wanted.store(true, Ordering::Relaxed);
        self.state.key_requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Sends nothing, or goes on.
    pub(super) fn pause(&self, paused: bool) {
        self.state.paused.store(paused, Ordering::Relaxed);
    }

    /// A connection took a frame.
    pub(super) fn sent(&self) {
        self.state.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn report(&self) -> Published {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let State { sealed, refused, sent, key_requests, .. } = &*self.state;
        Published {
            format: self.format,
            sealed: read(sealed),
            refused: read(refused),
            sent: read(sent),
            key_requests: read(key_requests),
        }
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Plays a clip for ever.
///
/// A frame that cannot be sealed is dropped, never sent as it is; since those after it refer to it, the clip then goes
/// on from a key frame.
async fn play(client: Client, clip: Arc<Clip>, frames: broadcast::Sender<Arc<Sealed>>, state: Arc<State>) {
    let Some(codec) = clip.format().codec() else { return };
    let mut began = Instant::now();
    let mut time = Duration::ZERO;
    let mut position = 0;
    let mut broken = true;
    let mut last_key: Option<Duration> = None;
    loop {
        let rested = last_key.is_none_or(|last| time.saturating_sub(last) >= BETWEEN_KEYS);
        if broken || (rested && state.key_wanted.swap(false, Ordering::Relaxed)) {
            position = clip.next_key(position);
        }
        let Some(frame) = clip.frame(position) else { return };
        sleep_until(began + time).await;
        if Instant::now() > began + time + BEHIND {
            began = Instant::now() - time;
        }
        if frames.receiver_count() == 0 || state.paused.load(Ordering::Relaxed) {
            broken = true;
        } else {
            match client.seal(codec, &frame.data) {
                Ok(sealed) => {
                    state.sealed.fetch_add(1, Ordering::Relaxed);
                    if frame.key {
                        last_key = Some(time);
                    }
                    // Whoever was connected may be gone.
                    let _ = frames.send(Arc::new(Sealed { time, key: frame.key, frame: Bytes::from(sealed) }));
                    broken = false;
                }
                Err(
                    SealError::NoKey
                    | SealError::Paused
                    | SealError::Frame(_)
                    | SealError::Exhausted
                    | SealError::Crypto,
                ) => {
                    state.refused.fetch_add(1, Ordering::Relaxed);
                    broken = true;
                }
            }
        }
        time += frame.length;
        position += 1;
    }
}
