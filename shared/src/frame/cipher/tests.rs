//! The frames of RFC 9605, through the crate's own frames and this backend, and both ciphers against each other.

use proptest::prelude::*;
use serde::Deserialize;
use sframe::frame::{EncryptedFrameView, MediaFrameView, SingleUseCounter};

use super::*;

type Ring = ring::Key;
type Portable = portable::Key;

#[derive(Deserialize)]
struct Rfc {
    frames: Vec<RfcFrame>,
}

#[derive(Deserialize)]
struct RfcFrame {
    suite: u16,
    kid: String,
    counter: String,
    base_key: String,
    sframe_key: String,
    sframe_salt: String,
    nonce: String,
    metadata: String,
    plain: String,
    sealed: String,
}

fn rfc(suite: CipherSuite) -> RfcFrame {
    let rfc: Rfc = serde_json::from_str(include_str!("../../../vectors/rfc9605.json")).expect("published");
    rfc.frames.into_iter().find(|frame| frame.suite == suite as u16).expect("published")
}

fn number(hex: &str) -> u64 {
    u64::from_str_radix(hex, 16).expect("hex")
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

fn goes_both_ways<K: FrameKey>() {
    let rfc = rfc(SUITE);
    let (kid, base_key, metadata) = (number(&rfc.kid), unhex(&rfc.base_key), unhex(&rfc.metadata));
    let (plain, published) = (unhex(&rfc.plain), unhex(&rfc.sealed));
    let mut counter = SingleUseCounter::new(number(&rfc.counter));
    let view = MediaFrameView::try_with_meta_data(&mut counter, &plain, &metadata).expect("a counter");
    let ours = view.encrypt(&EncryptionKey::<K>::derive_from(SUITE, kid, &base_key).expect("a key")).expect("sealed");
    assert_eq!(EncryptedFrameView::from(&ours).sframe_cipher_text(), published);

    let view = EncryptedFrameView::try_with_meta_data(&published, &metadata).expect("a header");
    let opening = DecryptionKey::<K>::derive_from(SUITE, kid, &base_key).expect("a key");
    assert_eq!(view.decrypt(&opening).expect("opened").payload(), plain);
}

#[test]
fn the_frame_of_rfc_9605_is_sealed_and_opened() {
    goes_both_ways::<Ring>();
    goes_both_ways::<Portable>();
}

/// Shows what it was made of.
struct Shown([u8; KEY_LENGTH]);

impl FrameKey for Shown {
    fn new(key: &[u8; KEY_LENGTH]) -> Option<Self> {
        Some(Self(*key))
    }

    fn seal(&self, _: [u8; NONCE], _: &[u8], _: &mut [u8]) -> Option<[u8; TAG]> {
        None
    }

    fn open(&self, _: [u8; NONCE], _: &[u8], _: &mut [u8]) -> Option<()> {
        None
    }
}

#[test]
fn key_salt_and_nonce_are_those_of_rfc_9605() {
    let rfc = rfc(SUITE);
    let kept = Derivation::<Shown>::expand_from(SUITE, unhex(&rfc.base_key), number(&rfc.kid)).expect("a key");
    assert_eq!((kept.key.0.to_vec(), kept.salt.to_vec()), (unhex(&rfc.sframe_key), unhex(&rfc.sframe_salt)));
    assert_eq!(kept.nonce(number(&rfc.counter)).to_vec(), unhex(&rfc.nonce));
}

#[test]
fn there_is_one_suite() {
    let refused = EncryptionKey::<Ring>::derive_from(CipherSuite::AesGcm256Sha512, 0_u64, [0; 32]);
    assert!(matches!(refused.err(), Some(SframeError::UnsupportedCipherSuite)));
}

#[test]
fn data_without_room_for_a_tag_does_not_open() {
    for length in 0..TAG {
        assert_eq!(Ring::new(&[1; KEY_LENGTH]).expect("a key").open([0; NONCE], &[], &mut vec![0; length]), None);
        assert_eq!(Portable::new(&[1; KEY_LENGTH]).expect("a key").open([0; NONCE], &[], &mut vec![0; length]), None);
    }
}

proptest! {
    #[test]
    fn both_ciphers_are_one(key: [u8; KEY_LENGTH], nonce: [u8; NONCE], aad: Vec<u8>, plain: Vec<u8>, place: usize) {
        let (ring, portable) = (Ring::new(&key).expect("a key"), Portable::new(&key).expect("a key"));
        let (mut by_ring, mut by_portable) = (plain.clone(), plain.clone());
        let tag = ring.seal(nonce, &aad, &mut by_ring);
        prop_assert_eq!(tag, portable.seal(nonce, &aad, &mut by_portable));
        by_ring.extend(tag.expect("sealed"));
        by_portable.extend(tag.expect("sealed"));
        prop_assert_eq!(&by_ring, &by_portable);

        let mut changed = [by_ring.clone(), by_ring.clone()];
        let place = place % by_ring.len();
        changed.iter_mut().for_each(|changed| changed[place] ^= 1);
        prop_assert_eq!(ring.open(nonce, &aad, &mut changed[0]), None);
        prop_assert_eq!(portable.open(nonce, &aad, &mut changed[1]), None);
        prop_assert_eq!((ring.open(nonce, &aad, &mut by_portable), portable.open(nonce, &aad, &mut by_ring)), (Some(()), Some(())));
        prop_assert_eq!((&by_ring[..plain.len()], &by_portable[..plain.len()]), (&plain[..], &plain[..]));
    }
}
