//! The Megolm group session: its ratchet is where every epoch's secret comes from.
//!
//! Exported form of a session, 165 bytes (Megolm specification, "Session export format"):
//!
//! ```text
//! 0x01 | index (u32 BE) | ratchet R0..R3 (128) | Ed25519 public key (32)
//! 0      1                5                      133              165
//! ```

use thiserror::Error;
use vodozemac::megolm::{ExportedSessionKey, GroupSession, InboundGroupSession, MegolmMessage, SessionConfig};
use zeroize::Zeroizing;

use super::{schedule::Ratchet, secret::Secret};
use crate::{id::GroupId, wire::Blob};

/// Bytes of an exported session.
pub const EXPORT_LENGTH: usize = 165;

/// Highest index that is accepted: an epoch a second for six months. Keeps what a hostile index can cost small.
pub const INDEX_LIMIT: u32 = 1 << 24;

/// A Megolm session in exported form.
pub type Export = Secret<EXPORT_LENGTH>;

/// Why a Megolm session or message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GroupError {
    /// Not the exported form of a session.
    #[error("not an exported Megolm session")]
    Export,
    /// Not a Megolm message, or its signature or MAC does not verify.
    #[error("the Megolm message does not open")]
    Message,
    /// Another index than the one that follows, or one that this device cannot or must not reach.
    #[error("another Megolm index")]
    Index,
}

/// Our own session, which encrypts commits and nothing else.
pub struct OutboundGroup {
    session: GroupSession,
    ratchet: InboundGroup,
}

impl OutboundGroup {
    /// A new session at index zero.
    ///
    /// # Errors
    /// [`GroupError::Export`] if the library cannot read back its own session.
    pub fn new() -> Result<Self, GroupError> {
        let session = GroupSession::new(SessionConfig::version_2());
        let inbound = InboundGroupSession::new(&session.session_key(), SessionConfig::version_2());
        Ok(Self { session, ratchet: InboundGroup::wrap(inbound)? })
    }

    /// The session's public id.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.ratchet.id
    }

    /// The index that the next message has.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.session.message_index()
    }

    /// Encrypts a commit: the ratchet moves one step.
    #[must_use]
    pub fn encrypt(&mut self, commit: &[u8]) -> Blob {
        Blob(self.session.encrypt(commit).to_bytes())
    }

    /// The session as one who joins at this index may have it.
    ///
    /// # Errors
    /// [`GroupError::Index`] when the index is over the limit or already forgotten.
    pub fn export(&mut self, index: u32) -> Result<Export, GroupError> {
        self.ratchet.export(index)
    }

    /// Forgets everything below an index.
    pub fn forget_before(&mut self, index: u32) {
        self.ratchet.forget_before(index);
    }

    /// What peers would hold, for our own installing of epochs.
    ///
    /// # Errors
    /// [`GroupError`].
    pub fn inbound(&mut self, index: u32) -> Result<InboundGroup, GroupError> {
        InboundGroup::import(&self.export(index)?)
    }
}

/// A session as its holders have it.
pub struct InboundGroup {
    session: InboundGroupSession,
    id: GroupId,
}

impl InboundGroup {
    /// Reads the exported form.
    ///
    /// # Errors
    /// [`GroupError::Export`]; [`GroupError::Index`] when it starts above [`INDEX_LIMIT`].
    pub fn import(export: &Export) -> Result<Self, GroupError> {
        let key = ExportedSessionKey::from_bytes(export.expose()).map_err(|_| GroupError::Export)?;
        let group = Self::wrap(InboundGroupSession::import(&key, SessionConfig::version_2()))?;
        if group.index() >= INDEX_LIMIT { Err(GroupError::Index) } else { Ok(group) }
    }

    /// The session's public id.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// The lowest index that this device still knows.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.session.first_known_index()
    }

    /// The ratchet at an index: what an epoch's secret comes from.
    ///
    /// # Errors
    /// [`GroupError::Index`].
    pub fn ratchet(&mut self, index: u32) -> Result<Ratchet, GroupError> {
        let mut export = self.export(index)?;
        let ratchet = export.expose_mut().get_mut(5..133).and_then(Ratchet::take);
        ratchet.ok_or(GroupError::Export)
    }

    /// Opens the message at exactly this index.
    ///
    /// # Errors
    /// [`GroupError::Index`] before anything is decrypted, [`GroupError::Message`] when it does not open.
    pub fn decrypt(&mut self, index: u32, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, GroupError> {
        let message = MegolmMessage::from_bytes(message).map_err(|_| GroupError::Message)?;
        if message.message_index() != index || index >= INDEX_LIMIT {
            return Err(GroupError::Index);
        }
        let decrypted = self.session.decrypt(&message).map_err(|_| GroupError::Message)?;
        Ok(Zeroizing::new(decrypted.plaintext))
    }

    /// Forgets everything below an index.
    pub fn forget_before(&mut self, index: u32) {
        self.session.advance_to(index);
    }

    /// The session from an index on.
    ///
    /// # Errors
    /// [`GroupError::Index`] when the index is over the limit or already forgotten.
    pub fn export(&mut self, index: u32) -> Result<Export, GroupError> {
        if index >= INDEX_LIMIT {
            return Err(GroupError::Index);
        }
        let exported = self.session.export_at(index).ok_or(GroupError::Index)?;
        Export::take(&mut exported.to_bytes()).ok_or(GroupError::Export)
    }

    fn wrap(session: InboundGroupSession) -> Result<Self, GroupError> {
        let bytes = Zeroizing::new(session.export_at_first_known_index().to_bytes());
        let id = bytes.get(133..).and_then(|key| GroupId::from_slice(key).ok()).ok_or(GroupError::Export)?;
        Ok(Self { session, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_moves_the_ratchet_and_a_joiner_cannot_go_back() {
        let mut lead = OutboundGroup::new().expect("a session");
        let mut member = lead.inbound(0).expect("the first index");
        let message = lead.encrypt(b"commit");
        assert_eq!(member.decrypt(1, &message.0), Err(GroupError::Index));
        assert_eq!(member.decrypt(0, &message.0).expect("opens").as_slice(), b"commit");
        let mut joiner = lead.inbound(1).expect("the next index");
        assert_eq!(joiner.ratchet(0), Err(GroupError::Index));
        assert_eq!(joiner.ratchet(1), member.ratchet(1));
        assert_ne!(member.ratchet(0), member.ratchet(1));
        member.forget_before(1);
        assert_eq!(member.ratchet(0), Err(GroupError::Index));
        assert_eq!(joiner.decrypt(0, &message.0).map(|_| ()), Err(GroupError::Message));
    }

    #[test]
    fn an_index_over_the_limit_costs_nothing() {
        let mut group = OutboundGroup::new().expect("a session");
        assert_eq!(group.export(u32::MAX), Err(GroupError::Index));
        let mut bytes = *group.export(0).expect("the first index").expose();
        bytes[1] = 0xff;
        let hostile = Export::take(&mut bytes).expect("165 bytes");
        assert_eq!(InboundGroup::import(&hostile).map(|_| ()), Err(GroupError::Index));
    }

    #[test]
    fn a_session_of_version_1_is_refused() {
        let mut lead = GroupSession::new(SessionConfig::version_1());
        let key = lead.session_key();
        let inbound = InboundGroupSession::new(&key, SessionConfig::version_2());
        let mut member = InboundGroup::wrap(inbound).expect("a session");
        let message = lead.encrypt(b"commit").to_bytes();
        assert_eq!(member.decrypt(0, &message).map(|_| ()), Err(GroupError::Message));
    }
}
