//! What goes wrong: sockets that break, networks and machines that are away for a while, a relay that freezes or is
//! restarted. Everybody is honest all the same.

use conclave_shared::{
    id::{Joined, Term},
    session::{
        error::{CommitError, RosterError, SecurityEvent},
        input::Input,
        output::EndReason,
    },
    time::Timestamp,
    wire::code::{Code, Retry},
};
use std::{collections::BTreeSet, time::Duration};

use super::{Happening, Link, World};
use crate::{PeerId, invariants::Violation, peer::Line};

/// How long after a fault things may still be out of order: a seat is kept for ten seconds, whoever hides is found out
/// within forty.
const AFTERMATH: Duration = Duration::from_secs(45);

/// How long after its start a relay takes seats back.
const RESTART: Duration = Duration::from_secs(30);

/// What is out of order right now.
#[derive(Default)]
pub(super) struct Faults {
    /// The relay does nothing until then.
    pub(super) frozen_until: Timestamp,
    /// No relay listens until then.
    pub(super) down_until: Timestamp,
    /// From when until when each restart may show: a relay that freezes meanwhile takes that much longer.
    restarts: Vec<(Timestamp, Timestamp)>,
    /// Who refused whom in which term because the relay went by what others remember.
    doubts: BTreeSet<(PeerId, Term, Joined)>,
    /// The newest fault, and when everything may be expected to be in order again.
    last: Option<Timestamp>,
    settled_at: Timestamp,
}

impl Faults {
    /// Whether a fault may still show.
    pub(super) fn any(&self, now: Timestamp) -> bool {
        now < self.settled_at
    }

    /// Whether a restarted relay may not have had everybody back then.
    pub(super) fn is_restarting(&self, then: Timestamp) -> bool {
        self.restarts.iter().any(|(from, until)| (*from..*until).contains(&then))
    }

    /// Whether a relay was lost since then.
    pub(super) fn restarted_since(&self, then: Timestamp) -> bool {
        self.down_until > then
    }

    /// Whether what is said now may come too late for its key, or not to all.
    pub(super) fn loses_messages(&self, now: Timestamp) -> bool {
        self.is_restarting(now) || now < self.frozen_until
    }

    /// How much longer things may take.
    pub(super) fn excuse(&self, now: Timestamp) -> Duration {
        if self.any(now) { AFTERMATH * 2 } else { Duration::ZERO }
    }
}

impl World {
    /// Somebody's socket breaks and their network is away for some time. The relay notices after a while.
    pub fn offline(&mut self, peer: PeerId, time: Duration, notice: Duration) {
        if self.peer(peer).line != Line::Up {
            return;
        }
        self.fault(time + notice);
        self.peer_mut(peer).offline_until = self.now + time;
        self.relay_loses(peer, notice);
        self.peer_loses(peer);
    }

    /// Somebody's machine sleeps: whatever comes waits for it.
    pub fn pause(&mut self, peer: PeerId, time: Duration) {
        if self.peer(peer).line == Line::Up {
            self.fault(time);
            let until = self.peer(peer).paused_until.max(self.now + time);
            self.peer_mut(peer).paused_until = until;
            self.checker.lose_messages();
        }
    }

    /// The relay freezes: whatever comes waits for it.
    pub fn freeze_relay(&mut self, time: Duration) {
        self.fault(time);
        self.faults.frozen_until = self.faults.frozen_until.max(self.now + time);
        if self.faults.is_restarting(self.now)
            && let Some((_, until)) = self.faults.restarts.last_mut()
        {
            *until = *until + time;
        }
        // What is held up for longer than a key lives cannot be read any more.
        self.checker.lose_messages();
    }

    /// The relay is killed, and another one starts in its place after a while.
    pub fn restart_relay(&mut self, time: Duration) {
        self.fault(time);
        self.faults.down_until = self.now + time;
        self.faults.restarts.push((self.now, self.now + time + RESTART));
        self.faults.frozen_until = self.now;
        self.model.restart();
        self.checker.lose_messages();
        for peer in self.relay.restart(self.now) {
            let at = self.network.arrival(self.now, Link::Down(peer));
            if let Some(socket) = self.peer(peer).socket {
                self.at(at, Happening::PeerLoses(socket, peer));
            }
        }
    }

