//! What may happen to a session.

use std::fmt;

use crate::{id::Joined, wire::ToClient};

/// One thing that happened.
// An input is made and consumed at once: it is never stored, so its size costs nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum Input {
    /// The relay said this.
    Received(ToClient),
    /// The application wants this.
    Command(Command),
    /// The time named by `next_timeout` has come.
    Timeout,
    /// The connection is gone.
    Disconnected,
}

/// What an application may want.
#[derive(Clone, PartialEq, Eq)]
pub enum Command {
    /// Leave the call: says so, signed, to everybody.
    Leave,
    /// Replace the session: done by the lead, asked of the lead by others.
    Rotate,
    /// Frames came whose key this device does not have: ask for it.
    MissingKey,
    /// Remove a member. Only the lead can.
    Remove(Joined),
    /// Send an application message to all, or to one.
    Send {
        /// For whom; for all when absent. Delivery to one is the relay's doing: the key is the same for all members.
        to: Option<Joined>,
        /// The message, at most [`APPLICATION_MESSAGE`](crate::limits::APPLICATION_MESSAGE) bytes.
        payload: Vec<u8>,
    },
}

// A message's text must not reach a log by way of a command.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leave => f.write_str("Leave"),
            Self::MissingKey => f.write_str("MissingKey"),
            Self::Rotate => f.write_str("Rotate"),
            Self::Remove(joined) => write!(f, "Remove({joined})"),
            Self::Send { to, payload } => write!(f, "Send({} bytes to {to:?})", payload.len()),
        }
    }
}
