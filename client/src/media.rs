//! Audio and video: this device as a participant among browsers and others like it.
//!
//! ```text
//! file -> Clip -> Publication -> seal -> packets -> one connection per member
//! connection -> packets -> Assembler -> whole frame -> open -> Sink, files
//! ```
//!
//! [`Media`] is told every event of the call and keeps one peer connection to every other member that has media, over
//! the same sealed messages as the browser SDK. All connections share the frame keys of one [`Client`]: what is published is
//! sealed once, under one counter, and goes to everybody. Without a key there is no frame, in both directions.

mod assemble;
mod bitstream;
mod candidates;
mod clip;
mod cursor;
mod engine;
mod format;
mod ivf;
mod lossy;
mod mesh;
mod ogg;
mod opening;
mod outbox;
mod payload;
mod peer;
mod publish;
mod receive;
mod record;
mod send;
mod signals;

pub use clip::{Clip, ClipError};
pub use format::{Format, Kind};
pub use ivf::IvfError;
pub use ogg::OggError;
pub use opening::{Frame, Sink, Stream, StreamReport, StreamStats};
pub use publish::Published;
pub use signals::is_signal;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};
use thiserror::Error;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::Client;
use conclave_shared::session::output::Event;
use engine::Place;
use mesh::{Mesh, ToMesh};
use opening::Opening;
use publish::Publication;
use record::Recorder;

/// What the mesh may be told while it carries something out: a minute of a lively call.
const TOLD: usize = 1024;

/// What media begins with.
#[derive(Default)]
pub struct MediaOptions {
    /// What is published from the start, each as a track of its own.
    pub publish: Vec<Arc<Clip>>,
    /// Where every other member's streams are recorded. Only while the committed roster calls this device a recorder.
    pub record: Option<PathBuf>,
    /// Is given every opened frame.
    pub sink: Option<Box<dyn Sink>>,
    /// The own addresses that connections are made from; [`local_addresses`] when empty.
    pub addresses: Vec<IpAddr>,
    /// Of a hundred media packets that come in, so many are dropped: to see what a bad network does. Usually 0.
    pub loss: u8,
}

/// Why there is no media.
#[derive(Debug, Error)]
pub enum MediaError {
    /// The directory for recordings cannot be made.
    #[error("the directory for recordings cannot be made: {0}")]
    Directory(#[source] io::Error),
    /// A recording could not be written.
    #[error("a recording could not be written: {0}")]
    Recording(String),
}

/// The media of one device in one call. Dropping it closes all connections at once.
#[derive(Debug)]
pub struct Media {
    client: Client,
    told: mpsc::Sender<ToMesh>,
    opening: Arc<Opening>,
    publications: Mutex<Vec<Arc<Publication>>>,
    connected: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Media {
    /// Begins. Nothing happens until [`told`](Self::told) says that this device has a seat and a key: tell it every event from
    /// the first one on.
    ///
    /// # Errors
    /// [`MediaError::Directory`].
    pub fn start(client: Client, options: MediaOptions) -> Result<Self, MediaError> {
        let recorder = options.record.as_deref().map(Recorder::new).transpose().map_err(MediaError::Directory)?;
        let opening = Arc::new(Opening::new(client.clone(), options.sink, recorder));
        let addresses = if options.addresses.is_empty() { local_addresses() } else { options.addresses };
        let place = Place { addresses, ice_servers: Vec::new(), loss: options.loss };
        let (count, connected) = watch::channel(0);
        let (told, tells) = mpsc::channel(TOLD);
        let mesh = Mesh::new(client.clone(), place, opening.clone(), count);
        let task = tokio::spawn(mesh.run(tells));
        let media = Self { client, told, opening, publications: Mutex::default(), connected, task };
        for clip in options.publish {
            // There is room for all: nothing else was told yet, and a command line has no thousand files.
            let publication = media.begin(clip);
            let _ = media.told.try_send(ToMesh::Publish(publication));
        }
        Ok(media)
    }

    /// Something happened in the call.
    pub async fn told(&self, event: &Event) {
        // When the call is over, nobody listens.
        let _ = self.told.send(ToMesh::Event(event.clone())).await;
    }

    /// Publishes another clip to everybody, as another track.
    pub async fn publish(&self, clip: Arc<Clip>) {
        let publication = self.begin(clip);
        let _ = self.told.send(ToMesh::Publish(publication)).await;
    }

    /// Sends nothing until it is told to go on: muted, to everybody at once.
    pub fn pause(&self, paused: bool) {
        let publications = self.publications.lock().unwrap_or_else(PoisonError::into_inner);
        publications.iter().for_each(|publication| publication.pause(paused));
    }

    /// How many members there is a connection with; a change of it can be waited for.
    #[must_use]
    pub fn connected(&self) -> watch::Receiver<usize> {
        self.connected.clone()
    }

    /// The streams of others and what became of their frames.
    #[must_use]
    pub fn streams(&self) -> Vec<StreamReport> {
        self.opening.report()
    }

    /// The published clips and what became of their frames.
    #[must_use]
    pub fn published(&self) -> Vec<Published> {
        let publications = self.publications.lock().unwrap_or_else(PoisonError::into_inner);
        publications.iter().map(|publication| publication.report()).collect()
    }

    /// Closes all connections, finishes all files, and tells the last numbers.
    ///
    /// # Errors
    /// [`MediaError::Recording`]: what could be written is there.
    pub fn close(&self) -> Result<Vec<StreamReport>, MediaError> {
        self.task.abort();
        let closed = self.opening.close();
        closed.map_err(MediaError::Recording)?;
        Ok(self.opening.report())
    }

    fn begin(&self, clip: Arc<Clip>) -> Arc<Publication> {
        let publication = Arc::new(Publication::begin(self.client.clone(), clip));
        self.publications.lock().unwrap_or_else(PoisonError::into_inner).push(publication.clone());
        publication
    }
}

impl Drop for Media {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The addresses by which this machine reaches others: those of its default routes, and loopback where there are none.
#[must_use]
pub fn local_addresses() -> Vec<IpAddr> {
    // Documentation addresses (RFC 5737, RFC 3849): nothing is sent, only the route is looked up.
    let probes: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ];
    let route = |(any, far): (IpAddr, IpAddr)| {
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect((far, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_unspecified())
    };
    let found: Vec<IpAddr> = probes.into_iter().filter_map(route).collect();
    if found.is_empty() { vec![Ipv4Addr::LOCALHOST.into()] } else { found }
}
