//! Media frames of every codec against a receiver that holds real keys, and the rules of the codecs alone.

use conclave_shared::{
    crypto::{schedule::MediaSecret, secret::Secret},
    frame::{
        Frames,
        clear_bytes::{Codec, Cut, FrameError, Unwrapped},
        kid::Header,
        opener::Opened,
    },
    id::{Ed25519Key, Epoch, Seat, Term},
    session::output::KeyUpdate,
    time::Timestamp,
};
use std::{collections::BTreeMap, sync::Arc};

use crate::olm::changed;

const ALICE: (Seat, Ed25519Key) = (Seat(3), Ed25519Key::new([1; 32]));
const BOB: (Seat, Ed25519Key) = (Seat(300), Ed25519Key::new([2; 32]));
const NOW: Timestamp = Timestamp::from_millis(1000);

/// The first byte chooses the codec and whether the rest is a frame or changes a real one.
pub(crate) fn frame(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let codec = codec(first >> 1);
    let (mut alice, mut bob) = (holder(ALICE.1), holder(BOB.1));
    let _ = Header::read(rest);
    if let Ok(sealed) = alice.seal(codec, rest) {
        assert_ne!(sealed, rest, "nothing goes out as it came in");
        match bob.open(NOW, ALICE.0, codec, &sealed, 0) {
            // But for its start codes, which have become long: so the clear bytes are the same.
            Opened::Frame(opened) => assert_eq!(codec.cut(&opened), codec.cut(rest), "what was sealed opens"),
            other => panic!("what was sealed opens: {other:?}"),
        }
        let again = bob.open(NOW, ALICE.0, codec, &sealed, 1);
        assert!(matches!(again, Opened::Dropped(_)), "and only once: {again:?}");
    }
    let plain = PLAIN[usize::from(first >> 1) % PLAIN.len()];
    let real = alice.seal(codec, plain).expect("a frame of the codec");
    let junk = if first % 2 == 0 { rest.to_vec() } else { changed(&real, rest) };
    for (ticket, from) in [(2, ALICE.0), (3, BOB.0), (4, Seat(9))] {
        match bob.open(NOW, from, codec, &junk, ticket) {
            Opened::Frame(frame) => {
                assert_eq!(frame, plain);
                // What depacketizers may do to a frame is all that can be done to it.
                assert_eq!(codec.unwrap(&junk), codec.unwrap(&real));
            }
            Opened::Held | Opened::Dropped(_) => {}
        }
    }
    let later = NOW + conclave_shared::limits::HELD_FRAME_TIME + conclave_shared::limits::HELD_FRAME_TIME;
    for (_, released) in bob.release(later) {
        assert!(released.is_err(), "no key came for it");
    }
    assert_eq!(bob.next_timeout(), None, "nothing waits for ever");
}

/// The first byte chooses the codec; the rest is a plain frame, a sealed one, and an SFrame ciphertext in one.
pub(crate) fn codec_rules(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let codec = codec(*first);
    let _ = codec.is_key_frame(rest);
    if let Ok(Unwrapped { clear, sframe }) = codec.unwrap(rest) {
        let wrapped = codec.wrap([&clear[..], &sframe].concat(), clear.len());
        if !wrapped.is_empty() {
            assert_eq!(codec.unwrap(&wrapped), Ok(Unwrapped { clear, sframe }));
        }
    }
    for sframe in [rest, &rest[rest.len() / 2..], &[]] {
        let Ok(Cut { clear, secret }) = codec.cut(rest) else { break };
        assert!(rest.ends_with(secret));
        let wrapped = codec.wrap([&clear[..], sframe].concat(), clear.len());
        assert!(wrapped.starts_with(&clear));
        if codec == Codec::H264 {
            let behind = &wrapped[clear.len().saturating_sub(2)..];
            let start_code = behind.windows(3).any(|three| three[..2] == [0, 0] && three[2] < 3);
            assert!(!start_code, "a start code within what is sealed: {wrapped:02x?}");
            assert_eq!(wrapped.last(), Some(&0x80));
        }
        match codec.unwrap(&wrapped) {
            Ok(unwrapped) => assert_eq!(unwrapped, Unwrapped { clear, sframe: sframe.into() }),
            Err(error) => assert_eq!((error, wrapped.len()), (FrameError::Empty, 0)),
        }
    }
}

fn codec(byte: u8) -> Codec {
    Codec::ALL[usize::from(byte) % Codec::ALL.len()]
}

/// A plain frame of each codec, in their order.
const PLAIN: [&[u8]; Codec::ALL.len()] = [
    &[0x10, 0, 0, 0x9d, 1, 0x2a, 16, 0, 16, 0, 1, 2, 3, 4],
    &[0x82, 0x49, 0x83, 0x42, 1, 2],
    &[0x12, 0, 0x0a, 1, 7, 0x32, 3, 1, 2, 3],
    &[0, 0, 0, 1, 0x67, 0x42, 0xc0, 0, 0, 0, 1, 0x65, 0xb8, 1, 2, 0, 0, 1, 0x65, 0xb8, 3],
    &[0x78, 1, 2],
];

fn holder(own: Ed25519Key) -> Frames {
    let epoch = Epoch(Term(0), 0);
    let media = MediaSecret::new(Secret::take(&mut [7; 32]).expect("32 bytes"));
    let senders: Arc<BTreeMap<_, _>> = Arc::new([ALICE, BOB].into());
    let mut frames = Frames::new(own);
    frames.apply(KeyUpdate::Install { epoch, media, senders });
    frames.apply(KeyUpdate::Activate(epoch));
    frames
}
