//! The connection to one member: what is published goes out, whatever they send comes in.
//!
//! Negotiation is the perfect one of W3C WebRTC 1.0, section 10.7, as the browser's side does it: both may offer at any
//! time, and of two offers that cross, the side that did not make the connection takes its own back. All of it happens
//! in one task, one step after the other.

use rtc::peer_connection::configuration::RTCOfferOptions;
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use webrtc::{
    error::Error,
    media_stream::track_remote::TrackRemote,
    peer_connection::{
        PeerConnection, PeerConnectionEventHandler, RTCIceCandidateInit, RTCIceGatheringState,
        RTCPeerConnectionIceEvent, RTCPeerConnectionState, RTCSessionDescription,
    },
    rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit, RtpSender},
};

use super::{
    candidates::RemoteCandidates,
    engine::{self, Place},
    format::{Format, Kind},
    opening::Opening,
    publish::Publication,
    receive::{Allowance, PayloadTypes, Receiving},
    send::{self, Sending},
    signals::{Candidate, DescriptionKind, Signal},
};
use conclave_shared::id::{Joined, Seat};

/// How long candidates are waited for, so that most travel in the description.
const GATHER_TIME: Duration = Duration::from_millis(50);
/// A connection that is not there after so long is tried again.
const CONNECT_TIME: Duration = Duration::from_secs(8);
/// A lost connection may come back by itself for so long before ICE starts anew.
const INTERRUPTED_TIME: Duration = Duration::from_secs(3);
/// How often ICE may start anew before the connection is given up.
const RESTARTS: u32 = 1;
/// What the library says that may wait for this task, and what the mesh says.
const HAPPENED: usize = 256;
/// Tracks received from one member at most.
const TRACKS: usize = 16;

/// How a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// On the way, for the first time.
    Connecting,
    /// There.
    Connected,
    /// It was there; the network is being tried again.
    Interrupted,
    /// Given up.
    Failed,
}

/// What a peer is told.
pub(super) enum ToPeer {
    /// The other side's description or candidates.
    Signal(Signal),
    /// Send this too.
    Publish(Arc<Publication>),
}

/// What a peer says.
pub(super) enum FromPeer {
    /// For the other side.
    Signal(Signal),
    /// The state changed.
    State(State),
}

/// What a peer is made with.
pub(super) struct PeerOptions {
    pub(super) joined: Joined,
    pub(super) user: String,
    pub(super) seat: Seat,
    /// The streams that they may begin, over all connections.
    pub(super) allowance: Arc<Allowance>,
    /// Which connection to this member this is.
    pub(super) n: u64,
    /// Makes the first offer, and does not give way.
    pub(super) initiator: bool,
    pub(super) place: Place,
    pub(super) publications: Vec<Arc<Publication>>,
    pub(super) opening: Arc<Opening>,
    pub(super) says: mpsc::Sender<(Joined, u64, FromPeer)>,
}

/// A peer as the mesh holds it. Dropping it closes the connection.
pub(super) struct PeerHandle {
    pub(super) n: u64,
    pub(super) state: State,
    told: mpsc::Sender<ToPeer>,
}

impl PeerHandle {
    /// Begins a connection.
    pub(super) fn begin(options: PeerOptions) -> Self {
        let (told, tells) = mpsc::channel(HAPPENED);
        let n = options.n;
        tokio::spawn(run(options, tells));
        Self { n, state: State::Connecting, told }
    }

    /// Tells it something. A peer that is this far behind is as good as gone; its timer finds out.
    pub(super) fn tell(&self, what: ToPeer) {
        if self.told.try_send(what).is_err() {
            tracing::debug!(n = self.n, "a peer is too busy to be told something");
        }
    }
}

async fn run(options: PeerOptions, tells: mpsc::Receiver<ToPeer>) {
    let (events, happened) = mpsc::channel(HAPPENED);
    let handler = Arc::new(Library { events, ..Library::new() });
    let says = options.says.clone();
    let (joined, n) = (options.joined, options.n);
    let made = engine::connection(&options.place, handler.clone()).await;
    let outcome = match made {
        Ok(connection) => {
            let mut peer = Peer::new(options, connection, handler);
            let outcome = peer.stay(tells, happened).await;
            peer.close().await;
            outcome
        }
        Err(error) => Err(error),
    };
    if let Err(error) = outcome {
        tracing::debug!(%joined, n, %error, "a connection failed");
        // When the mesh is gone, nobody needs to know.
        let _ = says.send((joined, n, FromPeer::State(State::Failed))).await;
    }
}

