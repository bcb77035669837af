//! Opening the frames of all streams in one place: frames that wait for a key come out in order, everything is counted.

use conclave_shared::{
    frame::opener::{OpenError, Opened},
    id::{Joined, Seat},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    bitstream,
    format::{Format, Kind},
    record::Recorder,
};
use crate::Client;

/// Streams that are over and still told of.
const OVER: usize = 4096;

/// One stream that a member sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stream {
    /// A number of its own in this process.
    pub id: u64,
    /// Who sends it.
    pub member: Joined,
    /// Their name, as their card says.
    pub user: String,
    /// Their seat.
    #[serde(skip)]
    pub seat: Seat,
    /// What it is encoded in.
    pub format: Format,
    /// Which of the member's streams of that kind it is, from 1.
    pub number: u32,
}

/// What became of the frames of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StreamStats {
    /// Whole frames that came in.
    pub frames_in: u64,
    /// Opened.
    pub opened: u64,
    /// Did not open under the key that they name.
    pub undecryptable: u64,
    /// Had to wait for their key; each counts once more for what became of it.
    pub held: u64,
    /// Came a second time.
    pub duplicates: u64,
    /// Whole, and not opened for another reason: their epoch is over, their key never came, or they are no frames.
    pub dropped: u64,
    /// How often frames were lost on the way.
    pub gaps: u64,
    /// How often a key frame was asked for.
    pub key_requests: u64,
    /// Written to a file.
    pub recorded: u64,
}

/// A stream and its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamReport {
    /// The stream.
    #[serde(flatten)]
    pub stream: Stream,
    /// Its numbers.
    #[serde(flatten)]
    pub stats: StreamStats,
    /// It has ended.
    pub over: bool,
}

/// An opened frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// When it is shown, in ticks of the format's clock since the stream began.
    pub time: u64,
    /// Decoding can begin here.
    pub key: bool,
    /// All that it refers to came before it.
    pub decodable: bool,
    /// The plain frame.
    pub data: &'a [u8],
}

/// Is given every opened frame, from the tasks that receive: be quick.
pub trait Sink: Send {
    /// The next frame of a stream.
    fn frame(&mut self, stream: &Stream, frame: Frame<'_>);
}

/// Opens frames.
pub(super) struct Opening {
    client: Client,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    next_id: u64,
    next_ticket: u64,
    held: BTreeMap<u64, Waiting>,
    live: BTreeMap<u64, Live>,
    over: Vec<StreamReport>,
    sink: Option<Box<dyn Sink>>,
    recorder: Option<Recorder>,
    /// The roster says that this device records.
    may_record: bool,
}

/// What is remembered of a frame that waits for its key.
struct Waiting {
    stream: u64,
    time: u64,
}

struct Live {
    stream: Stream,
    stats: StreamStats,
    /// Frames that come refer to one that is missing.
    broken: bool,
    wants_key: Arc<AtomicBool>,
}

/// A stream as its receiving task knows it.
pub(super) struct Handle {
    pub(super) id: u64,
    wants_key: Arc<AtomicBool>,
}

impl Handle {
    /// A key frame must be asked for.
    pub(super) fn wants_key(&self) -> bool {
        self.wants_key.load(Ordering::Relaxed)
    }
}

// Frames and what becomes of them are nobody's business.
impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening").finish_non_exhaustive()
    }
}

impl Opening {
    pub(super) fn new(client: Client, sink: Option<Box<dyn Sink>>, recorder: Option<Recorder>) -> Self {
        Self { client, inner: Mutex::new(Inner { sink, recorder, ..Inner::default() }) }
    }

    /// The committed roster says whether this device is a recorder.
    pub(super) fn may_record(&self, may: bool) {
        self.lock().may_record = may;
    }

    /// A stream begins.
    pub(super) fn begin(&self, (member, user, seat): (Joined, String, Seat), format: Format) -> Handle {
        let mut inner = self.lock();
        let id = inner.next_id;
        inner.next_id += 1;
        let streams = inner.live.values().map(|live| &live.stream).chain(inner.over.iter().map(|over| &over.stream));
        let same = streams.filter(|s| s.member == member && s.format.kind() == format.kind()).count();
        let number = u32::try_from(same + 1).unwrap_or(u32::MAX);
        let stream = Stream { id, member, user, seat, format, number };
        let wants_key = Arc::new(AtomicBool::new(false));
        let broken = format.kind() == Kind::Video;
        let live = Live { stream, stats: StreamStats::default(), broken, wants_key: wants_key.clone() };
        inner.live.insert(id, live);
        Handle { id, wants_key }
    }

