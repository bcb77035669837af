//! What only members read: the content of signed bodies, commits, and what is inside an Olm message.
//!
//! An Olm plaintext is bytes, not JSON, so that the many small ones of a leave stay small:
//!
//! ```text
//! type (u8) ‖ context (32) ‖ rest
//! context = SHA-256("conclave/1 olm" ‖ type ‖ SHA-256(call) ‖ instance (16) ‖ sender Ed25519 (32) ‖ sender's join id (32)
//!                   ‖ recipient Ed25519 (32) ‖ recipient's join id (32) ‖ term (u32 BE) ‖ count (u32 BE))
//!
//! type 1  rekey    rest = key (32) ‖ SHA-256(text of the broadcast body) (32)
//! type 2  welcome  rest = JSON of `Grant`
//! type 3  present  rest = empty: a joiner's first acknowledgement
//! type 4  regrant  rest = JSON of `Regrant`
//! type 5  turn     rest = empty: turns the ratchet
//! type 6  ready    rest = key (32), under which another is sealed later ([`OlmMessage::ready`](super::OlmMessage::ready)); count = 0
//! ```

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{Blob, WireError, decode_value, label, messages, signed::sha256};
use crate::id::{
    CallName, CardHash, Ed25519Key, Epoch, GroupId, Instance, JoinId, Joined, PolicyHash, RequestNonce, Role,
    RosterHash, Seat, Transcript, encode_base64,
};

messages! {
    /// What a signed body says.
    Content {
        /// A new Megolm session and the commit that opens its first epoch, sealed under the key of each grant.
        "session" => Session(SealedSession),
        /// The lead: senders switch to the epoch that the body names.
        "activate" => Activate(Activate),
        /// The sender leaves the call.
        "leave" => Leave(Leave),
        /// The sender asks the lead for a new session.
        "rotate" => Rotate(Rotate),
        /// The lead is there, and this is what it holds.
        "beat" => Beat(Beat),
        /// The sender is there, and this is what it holds.
        "alive" => Alive(Alive),
        /// The sender asks the lead for the newest epoch.
        "key_request" => KeyRequest(KeyRequest),
        /// An application message, sealed under the sender's message key of the epoch that the body names.
        "message" => Message(SealedMessage),
    }
}

impl Content {
    /// Reads the content of a body.
    ///
    /// # Errors
    /// [`WireError::Unknown`] for content of a newer minor revision: to be ignored. [`WireError::Malformed`] or
    /// [`WireError::Envelope`] for anything that is no content.
    pub fn parse(content: &RawValue) -> Result<Self, WireError> {
        super::decode(content.get(), usize::MAX)
    }
}

/// A [`SessionBody`] under the key of each grant: AES-256-GCM, nonce zero, no additional data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSession {
    /// Ciphertext and tag.
    pub sealed: Blob,
}

/// An application message: AES-256-GCM, nonce `0 (4) ‖ n (u64 BE)`, additional data [`message_aad`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedMessage {
    /// Ciphertext and tag.
    pub sealed: Blob,
}

/// Senders switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activate {}

/// The sender leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {}

/// The sender asks for a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotate {}

/// The lead is there. The body's epoch is the newest that the lead has installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The transcript after the commit of that epoch: differs on the two sides of a fork.
    pub transcript: Transcript,
    /// Milliseconds since the term began, by the lead's own clock.
    pub at: u64,
    /// `at` of the newest beat that some member has echoed, 0 before the first: a lead that nobody hears, or that hears nobody,
    /// renews no lease.
    pub heard: u64,
}

/// The sender is there. The body's epoch is the newest that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alive {
    /// The transcript after the commit of that epoch.
    pub transcript: Transcript,
    /// `at` of the newest beat that it heard: no relay can make this up.
    pub beat: u64,
}

/// The sender lacks the newest epoch, or has not heard of its lead for too long: it asks for a full grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRequest {
    /// Drawn for this request; the grant holds it again.
    pub nonce: RequestNonce,
    /// The Olm session does not open any more: a new one is to be made from a fresh one-time key.
    pub fresh: bool,
}