/// What the library tells of.
enum Happened {
    Candidate,
    State(RTCPeerConnectionState),
    Track(Arc<dyn TrackRemote>),
}

/// Hears the library.
struct Library {
    events: mpsc::Sender<Happened>,
    /// Candidates that were not told yet.
    candidates: Mutex<Vec<Candidate>>,
    is_gathered: AtomicBool,
    gathered: Notify,
}

impl Library {
    fn new() -> Self {
        let (events, _) = mpsc::channel(1);
        Self { events, candidates: Mutex::default(), is_gathered: AtomicBool::new(false), gathered: Notify::new() }
    }

    fn candidates(&self) -> Vec<Candidate> {
        std::mem::take(&mut *self.candidates.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, what: Happened) {
        if self.events.try_send(what).is_err() {
            tracing::debug!("a peer is too busy to hear of its connection");
        }
    }

    async fn wait_gathered(&self) {
        let gathered = self.gathered.notified();
        if !self.is_gathered.load(Ordering::Acquire) {
            // What comes later travels by itself.
            let _ = timeout(GATHER_TIME, gathered).await;
        }
    }
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Library {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        let Ok(RTCIceCandidateInit { candidate, .. }) = event.candidate.to_json() else { return };
        if candidate.is_empty() {
            return;
        }
        // All media is on one transport: that of the first section.
        let candidate = Candidate { candidate, sdp_m_line_index: Some(0), ..Candidate::default() };
        self.candidates.lock().unwrap_or_else(PoisonError::into_inner).push(candidate);
        self.tell(Happened::Candidate);
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.is_gathered.store(state == RTCIceGatheringState::Complete, Ordering::Release);
        self.gathered.notify_waiters();
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.tell(Happened::State(state));
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        self.tell(Happened::Track(track));
    }
}

/// A published clip on this connection.
struct Outgoing {
    publication: Arc<Publication>,
    sender: Arc<dyn RtpSender>,
    /// What begins to send once there is a connection and the other side takes the format.
    ready: Option<(Arc<webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP>, u32)>,
}

struct Peer {
    options: PeerOptions,
    connection: Arc<dyn PeerConnection>,
    handler: Arc<Library>,
    payload_types: PayloadTypes,
    remote: RemoteCandidates,
    state: State,
    /// An own offer was sent and not answered.
    offering: bool,
    /// The offer to which coming candidates belong was passed over.
    ignoring: bool,
    /// There is something to offer once this can be done.
    to_offer: bool,
    /// Both sides have agreed once.
    agreed: bool,
    outgoing: Vec<Outgoing>,
    waiting: Vec<Arc<Publication>>,
    sending: JoinSet<()>,
    receiving: JoinSet<()>,
    restarts: u32,
    timer: Option<Instant>,
}

impl Peer {
    fn new(mut options: PeerOptions, connection: Arc<dyn PeerConnection>, handler: Arc<Library>) -> Self {
        let waiting = std::mem::take(&mut options.publications);
        Self {
            options,
            connection,
            handler,
            payload_types: PayloadTypes::default(),
            remote: RemoteCandidates::default(),
            state: State::Connecting,
            offering: false,
            ignoring: false,
            to_offer: false,
            agreed: false,
            outgoing: Vec::new(),
            waiting,
            sending: JoinSet::new(),
            receiving: JoinSet::new(),
            restarts: 0,
            timer: Some(Instant::now() + CONNECT_TIME),
        }
    }

    /// From the first offer to the end. An error gives the connection up.
    async fn stay(
        &mut self,
        mut tells: mpsc::Receiver<ToPeer>,
        mut happened: mpsc::Receiver<Happened>,
    ) -> Result<(), Error> {
        if self.options.initiator {
            self.attach().await?;
            self.receive_both_kinds().await?;
            self.offer(false).await?;
        }
        loop {
            let timer = self.timer;
            tokio::select! {
                told = tells.recv() => match told {
                    None => return Ok(()),
                    Some(ToPeer::Signal(signal)) => self.take(signal).await?,
                    Some(ToPeer::Publish(publication)) => {
                        self.waiting.push(publication);
                        if self.options.initiator || self.agreed {
                            self.attach().await?;
                            self.to_offer = true;
                        }
                    }
                },
                Some(event) = happened.recv() => self.hear(event).await?,
                () = sleep_until(timer.unwrap_or_else(Instant::now)), if timer.is_some() => self.restart().await?,
            }
            if self.to_offer && !self.offering {
                self.to_offer = false;
                self.offer(false).await?;
            }
        }
    }

