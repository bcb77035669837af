//! A member that misbehaves: a device that is in the call by right, and says by hand what no session would.

use crate::plain::World;
use conclave_shared::{
    crypto::{group::OutboundGroup, pairwise::Pairwise, schedule, seal::seal_once, secret::Secret},
    id::{CallName, Curve25519Key, Epoch, Instance, JoinId, Joined, RequestNonce, Transcript},
    identity::device::Device,
    time::Timestamp,
    wire::{
        Blob, Broadcast, ClaimedKey, Commit, OlmMessage, ToClient, encode,
        sealed::{
            Added, Cause, CommitBody, Content, Grant, OlmContext, OlmEnd, OlmType, Regrant, SealedSession, SecretBlob,
            SessionBody, roster_hash,
        },
        signed::{Body, Signed, Speaker, body_bytes},
    },
};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Above every number that its session has used.
const NUMBERS_FROM: u64 = 1 << 32;
/// `type (1) ‖ context (32)` in front of an Olm payload.
const HEADER: usize = 33;

/// Somebody in the call as the insider knows them.
#[derive(Clone)]
pub struct Peer {
    pub added: Added,
    pub end: OlmEnd,
    pub curve25519: Curve25519Key,
}

pub struct Insider {
    pub index: usize,
    pub joined: Joined,
    pub call: CallName,
    pub instance: Instance,
    pub peers: BTreeMap<Joined, Peer>,
    pub device: Device,
    pub olm: Pairwise,
    n: u64,
}

impl Insider {
    /// A member that came by a grant; its session goes on and is heard until it is muted.
    pub fn of(world: &World, index: usize) -> Self {
        let member = &world.members[index];
        let joined = member.session.joined().expect("it has a seat");
        let stored = member.stored.as_ref().expect("it was stored when it joined");
        let mut device = Device::from_pickle(stored).expect("its own");
        let peers: BTreeMap<_, _> =
            member.session.members().iter().map(|info| (info.joined, peer(world, info.joined))).collect();
        let entry = world.wire.iter().find_map(|(to, message)| match message {
            ToClient::Commit(commit) if *to == index && commit.add.contains(&joined) => {
                Some((commit.from, commit.grant.clone()?))
            }
            _ => None,
        });
        let (lead, grant) = entry.expect("a lead let it in");
        let lead = world.claimed(lead).card.card().expect("a card").card.curve25519;
        let opened = Pairwise::default().decrypt(world.now, &mut device, (JoinId::new([0; 32]), &lead), &grant);
        let grant: Grant =
            serde_json::from_slice(&opened.expect("its own grant").plaintext[HEADER..]).expect("a grant");
        let (call, olm) = (world.call.clone(), Pairwise::default());
        Self { index, joined, call, instance: grant.instance, peers, device, olm, n: NUMBERS_FROM }
    }

    /// Its session says nothing more: it speaks for itself.
    pub fn take_over(&self, world: &mut World) {
        world.muted.insert(self.index);
    }

    pub fn end(&self) -> OlmEnd {
        self.peers[&self.joined].end
    }

    pub fn roster(&self) -> Vec<Added> {
        self.peers.values().map(|peer| peer.added).collect()
    }

    /// A body under its own name.
    pub fn body(&mut self, epoch: Epoch, to: Option<Joined>, content: impl Into<Content>) -> Signed {
        self.n += 1;
        self.numbered(self.n, epoch, to, &content.into())
    }

    pub fn numbered(&self, n: u64, epoch: Epoch, to: Option<Joined>, content: &Content) -> Signed {
        let content = RawValue::from_string(encode(content)).expect("JSON");
        let text = RawValue::from_string(encode(&Body { epoch, n, to, content })).expect("JSON");
        let end = self.end();
        let speaker =
            Speaker { call: self.call.clone(), instance: self.instance, ed25519: end.ed25519, join: end.join };
        Signed { signature: self.device.sign(&body_bytes(&speaker, text.get())), text }
    }

    /// Opens Olm sessions to these.
    pub fn open(&mut self, world: &mut World, to: &[Joined]) {
        for joined in to {
            let key = world.take_key(*joined).expect("it is there");
            let peer = &self.peers[joined];
            let ClaimedKey { batch, index, .. } = key;
            let one_time = index.map_or(batch.fallback_key, |index| batch.one_time_keys[usize::from(index)]);
            self.olm.open(&self.device, peer.end.join, &peer.curve25519, &one_time).expect("a usable key");
        }
    }