/// Why an epoch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The first lead is alone.
    Start,
    /// Somebody came: the ratchet moved one step.
    Join,
    /// Somebody left: a new session.
    Leave,
    /// The lead removed somebody: a new session.
    Remove,
    /// Somebody else leads: a new session.
    LeadChange,
    /// The session was old: a new one.
    Timer,
    /// Somebody asked: a new session.
    Request,
}

impl Cause {
    /// A join moves the running session; everything else opens a new one.
    #[must_use]
    pub fn ratchets(self) -> bool {
        matches!(self, Self::Join) || (planted!(RatchetOnLeave) && self == Self::Leave)
    }
}

/// One member as a commit adds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Added {
    /// Seat.
    pub seat: Seat,
    /// Order number.
    pub joined: Joined,
    /// Role, fixed from here on.
    pub role: Role,
    /// Hash of the card.
    pub card: CardHash,
    /// The join that the card came with: the same for all members, whichever proof a relay shows them.
    pub join: JoinId,
}

/// Bytes of one member in a roster's hash.
const ROSTER_ENTRY: usize = 2 + 8 + 1 + 32 + 32;

/// `SHA-256("conclave/1 roster" ‖ for each member by joined: seat (u16 BE) ‖ joined (u64 BE) ‖ role (u8) ‖ card hash (32) ‖ join id (32))`
///
/// The members come in ascending order of `joined`.
#[must_use]
pub fn roster_hash<'a>(members: impl IntoIterator<Item = &'a Added>) -> RosterHash {
    let members = members.into_iter();
    let mut bytes = Vec::with_capacity(label::ROSTER.len() + members.size_hint().0 * ROSTER_ENTRY);
    bytes.extend_from_slice(label::ROSTER);
    for added in members {
        bytes.extend_from_slice(&added.seat.0.to_be_bytes());
        bytes.extend_from_slice(&added.joined.0.to_be_bytes());
        bytes.push(added.role.as_byte());
        bytes.extend_from_slice(added.card.as_bytes());
        bytes.extend_from_slice(added.join.as_bytes());
    }
    RosterHash::new(sha256(&[&bytes]))
}

/// The lead's word on the next epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitBody {
    /// The call.
    pub call: CallName,
    /// Its life.
    pub instance: Instance,
    /// The epoch that this opens.
    pub epoch: Epoch,
    /// The transcript before it.
    pub prev: Transcript,
    /// Why.
    pub cause: Cause,
    /// The lead.
    pub lead: Joined,
    /// The policy in force.
    pub policy: PolicyHash,
    /// Who comes, in order of `joined`.
    pub add: Vec<Added>,
    /// Who goes, in order.
    pub remove: Vec<Joined>,
    /// The roster after it.
    pub roster: RosterHash,
    /// The Megolm session.
    pub session: GroupId,
    /// The index of the ratchet that is the epoch's secret.
    pub index: u32,
}

/// Secret bytes inside a text that is about to be sealed or was just opened: wiped on drop, unprintable.
pub struct SecretBlob(Zeroizing<Vec<u8>>);

impl SecretBlob {
    /// Copies secret bytes.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(Zeroizing::new(secret.to_vec()))
    }

    /// The bytes, to be taken out.
    pub fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Serialize for SecretBlob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(encode_base64(&self.0)))
    }
}

impl<'de> Deserialize<'de> for SecretBlob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Blob::deserialize(deserializer).map(|blob| Self(Zeroizing::new(blob.0)))
    }
}

/// What the sealed part of a `session` body holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionBody {
    /// The exact text of the commit.
    pub commit: Box<RawValue>,
    /// The Megolm session in exported form: 165 bytes.
    pub session: SecretBlob,
}

/// What a joiner is given: an epoch, without anything that lies before it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The life of the call.
    pub instance: Instance,
    /// The epoch.
    pub epoch: Epoch,
    /// The transcript after the commit that opened it.
    pub transcript: Transcript,
    /// The roster of it.
    pub roster: RosterHash,
    /// Who leads.
    pub lead: Joined,
    /// The policy in force.
    pub policy: PolicyHash,
    /// Why the epoch began.
    pub cause: Cause,
    /// The Megolm session exported at the epoch's index: 165 bytes.
    pub session: SecretBlob,
}

