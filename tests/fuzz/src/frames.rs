//! Media frames against a receiver that holds real keys.

use conclave_shared::{
    crypto::{schedule::MediaSecret, secret::Secret},
    frame::{Frames, clear_bytes::Codec, kid::Header, opener::Opened},
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
    let codec = if first & 2 == 0 { Codec::Opus } else { Codec::Vp8 };
    let (mut alice, mut bob) = (holder(ALICE.1), holder(BOB.1));
    let _ = codec.split(rest);
    let _ = Header::read(rest);
    if let Ok(sealed) = alice.seal(codec, rest) {
        assert_ne!(sealed, rest, "nothing goes out as it came in");
        let opened = bob.open(NOW, ALICE.0, codec, &sealed, 0);
        assert_eq!(opened, Opened::Frame(rest.to_vec()), "what was sealed opens");
        let again = bob.open(NOW, ALICE.0, codec, &sealed, 1);
        assert!(matches!(again, Opened::Dropped(_)), "and only once: {again:?}");
    }
    let plain = [0x10, 0, 0, 0x9d, 1, 0x2a, 16, 0, 16, 0, 1, 2, 3, 4];
    let real = alice.seal(codec, &plain).unwrap_or_default();
    let junk = if first % 2 == 0 { rest.to_vec() } else { changed(&real, rest) };
    for (ticket, from) in [(2, ALICE.0), (3, BOB.0), (4, Seat(9))] {
        match bob.open(NOW, from, codec, &junk, ticket) {
            Opened::Frame(frame) => assert_eq!((junk.as_slice(), frame.as_slice()), (real.as_slice(), &plain[..])),
            Opened::Held | Opened::Dropped(_) => {}
        }
    }
    let later = NOW + conclave_shared::limits::HELD_FRAME_TIME + conclave_shared::limits::HELD_FRAME_TIME;
    for (_, released) in bob.release(later) {
        assert!(released.is_err(), "no key came for it");
    }
    assert_eq!(bob.next_timeout(), None, "nothing waits for ever");
}

fn holder(own: Ed25519Key) -> Frames {
    let epoch = Epoch(Term(0), 0);
    let media = MediaSecret::new(Secret::take(&mut [7; 32]).expect("32 bytes"));
    let senders: Arc<BTreeMap<_, _>> = Arc::new([ALICE, BOB].into());
    let mut frames = Frames::new(own);
    frames.apply(KeyUpdate::Install { epoch, media, senders });
    frames.apply(KeyUpdate::Activate(epoch));
    frames
}
