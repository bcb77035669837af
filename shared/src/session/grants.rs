//! What a commit hands to each of those who cannot follow it by themselves.

use zeroize::Zeroizing;

use super::{call::Call, error::InternalError, lead::Upload};
use crate::{
    crypto::{group::Export, secret::Secret},
    id::{Epoch, Joined, RosterHash, Transcript},
    wire::{
        OlmMessage, encode,
        sealed::{CommitBody, Grant, OlmContext, OlmType, SecretBlob, ready_aad},
    },
};

/// What opens the broadcast of a new session.
pub(super) struct Rekey {
    pub(super) key: Secret<32>,
    /// SHA-256 of the text of that broadcast.
    pub(super) broadcast: [u8; 32],
}

impl Call {
    /// One small Olm message for each member that cannot follow the broadcast by itself: the ready one if there is one.
    pub(super) fn grants(&mut self, upload: &Upload) -> Result<Vec<(Joined, OlmMessage)>, InternalError> {
        let Upload { commit, tip, rekey, welcome, .. } = upload;
        let (instance, me) = (commit.instance, self.me.joined);
        let aad = rekey.as_ref().map(|rekey| ready_aad(tip.epoch, &rekey.broadcast));
        let rest = rekey.as_ref().map(|Rekey { key, broadcast }| [key.expose().as_slice(), broadcast].concat());
        let rest = rest.map(Zeroizing::new);
        let mut grants = Vec::with_capacity(if rekey.is_some() { tip.roster.len() } else { commit.add.len() });
        for entry in tip.roster.iter().filter(|entry| entry.added.joined != me) {
            let joined = entry.added.joined;
            let new = commit.add.iter().any(|added| added.joined == joined);
            let message = match (rekey, &aad, &rest) {
                _ if new => self.seal_olm(entry.end(), (instance, tip.epoch), OlmType::Welcome, welcome.as_bytes()),
                (Some(rekey), Some(aad), Some(rest)) => match self.olm.seal_ready(entry.added.join, aad, &rekey.key) {
                    Some(message) => Ok(message),
                    None => self.seal_olm(entry.end(), (instance, tip.epoch), OlmType::Rekey, rest),
                },
                _ => continue,
            };
            grants.push((joined, message.map_err(|_| InternalError::Crypto)?));
        }
        Ok(grants)
    }

    /// Makes some of the grants that the next leave needs, and its session, while no epoch is on its way.
    pub(super) fn prepare(&mut self) {
        let Some(reign) = self.reign.as_mut().filter(|reign| reign.is_idle()) else { return };
        reign.prepare();
        let Self { name, me, olm, .. } = self;
        let (epoch, instance, from) = (Epoch::first(reign.term), reign.instance, me.end);
        olm.prepare_some(|join| {
            let to = reign.tip.roster.iter().find(|entry| entry.added.join == join)?.end();
            Some(OlmContext { call: name, instance, from, to, epoch }.header(OlmType::Ready))
        });
    }
}

/// What a joiner is given: the session from the epoch's index on, and what the epoch is bound to.
pub(super) fn welcome(
    commit: &CommitBody,
    (transcript, roster): (Transcript, RosterHash),
    export: &Export,
) -> Zeroizing<String> {
    Zeroizing::new(encode(&Grant {
        instance: commit.instance,
        epoch: commit.epoch,
        transcript,
        roster,
        lead: commit.lead,
        policy: commit.policy,
        cause: commit.cause,
        session: SecretBlob::new(export.expose()),
    }))
}
