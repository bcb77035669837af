//! One step after the other: whatever is due next, and what comes of it.

use conclave_shared::{
    frame::{clear_bytes::Codec, opener::Opened},
    id::{Epoch, Joined},
    limits,
    session::{
        input::Input,
        output::{Event, KeyUpdate, Output},
    },
    time::Timestamp,
    wire::{At, ToClient, ToRelay, decode, encode, sealed::Content, signed::Body},
};
use std::{sync::Arc, time::Duration};

use super::{Happening, World, next};
use crate::{
    PeerId,
    invariants::{Checker, Violation},
    network::Link,
    peer::{Line, Peer, Sealed},
    relay::Does,
};

/// How often a session may be woken without time passing: it checks cards some at a time.
const WAKES: usize = 1000;
/// How long a member may stay in the rosters of new epochs after the relay reported it gone, beyond three messages' time.
const EXCLUSION_SLACK: Duration = Duration::from_millis(20);

impl World {
    /// Does what is due next, unless that is later than `until`; false then.
    pub fn step(&mut self, until: Timestamp) -> bool {
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        let woken = self.next_wake();
        let relay = self.relay.next_timeout().map(|at| at.max(self.faults.frozen_until));
        let Some(at) = [queued, woken.map(|(at, _)| at), relay].into_iter().flatten().min() else { return false };
        if at > until {
            return false;
        }
        self.now = self.now.max(at);
        if let Some((due, peer)) = woken
            && due == at
        {
            self.wake(peer);
        } else if relay == Some(at) {
            let does = self.relay.wake(self.now);
            self.relay_does(does);
        } else if let Some(((_, number), happening)) = self.queue.pop_first() {
            // What waits keeps its number, and so its place behind what was said before it.
            match self.held_up(&happening) {
                Some(until) => drop(self.queue.insert((until, number), happening)),
                None => self.happen(happening),
            }
        }
        true
    }

    fn next_wake(&self) -> Option<(Timestamp, PeerId)> {
        let up = self.peers.values().filter(|peer| peer.line != Line::Down && peer.line != Line::Ghost && !peer.silent);
        let due = |peer: &Peer| Some((peer.due?.max(self.now).max(peer.paused_until), peer.id));
        up.filter_map(due).min()
    }

