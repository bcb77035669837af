//! Olm and Megolm messages that a relay or a member made up.

use conclave_shared::{
    crypto::{
        group::{INDEX_LIMIT, OutboundGroup},
        pairwise::Pairwise,
    },
    id::JoinId,
    identity::device::Device,
    time::Timestamp,
    wire::{Blob, OlmMessage},
};

const LEAD: JoinId = JoinId::new([1; 32]);
const MEMBER: JoinId = JoinId::new([2; 32]);
const PAYLOAD: &[u8] = b"a grant";

/// The first byte says which kind of message and whether the rest is one of its own or changes a real one.
pub(crate) fn olm(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let (Ok(lead), Ok(mut member)) = (Device::generate(), Device::generate()) else { return };
    let keys = member.new_keys();
    let Some(one_time) = keys.one_time_keys.first() else { return };
    let (mut leads, mut members) = (Pairwise::default(), Pairwise::default());
    leads.open(&lead, MEMBER, &member.curve25519(), one_time).expect("a usable key");
    let real = leads.seal(MEMBER, PAYLOAD).expect("a session");
    let message = match first % 4 {
        kind @ (0 | 1) => OlmMessage(kind, Blob(rest.to_vec())),
        kind => OlmMessage(kind % 2, Blob(changed(&real.1.0, rest))),
    };
    let identity = lead.curve25519();
    let mut open = |message| members.decrypt(Timestamp::ZERO, &mut member, (LEAD, &identity), message);
    if let Ok(opened) = open(&message) {
        assert_eq!(opened.plaintext.as_slice(), PAYLOAD, "only what the lead sealed opens");
        assert_eq!(message.0, 0);
    } else {
        let opened = open(&real).map(|opened| opened.plaintext.to_vec());
        assert_eq!(opened.as_deref(), Ok(PAYLOAD), "junk uses nothing up");
    }
}

/// A Megolm message, made up or changed.
pub(crate) fn group(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let mut lead = OutboundGroup::new().expect("a session");
    let mut member = lead.inbound(0).expect("its first index");
    let real = lead.encrypt(PAYLOAD);
    let message = if first % 2 == 0 { rest.to_vec() } else { changed(&real.0, rest) };
    match member.decrypt(0, &message) {
        Ok(plaintext) => assert_eq!(plaintext.as_slice(), PAYLOAD, "only what the lead sealed opens"),
        Err(_) => assert_eq!(member.decrypt(0, &real.0).as_deref().map(Vec::as_slice), Ok(PAYLOAD)),
    }
    assert!(member.index() < INDEX_LIMIT);
}

/// The real bytes with some changed: pairs of a place and what is added there; a single byte cuts the end off.
pub(crate) fn changed(real: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut bytes = real.to_vec();
    let (pairs, rest) = changes.as_chunks::<2>();
    for [place, change] in pairs {
        let length = bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(usize::from(*place) % length) {
            *byte ^= change;
        }
    }
    let cut = rest.first().map_or(0, |cut| usize::from(*cut));
    bytes.truncate(real.len().saturating_sub(cut));
    bytes
}
