//! How a connection becomes a member.

use conclave_shared::{
    id::{Ed25519Key, JoinId, Joined, Role, Seat},
    limits::VERSION,
    wire::{
        Join, LeftReason, MemberJoined, ToClient, Welcome,
        code::Code,
        signed::{JoinProof, KeyBatch, Signed},
    },
};
use std::collections::BTreeSet;

use super::{
    Call, ConnectionId, JoinRequest, Refused, Step,
    member::{Member, Presence},
    pool::KeyPool,
};

/// A join whose every signature verified.
struct Newcomer {
    role: Role,
    card: Signed,
    ed25519: Ed25519Key,
    proof: JoinProof,
    join: JoinId,
    keys: KeyBatch,
}

impl Call {
    pub(super) fn join(&mut self, step: &mut Step, connection: ConnectionId, request: JoinRequest) {
        if self.connections.contains_key(&connection) {
            step.error(connection, Code::AlreadyJoined, Code::AlreadyJoined.sentence());
            return;
        }
        match self.check(request) {
            Ok(newcomer) => {
                self.replace(step, newcomer.ed25519);
                self.seat(step, connection, newcomer);
            }
            Err(Refused { code, message }) => self.refuse_join(step, connection, code, &message),
        }
    }

    fn check(&mut self, JoinRequest { admission, join, nonce }: JoinRequest) -> Result<Newcomer, Refused> {
        let Join { version, call, token: _, card, proof, keys } = join;
        if version != VERSION {
            return Err(Refused { code: Code::Version, message: version_sentence(version) });
        }
        if call != self.name || admission.call != self.name {
            return Err(Refused::plain(Code::WrongCall));
        }
        let verified = card.card().map_err(|error| Refused::because(Code::BadCard, &error))?;
        if verified.card.user != admission.user {
            return Err(Refused::plain(Code::UserMismatch));
        }
        let hash = keys.hash().map_err(|error| Refused::because(Code::BadKeys, &error))?;
        let proof = JoinProof { relay_nonce: nonce, nonce: proof.nonce, keys: hash, signature: proof.signature };
        let join = proof.verify(&self.name, &verified).map_err(|error| Refused::because(Code::BadProof, &error))?;
        self.make_room(verified.card.ed25519)?;
        Ok(Newcomer { role: admission.role, card, ed25519: verified.card.ed25519, proof, join, keys })
    }

    /// A full call forgets who is gone and was never committed, the longest gone first, before it turns anybody away.
    fn make_room(&mut self, newcomer: Ed25519Key) -> Result<(), Refused> {
        while self.members.len() >= self.config.members {
            let gone = self.members.values().filter_map(|member| Some((member.forget_at()?, member.joined)));
            let Some((_, joined)) = gone.min() else {
                // A device that comes again takes no seat from anybody: the older join of it goes.
                let replaces = self.here(newcomer).is_some_and(|older| !older.committed);
                return if replaces { Ok(()) } else { Err(Refused::plain(Code::CallFull)) };
            };
            self.members.remove(&joined);
        }
        Ok(())
    }

    fn here(&self, device: Ed25519Key) -> Option<&Member> {
        self.members.values().find(|member| member.is_present() && member.ed25519 == device)
    }

    /// One seat per device: an older join of the same one goes first.
    fn replace(&mut self, step: &mut Step, device: Ed25519Key) {
        let Some(connection) = self.here(device).and_then(Member::connection) else {
            return;
        };
        if let Some(joined) = self.disconnect(step.now, connection, LeftReason::Replaced) {
            self.tell_left(step, joined, LeftReason::Replaced);
            step.close(connection, Code::Replaced);
            self.ensure_lead(step);
        }
    }

    fn seat(&mut self, step: &mut Step, connection: ConnectionId, newcomer: Newcomer) {
        let Newcomer { role, card, ed25519, proof, join, keys } = newcomer;
        self.last_joined = Joined(self.last_joined.0.saturating_add(1));
        let (joined, seat) = (self.last_joined, self.free_seat());
        let member = Member {
            joined,
            seat,
            role,
            card,
            ed25519,
            proof,
            join,
            pool: KeyPool::new(keys),
            committed: false,
            presence: Presence::Here(connection),
        };
        let claim = member.claim();
        self.members.insert(joined, member);
        self.connections.insert(connection, joined);

        let at = self.next_at();
        let lead = self.reign.as_ref().map(|reign| (reign.term, reign.joined));
        step.send(
            connection,
            &ToClient::Welcome(Welcome {
                at,
                call: self.name.clone(),
                seat,
                joined,
                lead,
                members: self.members.values().filter(|member| !member.lingers()).map(Member::claim).collect(),
                ice_servers: self.config.ice_servers.clone(),
            }),
        );
        self.tell_all_but(step, joined, &MemberJoined { at, member: claim }.into());
        if self.reign.is_some() {
            self.push_key(step, joined);
        } else {
            self.ensure_lead(step);
        }
    }

    /// The smallest seat that nobody holds.
    fn free_seat(&self) -> Seat {
        let held: BTreeSet<_> = self.members.values().map(|member| member.seat).collect();
        let first_gap = (0..=u16::MAX).map(Seat).find(|seat| !held.contains(seat));
        first_gap.unwrap_or(Seat(u16::MAX))
    }

    /// A connection that never was a member: nothing to tell the others.
    fn refuse_join(&mut self, step: &mut Step, connection: ConnectionId, code: Code, message: &str) {
        step.error(connection, code, message);
        step.out.push(super::CallOutput::Close { connection, code });
    }
}

impl Step {
    /// Says why, then closes.
    pub(super) fn close(&mut self, connection: ConnectionId, code: Code) {
        self.error(connection, code, code.sentence());
        self.out.push(super::CallOutput::Close { connection, code });
    }
}

/// One sentence that names both versions and what to do.
#[must_use]
pub(crate) fn version_sentence(theirs: u16) -> String {
    let what = if theirs < VERSION { "reload the page or update the client" } else { "the relay must be updated" };
    format!("The client speaks protocol version {theirs}, the relay speaks version {VERSION}: {what}.")
}
