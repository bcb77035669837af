//! What the relay says to a client.

use serde::{Deserialize, Serialize};

use super::{
    Broadcast, OlmMessage,
    code::Code,
    messages,
    signed::{JoinProof, KeyBatch, Signed},
};
use crate::id::{AckMac, CallName, Epoch, Joined, RelayInstance, RelayNonce, Role, Seat, Sequence, Signature, Term};

messages! {
    /// Everything the relay may send.
    ToClient {
        /// The relay's first message on a connection.
        "challenge" => Challenge(Challenge),
        /// The seat is given: the call as the relay sees it.
        "welcome" => Welcome(Welcome),
        /// The seat is taken again: the events that were missed follow.
        "resumed" => Resumed(Resumed),
        /// Event: somebody joined.
        "joined" => Joined(MemberJoined),
        /// Event: somebody is gone.
        "left" => Left(MemberLeft),
        /// Event: somebody cannot lead for now; the seat is theirs.
        "away" => Away(MemberAway),
        /// Event: somebody who was away is here.
        "back" => Back(MemberBack),
        /// Event: somebody is to lead.
        "lead" => Lead(Lead),
        /// Event: the lead moved the call to the next epoch.
        "commit" => Commit(Committed),
        /// Event: a member holds an epoch.
        "ack" => Ack(Acked),
        /// Event: an Olm message from one member.
        "olm" => Olm(OlmFrom),
        /// Event: a signed body.
        "body" => Body(BodyFrom),
        /// One-time keys for the lead.
        "claimed" => Claimed(Claimed),
        /// The answer to `ping`.
        "pong" => Pong(Pong),
        /// The client's pool of one-time keys runs low.
        "keys_low" => KeysLow(KeysLow),
        /// Something the client sent was refused.
        "error" => Error(Refusal),
        /// The relay is about to go.
        "closing" => Closing(Closing),
    }
}

/// Where an event stands: `[relay instance, number]`. Numbers of another instance mean nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct At(pub RelayInstance, pub Sequence);

/// The first message of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// The protocol versions that the relay speaks.
    pub versions: Vec<u16>,
    /// To be signed in the join proof.
    pub nonce: RelayNonce,
    /// This life of the relay.
    pub relay: RelayInstance,
}

/// The call as the relay sees it: claims, to be checked against what the lead commits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The newest event that this message already includes.
    pub at: At,
    /// The call.
    pub call: CallName,
    /// The client's own seat.
    pub seat: Seat,
    /// The client's own order number.
    pub joined: Joined,
    /// The reign and who holds it; absent until somebody leads.
    pub lead: Option<(Term, Joined)>,
    /// Everybody who is connected or committed, the client itself included, by order number.
    pub members: Vec<MemberClaim>,
    /// STUN and TURN servers from the relay's configuration, as `RTCIceServer` wants them.
    pub ice_servers: Vec<IceServer>,
}

/// One member as the relay sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberClaim {
    /// Seat.
    pub seat: Seat,
    /// Order number.
    pub joined: Joined,
    /// Role that the token gave.
    pub role: Role,
    /// The device card, signed.
    pub card: Signed,
    /// Proof that the device itself joined.
    pub proof: JoinProof,
    /// A lead's commit has added it and none has removed it.
    pub committed: bool,
    /// It has a connection, or one that dropped and may still come back.
    pub present: bool,
    /// It is away: see [`MemberAway`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub away: Option<AwayReason>,
}

/// A STUN or TURN server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    /// Addresses.
    pub urls: Vec<String>,
    /// TURN user name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub username: Option<String>,
    /// TURN password.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub credential: Option<String>,
}

/// Somebody joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberJoined {
    /// Where in the log.
    pub at: At,
    /// Who: not committed yet.
    pub member: MemberClaim,
}

/// Somebody is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberLeft {
    /// Where in the log.
    pub at: At,
    /// Who.
    pub joined: Joined,
    /// Why, as the relay says.
    pub reason: LeftReason,
}

