//! Eve: a device of the relay's own making.

use crate::plain::World;
use conclave_shared::{
    crypto::{
        group::{Export, InboundGroup},
        pairwise::Pairwise,
        schedule::{self, EpochSecret},
        seal::open_once,
        secret::Secret,
    },
    id::{CallName, Curve25519Key, Fingerprint, JoinId, Joined, RelayInstance, RelayNonce, Role, Seat, UserName},
    identity::device::Device,
    session::{Profile, Session, config::Config, input::Input, output::Output},
    time::Timestamp,
    wire::{
        Broadcast, Challenge, Committed, Join, MemberClaim, ToClient, ToRelay, Token,
        sealed::{CommitBody, Content, SessionBody},
        signed::{Body, JoinProof},
    },
};

pub const NONCE: RelayNonce = RelayNonce::new([0xee; 32]);
pub const RELAY: RelayInstance = RelayInstance::new([9; 16]);
pub const NOW: Timestamp = Timestamp::from_millis(1);

/// A device of the relay's own making: no token, no seat, nobody ever committed it.
pub fn outsider() -> (Device, Join) {
    let name = |text: &str| UserName::new(text).unwrap();
    let profile =
        Profile { call: CallName::new("demo").unwrap(), user: name("Eve"), name: name("d"), token: Token("".into()) };
    let mut session = Session::new(Device::generate().unwrap(), profile, Config::default());
    let out = session.handle(NOW, Input::Received(Challenge { versions: vec![1], nonce: NONCE, relay: RELAY }.into()));
    let (mut device, mut join) = (None, None);
    for o in out {
        match o {
            Output::Persist(pickle) => device = Some(Device::from_pickle(&pickle).unwrap()),
            Output::Send(ToRelay::Join(j)) => join = Some(j),
            _ => {}
        }
    }
    (device.unwrap(), join.unwrap())
}

pub fn claim_of(join: &Join, seat: u16, joined: u64) -> MemberClaim {
    let proof = JoinProof {
        relay_nonce: NONCE,
        nonce: join.proof.nonce,
        keys: join.keys.hash().unwrap(),
        signature: join.proof.signature,
    };
    MemberClaim {
        seat: Seat(seat),
        joined: Joined(joined),
        role: Role::Member,
        card: join.card.clone(),
        proof,
        committed: false,
        present: true,
        away: None,
    }
}

/// What the outsider makes of a commit and the grant that was meant for somebody else.
pub fn steal(device: &mut Device, lead_key: Curve25519Key, commit: &Committed) -> Option<Fingerprint> {
    let Broadcast::Session(signed) = &commit.broadcast else { return None };
    let grant = commit.grant.as_ref()?;
    let opened = Pairwise::default().decrypt(NOW, device, (JoinId::new([0; 32]), &lead_key), grant).ok()?;
    let mut key = opened.plaintext.get(33..65)?.to_vec();
    let key = Secret::<32>::take(&mut key)?;
    let body = Body::parse(signed).ok()?;
    let Ok(Content::Session(content)) = Content::parse(&body.content) else { return None };
    let plain = open_once(&key, &content.sealed.0).ok()?;
    let SessionBody { commit, mut session } = serde_json::from_slice(&plain).ok()?;
    let parsed: CommitBody = serde_json::from_str(commit.get()).ok()?;
    let mut group = InboundGroup::import(&Export::take(session.expose_mut())?).ok()?;
    let ratchet = group.ratchet(parsed.index).ok()?;
    let transcript = schedule::extend(&parsed.prev, commit.get().as_bytes());
    Some(EpochSecret::new(&ratchet, &transcript).media().fingerprint())
}

pub fn curve_of(world: &World, joined: u64) -> Curve25519Key {
    world
        .wire
        .iter()
        .find_map(|(_, m)| match m {
            ToClient::Welcome(w) => {
                w.members.iter().find(|m| m.joined == Joined(joined)).map(|m| m.card.card().unwrap().card.curve25519)
            }
            _ => None,
        })
        .unwrap()
}
