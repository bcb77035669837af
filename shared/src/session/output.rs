//! What may come of an input.

use serde::{Serialize, Serializer};
use std::{collections::BTreeMap, sync::Arc};

use super::error::{CommandError, InternalError, SecurityEvent};
use crate::{
    crypto::schedule::MediaSecret,
    id::{Ed25519Key, Epoch, Fingerprint, Joined, Role, RosterHash, Seat, Term},
    identity::device::DevicePickle,
    wire::{
        AwayReason, Blob, IceServer, LeftReason, ToRelay,
        code::{Code, Retry},
        sealed::Cause,
    },
};

/// One thing to do, in the order in which they come.
#[derive(Debug)]
pub enum Output {
    /// Send this to the relay.
    Send(ToRelay),
    /// Tell the frame layer.
    Keys(KeyUpdate),
    /// Tell the application.
    Event(Event),
    /// The device changed: store it before sending what follows, if it is to outlive this process.
    Persist(DevicePickle),
    /// The connection is gone and the seat may still be kept: open a new one. Its challenge is what comes next.
    Connect,
    /// Close the connection: nothing more will come.
    Close,
}

/// What the frame layer needs to know of epochs.
#[derive(Clone, Debug)]
pub enum KeyUpdate {
    /// Frames of this epoch can be opened. A live key of the same key id is wiped first.
    Install {
        /// The epoch.
        epoch: Epoch,
        /// What its frame keys come from.
        media: MediaSecret,
        /// Who may send in it, the own seat included.
        senders: Arc<BTreeMap<Seat, Ed25519Key>>,
    },
    /// Seal under this epoch from here on.
    Activate(Epoch),
    /// Wipe this epoch's keys.
    Retire(Epoch),
    /// Seal nothing until `Resume`; go on opening.
    Pause,
    /// Seal again, under the active epoch.
    Resume,
    /// Wipe all: this device is out of the call.
    Clear,
}

/// What an application is told.
///
/// Serialises as one object with one key, `{"epoch": {…}}`: the lines of `--json` and the events of the browser SDK.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The relay gave a seat; the key is still to come.
    Seated {
        /// The own seat.
        seat: Seat,
        /// The own order number.
        joined: Joined,
        /// Everybody the relay says is here, the own device included.
        members: Vec<Arc<MemberInfo>>,
        /// STUN and TURN servers.
        ice_servers: Vec<IceServer>,
    },
    /// The relay says that somebody is here; the lead has not added them yet.
    MemberArrived(Arc<MemberInfo>),
    /// The relay says that somebody is gone, or they said so themselves; the epoch without them follows.
    MemberLeft {
        /// Who.
        joined: Joined,
        /// Why.
        reason: LeftReason,
    },
    /// The own connection dropped, or is whole again.
    Link(Link),
    /// Somebody keeps their seat and cannot lead for now, as the relay says.
    MemberAway {
        /// Who.
        joined: Joined,
        /// Why.
        reason: AwayReason,
    },
    /// Somebody who was away is here.
    MemberBack(Joined),
    /// This device lacks the newest epoch and has asked for it. Frames of it cannot be opened until `KeyFound`.
    KeyMissing(KeyMissing),
    /// The newest epoch is here.
    KeyFound,
    /// This device seals nothing for now.
    Paused(PauseReason),
    /// This device seals again.
    Resumed,
    /// Somebody leads.
    LeadChanged {
        /// The reign.
        term: Term,
        /// Who.
        joined: Joined,
        /// It is this device.
        me: bool,
    },
    /// This device holds a new epoch: frames of it can be opened.
    Epoch(EpochInfo),
    /// This device seals under this epoch from here on.
    Active(Epoch),
    /// The lead heard over Olm from a member that it added: the device is really there.
    MemberPresent(Joined),
    /// A member showed by its own key that it holds the call as this device does. Until then the lead's word stands for
    /// it, and that the device is still there is the relay's word alone. Told once of each other member, behind the epoch
    /// that holds them; see [`Session::is_confirmed`](super::Session::is_confirmed).
    MemberConfirmed(Joined),
    /// An application message.
    Message {
        /// Who sent it: signed, and in the roster.
        from: Joined,
        /// It was for this device alone.
        direct: bool,
        /// The message.
        payload: Blob,
    },
    /// Somebody cheats, or something is badly broken.
    #[serde(serialize_with = "with_sentence")]
    Security(SecurityEvent),
    /// The relay refused something.
    Refused {
        /// What.
        code: Code,
        /// In words.
        message: String,
    },
    /// A command could not be carried out.
    #[serde(serialize_with = "with_sentence")]
    CommandFailed(CommandError),
    /// The relay will go away: milliseconds to wait before connecting again.
    Closing(u64),
    /// The session is over: no key is left.
    Ended(EndReason),
}

