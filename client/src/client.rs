//! One device in one call, as an application uses it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use conclave_shared::{
    frame::{
        Frames,
        clear_bytes::Codec,
        opener::{OpenError, Opened},
        sealer::SealError,
    },
    id::{Joined, Seat},
    identity::device::Device,
    session::{
        Profile, Session,
        config::Config,
        input::Command,
        output::{Event, KeyUpdate},
    },
    time::Timestamp,
};

use crate::{
    again::{Again, Relays, TokenSource},
    driver::{Driver, Observer, REQUESTS, Request},
    store::{Store, StoreError},
    transport::{ConnectError, Transport},
};

/// Events that may wait for the application: a minute of a lively call. See [`Events`].
const EVENTS: usize = 1024;
/// Between two times that the session is told of frames without a key.
const MISSING_KEY: Duration = Duration::from_secs(1);

/// What a device brings to a call.
#[derive(Debug)]
pub struct Joining {
    /// The device. One device has one seat in a call.
    pub device: Device,
    /// Where the device is kept, if it is to outlive this process.
    pub store: Option<Store>,
    /// The call, who joins it, and the token that lets them in first.
    pub profile: Profile,
    /// Where further tokens come from.
    pub tokens: TokenSource,
    /// Times.
    pub config: Config,
}

/// The session is over: whatever was asked for will not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the session is over")]
pub struct Over;

/// One device in one call. Clones are handles of the same device; when the last one is dropped, the device leaves.
///
/// It stays in the call until it leaves or is put out. When the connection drops, it keeps its keys and looks for the
/// relay ([`Event::Link`] says `Down`, then `Up`); when its seat is lost, it joins afresh as the same device
/// (`Rejoining`, then [`Event::Seated`] with another order number and, later, new keys).
#[derive(Clone, Debug)]
pub struct Client {
    requests: mpsc::Sender<Request>,
    media: Arc<Media>,
}

/// What happens in the call, in order.
///
/// Events wait in a bounded queue. An application that does not read them loses the newest, and
/// [`missed`](Self::missed) counts them; keys are installed, and rotations made, all the same.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Receiver<Event>,
    missed: Arc<AtomicU64>,
    stored: oneshot::Receiver<Result<(), StoreError>>,
}

impl Client {
    /// Connects to a relay and joins a call. Whether the relay lets the device in, and with which key, comes as events.
    ///
    /// Of several addresses each is tried once, in their order; later they take turns.
    ///
    /// # Errors
    /// [`ConnectError`] of the last address when there is no connection.
    pub async fn connect(relays: impl Into<Relays>, joining: Joining) -> Result<(Self, Events), ConnectError> {
        let mut relays = relays.into();
        let transport = first_connection(&mut relays).await?;
        let began = Instant::now();
        let frames = Mutex::new(Frames::new(joining.device.ed25519()));
        let media = Arc::new(Media { frames, seat: Mutex::new(None), missing: Mutex::new(None), began });
        let (profile, config) = (joining.profile.clone(), joining.config);
        let again = Again { relays, tokens: joining.tokens, profile, config };
        let (requests, asked) = mpsc::channel(REQUESTS);
        let (events, queue) = mpsc::channel(EVENTS);
        let (done, stored) = oneshot::channel();
        let missed = Arc::new(AtomicU64::new(0));
        let driver = Driver {
            session: Session::new(joining.device, joining.profile, joining.config),
            transport,
            requests: asked,
            store: joining.store,
            observer: Delivery { media: media.clone(), events, missed: missed.clone() },
            began,
            again: Some(again),
        };
        tokio::spawn(async move {
            let finished = driver.run().await;
            // Nobody may be waiting for the outcome.
            let _ = done.send(finished.stored);
        });
        Ok((Self { requests, media }, Events { queue, missed, stored }))
    }

    /// Leaves the call: says so, signed, to everybody. [`Event::Ended`] follows.
    ///
    /// # Errors
    /// [`Over`].
    pub async fn leave(&self) -> Result<(), Over> {
        self.command(Command::Leave).await
    }

    /// Replaces the key: done by the lead, asked of the lead by others.
    ///
    /// # Errors
    /// [`Over`].
    pub async fn rotate(&self) -> Result<(), Over> {
        self.command(Command::Rotate).await
    }

    /// Removes a member. Only the lead can: for others [`Event::CommandFailed`] follows.
    ///
    /// # Errors
    /// [`Over`].
    pub async fn remove(&self, member: Joined) -> Result<(), Over> {
        self.command(Command::Remove(member)).await
    }

