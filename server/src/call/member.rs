//! One device in a call.

use conclave_shared::{
    id::{Ed25519Key, JoinId, Joined, Role, Seat, Sequence},
    time::Timestamp,
    wire::{
        AwayReason, LeftReason, MemberClaim,
        signed::{JoinProof, Signed},
    },
};
use std::time::Duration;

use super::{ConnectionId, pool::KeyPool, resume::Resumes};

/// How long a member that went before it was committed is remembered with its seat: its `left` and the commit that adds
/// it may have crossed on the wire, and a commit that names it must still mean the same device and seat to all.
pub const LINGER: Duration = Duration::from_secs(10);

/// How long a member keeps its seat after its socket dropped: long enough to change networks, short enough that nobody
/// waits long for somebody who crashed.
pub const GRACE: Duration = Duration::from_secs(10);

/// Whether a member is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Connected, and may be named as lead.
    Here(ConnectionId),
    /// Connected, and may not be named for now.
    Unfit(ConnectionId, Unfit),
    /// The socket is gone, the seat is kept.
    Dropped { since: Timestamp },
    /// For good.
    Gone { since: Timestamp, reason: LeftReason },
}

/// Why somebody who is connected may not lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It led and said nothing.
    Silent,
    /// It was named and does not hold the newest epoch.
    Declined,
    /// A relay that was restarted took its seat back, and it remembers an older reign than others do.
    Behind,
}

impl Unfit {
    pub(super) const fn reason(self) -> AwayReason {
        match self {
            Self::Silent => AwayReason::Silent,
            Self::Declined | Self::Behind => AwayReason::Declined,
        }
    }
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
    /// Messages that were taken in since it was welcomed.
    pub(super) received: u64,
    pub(super) resumes: Resumes,
    /// The newest event that its `welcome` included: nothing before it was ever its own to hear.
    pub(super) welcomed: Sequence,
}

impl Member {
    pub(super) const fn connection(&self) -> Option<ConnectionId> {
        match self.presence {
            Presence::Here(connection) | Presence::Unfit(connection, _) => Some(connection),
            Presence::Dropped { .. } | Presence::Gone { .. } => None,
        }
    }

    /// It holds its seat: connected, or with time left to come back.
    pub(super) const fn is_present(&self) -> bool {
        !matches!(self.presence, Presence::Gone { .. })
    }

    /// It may be named as lead.
    pub(super) const fn is_fit(&self) -> bool {
        matches!(self.presence, Presence::Here(_))
    }

    const fn away(&self) -> Option<AwayReason> {
        match self.presence {
            Presence::Here(_) | Presence::Gone { .. } => None,
            Presence::Unfit(_, why) => Some(why.reason()),
            Presence::Dropped { .. } => Some(AwayReason::Dropped),
        }
    }

    /// When a seat whose socket is gone is given up.
    pub(super) fn grace_ends(&self) -> Option<Timestamp> {
        if let Presence::Dropped { since } = self.presence { Some(since + GRACE) } else { None }
    }

    /// When nothing needs this member any more; never while it holds its seat or is committed.
    pub(super) fn forget_at(&self) -> Option<Timestamp> {
        match self.presence {
            Presence::Gone { since, .. } if !self.committed => Some(since + LINGER),
            Presence::Gone { .. } | Presence::Here(_) | Presence::Unfit(..) | Presence::Dropped { .. } => None,
        }
    }

    /// When time does something to it.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        self.grace_ends().or_else(|| self.forget_at())
    }

    /// The relay was stopped for that long: whoever is away has its time anew.
    pub(super) fn thaw(&mut self, now: Timestamp, late: Duration) {
        match &mut self.presence {
            Presence::Here(_) | Presence::Unfit(..) => {}
            Presence::Dropped { since } => *since = now,
            Presence::Gone { since, .. } => *since = *since + late,
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
            away: self.away(),
        }
    }
}
