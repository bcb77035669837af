//! Who is connected with whom: one connection to each member that has a mesh too, browser or not. The member that came
//! first makes the connection, once the other has said hello; all that they say to each other goes through the call,
//! sealed. The counterpart of the browser's `media/mesh.ts`, rule for rule.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{
    engine::Place,
    format::Kind,
    opening::Opening,
    outbox::{Outbox, To},
    peer::{FromPeer, PeerHandle, PeerOptions, State, ToPeer},
    publish::Publication,
    receive::Allowance,
    signals::{self, DescriptionKind, Sends, Signal},
};
use crate::Client;
use conclave_shared::{
    id::{Joined, Role, Seat},
    session::output::{Event, Link, MemberInfo},
};

/// Connections at once.
const PEERS: usize = 64;
/// How often a connection that failed is made anew.
const REBUILDS: u32 = 3;
/// How often a member may ask for that in a row: a connection costs more to make than to ask for.
const RENEWALS: u32 = 8;
/// After so long a second hello goes to those who have not answered: they may not have held the key yet.
const SECOND_HELLO: Duration = Duration::from_secs(3);
/// How often frames that wait for a key are looked at; when their key comes, at once.
const RELEASE: Duration = Duration::from_millis(50);
/// What peers say that may wait for the mesh.
const SAID: usize = 256;

/// What the mesh is told.
pub(super) enum ToMesh {
    /// Something happened in the call.
    Event(Event),
    /// Send this to everybody from here on.
    Publish(Arc<Publication>),
}

struct Entry {
    peer: Option<PeerHandle>,
    /// Since it was connected last: made anew by this side, and at the wish of the other.
    rebuilds: u32,
    renewals: u32,
    /// The streams that they may begin.
    allowance: Arc<Allowance>,
}

struct Member {
    seat: Seat,
    role: Role,
    user: String,
}

/// The mesh of one call.
pub(super) struct Mesh {
    client: Client,
    place: Place,
    opening: Arc<Opening>,
    publications: Vec<Arc<Publication>>,
    me: Option<Joined>,
    members: BTreeMap<Joined, Member>,
    roster: BTreeSet<Joined>,
    entries: BTreeMap<Joined, Entry>,
    outbox: Outbox,
    started: bool,
    second_hello: Option<Instant>,
    up: bool,
    said: mpsc::Sender<(Joined, u64, FromPeer)>,
    says: mpsc::Receiver<(Joined, u64, FromPeer)>,
    connected: watch::Sender<usize>,
}

impl Mesh {
    pub(super) fn new(client: Client, place: Place, opening: Arc<Opening>, connected: watch::Sender<usize>) -> Self {
        let (said, says) = mpsc::channel(SAID);
        Self {
            client,
            place,
            opening,
            publications: Vec::new(),
            me: None,
            members: BTreeMap::new(),
            roster: BTreeSet::new(),
            entries: BTreeMap::new(),
            outbox: Outbox::new(Instant::now()),
            started: false,
            second_hello: None,
            up: true,
            said,
            says,
            connected,
        }
    }

