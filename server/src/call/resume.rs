//! How a member takes its seat again after its socket dropped.

use conclave_shared::{
    id::{Joined, RelayNonce},
    limits::VERSION,
    wire::{
        KeysLow, LeftReason, Resume, Resumed, ToClient,
        code::Code,
        encode,
        signed::{resume_bytes, verify},
    },
};
use std::sync::Arc;

use super::{
    Call, CallOutput, ConnectionId, Refused, ResumeRequest, Step, join::version_sentence, member::Presence, pool,
};

impl Call {
    /// Whoever cannot prove that a seat is theirs learns nothing of the call, not even whether there is one.
    pub(super) fn resume(&mut self, step: &mut Step, connection: ConnectionId, request: ResumeRequest) {
        if self.connections.contains_key(&connection) {
            step.error(connection, Code::AlreadyJoined, Code::AlreadyJoined.sentence());
            return;
        }
        let ResumeRequest { resume, nonce } = request;
        match self.check_resume(&resume, &nonce) {
            Ok(joined) => self.take_again(step, connection, joined, &resume),
            Err(Refused { code, message }) => step.close_because(connection, code, &message),
        }
    }

    fn check_resume(&self, resume: &Resume, nonce: &RelayNonce) -> Result<Joined, Refused> {
        if resume.version != VERSION {
            return Err(Refused { code: Code::Version, message: version_sentence(resume.version) });
        }
        let lost = || Refused::plain(Code::LostSeat);
        if resume.call != self.name || resume.after.0 != self.config.relay {
            return Err(lost());
        }
        let member = self.members.values().find(|member| member.is_present() && member.join == resume.join);
        let member = member.ok_or_else(lost)?;
        let bytes = resume_bytes(&self.name, nonce, &member.join, None);
        verify(&member.ed25519, &bytes, &resume.signature).map_err(|_| lost())?;
        Ok(member.joined)
    }

    /// The device itself is here again. A connection of it that still stands is one that it has given up.
    fn take_again(&mut self, step: &mut Step, connection: ConnectionId, joined: Joined, resume: &Resume) {
        self.give_up_connection(step, joined);
        let Some(missed) = self.missed(joined, resume) else {
            step.close(connection, Code::LostSeat);
            self.depart(step, joined, LeftReason::Closed);
            return;
        };
        let Some(member) = self.members.get_mut(&joined) else {
            return;
        };
        member.presence = Presence::Here(connection);
        let (received, left) = (member.received, member.pool.left());
        self.connections.insert(connection, joined);
        let resumed: Arc<str> = encode(&ToClient::from(Resumed { received })).into();
        let texts = std::iter::once(resumed).chain(missed).collect();
        step.out.push(CallOutput::Replay { to: connection, texts });
        if left <= pool::LOW {
            step.send(connection, &KeysLow { left: u16::try_from(left).unwrap_or(u16::MAX) }.into());
        }
        self.tell_back(step, joined);
        self.ensure_lead(step);
    }

    /// The socket that a member had before this one, if the relay has not noticed its end.
    pub(super) fn give_up_connection(&mut self, step: &mut Step, joined: Joined) {
        if let Some(old) = self.members.get(&joined).and_then(super::Member::connection) {
            step.close(old, Code::Replaced);
            self.lose(step, old);
        }
    }

    /// Every event since, as it would have gone out; `None` when some are forgotten, or never were.
    fn missed(&self, joined: Joined, resume: &Resume) -> Option<Vec<Arc<str>>> {
        let after = resume.after.1;
        let welcomed = self.members.get(&joined)?.welcomed;
        if after < welcomed || after > self.last_sequence { None } else { self.log.after(after, joined) }
    }
}