    /// Sends a message, sealed, to all members or to one.
    ///
    /// # Errors
    /// [`Over`]. What the session refuses comes as [`Event::CommandFailed`].
    pub async fn send(&self, to: Option<Joined>, payload: Vec<u8>) -> Result<(), Over> {
        self.command(Command::Send { to, payload }).await
    }

    /// The own seat, once the relay has given one. A device that joins afresh may get another.
    #[must_use]
    pub fn seat(&self) -> Option<Seat> {
        *lock(&self.media.seat)
    }

    /// Seals one frame under this device's key of the active epoch.
    ///
    /// # Errors
    /// [`SealError::NoKey`] until an epoch is active and after the session has ended; never a frame in clear.
    pub fn seal(&self, codec: Codec, frame: &[u8]) -> Result<Vec<u8>, SealError> {
        self.media.frames().seal(codec, frame)
    }

    /// Opens one frame of a member. A frame whose key has not come is held, bounded, and comes out of
    /// [`release`](Self::release) under its ticket.
    #[must_use]
    pub fn open(&self, from: Seat, codec: Codec, frame: &[u8], ticket: u64) -> Opened {
        let now = self.media.now();
        self.media.frames().open(now, from, codec, frame, ticket)
    }

    /// Held frames whose key has come, or that have waited too long. Of those the session is told, so that it asks for
    /// the key.
    #[must_use]
    pub fn release(&self) -> Vec<(u64, Result<Vec<u8>, OpenError>)> {
        let now = self.media.now();
        let released = self.media.frames().release(now);
        if released.iter().any(|(_, frame)| *frame == Err(OpenError::TimedOut)) && self.media.tells_of_missing_key(now)
        {
            // When the driver is this busy, the next frame asks again.
            let _ = self.requests.try_send(Request::Command(Command::MissingKey));
        }
        released
    }

    /// A client of no call that has these keys.
    #[cfg(all(test, feature = "media"))]
    pub(crate) fn with_frames(frames: Frames) -> Self {
        let (requests, _) = mpsc::channel(1);
        let (frames, began) = (Mutex::new(frames), Instant::now());
        let media = Media { frames, seat: Mutex::new(None), missing: Mutex::new(None), began };
        Self { requests, media: Arc::new(media) }
    }

    async fn command(&self, command: Command) -> Result<(), Over> {
        self.requests.send(Request::Command(command)).await.map_err(|_| Over)
    }
}

impl Events {
    /// The next event; `None` when the session is over and all has been told.
    pub async fn next(&mut self) -> Option<Event> {
        self.queue.recv().await
    }

    /// How many events were lost because they were not read in time.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Waits for the end and says whether the device was stored throughout.
    ///
    /// # Errors
    /// The [`StoreError`] that stopped the session.
    pub async fn outcome(mut self) -> Result<(), StoreError> {
        while self.next().await.is_some() {}
        self.stored.await.unwrap_or(Ok(()))
    }
}

/// What the frame layer of one device needs.
struct Media {
    /// Never held across an await: sealing and opening take microseconds.
    frames: Mutex<Frames>,
    seat: Mutex<Option<Seat>>,
    /// When the session was last told that a key is missing.
    missing: Mutex<Option<Timestamp>>,
    began: Instant,
}

impl std::fmt::Debug for Media {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Media").field("seat", &self.seat).finish_non_exhaustive()
    }
}

impl Media {
    fn frames(&self) -> MutexGuard<'_, Frames> {
        lock(&self.frames)
    }

    fn tells_of_missing_key(&self, now: Timestamp) -> bool {
        let mut last = lock(&self.missing);
        let due = last.is_none_or(|last| now.since(last) >= MISSING_KEY);
        if due {
            *last = Some(now);
        }
        due
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// A panic elsewhere leaves no frame half sealed: counters and windows move before bytes are given out.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first address that answers; the one after it is tried next.
async fn first_connection(relays: &mut Relays) -> Result<Transport, ConnectError> {
    let mut left = relays.len();
    loop {
        let attempt = Transport::connect(relays.here()).await;
        left -= 1;
        if attempt.is_ok() || left == 0 {
            return attempt;
        }
        relays.go_on();
    }
}

/// Hands on what a driver says.
struct Delivery {
    media: Arc<Media>,
    events: mpsc::Sender<Event>,
    missed: Arc<AtomicU64>,
}

impl Observer for Delivery {
    fn keys(&mut self, update: KeyUpdate) {
        self.media.frames().apply(update);
    }

    fn event(&mut self, _session: &mut Session, event: Event) {
        if let Event::Seated { seat, .. } = event {
            *lock(&self.media.seat) = Some(seat);
        }
        if self.events.try_send(event).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