    /// Runs until nobody tells it anything any more, or the call is over.
    pub(super) async fn run(mut self, mut told: mpsc::Receiver<ToMesh>) {
        let mut release = tokio::time::interval(RELEASE);
        release.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let due = self.outbox.due(Instant::now()).into_iter().chain(self.second_hello).min();
            tokio::select! {
                what = told.recv() => match what {
                    Some(ToMesh::Event(Event::Ended(_))) | None => return,
                    Some(ToMesh::Event(event)) => self.happened(event),
                    Some(ToMesh::Publish(publication)) => self.publish(publication),
                },
                Some((joined, n, said)) = self.says.recv() => self.said(joined, n, said),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.say_hello_again(),
                _ = release.tick() => self.opening.release(),
            }
            for (to, message) in self.outbox.take(Instant::now()) {
                // Who left meanwhile needs no signal; that the session is over comes as an event.
                let _ = self.client.send(to, message).await;
            }
            let connected = self.entries.values().filter_map(|entry| entry.peer.as_ref());
            let connected = connected.filter(|peer| peer.state == State::Connected).count();
            self.connected.send_if_modified(|before| std::mem::replace(before, connected) != connected);
        }
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Seated { joined, members, ice_servers, .. } => {
                self.me = Some(joined);
                self.place.ice_servers = ice_servers;
                self.members.clear();
                self.roster.clear();
                self.up = true;
                members.iter().for_each(|member| self.arrived(member));
            }
            Event::MemberArrived(member) => self.arrived(&member),
            Event::MemberLeft { joined, .. } => self.gone(joined),
            Event::Epoch(epoch) => {
                let roster: BTreeSet<Joined> = epoch.members.iter().map(|member| member.joined).collect();
                let removed: Vec<Joined> = self.roster.difference(&roster).copied().collect();
                removed.into_iter().for_each(|joined| self.gone(joined));
                self.roster = roster;
                epoch.members.iter().for_each(|member| self.arrived(member));
                let me = epoch.members.iter().find(|member| Some(member.joined) == self.me);
                self.opening.may_record(me.is_some_and(|member| member.role == Role::Recorder));
                self.opening.release();
            }
            Event::Active(_) => self.start(),
            Event::Link(Link::Up) => {
                self.up = true;
                let failed = |entry: &Entry| entry.peer.as_ref().is_some_and(|peer| peer.state == State::Failed);
                let failed: Vec<Joined> = self.entries.iter().filter(|(_, e)| failed(e)).map(|(j, _)| *j).collect();
                failed.into_iter().for_each(|joined| self.rebuild(joined));
            }
            // Media does not need the relay: while the link is down, connections are left as they are.
            Event::Link(Link::Down) => self.up = false,
            // A device that joins again is somebody new to all others, and they to it.
            Event::Link(Link::Rejoining) => {
                self.entries.keys().copied().collect::<Vec<_>>().into_iter().for_each(|joined| self.remove(joined));
                self.started = false;
                self.second_hello = None;
                self.opening.may_record(false);
            }
            Event::Message { from, payload, .. } => self.receive(from, &payload.0),
            Event::MemberAway { .. }
            | Event::MemberBack(_)
            | Event::KeyMissing(_)
            | Event::KeyFound
            | Event::Paused(_)
            | Event::Resumed
            | Event::LeadChanged { .. }
            | Event::MemberPresent(_)
            | Event::MemberConfirmed(_)
            | Event::Security(_)
            | Event::Refused { .. }
            | Event::CommandFailed(_)
            | Event::Closing(_)
            | Event::Ended(_) => {}
        }
    }

    fn arrived(&mut self, info: &MemberInfo) {
        let member = Member { seat: info.seat, role: info.role, user: info.user.clone() };
        self.members.insert(info.joined, member);
    }

    fn gone(&mut self, joined: Joined) {
        self.members.remove(&joined);
        self.remove(joined);
    }

    /// Says hello, once this device seals under an epoch that all others hold.
    fn start(&mut self) {
        if !self.started {
            self.started = true;
            self.second_hello = Some(Instant::now() + SECOND_HELLO);
            self.hello(None, false);
        }
    }

    fn say_hello_again(&mut self) {
        if self.second_hello.is_none_or(|due| Instant::now() < due) {
            return;
        }
        self.second_hello = None;
        let known = |joined: &Joined| Some(*joined) == self.me || self.entries.contains_key(joined);
        if self.members.iter().any(|(joined, member)| member.role != Role::LeadBot && !known(joined)) {
            self.hello(None, false);
        }
    }

    fn publish(&mut self, publication: Arc<Publication>) {
        for peer in self.entries.values().filter_map(|entry| entry.peer.as_ref()) {
            peer.tell(ToPeer::Publish(publication.clone()));
        }
        self.publications.push(publication);
        if self.started && !self.entries.is_empty() {
            self.send(None, Signal::Sends { sends: self.sends() }, true);
        }
    }

    fn receive(&mut self, from: Joined, message: &[u8]) {
        match signals::decode(message) {
            // Somebody who left may still be heard for a moment.
            Some(Ok(signals)) if self.members.contains_key(&from) => {
                signals.into_iter().for_each(|signal| self.take(from, signal));
            }
            Some(Err(error)) => tracing::warn!(%from, %error, "connection data is passed over"),
            Some(Ok(_)) | None => {}
        }
    }

    fn take(&mut self, from: Joined, signal: Signal) {
        match signal {
            Signal::Hello { again, .. } => self.heard_hello(from, again),
            Signal::Sends { .. } => {
                self.entry(from);
            }
            Signal::Description { n, kind, .. } => {
                if kind == DescriptionKind::Offer {
                    self.renew(from, n);
                }
                self.to_peer(from, n, signal);
            }
            Signal::Candidates { n, .. } => self.to_peer(from, n, signal),
        }
    }

    fn heard_hello(&mut self, from: Joined, again: bool) {
        let known = self.entries.contains_key(&from);
        let initiates = self.initiates(from);
        let Some(entry) = self.entry(from) else { return };
        let next = entry.peer.as_ref().map(|peer| peer.n + 1);
        if !initiates {
            // The other came first and has only now a mesh: it needs to hear of this one.
            if !known {
                self.hello(Some(from), false);
            }
        } else if let Some(next) = next {
            if again && entry.may_renew() {
                self.connect(from, next);
            }
        } else {
            self.connect(from, 0);
        }
    }

    /// An offer with a higher number begins a new connection. Only who came first may number them.
    fn renew(&mut self, from: Joined, n: u64) {
        if self.initiates(from) {
            return;
        }
        let Some(entry) = self.entry(from) else { return };
        let begins = entry.peer.as_ref().map(|peer| peer.n).is_none_or(|known| n > known && entry.may_renew());
        if begins {
            self.connect(from, n);
        }
    }

    fn to_peer(&self, from: Joined, n: u64, signal: Signal) {
        let peer = self.entries.get(&from).and_then(|entry| entry.peer.as_ref());
        if let Some(peer) = peer.filter(|peer| peer.n == n) {
            peer.tell(ToPeer::Signal(signal));
        }
    }

    fn entry(&mut self, joined: Joined) -> Option<&mut Entry> {
        if self.entries.len() >= PEERS && !self.entries.contains_key(&joined) {
            return None;
        }
        let allowance = Arc::default();
        Some(self.entries.entry(joined).or_insert(Entry { peer: None, rebuilds: 0, renewals: 0, allowance }))
    }

    fn connect(&mut self, joined: Joined, n: u64) {
        let Some(Member { seat, user, .. }) = self.members.get(&joined) else { return };
        let Some(entry) = self.entries.get(&joined) else { return };
        let options = PeerOptions {
            joined,
            user: user.clone(),
            seat: *seat,
            allowance: entry.allowance.clone(),
            n,
            initiator: self.initiates(joined),
            place: self.place.clone(),
            publications: self.publications.clone(),
            opening: self.opening.clone(),
            says: self.said.clone(),
        };
        if let Some(entry) = self.entries.get_mut(&joined) {
            entry.peer = Some(PeerHandle::begin(options));
            self.send(Some(joined), Signal::Sends { sends: self.sends() }, false);
        }
    }

    fn said(&mut self, joined: Joined, n: u64, said: FromPeer) {
        let Some(entry) = self.entries.get_mut(&joined) else { return };
        let Some(peer) = entry.peer.as_mut().filter(|peer| peer.n == n) else { return };
        match said {
            FromPeer::Signal(signal) => {
                let urgent = matches!(signal, Signal::Description { .. });
                self.send(Some(joined), signal, urgent);
            }
            FromPeer::State(state) => {
                peer.state = state;
                if state == State::Connected {
                    (entry.rebuilds, entry.renewals) = (0, 0);
                }
                // What makes a new connection goes through the call.
                if state == State::Failed && self.up {
                    self.rebuild(joined);
                }
            }
        }
    }

    fn rebuild(&mut self, joined: Joined) {
        let initiates = self.initiates(joined);
        let Some(entry) = self.entries.get_mut(&joined) else { return };
        entry.rebuilds += 1;
        if entry.rebuilds > REBUILDS {
            tracing::warn!(%joined, "there is no connection with this member");
        } else if initiates {
            let n = entry.peer.as_ref().map_or(0, |peer| peer.n + 1);
            self.connect(joined, n);
        } else {
            self.hello(Some(joined), true);
        }
    }

    fn remove(&mut self, joined: Joined) {
        self.entries.remove(&joined);
        self.outbox.drop(Some(joined));
    }

    fn initiates(&self, joined: Joined) -> bool {
        self.me.is_some_and(|me| me < joined)
    }

    fn sends(&self) -> Sends {
        let has = |kind| self.publications.iter().any(|publication| publication.format.kind() == kind);
        Sends { audio: has(Kind::Audio), video: has(Kind::Video) }
    }

    fn hello(&mut self, to: To, again: bool) {
        self.send(to, Signal::Hello { sends: self.sends(), again }, true);
    }

    fn send(&mut self, to: To, signal: Signal, urgent: bool) {
        self.outbox.add(Instant::now(), to, signal, urgent);
    }
}

impl Entry {
    fn may_renew(&mut self) -> bool {
        self.renewals += 1;
        self.renewals <= RENEWALS
    }
}
