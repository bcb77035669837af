//! Why a session wants to be woken.

use crate::time::Timestamp;

/// What is due at a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Cards that the relay sent wait to be checked: idle work.
    Cards,
    /// The lead makes ready grants: idle work.
    ReadyGrants,
    /// A sender that heard no `activate` switches by itself.
    Switch,
    /// Keys of an epoch that nobody seals under any more are wiped.
    Retire,
    /// An application message has waited long enough for its epoch.
    Message,
    /// The session is old: a new one.
    Rotation,
    /// Joins are spread out, and the next may come in.
    Pace,
    /// An epoch is activated without those who have not acknowledged it.
    Activate,
    /// The relay has kept a commit to itself for too long.
    Stall,
    /// A one-time key is asked for (again).
    Claim,
    /// A joiner that has not shown itself is removed.
    Presence,
    /// The lead shows that it is there.
    Beat,
    /// The lead shows the relay that it is there.
    Ping,
    /// A member shows that it is there.
    Alive,
    /// Nothing fresh was heard for a while: told, or sealing stops.
    Lease,
    /// The lead is silent: is the own connection alive?
    Probe,
    /// The newest epoch is asked for again.
    KeyRequest,
    /// A member has not come back to a relay that was restarted.
    Absent,
}

/// A time and what is due then.
pub(super) type Deadline = (Timestamp, Timer);
