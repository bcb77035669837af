//! How a member takes its seat again after its socket dropped.

use conclave_shared::{
    id::{Ed25519Key, JoinId, Joined, RelayNonce},
    limits::VERSION,
    planted,
    time::Timestamp,
    wire::{
        KeysLow, LeftReason, Resume, Resumed, ToClient,
        code::Code,
        encode,
        signed::{resume_bytes, verify},
    },
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Call, CallOutput, ConnectionId, GRACE, Refused, ResumeRequest, Step,
    join::version_sentence,
    member::{Member, Presence},
    pool,
};

/// How often a member may take its seat again within [`RESUMES_WITHIN`]. Everybody is told each time that it is away and
/// back: a member that does nothing else would fill the log that others come back by. Honest clients wait longer each time.
pub const RESUMES: u32 = 10;
/// See [`RESUMES`].
pub const RESUMES_WITHIN: Duration = Duration::from_secs(10);

/// How often a member has taken its seat again of late.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Resumes {
    since: Timestamp,
    count: u32,
}

impl Resumes {
    /// Counts one; false when it is one too many.
    fn add(&mut self, now: Timestamp) -> bool {
        if now.since(self.since) >= RESUMES_WITHIN {
            *self = Self { since: now, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= RESUMES
    }
}

/// Those whom a lead sent away while their sockets were gone: when they come back they are told so, and not that they may
/// join afresh.
#[derive(Debug, Default)]
pub(super) struct Expelled(BTreeMap<JoinId, (Ed25519Key, Timestamp)>);

impl Expelled {
    /// `most` at once: as many as a call has members.
    pub(super) fn add(&mut self, member: &Member, now: Timestamp, most: usize) {
        if self.0.len() < most {
            self.0.insert(member.join, (member.ed25519, now + GRACE));
        }
    }

    pub(super) fn expire(&mut self, now: Timestamp) {
        self.0.retain(|_, (_, until)| *until > now);
    }

    fn key(&self, join: &JoinId) -> Option<Ed25519Key> {
        self.0.get(join).map(|(key, _)| *key)
    }
}

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
        let proven = |key: &Ed25519Key| {
            let bytes = resume_bytes(&self.name, nonce, &resume.join, None);
            verify(key, &bytes, &resume.signature).map_err(|_| lost())
        };
        if let Some(expelled) = self.expelled.key(&resume.join) {
            proven(&expelled)?;
            return Err(Refused::plain(Code::Removed));
        }
        let member = self.members.values().find(|member| member.is_present() && member.join == resume.join);
        let member = member.ok_or_else(lost)?;
        proven(&member.ed25519)?;
        Ok(member.joined)
    }

    /// The device itself is here again. A connection of it that still stands is one that it has given up.
    fn take_again(&mut self, step: &mut Step, connection: ConnectionId, joined: Joined, resume: &Resume) {
        self.give_up_connection(step, joined);
        let may = self.members.get_mut(&joined).is_some_and(|member| member.resumes.add(step.now));
        let Some(missed) = self.missed(joined, resume).filter(|_| may) else {
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
        let resumed: Arc<str> = encode(&ToClient::from(Resumed { received, until: self.last_sequence })).into();
        let again = missed.last().filter(|_| planted!(ReplayTwice)).cloned();
        let missed = missed.into_iter().skip(usize::from(planted!(ForgetOnReplay)));
        let texts = std::iter::once(resumed).chain(missed).chain(again).collect();
        step.out.push(CallOutput::Replay { to: connection, texts });
        if left <= pool::LOW {
            step.send(connection, &KeysLow { left: u16::try_from(left).unwrap_or(u16::MAX) }.into());
        }
        self.tell_back(step, joined);
        self.ensure_lead(step);
    }

    /// The socket that a member had before this one, if the relay has not noticed its end.
    pub(super) fn give_up_connection(&mut self, step: &mut Step, joined: Joined) {
        if let Some(old) = self.members.get(&joined).and_then(Member::connection) {
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
