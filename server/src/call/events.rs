//! Telling people: numbered events, logged for those who come back, and words that are no events.

use conclave_shared::{
    id::{Joined, Sequence},
    time::Timestamp,
    wire::{At, LeftReason, MemberLeft, OlmMessage, Refusal, ToClient, code::Code, encode},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Call, CallOutput, ConnectionId,
    log::{Audience, with_grant},
    member::Member,
};

/// What one input leads to, and when it came.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) now: Timestamp,
    pub(super) out: Vec<CallOutput>,
}

impl Call {
    pub(super) fn tell_left(&mut self, step: &mut Step, joined: Joined, reason: LeftReason) {
        let at = self.next_at();
        self.tell_of(step, joined, &MemberLeft { at, joined, reason }.into());
    }

    pub(super) fn next_at(&mut self) -> At {
        self.last_sequence = Sequence(self.last_sequence.0.saturating_add(1));
        At(self.config.relay, self.last_sequence)
    }

    /// An event for one member.
    pub(super) fn tell(&mut self, step: &mut Step, to: Joined, event: &ToClient) {
        let text: Arc<str> = encode(event).into();
        if let Some(to) = self.members.get(&to).and_then(Member::connection) {
            step.out.push(CallOutput::Send { to, text: Arc::clone(&text) });
        }
        self.log.push(step.now, self.last_sequence, Audience::One(to), text);
    }

    /// An event for everybody who is connected, encoded once.
    pub(super) fn tell_all(&mut self, step: &mut Step, event: &ToClient) {
        let text: Arc<str> = encode(event).into();
        let to: Vec<_> = self.connections.keys().copied().collect();
        step.broadcast(to, &text);
        self.log.push(step.now, self.last_sequence, Audience::All, text);
    }

    /// An event about a member, for everybody of its life of the call.
    pub(super) fn tell_of(&mut self, step: &mut Step, joined: Joined, event: &ToClient) {
        match self.origin.life_of(joined) {
            Some(life) => self.tell_among(step, life, event),
            None => self.tell_all(step, event),
        }
    }

    fn tell_among(&mut self, step: &mut Step, these: BTreeSet<Joined>, event: &ToClient) {
        let text: Arc<str> = encode(event).into();
        let among = self.connections.iter().filter(|(_, joined)| these.contains(joined));
        let to = among.map(|(connection, _)| *connection).collect();
        step.broadcast(to, &text);
        self.log.push(step.now, self.last_sequence, Audience::Among(these), text);
    }

    /// An event for everybody but the member that it comes from.
    pub(super) fn tell_all_but(&mut self, step: &mut Step, from: Joined, event: &ToClient) {
        if let Some(mut life) = self.origin.life_of(from) {
            life.remove(&from);
            return self.tell_among(step, life, event);
        }
        let text: Arc<str> = encode(event).into();
        let others = self.connections.iter().filter(|(_, joined)| **joined != from);
        let to: Vec<_> = others.map(|(connection, _)| *connection).collect();
        step.broadcast(to, &text);
        self.log.push(step.now, self.last_sequence, Audience::AllBut(from), text);
    }

    /// A commit for everybody, encoded once, and for those who have a grant with that.
    pub(super) fn tell_each(&mut self, step: &mut Step, common: &str, grants: &[(Joined, OlmMessage)]) {
        let common: Arc<str> = common.into();
        let known = grants.iter().filter(|(joined, _)| self.members.contains_key(joined));
        let own: BTreeMap<Joined, Box<str>> =
            known.map(|(joined, grant)| (*joined, encode(grant).into_boxed_str())).collect();
        let mut rest: Vec<ConnectionId> = Vec::new();
        for (connection, joined) in &self.connections {
            match own.get(joined) {
                Some(grant) => {
                    step.out.push(CallOutput::Send { to: *connection, text: with_grant(&common, grant).into() });
                }
                None => rest.push(*connection),
            }
        }
        step.broadcast(rest, &common);
        self.log.push(step.now, self.last_sequence, Audience::Each(own), common);
    }
}

impl Step {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self { now, out: Vec::new() }
    }

    /// A message that is no event: it has no number and is never replayed.
    pub(super) fn send(&mut self, to: ConnectionId, message: &ToClient) {
        self.out.push(CallOutput::Send { to, text: encode(message).into() });
    }

    pub(super) fn error(&mut self, to: ConnectionId, code: Code, message: &str) {
        self.send(to, &Refusal { code, message: message.to_owned() }.into());
    }

    /// Says why, then closes.
    pub(super) fn close(&mut self, connection: ConnectionId, code: Code) {
        self.close_because(connection, code, code.sentence());
    }

    /// Says why with particulars, then closes.
    pub(super) fn close_because(&mut self, connection: ConnectionId, code: Code, message: &str) {
        self.error(connection, code, message);
        self.out.push(CallOutput::Close { connection, code });
    }

    pub(super) fn broadcast(&mut self, to: Vec<ConnectionId>, text: &Arc<str>) {
        if !to.is_empty() {
            self.out.push(CallOutput::Broadcast { to, text: Arc::clone(text) });
        }
    }
}