    /// A stream is over: its files are finished.
    pub(super) fn end(&self, id: u64) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        if let Some(Live { stream, stats, .. }) = inner.live.remove(&id) {
            if let Some(recorder) = &mut inner.recorder {
                recorder.end(&stream);
            }
            if inner.over.len() < OVER {
                inner.over.push(StreamReport { stream, stats, over: true });
            }
        }
    }

    /// A whole frame came.
    pub(super) fn arrived(&self, id: u64, time: u64, frame: &[u8]) {
        let mut inner = self.lock();
        let ticket = inner.next_ticket;
        inner.next_ticket += 1;
        let Some(live) = inner.live.get_mut(&id) else { return };
        live.stats.frames_in += 1;
        let (seat, format) = (live.stream.seat, live.stream.format);
        let Some(codec) = format.codec() else { return };
        let opened = self.client.open(seat, codec, frame, ticket);
        // Under the key that opened this one, frames that came before it may have waited.
        self.release_into(&mut inner);
        match opened {
            Opened::Frame(data) => inner.deliver(id, time, Ok(data)),
            Opened::Dropped(error) => inner.deliver(id, time, Err(error)),
            Opened::Held => {
                if let Some(live) = inner.live.get_mut(&id) {
                    live.stats.held += 1;
                }
                inner.held.insert(ticket, Waiting { stream: id, time });
            }
        }
    }

    /// Frames were lost on the way.
    pub(super) fn gap(&self, id: u64) {
        if let Some(live) = self.lock().live.get_mut(&id) {
            live.stats.gaps += 1;
            live.lose();
        }
    }

    /// A key frame was asked for.
    pub(super) fn asked(&self, id: u64) {
        if let Some(live) = self.lock().live.get_mut(&id) {
            live.stats.key_requests += 1;
        }
    }

    /// Lets out frames whose key has come, and gives up those that waited too long.
    pub(super) fn release(&self) {
        self.release_into(&mut self.lock());
    }

    /// The streams, first those that are over.
    pub(super) fn report(&self) -> Vec<StreamReport> {
        let inner = self.lock();
        let live = inner.live.values();
        let live = live.map(|live| StreamReport { stream: live.stream.clone(), stats: live.stats, over: false });
        inner.over.iter().cloned().chain(live).collect()
    }

    /// Ends all streams and finishes all files.
    pub(super) fn close(&self) -> Result<(), String> {
        let ids: Vec<u64> = self.lock().live.keys().copied().collect();
        for id in ids {
            self.end(id);
        }
        self.lock().recorder.take().map_or(Ok(()), Recorder::finish)
    }

    fn release_into(&self, inner: &mut Inner) {
        if inner.held.is_empty() {
            return;
        }
        for (ticket, frame) in self.client.release() {
            if let Some(Waiting { stream, time }) = inner.held.remove(&ticket) {
                inner.deliver(stream, time, frame);
            }
        }
    }

    /// A panic elsewhere leaves the numbers as they are.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn deliver(&mut self, id: u64, time: u64, opened: Result<Vec<u8>, OpenError>) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let data = match opened {
            Ok(data) => data,
            Err(error) => return live.count(error),
        };
        live.stats.opened += 1;
        let key = bitstream::shape(live.stream.format, &data).key;
        if key {
            live.broken = false;
            live.wants_key.store(false, Ordering::Relaxed);
        } else if live.broken {
            live.lose();
        }
        let frame = Frame { time, key, decodable: !live.broken, data: &data };
        if let Some(sink) = &mut self.sink {
            sink.frame(&live.stream, frame);
        }
        if let Some(recorder) = self.recorder.as_mut().filter(|_| self.may_record)
            && recorder.frame(&live.stream, frame)
        {
            live.stats.recorded += 1;
        }
    }
}

impl Live {
    fn count(&mut self, error: OpenError) {
        let count = match error {
            // It was here before: nothing is missing.
            OpenError::Duplicate => {
                self.stats.duplicates += 1;
                return;
            }
            OpenError::Undecryptable => &mut self.stats.undecryptable,
            OpenError::Frame(_)
            | OpenError::Header(_)
            | OpenError::WrongSeat(_)
            | OpenError::NotASender
            | OpenError::Past
            | OpenError::HoldFull
            | OpenError::TimedOut
            | OpenError::TooOld => &mut self.stats.dropped,
        };
        *count += 1;
        tracing::debug!(member = %self.stream.member, format = ?self.stream.format, %error, "a frame is dropped");
        self.lose();
    }