/// How the own connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// It dropped: the seat and the keys are kept while a new connection is sought.
    Down,
    /// The relay has the seat again: nothing was lost, nothing changed.
    Up,
    /// The seat is lost: this device joins afresh, with new keys.
    Rejoining,
}

/// Why the newest epoch is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyMissing {
    /// A commit of the lead came and did not hold.
    Refused,
    /// The lead speaks of an epoch whose commit never came.
    Withheld,
    /// Frames came whose key this device does not have.
    Frames,
}

/// Why nothing is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseReason {
    /// The newest epoch is missing: somebody may have been shut out who still holds the older one.
    Behind,
    /// Nothing fresh was heard of the lead for too long: a commit may be withheld.
    Lease,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// This device left.
    Left,
    /// The relay says that the lead removed this device. A device that is out cannot check it.
    Removed,
    /// This device is to lead and has not followed the call so far, or the relay refused its commit: it must join afresh.
    OutOfStep,
    /// The relay closed with this code.
    Closed(Code),
    /// The relay speaks none of our protocol versions: the newest of each.
    Version {
        /// What the relay speaks.
        relay: u16,
        /// What this device speaks.
        ours: u16,
    },
    /// The connection is gone.
    Disconnected,
    /// Our own fault, or the machine's.
    Internal(InternalError),
}

impl EndReason {
    /// What to do next: whether the same device may join afresh without anybody being asked.
    #[must_use]
    pub const fn retry(self) -> Retry {
        match self {
            Self::OutOfStep | Self::Disconnected => Retry::Later,
            Self::Closed(code) => code.retry(),
            Self::Left | Self::Removed | Self::Version { .. } | Self::Internal(_) => Retry::No,
        }
    }
}

/// Somebody in the call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberInfo {
    /// Seat.
    pub seat: Seat,
    /// Order number.
    pub joined: Joined,
    /// Role.
    pub role: Role,
    /// User name, as the card says.
    pub user: String,
    /// Device name, as the card says.
    pub name: String,
    /// Fingerprint.
    pub ed25519: Ed25519Key,
}

/// A new epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EpochInfo {
    /// Which.
    pub epoch: Epoch,
    /// Why it began.
    pub cause: Cause,
    /// Who made it.
    pub lead: Joined,
    /// The roster.
    pub members: Vec<Arc<MemberInfo>>,
    /// Its hash: equal on all members.
    pub roster: RosterHash,
    /// A value that two holders of the same media secret share and that tells nothing of it.
    pub fingerprint: Fingerprint,
    /// Thirty digits for people to compare: changes with people and devices, not with rotations.
    pub security_code: String,
}

/// `{"kind": …, "message": "one sentence"}`: what a program matches and what a person reads.
fn with_sentence<S: Serializer>(
    error: &(impl Serialize + std::error::Error),
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct WithSentence<'a, E> {
        kind: &'a E,
        message: String,
    }
    WithSentence { kind: error, message: error.to_string() }.serialize(serializer)
}
