//! What can be wrong, by who is at fault.

use serde::Serialize;
use thiserror::Error;

use crate::id::{Epoch, Joined, Term};

/// A peer or the relay did what no honest one does. The session stays as it was: no key is installed, nothing is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Error)]
#[serde(rename_all = "snake_case")]
pub enum SecurityEvent {
    /// A device card is malformed, or its signature does not verify.
    #[error("member {joined}: the device card does not verify")]
    BadCard {
        /// Whose.
        joined: Joined,
    },
    /// A join proof does not verify: the device itself did not join this call.
    #[error("member {joined}: the join proof does not verify")]
    BadProof {
        /// Whose.
        joined: Joined,
    },
    /// One-time keys do not verify, or name a point of low order.
    #[error("member {joined}: the one-time keys do not verify")]
    BadKeys {
        /// Whose.
        joined: Joined,
    },
    /// The relay described somebody anew, with another card or proof.
    #[error("the relay described member {joined} a second time, and differently")]
    Rewritten {
        /// Whom.
        joined: Joined,
    },
    /// The relay has not sequenced a commit of this lead for a long time, or was restarted too often meanwhile.
    #[error("the relay has not passed on the commit of epoch {epoch}")]
    CommitStalled {
        /// Which.
        epoch: Epoch,
    },
    /// The relay gave a newcomer a seat or an order number that is not free.
    #[error("member {joined} cannot be added: {reason}")]
    BadClaim {
        /// Who.
        joined: Joined,
        /// Why not.
        reason: RosterError,
    },
    /// The relay named a lead that is not the first live member of the roster.
    #[error("the relay named {named} as lead of term {term}, which the roster does not")]
    WrongLead {
        /// The reign.
        term: Term,
        /// Whom it named.
        named: Joined,
    },
    /// The relay skipped or repeated a term.
    #[error("the relay went to term {term} from term {current}")]
    WrongTerm {
        /// The term that came.
        term: Term,
        /// The term in force.
        current: Term,
    },
    /// Nothing fresh was heard of the lead for some time: it is gone, or the relay keeps what it says to itself.
    #[error("nothing fresh was heard of the lead of term {term}")]
    LeadSilent {
        /// The reign.
        term: Term,
    },
    /// Somebody holds an epoch by another history: the call was split in two.
    #[error("member {from} holds epoch {epoch} by another history: the call is split")]
    Fork {
        /// Who.
        from: Joined,
        /// The epoch that is not the same on both sides.
        epoch: Epoch,
    },
    /// A commit came from somebody who does not lead, or for a term that has passed.
    #[error("member {from} committed epoch {epoch} without leading")]
    CommitByOther {
        /// Who.
        from: Joined,
        /// Which epoch.
        epoch: Epoch,
    },
    /// A commit does not follow the last one.
    #[error("epoch {epoch} does not follow epoch {current}")]
    EpochOutOfOrder {
        /// The epoch that came.
        epoch: Epoch,
        /// The newest epoch held.
        current: Epoch,
    },
    /// A commit or grant is not what it should be, in the way that the reason says.
    #[error("epoch {epoch} is refused: {reason}")]
    CommitRefused {
        /// Which epoch.
        epoch: Epoch,
        /// Why.
        reason: CommitError,
    },
    /// A signed body does not verify.
    #[error("a body of member {from} does not verify")]
    BadBody {
        /// Who is said to have sent it.
        from: Joined,
    },
    /// A signed body came a second time, or an older one after a newer one.
    #[error("body {n} of member {from} is a replay")]
    Replay {
        /// Who sent it once.
        from: Joined,
        /// Its number.
        n: u64,
    },
    /// An application message does not open.
    #[error("a message of member {from} does not open")]
    BadMessage {
        /// Who is said to have sent it.
        from: Joined,
    },
    /// An acknowledgement is forged.
    #[error("an acknowledgement of member {from} is forged")]
    BadAck {
        /// Who is said to have sent it.
        from: Joined,
    },
    /// An Olm message does not open, or is bound to something else.
    #[error("an Olm message of member {from} does not open")]
    BadOlm {
        /// Who is said to have sent it.
        from: Joined,
    },
}

/// Why a commit or a grant was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Error)]
#[serde(rename_all = "snake_case")]
pub enum CommitError {
    /// It is not a commit, or has a field of a later version.
    #[error("malformed")]
    Malformed,
    /// There is no grant for this device.
    #[error("no grant came with it")]
    NoGrant,
    /// The grant does not open, or is bound to something else.
    #[error("the grant does not open")]
    Grant,
    /// The grant names another broadcast, or its key was sealed for another broadcast or epoch.
    #[error("the grant is for another broadcast")]
    OtherBroadcast,
    /// The lead's signature does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// The Megolm message or the sealed session does not open.
    #[error("it does not open")]
    Undecryptable,
    /// Another session or index than the one that follows.
    #[error("another session or index")]
    Session,
    /// Another call, instance, epoch or lead inside than outside.
    #[error("bound to something else")]
    Binding,
    /// It does not continue the transcript.
    #[error("another transcript")]
    Transcript,
    /// A policy that this device does not accept.
    #[error("another policy")]
    Policy,
    /// It adds or removes somebody against the rules, or its roster hash differs.
    #[error(transparent)]
    Roster(#[from] RosterError),
    /// It adds somebody whose card or proof the relay did not deliver, or whose card is another or does not verify.
    #[error("the card or proof of member {0} is missing, another, or does not verify")]
    Card(Joined),
    /// The lead's card or proof is missing or does not verify.
    #[error("the lead's card or proof is missing or does not verify")]
    Lead,
}

/// Why a change of the roster was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Error)]
#[serde(rename_all = "snake_case")]
pub enum RosterError {
    /// It removes somebody who is not there.
    #[error("it removes member {0}, who is not in the roster")]
    NotThere(Joined),
    /// It adds somebody whose order number is not above all before.
    #[error("it adds member {0} out of order")]
    OutOfOrder(Joined),
    /// It adds somebody on a seat that is still held.
    #[error("it adds member {0} on a seat that is taken")]
    SeatTaken(Joined),
    /// It adds a device that is in the roster already.
    #[error("it adds member {0}, whose device is in the call already")]
    DeviceTwice(Joined),
    /// More members than a call may have.
    #[error("too many members")]
    TooMany,
    /// The hash of the roster differs from the one committed.
    #[error("another roster hash")]
    Hash,
}

/// The caller asked for something that cannot be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Error)]
#[serde(rename_all = "snake_case")]
pub enum CommandError {
    /// There is no epoch yet.
    #[error("this device has no key yet")]
    NoKey,
    /// Only the lead may do this.
    #[error("only the lead can do this")]
    NotLead,
    /// No such member.
    #[error("member {0} is not in the call")]
    UnknownMember(Joined),
    /// The connection is down, and as much waits for it as may.
    #[error("the connection is down and too much waits for it already")]
    Offline,
    /// The message is longer than [`APPLICATION_MESSAGE`](crate::limits::APPLICATION_MESSAGE).
    #[error("the message is too long")]
    TooLong,
    /// The session has ended.
    #[error("the session has ended")]
    Ended,
}

/// Our own fault, or the machine's: the session cannot go on and ends without a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Error)]
#[serde(rename_all = "snake_case")]
pub enum InternalError {
    /// The system gave no random bytes.
    #[error("the system's random generator failed")]
    Random,
    /// Numbers of epochs, bodies or Megolm indices ran out.
    #[error("a counter ran out")]
    Counter,
    /// A cryptographic library refused what this crate itself made.
    #[error("a cryptographic operation failed")]
    Crypto,
}
