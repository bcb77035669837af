//! What a client says to the relay.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::{
    At, Blob, OlmMessage, messages,
    signed::{Held, JoinProof, KeyBatch, Signed},
};
use crate::id::{AckMac, CallName, Epoch, JoinId, JoinNonce, Joined, Signature, Term};

messages! {
    /// Everything a client may send.
    ToRelay {
        /// The first message of a connection: a seat is asked for.
        "join" => Join(Join),
        /// The first message of a connection: a seat that this relay still holds is taken again.
        "resume" => Resume(Resume),
        /// The first message of a connection: a seat is brought to a relay that has lost it.
        "restore" => Restore(Box<Restore>),
        /// More one-time keys for the pool.
        "keys" => Keys(Keys),
        /// The lead asks for one one-time key of each of these members.
        "claim" => Claim(Claim),
        /// The lead moves the call to the next epoch.
        "commit" => Commit(Arc<Commit>),
        /// A member holds an epoch: goes to the lead.
        "ack" => Ack(Ack),
        /// An Olm message to one member.
        "olm" => Olm(Olm),
        /// A signed body, to all or to the one that it names.
        "body" => Body(Signed),
        /// Answered with `pong`: proof that the connection is alive.
        "ping" => Ping(Ping),
        /// The lead has fallen silent, or does not commit a leave.
        "suspect" => Suspect(Suspect),
        /// The sender was named as lead and does not hold the newest epoch: another is to lead.
        "decline" => Decline(Decline),
    }
}

impl From<Commit> for ToRelay {
    fn from(commit: Commit) -> Self {
        Self::Commit(Arc::new(commit))
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
}

/// Takes a seat again that this relay still holds. Answers a `challenge` of the same relay instance; needs no token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The protocol version that the client speaks.
    pub version: u16,
    /// The call.
    pub call: CallName,
    /// The join that goes on.
    pub join: JoinId,
    /// The newest event that was taken in: everything after it is sent again.
    pub after: At,
    /// Over [`resume_bytes`](super::signed::resume_bytes), with nothing held.
    pub signature: Signature,
}

/// Brings a seat to a relay that was restarted and knows nothing of the call. Answers a `challenge` of another relay
/// instance than the one that the device knew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// The protocol version that the client speaks.
    pub version: u16,
    /// The call; must be the one that the token names.
    pub call: CallName,
    /// The access token.
    pub token: Token,
    /// The card that the device joined with.
    pub card: Signed,
    /// The whole proof that it joined with: the join id stays.
    pub proof: JoinProof,
    /// What it holds of the call.
    pub held: Held,
    /// New one-time keys: the pool went with the relay.
    pub keys: Keys,
    /// Over [`resume_bytes`](super::signed::resume_bytes): the device itself is here now.
    pub signature: Signature,
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
    /// Of those, the ones that were taken for gone or came too late: they may join afresh at once.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub lost: Vec<Joined>,
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

/// Asks for a sign of life of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// Comes back with the answer. Rises within a session.
    pub n: u32,
}

/// The sender holds the lead for gone, although its own connection is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspect {
    /// The reign that is meant.
    pub term: Term,
}

/// The sender cannot lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decline {
    /// The reign that it was named for.
    pub term: Term,
}