    fn wake(&mut self, id: PeerId) {
        for _ in 0..WAKES {
            let Some(due) = self.peer(id).session.next_timeout().filter(|due| *due <= self.now) else {
                return self.release(id);
            };
            self.trace.add(self.now, "wake", id.0, &due.as_millis().to_be_bytes());
            self.input(id, Input::Timeout);
        }
        self.violations.push(Violation::Spins(id));
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::ToRelay(socket, text) => {
                self.trace.add(self.now, "to relay", socket.0, text.as_bytes());
                if let Some(peer) = self.relay.peer_of(socket).filter(|_| says_goodbye(&text)) {
                    // While it is not clear whose call it is, not everybody is told.
                    self.model.turned_out(self.now, peer);
                }
                let does = self.relay.receive_on(self.now, socket, &text);
                self.relay_does(does);
            }
            Happening::RelayLoses(socket) => {
                self.trace.add(self.now, "relay loses", socket.0, &[]);
                let does = self.relay.lose(self.now, socket);
                self.relay_does(does);
            }
            Happening::ToPeer(socket, to, text) => {
                if self.peer(to).socket == Some(socket) {
                    self.deliver(to, &text);
                }
            }
            Happening::PeerLoses(socket, peer) => {
                if self.peer(peer).socket == Some(socket) {
                    self.peer_mut(peer).socket = None;
                    self.peer_loses(peer);
                }
            }
            Happening::Reconnect(peer) => self.try_again(peer),
            Happening::Rejoin(peer) => {
                self.trace.add(self.now, "rejoin", peer.0, &[]);
                self.reconnect(peer);
            }
            Happening::ToGhost(ghost, text) => self.show(ghost, &text),
            Happening::Frame(to, frame) => self.frame(to, &frame),
            Happening::Tick => {
                self.at(self.now + self.frame_interval, Happening::Tick);
                if self.media {
                    let here = self.connected().into_iter().filter(|id| self.peer(*id).paused_until <= self.now);
                    here.collect::<Vec<_>>().into_iter().for_each(|peer| self.seal(peer));
                }
            }
        }
    }

    fn relay_does(&mut self, does: Vec<Does>) {
        if self.relay.life != self.machine {
            // Another machine: numbers and terms begin anew.
            self.machine = self.relay.life;
            self.model = crate::model::Model::default();
        }
        for does in does {
            match does {
                Does::Send(to, text) => self.relay_sends(to, &text),
                Does::Close(peer) => {
                    let at = self.network.arrival(self.now, Link::Down(peer));
                    if let Some(socket) = self.relay.socket(peer) {
                        self.at(at, Happening::PeerLoses(socket, peer));
                    }
                }
            }
        }
    }

    fn relay_sends(&mut self, to: PeerId, text: &Arc<str>) {
        let message = decode::<ToClient>(text, limits::COMMIT_LENGTH).expect("the relay's own message");
        self.follow_life(to, &message);
        let observed = self.model.observe(self.now, to, &message);
        self.check(observed);
        if matches!(message, ToClient::Commit(_) | ToClient::Body(_)) {
            self.show_ghosts(text);
        }
        let Some(tamper) = &mut self.tamper else { return self.down(to, Arc::clone(text)) };
        for message in tamper(to, message) {
            self.down(to, encode(&message).into());
        }
    }

    /// A genesis begins another life of the call; whoever brings a seat back brings what the relay must go by.
    fn follow_life(&mut self, to: PeerId, message: &ToClient) {
        match message {
            ToClient::Lead(lead) if lead.genesis && self.model.is_new(lead.at) => self.model.begin(lead.at),
            ToClient::Welcome(_) if self.peer(to).joined.is_some() => self.model.restored(),
            _ => {}
        }
    }

    /// An epoch that was made last before a relay was lost may be lost with those who held it: then another of its number
    /// takes its place; also at the new one, while it still takes seats back, or later if all who held it have left. One that was
    /// made after that never may.
    fn forget_lost(&mut self, id: PeerId, epoch: Epoch) {
        let key = (self.peer(id).life, epoch);
        let Some(facts) = self.checker.facts.get(&key) else { return };
        let differs = self.peer(id).session.transcript() != Some(facts.transcript);
        let holds = |peer: &Peer| peer.line == Line::Up && peer.fingerprint(epoch) == Some(facts.fingerprint);
        let in_restart = self.faults.restarted_since(facts.since) || self.faults.is_restarting(self.now);
        let abandoned = || self.faults.is_restarting(facts.since) && !self.peers.values().any(holds);
        if differs && (in_restart || abandoned()) {
            self.checker.facts.remove(&key);
        }
    }

    /// Which life of the call somebody is in who holds an epoch: lives are told apart by what their first lead drew.
    fn find_life(&mut self, id: PeerId) {
        let Some(instance) = self.peer(id).session.instance() else { return };
        let next = self.lives.len() as u64 + 1;
        self.peer_mut(id).life = *self.lives.entry(instance).or_insert(next);
    }

    fn show_ghosts(&mut self, text: &Arc<str>) {
        let life = self.life();
        let ghosts = self.peers.values().filter(|peer| peer.line == Line::Ghost && peer.life == life);
        for ghost in ghosts.map(|peer| peer.id).collect::<Vec<_>>() {
            self.at(self.now + Duration::from_millis(1), Happening::ToGhost(ghost, Arc::clone(text)));
        }
    }

    fn deliver(&mut self, to: PeerId, text: &str) {
        let peer = self.peer(to);
        if matches!(peer.line, Line::Down | Line::Ghost) || peer.silent {
            return;
        }
        if peer.deaf_to_activate && text.contains(r#""content":{"activate""#) {
            return;
        }
        self.trace.add(self.now, "to peer", to.0, text.as_bytes());
        let message = decode::<ToClient>(text, limits::COMMIT_LENGTH).expect("the relay's own message");
        self.input(to, Input::Received(message));
    }

    /// Shows a text to somebody who is gone, as one for itself that is new: it must come to hold nothing by it.
    fn show(&mut self, ghost: PeerId, text: &str) {
        let Ok(mut message) = decode::<ToClient>(text, limits::COMMIT_LENGTH) else { return };
        let number = (1 << 40) + next(&mut self.numbers.ghost);
        let peer = self.peer_mut(ghost);
        let at = match &mut message {
            ToClient::Commit(commit) => {
                // It ignores that it was removed.
                commit.remove.retain(|joined| Some(*joined) != peer.joined);
                &mut commit.at
            }
            ToClient::Body(body) => &mut body.at,
            _ => return,
        };
        *at = At(at.0, conclave_shared::id::Sequence(number));
        self.input(ghost, Input::Received(message));
    }

    /// The one place where a session is moved.
    pub(super) fn input(&mut self, id: PeerId, input: Input) {
        let now = self.now;
        let outputs = self.peer_mut(id).session.handle(now, input);
        self.find_life(id);
        for output in outputs {
            self.output(id, output);
        }
        self.peer_mut(id).set_due();
    }

    fn output(&mut self, id: PeerId, output: Output) {
        let ghost = self.peer(id).line == Line::Ghost;
        match output {
            Output::Send(message) if !ghost => self.up(id, &message),
            Output::Send(_) => {}
            Output::Keys(update) => self.keys(id, update),
            Output::Event(event) => self.event(id, event),
            Output::Persist(pickle) => self.peer_mut(id).stored = pickle,
            Output::Connect => self.connects_again(id),
            Output::Close => {
                if self.peer(id).line == Line::Up {
                    self.hang_up(id, Duration::ZERO);
                }
            }
        }
    }

    fn up(&mut self, id: PeerId, message: &ToRelay) {
        if self.peer(id).silent {
            return;
        }
        let Some(socket) = self.peer(id).socket else { return };
        let at = self.network.arrival(self.now, Link::Up(id));
        self.at(at, Happening::ToRelay(socket, encode(message)));
    }

    fn keys(&mut self, id: PeerId, update: KeyUpdate) {
        let peer = self.peer_mut(id);
        let checked = Checker::keys(id, &mut peer.live, &update);
        peer.frames.apply(update);
        self.check(checked);
        self.release(id);
    }

    fn event(&mut self, id: PeerId, event: Event) {
        let now = self.now;
        let honest = self.honest && self.peer(id).line != Line::Ghost;
        self.trace.add(now, "event", id.0, serde_json::to_string(&event).unwrap_or_default().as_bytes());
        let checked = match &event {
            Event::Seated { seat, joined, .. } => {
                let (seat, joined) = (*seat, *joined);
                let peer = self.peer_mut(id);
                (peer.seat, peer.joined) = (Some(seat), Some(joined));
                Ok(())
            }
            Event::Epoch(info) => {
                self.forget_lost(id, info.epoch);
                let peer = self.peers.get(&id).expect("a peer");
                let held = peer
                    .session
                    .transcript()
                    .map_or(Ok(()), |transcript| self.checker.holds(now, peer, info, transcript));
                let bound = self.network.latency().longest() * 3 + EXCLUSION_SLACK + self.faults.excuse(now);
                held.and_then(|()| self.checker.excludes(peer.life, info.epoch, &self.model, bound))
            }
            Event::Message { payload, .. } => {
                let peer = self.peers.get(&id).expect("a peer");
                self.checker.delivered(peer, &payload.0)
            }
            Event::Security(event) if honest && !self.excused(id, event) => {
                Err(Violation::Alarm { peer: id, event: *event })
            }
            Event::Ended(reason) => {
                self.ended(id, *reason);
                Ok(())
            }
            _ => Ok(()),
        };
        self.check(checked);
        self.peer_mut(id).events.push((now, event));
    }

    /// A member seals a frame, and everybody else gets it: those who are in, those who are not, those who are gone.
    fn seal(&mut self, id: PeerId) {
        let number = next(&mut self.numbers.frame);
        let peer = self.peers.get_mut(&id).expect("a peer");
        let (Some(seat), Some(epoch)) = (peer.seat, peer.session.active()) else { return };
        if peer.line == Line::Ghost {
            return;
        }
        let plain = [number.to_be_bytes().as_slice(), b"a frame of sound"].concat();
        let Ok(bytes) = peer.frames.seal(Codec::Opus, &plain) else { return };
        let Some(fingerprint) = peer.fingerprint(epoch) else { return };
        let frame = Arc::new(Sealed { from: id, seat, life: peer.life, epoch, fingerprint, plain, bytes });
        self.trace.add(self.now, "frame", id.0, &frame.bytes);
        let sealed = self.checker.sealed(&frame);
        self.check(sealed);
        let others: Vec<_> =
            self.peers.values().filter(|to| to.id != id && to.line != Line::Down).map(|to| to.id).collect();
        for to in others {
            let at = self.network.arrival(self.now, Link::Media(id, to));
            self.at(at, Happening::Frame(to, Arc::clone(&frame)));
        }
    }

    fn frame(&mut self, to: PeerId, frame: &Sealed) {
        let now = self.now;
        let ticket = next(&mut self.numbers.frame);
        let peer = self.peers.get_mut(&to).expect("a peer");
        // Somebody without an epoch must not open anything; somebody of another life of the call gets nothing from this one.
        if peer.line == Line::Down || peer.silent || (peer.life != 0 && peer.life != frame.life) {
            return;
        }
        let ghost = peer.line == Line::Ghost;
        let result = match peer.frames.open(now, frame.seat, Codec::Opus, &frame.bytes, ticket) {
            Opened::Held => {
                peer.held.insert(ticket, frame.clone());
                peer.set_due();
                return;
            }
            Opened::Frame(plain) => Ok(plain),
            Opened::Dropped(error) => Err(error),
        };
        // Somebody who is gone need not open anything; but it must not open what it is not in.
        if (!ghost && !self.faults.any(now)) || result.is_ok() {
            let checked = self.checker.opened(self.peers.get(&to).expect("a peer"), frame, result);
            self.check(checked);
        }
    }

    fn release(&mut self, id: PeerId) {
        let now = self.now;
        let peer = self.peers.get_mut(&id).expect("a peer");
        let released = peer.frames.release(now);
        peer.set_due();
        for (ticket, result) in released {
            let Some(frame) = peer.held.remove(&ticket) else { continue };
            let over = peer.line != Line::Up || peer.session.joined().is_none() || self.faults.any(now);
            if !over || result.is_ok() {
                self.violations.extend(self.checker.opened(peer, &frame, result).err());
            }
        }
    }
}

/// The order number of a peer that has a seat.
impl World {
    /// The order number that a peer has or had.
    ///
    /// # Panics
    /// When it never had a seat.
    #[must_use]
    pub fn joined(&self, peer: PeerId) -> Joined {
        self.peer(peer).joined.expect("a seat")
    }
}

/// Whether a device says that it leaves.
fn says_goodbye(text: &str) -> bool {
    let Ok(ToRelay::Body(signed)) = decode(text, limits::COMMIT_LENGTH) else { return false };
    let content = Body::parse(&signed).and_then(|body| Content::parse(&body.content));
    matches!(content, Ok(Content::Leave(_)))
}