    /// For how long anything that went wrong may still show.
    #[must_use]
    pub fn disturbed_for(&self) -> Duration {
        self.faults.settled_at.since(self.now)
    }

    fn fault(&mut self, time: Duration) {
        self.checker.hold_up_messages();
        self.faults.last = Some(self.now);
        self.faults.settled_at = self.faults.settled_at.max(self.now + time + AFTERMATH);
    }

    /// Until when something has to wait, because the one that it would happen to does nothing.
    pub(super) fn held_up(&self, happening: &Happening) -> Option<Timestamp> {
        let until = match happening {
            Happening::ToRelay(..) | Happening::RelayLoses(_) => self.faults.frozen_until,
            Happening::ToPeer(_, peer, _)
            | Happening::PeerLoses(_, peer)
            | Happening::Reconnect(peer)
            | Happening::Frame(peer, _) => self.peer(*peer).paused_until,
            Happening::Rejoin(_) | Happening::ToGhost(..) | Happening::Tick => return None,
        };
        (until > self.now).then_some(until)
    }

    /// A peer notices that its socket is gone.
    pub(super) fn peer_loses(&mut self, peer: PeerId) {
        match self.peer(peer).line {
            Line::Up => self.input(peer, Input::Disconnected),
            Line::Down | Line::Ghost => {}
        }
    }

    /// A session wants another connection.
    pub(super) fn connects_again(&mut self, peer: PeerId) {
        let at = self.now + self.dice.millis(50, 500);
        self.at(at, Happening::Reconnect(peer));
    }

    pub(super) fn try_again(&mut self, peer: PeerId) {
        let here = self.peer(peer);
        if here.line != Line::Up || here.socket.is_some() {
            return;
        }
        let until = here.offline_until.max(self.faults.down_until);
        if until > self.now {
            let at = until + self.dice.millis(50, 1000);
            return self.at(at, Happening::Reconnect(peer));
        }
        self.trace.add(self.now, "reconnect", peer.0, &[]);
        self.open_socket(peer);
    }

    /// A session is over: whoever only lost their seat joins afresh by themselves.
    pub(super) fn ended(&mut self, peer: PeerId, reason: EndReason) {
        let here = self.peer(peer);
        let disturbed = here.offline_until.max(here.paused_until);
        let faultless = disturbed == Timestamp::ZERO || disturbed + AFTERMATH < self.now;
        let seated = here.epochs().next().is_some() && here.line == Line::Up;
        if reason == EndReason::Closed(Code::LostSeat)
            && seated
            && faultless
            && self.honest
            && !self.faults.is_restarting(self.now)
        {
            self.check(Err(Violation::Unseated { peer }));
        }
        if self.rejoins && reason.retry() == Retry::Later && self.peer(peer).line == Line::Up {
            let until = self.peer(peer).offline_until.max(self.faults.down_until).max(self.now);
            let at = until + self.dice.millis(50, 1000);
            self.at(at, Happening::Rejoin(peer));
        }
    }

    /// What somebody honest may report while things are out of order: that nothing was heard, which is true.
    pub(super) fn excused(&mut self, peer: PeerId, event: &SecurityEvent) -> bool {
        let silence = matches!(event, SecurityEvent::LeadSilent { .. } | SecurityEvent::CommitStalled { .. });
        // A relay that was restarted goes by what most remember, and one may lack what they have: a newcomer whom they committed
        // leads, a lead that lacks it goes on from an older epoch, or somebody comes back whom they have long removed, and a
        // newcomer counts them in.
        let hearsay = matches!(
            event,
            SecurityEvent::WrongLead { .. }
                | SecurityEvent::CommitRefused {
                    reason: CommitError::Transcript
                        | CommitError::NoGrant
                        | CommitError::Card(_)
                        | CommitError::Roster(RosterError::Hash),
                    ..
                }
        );
        let restarting = self.faults.is_restarting(self.now);
        if let SecurityEvent::WrongLead { term, named } = event
            && restarting
        {
            self.faults.doubts.insert((peer, *term, *named));
        }
        // Whoever refuses a lead hears it commit all the same.
        let doubted = |from, term| self.faults.doubts.contains(&(peer, term, from));
        let refused = matches!(event, SecurityEvent::CommitByOther { from, epoch } if doubted(*from, epoch.term()));
        refused || hearsay && restarting || silence && self.faults.any(self.now)
    }
}
