//! What a client says to the relay.

use serde::{Deserialize, Serialize};

use super::{
    Blob, OlmMessage, messages,
    signed::{Held, KeyBatch, Signed},
};
use crate::id::{AckMac, CallName, Epoch, JoinNonce, Joined, Signature};

messages! {
    /// Everything a client may send.
    ToRelay {
        /// The first message of a connection.
        "join" => Join(Join),
        /// More one-time keys for the pool.
        "keys" => Keys(Keys),
        /// The lead asks for one one-time key of each of these members.
        "claim" => Claim(Claim),
        /// The lead moves the call to the next epoch.
        "commit" => Commit(Commit),
        /// A member holds an epoch: goes to the lead.
        "ack" => Ack(Ack),
        /// An Olm message to one member.
        "olm" => Olm(Olm),
        /// A signed body, to all or to the one that it names.
        "body" => Body(Signed),
    }
}

/// Asks for a seat in a call. Answers a `challenge`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// The protocol version that the client speaks.
    pub version: u16,
    /// The call; must be the one that the token names.
    pub call: CallName,
    /// The access token. Read by the relay alone, never passed on.
    pub token: Token,
    /// The device card, signed.
    pub card: Signed,
    /// The client's half of the join proof.
    pub proof: Proof,
    /// The keys that the proof signs.
    pub keys: KeyBatch,
    /// What the device holds of a call in progress.
    pub held: Option<Held>,
}

/// An access token: prints nothing of itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({} characters)", self.0.len())
    }
}

/// The client's half of a join proof: its own nonce and the signature over all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Drawn by the device for this join.
    pub nonce: JoinNonce,
    /// Over [`join_bytes`](super::signed::join_bytes).
    pub signature: Signature,
}

/// More one-time keys, signed for this join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// The keys.
    pub keys: KeyBatch,
    /// Over [`keys_bytes`](super::signed::keys_bytes).
    pub signature: Signature,
}

/// The lead asks for one-time keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// One key of each of these.
    pub of: Vec<Joined>,
}

/// The lead's whole epoch change in one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The epoch that it opens. The relay refuses a term that is not the sender's own reign.
    pub epoch: Epoch,
    /// Whom it adds: the relay keeps count of who is committed; members check against the commit itself.
    pub add: Vec<Joined>,
    /// Whom it removes: the relay closes those that are still connected.
    pub remove: Vec<Joined>,
    /// For every member.
    pub broadcast: Broadcast,
    /// For one member each.
    pub grants: Vec<(Joined, OlmMessage)>,
}

/// The part of a commit that goes to all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Broadcast {
    /// A Megolm message of the running session: the commit, which moves the ratchet by one.
    Ratchet(Blob),
    /// A signed body whose content is `session`: a new session and the commit, sealed under the key in each grant.
    Session(Signed),
}

/// A member holds an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The epoch.
    pub epoch: Epoch,
    /// HMAC-SHA-256 under that epoch's authenticator key over `joined (u64 BE)`.
    pub mac: AckMac,
}

/// An Olm message to one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Olm {
    /// For whom.
    pub to: Joined,
    /// The message.
    pub message: OlmMessage,
}