    pub fn olm(&mut self, to: Joined, epoch: Epoch, kind: OlmType, rest: &[u8]) -> OlmMessage {
        let peer = &self.peers[&to];
        let context = OlmContext { call: &self.call, instance: self.instance, from: self.end(), to: peer.end, epoch };
        let payload = [&[kind.as_byte()], context.hash(kind).as_slice(), rest].concat();
        self.olm.seal(peer.end.join, &payload).expect("a session")
    }

    /// The commit of an honest lead, but for what `twist` makes of it.
    pub fn commit(&mut self, plan: &Plan, twist: impl FnOnce(&mut CommitBody)) -> Made {
        let mut session = OutboundGroup::new().expect("a session");
        let mut roster = self.roster();
        roster.retain(|added| !plan.remove.contains(&added.joined));
        roster.extend(&plan.add);
        let mut commit = CommitBody {
            call: self.call.clone(),
            instance: self.instance,
            epoch: plan.epoch,
            prev: plan.prev,
            cause: plan.cause,
            lead: self.joined,
            policy: schedule::policy(),
            add: plan.add.clone(),
            remove: plan.remove.clone(),
            roster: roster_hash(&roster),
            session: session.id(),
            index: 0,
        };
        twist(&mut commit);
        let text = encode(&commit);
        let transcript = schedule::extend(&plan.prev, text.as_bytes());
        let export = session.export(0).expect("from the start");
        let commit = RawValue::from_string(text).expect("JSON");
        let plain = encode(&SessionBody { commit, session: SecretBlob::new(export.expose()) });
        let key = Secret::take(&mut [u8::try_from(self.n % 251).expect("a byte"); 32]).expect("32 bytes");
        let sealed = SealedSession { sealed: Blob(seal_once(&key, plain.as_bytes())) };
        let signed = self.body(plan.epoch, None, sealed);
        let rekey = [key.expose().as_slice(), &signed.text_hash()].concat();
        let to = roster.iter().map(|added| added.joined);
        let to: Vec<_> = to.filter(|to| *to != self.joined && self.peers.contains_key(to)).collect();
        let grants = to.into_iter().map(|to| (to, self.olm(to, plan.epoch, OlmType::Rekey, &rekey))).collect();
        let add = plan.add.iter().map(|added| added.joined).collect();
        let (epoch, remove, broadcast) = (plan.epoch, plan.remove.clone(), Broadcast::Session(signed));
        let commit = Commit { epoch, add, remove, lost: vec![], broadcast, grants };
        Made { commit, transcript, roster, session, key }
    }

    /// The answer to a key request, of this epoch, under this roster.
    pub fn regrant(&mut self, to: Joined, nonce: RequestNonce, made: &mut Made) -> OlmMessage {
        let export = made.session.export(0).expect("from the start");
        let grant = Grant {
            instance: self.instance,
            epoch: made.commit.epoch,
            transcript: made.transcript,
            roster: roster_hash(&made.roster),
            lead: self.joined,
            policy: schedule::policy(),
            cause: Cause::Request,
            session: SecretBlob::new(export.expose()),
        };
        let rest = encode(&Regrant { nonce, grant, members: made.roster.clone() });
        self.olm(to, made.commit.epoch, OlmType::Regrant, rest.as_bytes())
    }
}

/// What a commit shall do.
pub struct Plan {
    pub epoch: Epoch,
    pub prev: Transcript,
    pub cause: Cause,
    pub add: Vec<Added>,
    pub remove: Vec<Joined>,
}

/// A commit, and what the one who made it knows of it.
pub struct Made {
    pub commit: Commit,
    pub transcript: Transcript,
    pub roster: Vec<Added>,
    pub session: OutboundGroup,
    /// What opens its broadcast.
    pub key: Secret<32>,
}

impl Made {
    /// The hash by which grants name its broadcast.
    pub fn broadcast(&self) -> [u8; 32] {
        let Broadcast::Session(signed) = &self.commit.broadcast else { panic!("it has a new session") };
        signed.text_hash()
    }
}

/// What everybody knows of somebody.
pub fn peer(world: &World, joined: Joined) -> Peer {
    let claim = world.claimed(joined);
    let card = claim.card.card().expect("a card");
    let join = claim.proof.join_id(&world.call, card.hash);
    Peer {
        added: Added { seat: claim.seat, joined, role: claim.role, card: card.hash, join },
        end: OlmEnd { ed25519: card.card.ed25519, join },
        curve25519: card.card.curve25519,
    }
}

/// The time at which a device of nobody's begins.
pub const NOW: Timestamp = Timestamp::from_millis(1);
