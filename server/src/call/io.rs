//! What goes into the machine of a call and what comes out.

use conclave_shared::{
    id::{CallName, RelayInstance, RelayNonce, Role, UserName},
    limits,
    wire::{IceServer, Join, Restore, Resume, ToRelay, code::Code},
};
use std::sync::Arc;

/// One socket, numbered by the driver; never reused while the relay lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What an access token allows, checked by the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Which call.
    pub call: CallName,
    /// As whom.
    pub user: UserName,
    /// In which role.
    pub role: Role,
}

/// A `join` whose token has been checked.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// What the token allows.
    pub admission: Admission,
    /// The message.
    pub join: Join,
    /// The nonce of the challenge that the connection was sent.
    pub nonce: RelayNonce,
}

/// A `resume`: its signature is the member's own, so no token is needed.
#[derive(Clone, Debug)]
pub struct ResumeRequest {
    /// The message.
    pub resume: Resume,
    /// The nonce of the challenge that the connection was sent.
    pub nonce: RelayNonce,
}

/// A `restore` whose token has been checked.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// What the token allows.
    pub admission: Admission,
    /// The message.
    pub restore: Restore,
    /// The nonce of the challenge that the connection was sent.
    pub nonce: RelayNonce,
}

/// What the same relay tells every call.
#[derive(Clone, Debug)]
pub struct CallConfig {
    /// This life of the relay: stands beside the number of every event.
    pub relay: RelayInstance,
    /// STUN and TURN servers for the members.
    pub ice_servers: Vec<IceServer>,
    /// Members that a call may have, those included that are gone and still committed.
    pub members: usize,
}

impl CallConfig {
    /// No ICE servers, and as many members as the protocol has measured.
    #[must_use]
    pub const fn new(relay: RelayInstance) -> Self {
        Self { relay, ice_servers: Vec::new(), members: limits::MEMBERS }
    }
}

/// Something happened.
#[derive(Clone, Debug)]
pub enum CallInput {
    /// A connection asks for a seat.
    Join(ConnectionId, Box<JoinRequest>),
    /// A connection asks for the seat that its device had before.
    Resume(ConnectionId, Box<ResumeRequest>),
    /// A connection brings a seat that this relay has lost. Times of inputs count from the relay's start: only for
    /// [`RESTORE_UNTIL`](super::RESTORE_UNTIL) is it believed.
    Restore(ConnectionId, Box<RestoreRequest>),
    /// A connection that has joined said something.
    Received(ConnectionId, Box<ToRelay>),
    /// A connection that has joined broke a rule that the driver enforces: its code, and a sentence for its people.
    Refused(ConnectionId, Code, String),
    /// A socket closed: its member keeps the seat for [`GRACE`](super::GRACE). Also when the machine itself asked for it: then this changes nothing.
    Closed(ConnectionId),
    /// The time that [`next_timeout`](super::Call::next_timeout) named has come.
    Timeout,
}

/// Something is to be done. Every text is one message, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOutput {
    /// One message for one connection.
    Send {
        /// For whom.
        to: ConnectionId,
        /// The message.
        text: Arc<str>,
    },
    /// The same message for many.
    Broadcast {
        /// For whom.
        to: Vec<ConnectionId>,
        /// The message.
        text: Arc<str>,
    },
    /// All that a member missed, in order, as the first messages of its new connection. A log that is full is more than any
    /// queue of live messages holds, so it is not to be counted as falling behind.
    Replay {
        /// For whom.
        to: ConnectionId,
        /// The messages, shared with the log.
        texts: Vec<Arc<str>>,
    },
    /// Close a connection after everything that was sent to it.
    Close {
        /// Which.
        connection: ConnectionId,
        /// Why.
        code: Code,
    },
}