    async fn close(mut self) {
        self.sending.abort_all();
        self.receiving.abort_all();
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "a connection did not close properly");
        }
    }

    async fn hear(&mut self, event: Happened) -> Result<(), Error> {
        match event {
            Happened::Candidate => {
                let candidates = self.handler.candidates();
                if !candidates.is_empty() {
                    self.say(FromPeer::Signal(Signal::Candidates { n: self.options.n, candidates })).await;
                }
            }
            Happened::Track(track) => {
                // Those that have ended are not counted.
                while self.receiving.try_join_next().is_some() {}
                if self.receiving.len() < TRACKS {
                    let PeerOptions { joined, user, seat, allowance, opening, .. } = &self.options;
                    let receiving = Receiving {
                        track,
                        from: (*joined, user.clone(), *seat),
                        allowance: allowance.clone(),
                        payload_types: self.payload_types.clone(),
                        opening: opening.clone(),
                    };
                    self.receiving.spawn(receiving.run());
                }
            }
            Happened::State(RTCPeerConnectionState::Connected) => {
                self.timer = None;
                self.restarts = 0;
                self.set_state(State::Connected).await;
                self.begin_sending().await;
            }
            Happened::State(RTCPeerConnectionState::Disconnected) => {
                self.set_state(State::Interrupted).await;
                self.timer = Some(Instant::now() + INTERRUPTED_TIME);
            }
            Happened::State(RTCPeerConnectionState::Failed) => self.restart().await?,
            Happened::State(_) => {}
        }
        Ok(())
    }

    /// The other side said something about this connection.
    async fn take(&mut self, signal: Signal) -> Result<(), Error> {
        match signal {
            Signal::Description { kind, sdp, .. } => self.describe(kind, sdp).await,
            Signal::Candidates { candidates, .. } => {
                for candidate in candidates {
                    self.add(candidate).await;
                }
                Ok(())
            }
            Signal::Hello { .. } | Signal::Sends { .. } => Ok(()),
        }
    }

    async fn add(&mut self, candidate: Candidate) {
        if !self.remote.takes(&candidate.candidate) {
            tracing::debug!("a candidate is one too many");
            return;
        }
        let Candidate { candidate, sdp_mid, sdp_m_line_index, username_fragment } = candidate;
        let sdp_mline_index = sdp_m_line_index;
        let init = RTCIceCandidateInit { candidate, sdp_mid, sdp_mline_index, username_fragment, url: None };
        // Candidates of an offer that was passed over fit nothing here; a name that only the other's network can
        // resolve is of no use, and others follow.
        if let Err(error) = self.connection.add_ice_candidate(init).await
            && !self.ignoring
        {
            tracing::debug!(%error, "a candidate cannot be used");
        }
    }

    /// Passes the other side's description to the library.
    async fn set_remote(&mut self, kind: DescriptionKind, sdp: String) -> Result<(), Error> {
        self.remote.check(&sdp).map_err(|error| Error::Other(error.to_string()))?;
        let description = match kind {
            DescriptionKind::Offer => RTCSessionDescription::offer(sdp)?,
            DescriptionKind::Answer => RTCSessionDescription::answer(sdp)?,
        };
        self.connection.set_remote_description(description).await
    }

    async fn describe(&mut self, kind: DescriptionKind, sdp: String) -> Result<(), Error> {
        match kind {
            DescriptionKind::Answer => {
                // An answer to an offer that was taken back answers nothing.
                if !self.offering {
                    return Ok(());
                }
                self.set_remote(kind, sdp).await?;
                self.offering = false;
                self.agree().await
            }
            DescriptionKind::Offer => {
                self.ignoring = self.offering && self.options.initiator;
                if self.ignoring {
                    return Ok(());
                }
                if self.offering {
                    self.connection.set_local_description(RTCSessionDescription::rollback(None)?).await?;
                    self.offering = false;
                    self.to_offer = true;
                }
                self.set_remote(kind, sdp).await?;
                self.attach().await?;
                let answer = self.connection.create_answer(None).await?;
                self.connection.set_local_description(answer).await?;
                self.send_local(DescriptionKind::Answer).await;
                self.agree().await
            }
        }
    }

    async fn offer(&mut self, restart: bool) -> Result<(), Error> {
        let options = restart.then_some(RTCOfferOptions { ice_restart: true });
        let offer = self.connection.create_offer(options).await?;
        self.connection.set_local_description(offer).await?;
        self.offering = true;
        self.send_local(DescriptionKind::Offer).await;
        Ok(())
    }

    async fn send_local(&self, kind: DescriptionKind) {
        self.handler.wait_gathered().await;
        // These travel in the description.
        self.handler.candidates();
        if let Some(description) = self.connection.local_description().await {
            self.note_payload_types(&description.sdp);
            let signal = Signal::Description { n: self.options.n, kind, sdp: description.sdp };
            self.say(FromPeer::Signal(signal)).await;
        }
    }

    /// Both sides have agreed on something.
    async fn agree(&mut self) -> Result<(), Error> {
        self.agreed = true;
        if let Some(description) = self.connection.local_description().await {
            self.note_payload_types(&description.sdp);
        }
        // What found no place in the other side's offer is offered.
        for transceiver in self.connection.get_transceivers().await {
            if transceiver.mid().await?.is_none() && transceiver.sender().await?.is_some() {
                self.to_offer = true;
            }
        }
        if self.state == State::Connected {
            self.begin_sending().await;
        }
        Ok(())
    }

    fn note_payload_types(&self, sdp: &str) {
        let named = sdp.lines().filter_map(|line| {
            let (number, name) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
            let name = name.split('/').next()?;
            let named = |format: &Format| format.mime().split('/').nth(1).is_some_and(|n| n.eq_ignore_ascii_case(name));
            Some((number.parse().ok()?, Format::ALL.into_iter().find(named)?))
        });
        // What was agreed on before may still be on the way.
        self.payload_types.lock().unwrap_or_else(PoisonError::into_inner).extend(named);
    }

    /// Puts what waits onto the connection.
    async fn attach(&mut self) -> Result<(), Error> {
        for publication in std::mem::take(&mut self.waiting) {
            let Some((track, ssrc)) = send::track(publication.format) else { continue };
            let sender = match self.connection.add_track(track.clone()).await {
                Ok(sender) => sender,
                Err(error) => {
                    tracing::info!(joined = %self.options.joined, format = ?publication.format, %error, "not sent");
                    continue;
                }
            };
            self.accept_all(&sender, publication.format).await?;
            self.outgoing.push(Outgoing { publication, sender, ready: Some((track, ssrc)) });
        }
        Ok(())
    }

    /// The library would take one format only where it sends that one.
    async fn accept_all(&self, sender: &Arc<dyn RtpSender>, format: Format) -> Result<(), Error> {
        for transceiver in self.connection.get_transceivers().await {
            let own = transceiver.sender().await?.is_some_and(|own| own.id() == sender.id());
            if own && transceiver.mid().await?.is_none() {
                transceiver.set_codec_preferences(engine::preferences(format)).await?;
            }
        }
        Ok(())
    }

    /// Who makes the connection offers a section of each kind, so that the other side can send.
    async fn receive_both_kinds(&self) -> Result<(), Error> {
        let sent: BTreeSet<Kind> = self.outgoing.iter().map(|out| out.publication.format.kind()).collect();
        for kind in [Kind::Audio, Kind::Video] {
            if !sent.contains(&kind) {
                let init = RTCRtpTransceiverInit {
                    direction: RTCRtpTransceiverDirection::Recvonly,
                    streams: Vec::new(),
                    send_encodings: Vec::new(),
                };
                self.connection.add_transceiver_from_kind(engine::library_kind(kind), Some(init)).await?;
            }
        }
        Ok(())
    }

    async fn begin_sending(&mut self) {
        for outgoing in &mut self.outgoing {
            let format = outgoing.publication.format;
            let Some(payload_type) = send::payload_type(outgoing.sender.as_ref(), format).await else {
                tracing::info!(joined = %self.options.joined, ?format, "the member takes no such format");
                continue;
            };
            if let Some((track, ssrc)) = outgoing.ready.take() {
                let publication = outgoing.publication.clone();
                self.sending.spawn(Sending { track, ssrc, payload_type, publication }.run());
            }
        }
    }

    async fn restart(&mut self) -> Result<(), Error> {
        self.restarts += 1;
        if self.restarts > RESTARTS {
            return Err(Error::Other("no way through the network".to_owned()));
        }
        if self.state == State::Connected {
            self.set_state(State::Interrupted).await;
        }
        self.timer = Some(Instant::now() + CONNECT_TIME);
        // An offer on its way will do; without one that was answered there is nothing to start anew.
        if self.agreed && !self.offering {
            self.offer(true).await?;
        }
        Ok(())
    }

    async fn set_state(&mut self, state: State) {
        if self.state != state {
            self.state = state;
            self.say(FromPeer::State(state)).await;
        }
    }

    async fn say(&self, what: FromPeer) {
        // When the mesh is gone, this peer is about to be.
        let _ = self.options.says.send((self.options.joined, self.options.n, what)).await;
    }
}

#[cfg(test)]
mod tests;
