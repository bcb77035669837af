//! One join of one device: a real session, real frame keys, and what the simulation remembers of them.

use conclave_server::call::ConnectionId;
use conclave_shared::{
    frame::Frames,
    id::{Epoch, Fingerprint, Joined, Role, Seat, UserName},
    identity::device::DevicePickle,
    session::{
        Session,
        error::{CommandError, SecurityEvent},
        output::{EndReason, EpochInfo, Event},
    },
    time::Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

use crate::PeerId;

/// How a peer is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// It is in the call, or on its way back into it.
    Up,
    /// It is gone, keeps everything it ever had, and is shown everything that is said after it went.
    Ghost,
    /// It is gone.
    Down,
}

/// A frame that was sealed, on its way to one receiver.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Who sealed it.
    pub from: PeerId,
    /// The sender's seat.
    pub seat: Seat,
    /// In which life of the call.
    pub life: u64,
    /// Under which epoch.
    pub epoch: Epoch,
    /// What the key of that looks like.
    pub fingerprint: Fingerprint,
    /// What was sealed.
    pub plain: Vec<u8>,
    /// The sealed frame.
    pub bytes: Vec<u8>,
}

/// One join of one device.
pub struct Peer {
    /// Its number.
    pub id: PeerId,
    /// The user name that its token carries.
    pub user: UserName,
    /// The role that its token carries.
    pub role: Role,
    /// The session.
    pub session: Session,
    /// The frame keys.
    pub frames: Frames,
    /// The device, as last stored.
    pub stored: DevicePickle,
    /// Whether it is in the call at all.
    pub line: Line,
    /// Its socket, if it has one.
    pub socket: Option<ConnectionId>,
    /// When its session or its frames want to be woken: asked once after each step of theirs, as asking costs.
    pub due: Option<Timestamp>,
    /// Its machine sleeps until then.
    pub paused_until: Timestamp,
    /// Its network is away until then.
    pub offline_until: Timestamp,
    /// In which life of the call it is; zero until it holds an epoch.
    pub life: u64,
    /// The order number, kept after the end.
    pub joined: Option<Joined>,
    /// The seat, kept after the end.
    pub seat: Option<Seat>,
    /// Everything that the application was told.
    pub events: Vec<(Timestamp, Event)>,
    /// Epochs whose keys are live in the frame layer, by their key updates.
    pub live: BTreeSet<Epoch>,
    /// Frames that wait for a key.
    pub held: BTreeMap<u64, Sealed>,
    /// No texts are delivered and none are taken from it: it hangs.
    pub silent: bool,
    /// Its signed `activate`s are kept from it.
    pub deaf_to_activate: bool,
}

impl Peer {
    /// Asks when to wake it.
    pub fn set_due(&mut self) {
        self.due = [self.session.next_timeout(), self.frames.next_timeout()].into_iter().flatten().min();
    }

    /// The epochs that this peer was given, in order.
    pub fn epochs(&self) -> impl DoubleEndedIterator<Item = &EpochInfo> {
        self.events.iter().filter_map(|(_, event)| if let Event::Epoch(info) = event { Some(info) } else { None })
    }

    /// What the key of an epoch that this peer was given looks like.
    #[must_use]
    pub fn fingerprint(&self, epoch: Epoch) -> Option<Fingerprint> {
        self.epochs().rfind(|info| info.epoch == epoch).map(|info| info.fingerprint)
    }

    /// The newest epoch that this peer was given.
    #[must_use]
    pub fn newest(&self) -> Option<&EpochInfo> {
        self.epochs().last()
    }

    /// When it switched to an epoch.
    #[must_use]
    pub fn active_since(&self, epoch: Epoch) -> Option<Timestamp> {
        self.events.iter().find(|(_, event)| *event == Event::Active(epoch)).map(|(at, _)| *at)
    }

    /// When it came to hold an epoch.
    #[must_use]
    pub fn held_since(&self, epoch: Epoch) -> Option<Timestamp> {
        let held = |event: &Event| if let Event::Epoch(info) = event { info.epoch == epoch } else { false };
        self.events.iter().find(|(_, event)| held(event)).map(|(at, _)| *at)
    }

    /// Security events.
    #[must_use]
    pub fn alarms(&self) -> Vec<SecurityEvent> {
        let alarms = self.events.iter();
        alarms.filter_map(|(_, event)| if let Event::Security(alarm) = event { Some(*alarm) } else { None }).collect()
    }

    /// Commands that failed.
    #[must_use]
    pub fn failures(&self) -> Vec<CommandError> {
        let failures = self.events.iter();
        failures
            .filter_map(|(_, event)| if let Event::CommandFailed(error) = event { Some(*error) } else { None })
            .collect()
    }

    /// Application messages, with who sent them.
    #[must_use]
    pub fn messages(&self) -> Vec<(Joined, Vec<u8>)> {
        let messages = self.events.iter();
        messages
            .filter_map(|(_, event)| {
                if let Event::Message { from, payload, .. } = event { Some((*from, payload.0.clone())) } else { None }
            })
            .collect()
    }

    /// Why its session is over.
    #[must_use]
    pub fn ended(&self) -> Option<EndReason> {
        self.events.iter().find_map(|(_, event)| if let Event::Ended(reason) = event { Some(*reason) } else { None })
    }
}
