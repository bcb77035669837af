//! One device in a call.

use conclave_shared::{
    id::{Ed25519Key, JoinId, Joined, Role, Seat},
    time::Timestamp,
    wire::{
        LeftReason, MemberClaim,
        signed::{JoinProof, Signed},
    },
};
use std::time::Duration;

use super::{ConnectionId, pool::KeyPool};

/// How long a member that went before it was committed is remembered with its seat: its `left` and the commit that adds
/// it may have crossed on the wire, and a commit that names it must still mean the same device and seat to all.
pub const LINGER: Duration = Duration::from_secs(10);

/// Whether a member is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Here(ConnectionId),
    Gone { since: Timestamp, reason: LeftReason },
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) joined: Joined,
    pub(super) seat: Seat,
    pub(super) role: Role,
    pub(super) card: Signed,
    pub(super) ed25519: Ed25519Key,
    pub(super) proof: JoinProof,
    pub(super) join: JoinId,
    pub(super) pool: KeyPool,
    /// A lead's commit has added it and none has removed it.
    pub(super) committed: bool,
    pub(super) presence: Presence,
}

impl Member {
    pub(super) const fn connection(&self) -> Option<ConnectionId> {
        match self.presence {
            Presence::Here(connection) => Some(connection),
            Presence::Gone { .. } => None,
        }
    }

    pub(super) const fn is_present(&self) -> bool {
        matches!(self.presence, Presence::Here(_))
    }

    /// When nothing needs this member any more; never while it is here or committed.
    pub(super) fn forget_at(&self) -> Option<Timestamp> {
        match self.presence {
            Presence::Gone { since, .. } if !self.committed => Some(since + LINGER),
            Presence::Gone { .. } | Presence::Here(_) => None,
        }
    }

    /// Gone before it was committed: remembered only for a commit that is still under way.
    pub(super) fn lingers(&self) -> bool {
        !self.committed && !self.is_present()
    }

    /// What the relay tells of it.
    pub(super) fn claim(&self) -> MemberClaim {
        MemberClaim {
            seat: self.seat,
            joined: self.joined,
            role: self.role,
            card: self.card.clone(),
            proof: self.proof.clone(),
            committed: self.committed,
            present: self.is_present(),
            away: None,
        }
    }
}