/// Why somebody is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftReason {
    /// It said so itself, signed.
    Left,
    /// The socket closed, by whoever's doing.
    Closed,
    /// The same device joined again.
    Replaced,
    /// A commit removed it.
    Removed,
    /// It broke a rule and the relay closed it.
    Refused,
}

/// Somebody keeps their seat and cannot lead for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberAway {
    /// Where in the log.
    pub at: At,
    /// Who.
    pub joined: Joined,
    /// Why.
    pub reason: AwayReason,
}

/// Why somebody is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AwayReason {
    /// The socket dropped; the seat is kept for a while.
    Dropped,
    /// The socket is open and nothing comes from it.
    Silent,
    /// It was named as lead and does not hold the newest epoch.
    Declined,
}

/// Somebody is here again and may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberBack {
    /// Where in the log.
    pub at: At,
    /// Who.
    pub joined: Joined,
}

/// Somebody is to lead. Members accept it only if it follows from their own roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// Where in the log.
    pub at: At,
    /// The new reign: one above the last.
    pub term: Term,
    /// Who.
    pub joined: Joined,
    /// Nobody is committed: the named device starts a new instance of the call.
    pub genesis: bool,
}

/// The lead moved the call on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Where in the log.
    pub at: At,
    /// The lead that uploaded it.
    pub from: Joined,
    /// The epoch that it opens.
    pub epoch: Epoch,
    /// Whom it adds, as the lead told the relay.
    pub add: Vec<Joined>,
    /// Whom it removes, as the lead told the relay.
    pub remove: Vec<Joined>,
    /// Of those, the ones that may join afresh at once.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub lost: Vec<Joined>,
    /// For every member.
    pub broadcast: Broadcast,
    /// The receiver's own grant, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grant: Option<OlmMessage>,
}

/// A member holds an epoch. Goes to the lead alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acked {
    /// Where in the log.
    pub at: At,
    /// Who.
    pub from: Joined,
    /// The epoch.
    pub epoch: Epoch,
    /// See [`Ack`](super::Ack).
    pub mac: AckMac,
}

/// An Olm message. Goes to one member alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OlmFrom {
    /// Where in the log.
    pub at: At,
    /// Who sent it, as the relay says; what is inside says so again.
    pub from: Joined,
    /// The message.
    pub message: OlmMessage,
}

/// A signed body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyFrom {
    /// Where in the log.
    pub at: At,
    /// Who sent it, as the relay says; the signature says so again.
    pub from: Joined,
    /// The body, signed.
    pub signed: Signed,
}

/// One-time keys for the lead: pushed when somebody joins, or in answer to `claim`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// One key of each member asked for that has one.
    pub keys: Vec<ClaimedKey>,
}

/// One claimed key, with the whole signed batch that it stands in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimedKey {
    /// Whose.
    pub joined: Joined,
    /// The batch as it was signed.
    pub batch: KeyBatch,
    /// Which of the batch's one-time keys; absent for the fallback key.
    pub index: Option<u16>,
    /// Over the batch; absent when it is the batch that the join proof signs.
    pub signature: Option<Signature>,
}

/// The pool runs low: send `keys`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysLow {
    /// One-time keys left.
    pub left: u16,
}

/// The seat is taken again. Everything that happened since `after` follows, numbered as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// How many messages of this join the relay has taken in, the `join` or `restore` not counted: the client sends those
    /// after them again.
    pub received: u64,
    /// The newest event of now. What comes above it is not of the past: the member's own `back` above all.
    pub until: Sequence,
}

/// The relay is there, and has answered everything that was said before this ping, if it answers that at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// The number of the ping.
    pub n: u32,
}

/// Something was refused. When the code is one that closes, a close frame with its number follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What is wrong.
    pub code: Code,
    /// One sentence for a person, with particulars.
    pub message: String,
}

/// The relay is about to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// Milliseconds to wait before connecting again.
    pub retry_after: u64,
}