/// What a member is given that asked for the newest epoch.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regrant {
    /// The request that this answers.
    pub nonce: RequestNonce,
    /// The newest epoch that the lead has installed.
    pub grant: Grant,
    /// Its roster in order of `joined`; empty where it is too long for a message: then the asker rebuilds it from what
    /// the relay told of each commit.
    pub members: Vec<Added>,
}

impl Grant {
    /// Reads a grant.
    ///
    /// # Errors
    /// [`WireError::Malformed`].
    pub fn parse(json: &RawValue) -> Result<Self, WireError> {
        decode_value("grant", json)
    }
}

/// The kinds of Olm payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OlmType {
    /// The key of a broadcast session.
    Rekey,
    /// Everything a joiner needs.
    Welcome,
    /// A joiner's first acknowledgement.
    Present,
    /// The newest epoch, for a member that asked.
    Regrant,
    /// Turns the ratchet of the session, so that it heals.
    Turn,
    /// A key made ahead, under which the key of a broadcast session is sealed when there is one.
    Ready,
}

impl OlmType {
    /// The number in front of the payload.
    #[must_use]
    pub const fn as_byte(self) -> u8 {
        match self {
            Self::Rekey => 1,
            Self::Welcome => 2,
            Self::Present => 3,
            Self::Regrant => 4,
            Self::Turn => 5,
            Self::Ready => 6,
        }
    }
}

/// One end of an Olm message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OlmEnd {
    /// The device.
    pub ed25519: Ed25519Key,
    /// Its join.
    pub join: JoinId,
}

/// Everything that an Olm payload is bound to.
#[derive(Clone, Copy, Debug)]
pub struct OlmContext<'a> {
    /// The call.
    pub call: &'a CallName,
    /// Its life.
    pub instance: Instance,
    /// Who wrote it.
    pub from: OlmEnd,
    /// For whom.
    pub to: OlmEnd,
    /// The epoch that it is about; the first of its term for what is made before its epoch is known.
    pub epoch: Epoch,
}

/// `type (1) ‖ context (32)` in front of every Olm payload.
pub const OLM_HEADER: usize = 33;

impl OlmContext<'_> {
    /// What stands in front of the payload.
    #[must_use]
    pub fn header(&self, kind: OlmType) -> [u8; OLM_HEADER] {
        let mut header = [kind.as_byte(); OLM_HEADER];
        header.iter_mut().skip(1).zip(self.hash(kind)).for_each(|(to, from)| *to = from);
        header
    }

    /// All of it as 32 bytes.
    #[must_use]
    pub fn hash(&self, kind: OlmType) -> [u8; 32] {
        sha256(&[
            label::OLM,
            &[kind.as_byte()],
            &sha256(&[self.call.as_str().as_bytes()]),
            self.instance.as_bytes(),
            self.from.ed25519.as_bytes(),
            self.from.join.as_bytes(),
            self.to.ed25519.as_bytes(),
            self.to.join.as_bytes(),
            &self.epoch.to_bytes(),
        ])
    }
}

/// Additional data of a key sealed for a ready grant: `label ‖ term ‖ count ‖ SHA-256(text of the broadcast body) (32)`.
#[must_use]
pub fn ready_aad(epoch: Epoch, broadcast: &[u8; 32]) -> Vec<u8> {
    [label::READY, &epoch.to_bytes(), broadcast].concat()
}

/// Additional data of a sealed application message: `label ‖ term ‖ count ‖ n (u64 BE)`, then `0x00` for all or
/// `0x01 ‖ joined (u64 BE)` for one.
#[must_use]
pub fn message_aad(epoch: Epoch, n: u64, to: Option<Joined>) -> Vec<u8> {
    let mut aad = [label::SEALED, &epoch.to_bytes(), &n.to_be_bytes(), &[u8::from(to.is_some())]].concat();
    aad.extend(to.iter().flat_map(|to| to.0.to_be_bytes()));
    aad
}
