//! How a connection becomes a member.

use conclave_shared::{
    id::{Ed25519Key, JoinId, Joined, Role, Seat},
    limits::VERSION,
    planted,
    time::Timestamp,
    wire::{
        At, Join, LeftReason, MemberClaim, MemberJoined, ToClient, Welcome,
        code::Code,
        signed::{JoinProof, KeyBatch, Signed},
    },
};
use std::collections::BTreeSet;

use super::{
    Call, ConnectionId, JoinRequest, Refused, Step,
    member::{Member, Presence},
    pool::KeyPool,
    resume::Resumes,
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
        if self.origin.is_settling() {
            // Its members come first; who is new comes again in a moment.
            step.close(connection, Code::LostSeat);
            return;
        }
        let newcomer =
            self.check(request).and_then(|newcomer| self.make_room(step, newcomer.ed25519).map(|()| newcomer));
        match newcomer {
            Ok(newcomer) => {
                self.replace(step, newcomer.ed25519);
                self.seat(step, connection, newcomer);
            }
            Err(Refused { code, message }) => step.close_because(connection, code, &message),
        }
    }

    fn check(&self, JoinRequest { admission, join, nonce }: JoinRequest) -> Result<Newcomer, Refused> {
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
        Ok(Newcomer { role: admission.role, card, ed25519: verified.card.ed25519, proof, join, keys })
    }

    /// A full call forgets who is gone or away and was never committed, the longest gone first, before it turns anybody
    /// away.
    fn make_room(&mut self, step: &mut Step, newcomer: Ed25519Key) -> Result<(), Refused> {
        while self.members.len() >= self.config.members {
            let uncommitted = self.members.values().filter(|member| !member.committed && member.ed25519 != newcomer);
            let oldest = |since: fn(&Member) -> Option<Timestamp>| {
                uncommitted.clone().filter_map(|member| Some((since(member)?, member.joined))).min()
            };
            let Some((_, joined)) = oldest(Member::forget_at).or_else(|| oldest(Member::grace_ends)) else {
                // A device that comes again takes no seat from anybody: the older join of it goes.
                let replaces = self.of_device(newcomer).is_some_and(|older| !older.committed);
                return if replaces { Ok(()) } else { Err(Refused::plain(Code::CallFull)) };
            };
            self.depart(step, joined, LeftReason::Closed);
            self.members.remove(&joined);
        }
        Ok(())
    }

    /// One seat per device: an older join of the same one goes first.
    fn replace(&mut self, step: &mut Step, device: Ed25519Key) {
        let Some(joined) = self.of_device(device).map(|older| older.joined) else {
            return;
        };
        let connection = self.end(step.now, joined, LeftReason::Replaced).flatten();
        self.tell_left(step, joined, LeftReason::Replaced);
        if let Some(connection) = connection {
            step.close(connection, Code::Replaced);
        }
        self.ensure_lead(step);
    }

    fn seat(&mut self, step: &mut Step, connection: ConnectionId, newcomer: Newcomer) {
        let Newcomer { role, card, ed25519, proof, join, keys } = newcomer;
        self.last_joined = Joined(self.last_joined.0.saturating_add(1));
        let (joined, seat) = (self.last_joined, self.free_seat());
        let at = self.next_at();
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
            received: 0,
            resumes: Resumes::default(),
            welcomed: at.1,
        };
        let claim = member.claim();
        self.members.insert(joined, member);
        self.connections.insert(connection, joined);
        self.welcome(step, connection, at, &claim);
        self.tell_all_but(step, joined, &MemberJoined { at, member: claim }.into());
        if self.reign.is_some() {
            self.push_key(step, joined);
        } else {
            self.ensure_lead(step);
        }
    }

    /// The call as it is, for somebody who is told of it for the first time.
    pub(super) fn welcome(&self, step: &mut Step, connection: ConnectionId, at: At, own: &MemberClaim) {
        let lead = self.reign.as_ref().map(|reign| (reign.term, reign.joined));
        let omits = |claim: &MemberClaim| {
            planted!(SkipRosterHash) && claim.committed && lead.is_none_or(|(_, lead)| lead != claim.joined)
        };
        let seen = |claim: MemberClaim| MemberClaim { committed: claim.committed && !omits(&claim), ..claim };
        let life = self.origin.life_of(own.joined);
        let known =
            |member: &&Member| !member.lingers() && life.as_ref().is_none_or(|life| life.contains(&member.joined));
        let welcome = Welcome {
            at,
            call: self.name.clone(),
            seat: own.seat,
            joined: own.joined,
            lead,
            members: self.members.values().filter(known).map(Member::claim).map(seen).collect(),
            ice_servers: self.config.ice_servers.clone(),
        };
        step.send(connection, &ToClient::Welcome(welcome));
    }

    /// The smallest seat that nobody holds, or may hold unbeknown to this relay.
    fn free_seat(&self) -> Seat {
        let holders = self.members.values().filter(|member| !planted!(SeatTwice) || member.connection().is_some());
        let held: BTreeSet<_> = holders.map(|member| member.seat).collect();
        let lowest = self.origin.lowest_new_seat(held.last().copied()).0;
        let mut seats = (lowest..=u16::MAX).chain(0..lowest).map(Seat);
        seats.find(|seat| !held.contains(seat)).unwrap_or(Seat(u16::MAX))
    }
}

/// One sentence that names both versions and what to do.
#[must_use]
pub(crate) fn version_sentence(theirs: u16) -> String {
    let what = if theirs < VERSION { "reload the page or update the client" } else { "the relay must be updated" };
    format!("The client speaks protocol version {theirs}, the relay speaks version {VERSION}: {what}.")
}