    /// A frame is missing: what follows cannot be decoded until a key frame comes.
    fn lose(&mut self) {
        if self.stream.format.kind() == Kind::Video {
            self.broken = true;
            self.wants_key.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::clip::Clip;
    use conclave_shared::{
        crypto::{schedule::MediaSecret, secret::Secret},
        frame::Frames,
        id::{Ed25519Key, Epoch, Term},
        session::output::KeyUpdate,
    };
    use std::{path::Path, sync::mpsc};

    struct Seen(mpsc::Sender<Vec<u8>>);

    impl Sink for Seen {
        fn frame(&mut self, _stream: &Stream, frame: Frame<'_>) {
            self.0.send(frame.data.to_vec()).expect("the test listens");
        }
    }

    /// The device on one of two seats, with the key of this epoch that comes from this secret.
    fn client(seat: u8, epoch: Epoch, secret: u8) -> Client {
        let key = |seat: u8| Ed25519Key::new([seat; 32]);
        let mut frames = Frames::new(key(seat));
        install(&mut frames, epoch, secret);
        frames.apply(KeyUpdate::Activate(epoch));
        Client::with_frames(frames)
    }

    fn install(frames: &mut Frames, epoch: Epoch, secret: u8) {
        let media = MediaSecret::new(Secret::take(&mut [secret; 32]).expect("32 bytes"));
        let senders = (0..2_u8).map(|seat| (Seat(seat.into()), Ed25519Key::new([seat; 32]))).collect();
        frames.apply(KeyUpdate::Install { epoch, media, senders: Arc::new(senders) });
    }

    fn clips() -> Vec<Clip> {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let names = ["vp8.ivf", "vp9.ivf", "av1.ivf", "h264.h264", "opus.ogg"];
        names.iter().map(|name| Clip::read(&fixtures.join(name)).expect("a clip")).collect()
    }

    /// Sends a clip from one seat to the other, and says what became of it, what came out, and whether a key frame is
    /// asked for in the end.
    fn send(clip: &Clip, from: &Client, to: Client) -> (StreamStats, Vec<Vec<u8>>, bool) {
        let (seen, sees) = mpsc::channel();
        let opening = Opening::new(to, Some(Box::new(Seen(seen))), None);
        let format = clip.format();
        let handle = opening.begin((Joined(1), "Anna".to_owned(), Seat(0)), format);
        for (time, frame) in (0..).zip(clip.data()) {
            let sealed = from.seal(format.codec().expect("a rule"), frame).expect("a key");
            opening.arrived(handle.id, time, &sealed);
        }
        let asks = handle.wants_key();
        let report = opening.report();
        drop(opening);
        (report[0].stats, sees.try_iter().collect(), asks)
    }

    #[test]
    fn the_right_key_opens_every_frame_of_every_codec_and_a_wrong_one_none() {
        let epoch = Epoch::first(Term(1));
        for clip in clips() {
            let count = u64::try_from(clip.frames()).expect("few");
            let anna = client(0, epoch, 1);
            let (stats, seen, asks) = send(&clip, &anna, client(1, epoch, 1));
            assert!(!asks && seen.iter().map(Vec::as_slice).eq(clip.data()), "{:?}", clip.format());
            assert_eq!((stats.frames_in, stats.opened, stats.undecryptable), (count, count, 0), "{:?}", clip.format());
            let (stats, seen, asks) = send(&clip, &anna, client(1, epoch, 2));
            assert_eq!((stats.frames_in, stats.opened, stats.undecryptable), (count, 0, count), "{:?}", clip.format());
            assert!(seen.is_empty(), "nothing that did not open comes out");
            assert_eq!(asks, clip.format().kind() == Kind::Video);
        }
    }

    #[test]
    fn without_a_key_nothing_is_sealed_and_frames_of_the_next_epoch_wait() {
        let nobody = Client::with_frames(Frames::new(Ed25519Key::new([0; 32])));
        let (first, second) = (Epoch::first(Term(1)), Epoch(Term(1), 1));
        for clip in clips() {
            let codec = clip.format().codec().expect("a rule");
            let frame = clip.data().next().expect("a frame");
            assert!(nobody.seal(codec, frame).is_err());
            let (stats, seen, _) = send(&clip, &client(0, second, 1), client(1, first, 1));
            assert!(stats.held > 0 && stats.opened == 0 && stats.undecryptable == 0, "{stats:?}");
            assert!(seen.is_empty());
        }
    }
}
