//! One sender and one receiver, and everything that can go wrong between them.

use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

use super::{
    clear_bytes::{Codec, FrameError},
    kid::{Header, HeaderError},
    opener::{OpenError, Opened},
    *,
};
use crate::{
    crypto::{schedule::MediaSecret, secret::Secret},
    id::{Ed25519Key, Epoch, Term},
    limits,
};

const ALICE: Seat = Seat(3);
const BOB: Seat = Seat(300);
const ALICE_KEY: Ed25519Key = Ed25519Key::new([1; 32]);
const BOB_KEY: Ed25519Key = Ed25519Key::new([2; 32]);
const NOW: Timestamp = Timestamp::from_millis(1000);
const VP8_KEY: &[u8] = &[0x10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];
const VP8_DELTA: &[u8] = &[0x11, 1, 2, 3, 4, 5];
const AV1_KEY: &[u8] = &[0x12, 0, 0x0a, 1, 7, 0x32, 3, 1, 2, 3];
const AV1_DELTA: &[u8] = &[0x12, 0, 0x32, 3, 1, 2, 3];
const H264_KEY: &[u8] =
    &[0, 0, 0, 1, 0x67, 0x42, 0xc0, 0, 0, 0, 1, 0x68, 0xce, 0, 0, 0, 1, 0x65, 0xb8, 1, 2, 0, 0, 1, 0x65, 0xb8, 3];
const H264_DELTA: &[u8] = &[0, 0, 0, 1, 0x41, 0x9a, 1, 2, 3];
/// A frame of each kind, and how much of what is sealed is not ciphertext: bytes in front and bytes behind.
const FRAMES: &[(Codec, &[u8], usize, usize)] = &[
    (Codec::Vp8, VP8_KEY, 10, 0),
    (Codec::Vp8, VP8_DELTA, 3, 0),
    (Codec::Vp9, &[0x82, 1, 2], 0, 0),
    (Codec::Vp9, &[0x86, 1, 2], 0, 0),
    (Codec::Av1, AV1_KEY, 1, 0),
    (Codec::Av1, AV1_DELTA, 1, 0),
    (Codec::H264, H264_KEY, 19, 1),
    (Codec::H264, H264_DELTA, 6, 1),
    (Codec::Opus, VP8_DELTA, 0, 0),
    (Codec::Opus, &[9], 0, 0),
];

fn epoch(count: u32) -> Epoch {
    Epoch(Term(0), count)
}

fn media(secret: u8) -> MediaSecret {
    MediaSecret::new(Secret::take(&mut [secret; 32]).expect("32 bytes"))
}

fn senders(seats: &[(Seat, u8)]) -> Arc<BTreeMap<Seat, Ed25519Key>> {
    Arc::new(seats.iter().map(|(seat, key)| (*seat, Ed25519Key::new([*key; 32]))).collect())
}

fn install(epoch: Epoch, secret: u8) -> KeyUpdate {
    KeyUpdate::Install { epoch, media: media(secret), senders: senders(&[(ALICE, 1), (BOB, 2)]) }
}

/// Holds epoch 0.0 and seals under it.
fn ready(own: Ed25519Key) -> Frames {
    let mut frames = Frames::new(own);
    frames.apply(install(epoch(0), 7));
    frames.apply(KeyUpdate::Activate(epoch(0)));
    frames
}

fn new_alice() -> Frames {
    ready(ALICE_KEY)
}

fn new_bob() -> Frames {
    ready(BOB_KEY)
}

/// Alice seals.
fn seal(alice: &mut Frames, frame: &[u8]) -> Vec<u8> {
    alice.seal(Codec::Opus, frame).expect("a key")
}

/// Bob opens what comes through Alice's receiver.
fn open(bob: &mut Frames, frame: &[u8]) -> Opened {
    bob.open(NOW, ALICE, Codec::Opus, frame, 0)
}

#[test]
fn each_codec_goes_round_and_keeps_its_clear_bytes() {
    let (mut alice, mut bob) = (new_alice(), new_bob());
    for &(codec, frame, before, behind) in FRAMES {
        let sealed = alice.seal(codec, frame).expect("a key");
        let kept = if codec == Codec::Av1 { 0 } else { before };
        let header = Header::read(&sealed[before..]).expect("a header");
        assert_eq!(sealed[..kept], frame[..kept], "{codec:?}");
        assert_eq!(sealed.len(), before + header.length + frame.len() - kept + 16 + behind, "{codec:?}");
        assert_eq!(bob.open(NOW, ALICE, codec, &sealed, 0), Opened::Frame(frame.to_vec()), "{codec:?}");
    }
    assert_eq!(bob.stats(ALICE).opened, FRAMES.len() as u64);
    assert_eq!(alice.seal_stats(), SealStats { sealed: FRAMES.len() as u64, refused: 0 });
}

#[test]
fn what_depacketizers_change_opens_all_the_same() {
    let (mut alice, mut bob) = (new_alice(), new_bob());
    let mut open = |codec, sealed: &[u8]| bob.open(NOW, ALICE, codec, sealed, 0);

    // A temporal delimiter in front, and the size behind the header byte.
    for (frame, header) in [(AV1_KEY, 0x0a), (AV1_DELTA, 0x32)] {
        let sealed = alice.seal(Codec::Av1, frame).expect("a key");
        let size = u8::try_from(sealed.len() - 1).expect("short");
        let arrived = [&[0x12, 0, header, size], &sealed[1..]].concat();
        assert_eq!(open(Codec::Av1, &arrived), Opened::Frame(frame.to_vec()));
    }
    // Long start codes, whatever the encoder wrote.
    let short = [&[0, 0, 1, 0x67, 0x42, 0, 0, 1, 0x65, 0xb8, 1, 2, 0, 0, 1, 0x65][..], &[0xb8, 3]].concat();
    let long = [&[0, 0, 0, 1, 0x67, 0x42, 0, 0, 0, 1, 0x65, 0xb8, 1, 2, 0, 0, 1, 0x65][..], &[0xb8, 3]].concat();
    let sealed = alice.seal(Codec::H264, &short).expect("a key");
    assert_eq!(open(Codec::H264, &sealed), Opened::Frame(long));
    let sealed = alice.seal(Codec::H264, H264_DELTA).expect("a key");
    assert_eq!(open(Codec::H264, &sealed[1..]), Opened::Frame(H264_DELTA.to_vec()));
}

#[test]
fn a_start_code_never_comes_of_sealing() {
    let (mut alice, mut bob) = (new_alice(), new_bob());
    let mut escaped = 0;
    // Long enough that some ciphertexts have three small bytes in a row.
    let frame = [H264_DELTA, &[7; 60_000]].concat();
    for _ in 0..400 {
        let sealed = alice.seal(Codec::H264, &frame).expect("a key");
        assert!(!sealed[4..].windows(3).any(|three| three[..2] == [0, 0] && three[2] < 3));
        escaped += usize::from(sealed[6..].windows(3).any(|three| three == [0, 0, 3]));
        assert_eq!(bob.open(NOW, ALICE, Codec::H264, &sealed, 0), Opened::Frame(frame.clone()));
    }
    assert!(escaped > 0, "none of them had to be escaped");
}

#[test]
fn a_frame_of_one_codec_is_none_of_another() {
    let (mut alice, mut bob) = (new_alice(), new_bob());
    for &(codec, frame, ..) in FRAMES {
        let sealed = alice.seal(codec, frame).expect("a key");
        for other in Codec::ALL.into_iter().filter(|other| *other != codec) {
            // VP9 and Opus have the same rule, and nothing tells them apart before the decoder.
            if ![codec, other].iter().all(|codec| [Codec::Vp9, Codec::Opus].contains(codec)) {
                let opened = bob.open(NOW, ALICE, other, &sealed, 0);
                assert!(!matches!(opened, Opened::Frame(_)), "{codec:?} as {other:?}");
            }
        }
    }
}

#[test]
fn without_a_key_nothing_is_sealed() {
    let mut alice = Frames::new(ALICE_KEY);
    let sealed = |alice: &mut Frames| alice.seal(Codec::Opus, b"frame");
    assert_eq!(sealed(&mut alice), Err(SealError::NoKey));
    alice.apply(install(epoch(0), 7));
    assert_eq!(sealed(&mut alice), Err(SealError::NoKey), "held is not yet active");
    alice.apply(KeyUpdate::Activate(epoch(1)));
    assert_eq!(sealed(&mut alice), Err(SealError::NoKey), "active and not held");
    assert_eq!(alice.seal_stats(), SealStats { sealed: 0, refused: 3 });

    let mut alice = new_alice();
    alice.apply(KeyUpdate::Retire(epoch(0)));
    assert_eq!(sealed(&mut alice), Err(SealError::NoKey));

    let mut alice = new_alice();
    alice.apply(KeyUpdate::Clear);
    assert_eq!(sealed(&mut alice), Err(SealError::NoKey));

    let mut carol = ready(Ed25519Key::new([3; 32]));
    assert_eq!(carol.seal(Codec::Opus, b"frame"), Err(SealError::NoKey), "not in the epoch");
}

#[test]
fn a_device_seals_under_its_own_key_wherever_the_lead_seated_it() {
    let mut alice = Frames::new(ALICE_KEY);
    let mut sealed_as = |count, seats: &[(Seat, u8)]| {
        let senders = senders(seats);
        alice.apply(KeyUpdate::Install { epoch: epoch(count), media: media(7), senders });
        alice.apply(KeyUpdate::Activate(epoch(count)));
        Header::read(&seal(&mut alice, b"frame")).expect("a header").kid
    };
    assert_eq!(sealed_as(0, &[(ALICE, 1), (BOB, 2)]), kid::Kid::new(ALICE, epoch(0)));
    assert_eq!(sealed_as(1, &[(ALICE, 2), (BOB, 1)]), kid::Kid::new(BOB, epoch(1)));
}

#[test]
fn a_device_never_goes_back_to_an_older_epoch() {
    let mut alice = new_alice();
    alice.apply(install(epoch(1), 8));
    alice.apply(KeyUpdate::Activate(epoch(1)));
    alice.apply(KeyUpdate::Activate(epoch(0)));
    let header = Header::read(&seal(&mut alice, b"frame")).expect("a header");
    assert_eq!(header.kid, kid::Kid::new(ALICE, epoch(1)));
}

#[test]
fn bytes_that_are_no_frame_are_refused_on_both_sides() {
    let (mut alice, mut bob) = (new_alice(), new_bob());
    assert_eq!(alice.seal(Codec::Vp8, &[]), Err(SealError::Frame(FrameError::Empty)));
    let short = FrameError::TooShort { needs: 10, got: 2 };
    assert_eq!(alice.seal(Codec::Vp8, &[0, 0]), Err(SealError::Frame(short)));
    assert_eq!(open(&mut bob, &[]), Opened::Dropped(OpenError::Frame(FrameError::Empty)));
    assert_eq!(open(&mut bob, &[0xff]), Opened::Dropped(OpenError::Header(HeaderError::Truncated)));
    let sealed = seal(&mut alice, b"x");
    assert_eq!(open(&mut bob, &sealed[..sealed.len() - 2]), Opened::Dropped(OpenError::Header(HeaderError::Truncated)));
    assert_eq!(bob.stats(ALICE).refused, 3);
}

#[test]
fn a_wrong_key_opens_nothing() {
    let mut alice = new_alice();
    let mut mallory = Frames::new(BOB_KEY);
    mallory.apply(install(epoch(0), 8));
    assert_eq!(open(&mut mallory, &seal(&mut alice, b"frame")), Opened::Dropped(OpenError::Undecryptable));
    assert_eq!(mallory.stats(ALICE).undecryptable, 1);
}

#[test]
fn the_sender_device_is_part_of_the_key() {
    let mut alice = new_alice();
    let mut bob = Frames::new(BOB_KEY);
    let senders = senders(&[(ALICE, 9), (BOB, 2)]);
    bob.apply(KeyUpdate::Install { epoch: epoch(0), media: media(7), senders });
    assert_eq!(open(&mut bob, &seal(&mut alice, b"frame")), Opened::Dropped(OpenError::Undecryptable));
}

#[test]
fn a_frame_counts_only_through_its_senders_receiver() {
    let (mut alice, mut bob) = (new_alice(), new_bob());
    let sealed = seal(&mut alice, b"frame");
    assert_eq!(bob.open(NOW, BOB, Codec::Opus, &sealed, 0), Opened::Dropped(OpenError::WrongSeat(ALICE)));
    assert_eq!(bob.stats(BOB).refused, 1);
    let mut carol = Frames::new(BOB_KEY);
    carol.apply(KeyUpdate::Install { epoch: epoch(0), media: media(7), senders: senders(&[(BOB, 2)]) });
    assert_eq!(open(&mut carol, &sealed), Opened::Dropped(OpenError::NotASender));
}

#[test]
fn every_changed_byte_is_noticed() {
    for &(codec, frame, ..) in FRAMES {
        let sealed = new_alice().seal(codec, frame).expect("a key");
        for place in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[place] ^= 1 << bit;
                let opened = new_bob().open(NOW, ALICE, codec, &changed, 0);
                assert!(!matches!(opened, Opened::Frame(_)), "{codec:?} byte {place} bit {bit}");
            }
        }
    }
}

#[test]
fn a_changed_clear_byte_fails_to_open() {
    // The height of a VP8 picture, the kind of an AV1 frame, a parameter set and the header of a slice.
    for (codec, frame, place, with) in [
        (Codec::Vp8, VP8_KEY, 9, 1),
        (Codec::Av1, AV1_KEY, 0, 0x38),
        (Codec::Av1, AV1_DELTA, 0, 0x38),
        (Codec::H264, H264_KEY, 6, 1),
        (Codec::H264, H264_KEY, 17, 0x20),
        (Codec::H264, H264_DELTA, 5, 1),
    ] {
        let mut sealed = new_alice().seal(codec, frame).expect("a key");
        sealed[place] ^= with;
        assert_eq!(
            new_bob().open(NOW, ALICE, codec, &sealed, 0),
            Opened::Dropped(OpenError::Undecryptable),
            "{codec:?}"
        );
    }
}

#[test]
fn replays_are_counted_apart_and_reordering_is_fine() {
    let (mut alice, mut bob) = (new_alice(), new_bob());
    let sealed: Vec<_> = (0..=limits::REPLAY_WINDOW).map(|n| seal(&mut alice, &n.to_be_bytes())).collect();
    for n in [5, 2, 4] {
        assert_eq!(open(&mut bob, &sealed[n]), Opened::Frame(n.to_be_bytes().to_vec()), "{n}");
        assert_eq!(open(&mut bob, &sealed[n]), Opened::Dropped(OpenError::Duplicate), "{n}");
    }
    let last = sealed.len() - 1;
    assert!(matches!(open(&mut bob, &sealed[last]), Opened::Frame(_)));
    assert_eq!(open(&mut bob, &sealed[0]), Opened::Dropped(OpenError::TooOld));
    assert!(matches!(open(&mut bob, &sealed[1]), Opened::Frame(_)), "the oldest one in the window");
    let stats = bob.stats(ALICE);
    assert_eq!((stats.opened, stats.duplicates, stats.late, stats.undecryptable), (5, 3, 1, 0));
}

#[test]
fn a_copy_is_told_from_an_attack_under_a_counter_that_was_seen() {
    let (mut alice, mut bob) = (new_alice(), new_bob());
    let sealed: Vec<_> = (0..=limits::REPLAY_WINDOW).map(|n| seal(&mut alice, &n.to_be_bytes())).collect();
    let last = sealed.len() - 1;
    for n in [1, last] {
        assert!(matches!(open(&mut bob, &sealed[n]), Opened::Frame(_)));
    }
    // The counter of a frame that was opened, of one that was not, and of one that fell out of the window.
    for (n, copy) in [(1, OpenError::Duplicate), (last, OpenError::Duplicate), (0, OpenError::TooOld)] {
        let mut changed = sealed[n].clone();
        changed[5] ^= 1;
        assert_eq!(open(&mut bob, &sealed[n]), Opened::Dropped(copy), "{n}");
        assert_eq!(open(&mut bob, &changed), Opened::Dropped(OpenError::Undecryptable), "{n}");
    }
    let stats = bob.stats(ALICE);
    assert_eq!((stats.opened, stats.duplicates, stats.late, stats.undecryptable), (2, 2, 1, 3));
}

#[test]
fn a_forged_frame_does_not_move_the_replay_window() {
    let (mut alice, mut bob) = (new_alice(), new_bob());
    let genuine = seal(&mut alice, b"frame");
    let kid = u64::from(kid::Kid::new(ALICE, epoch(0)));
    let mut forged = Vec::from(&sframe::header::SframeHeader::new(kid, u64::from(u32::MAX)));
    forged.extend([0; 20]);
    assert_eq!(open(&mut bob, &forged), Opened::Dropped(OpenError::Undecryptable));
    assert!(matches!(open(&mut bob, &genuine), Opened::Frame(_)));
}

#[test]
fn counters_rise_across_tracks_and_start_anew_with_an_epoch_only() {
    let mut alice = new_alice();
    let counter = |frames: &mut Frames| Header::read(&seal(frames, b"frame")).expect("a header").counter;
    assert_eq!((counter(&mut alice), counter(&mut alice)), (0, 1));
    let video = alice.seal(Codec::Vp8, VP8_DELTA).expect("a key");
    assert_eq!(Header::read(&video[3..]).expect("a header").counter, 2);
    // Three layers of one picture, seen by one receiver each, between frames of sound.
    for n in 0..30 {
        let (codec, frame, clear) = if n % 4 == 3 { (Codec::Opus, VP8_DELTA, 0) } else { (Codec::Vp8, VP8_KEY, 10) };
        let layer = alice.seal(codec, frame).expect("a key");
        let header = Header::read(&layer[clear..]).expect("a header");
        assert_eq!((header.kid, header.counter), (kid::Kid::new(ALICE, epoch(0)), 3 + n));
    }

    // The same epoch again, wiped or not, must not bring a used counter back.
    alice.apply(install(epoch(0), 7));
    alice.apply(KeyUpdate::Activate(epoch(0)));
    assert_eq!(counter(&mut alice), 33);
    for update in [KeyUpdate::Retire(epoch(0)), install(epoch(0), 7), KeyUpdate::Activate(epoch(0))] {
        alice.apply(update);
    }
    assert_eq!(alice.seal(Codec::Opus, b"frame"), Err(SealError::NoKey));

    alice.apply(install(epoch(1), 8));
    alice.apply(KeyUpdate::Activate(epoch(1)));
    assert_eq!(counter(&mut alice), 0);
}

#[test]
fn old_keys_open_until_they_are_retired() {
    let (mut alice, mut bob) = (new_alice(), new_bob());
    let in_flight = [seal(&mut alice, b"one"), seal(&mut alice, b"two")];
    for frames in [&mut alice, &mut bob] {
        frames.apply(install(epoch(1), 8));
        frames.apply(KeyUpdate::Activate(epoch(1)));
    }
    assert!(matches!(open(&mut bob, &seal(&mut alice, b"new")), Opened::Frame(_)));
    assert!(matches!(open(&mut bob, &in_flight[0]), Opened::Frame(_)));
    bob.apply(KeyUpdate::Retire(epoch(0)));
    assert_eq!(open(&mut bob, &in_flight[1]), Opened::Dropped(OpenError::Past));
    assert_eq!((bob.stats(ALICE).late, bob.stats(ALICE).waiting_since), (1, None));
}

#[test]
fn when_a_key_id_comes_round_the_older_key_and_its_window_are_gone() {
    let (mut alice, mut bob) = (new_alice(), new_bob());
    let old = seal(&mut alice, b"old");
    assert!(matches!(open(&mut bob, &old), Opened::Frame(_)));
    for frames in [&mut alice, &mut bob] {
        frames.apply(install(epoch(64), 8));
        frames.apply(KeyUpdate::Activate(epoch(64)));
        frames.apply(KeyUpdate::Retire(epoch(0)));
    }
    assert_eq!(open(&mut bob, &old), Opened::Dropped(OpenError::Undecryptable), "one key only is tried");
    let new = seal(&mut alice, b"new");
    let counters = [&old, &new].map(|frame| Header::read(frame).expect("a header").counter);
    assert_eq!(counters, [0, 0]);
    assert_eq!(open(&mut bob, &new), Opened::Frame(b"new".to_vec()), "counter 0 is not taken for a replay");
}

#[test]
fn no_more_epochs_live_than_the_bound() {
    let mut alice = new_alice();
    let frames: Vec<_> = (0..=limits::LIVE_EPOCHS)
        .map(|n| {
            let epoch = epoch(n.try_into().expect("a small number"));
            alice.apply(install(epoch, 7));
            alice.apply(KeyUpdate::Activate(epoch));
            seal(&mut alice, b"frame")
        })
        .collect();
    let mut bob = new_bob();
    for n in 1..=limits::LIVE_EPOCHS {
        bob.apply(install(epoch(n.try_into().expect("a small number")), 7));
    }
    assert_eq!(open(&mut bob, &frames[0]), Opened::Dropped(OpenError::Past), "the oldest is wiped");
    for frame in &frames[1..] {
        assert!(matches!(open(&mut bob, frame), Opened::Frame(_)));
    }
}

/// Alice seals under epoch 0.1 already, Bob holds 0.0 alone.
fn ahead() -> (Frames, Frames) {
    let mut alice = new_alice();
    alice.apply(install(epoch(1), 8));
    alice.apply(KeyUpdate::Activate(epoch(1)));
    (alice, new_bob())
}

#[test]
fn a_frame_before_its_key_is_held_and_released_by_the_key() {
    let (mut alice, mut bob) = ahead();
    let sealed = [seal(&mut alice, b"one"), seal(&mut alice, b"two")];
    assert_eq!(bob.next_timeout(), None);
    for (ticket, frame) in [(10, &sealed[0]), (11, &sealed[1]), (12, &sealed[0])] {
        assert_eq!(bob.open(NOW, ALICE, Codec::Opus, frame, ticket), Opened::Held);
    }
    assert_eq!(bob.next_timeout(), Some(NOW + limits::HELD_FRAME_TIME));
    assert_eq!(bob.release(NOW), vec![], "neither key nor time-out");
    assert_eq!(bob.stats(ALICE).waiting_since, Some(NOW));

    bob.apply(install(epoch(1), 8));
    assert!(bob.next_timeout().is_some_and(|due| due <= NOW));
    let released = bob.release(NOW);
    let expected = vec![(10, Ok(b"one".to_vec())), (11, Ok(b"two".to_vec())), (12, Err(OpenError::Duplicate))];
    assert_eq!(released, expected);
    assert_eq!((bob.next_timeout(), bob.release(NOW)), (None, vec![]));
    let stats = bob.stats(ALICE);
    assert_eq!((stats.opened, stats.duplicates, stats.expired, stats.waiting_since), (2, 1, 0, None));
}

#[test]
fn a_frame_whose_key_does_not_come_times_out() {
    let (mut alice, mut bob) = ahead();
    assert_eq!(bob.open(NOW, ALICE, Codec::Opus, &seal(&mut alice, b"one"), 10), Opened::Held);
    let due = bob.next_timeout().expect("a deadline");
    assert_eq!(bob.release(due - std::time::Duration::from_millis(1)), vec![]);
    assert_eq!(bob.release(due), vec![(10, Err(OpenError::TimedOut))]);
    let stats = bob.stats(ALICE);
    assert_eq!((stats.held, stats.expired, stats.undecryptable, stats.waiting_since), (1, 1, 0, Some(NOW)));
}

#[test]
fn clearing_gives_back_what_is_held() {
    let (mut alice, mut bob) = ahead();
    assert_eq!(bob.open(NOW, ALICE, Codec::Opus, &seal(&mut alice, b"one"), 10), Opened::Held);
    bob.apply(KeyUpdate::Clear);
    assert_eq!(bob.release(NOW), vec![(10, Err(OpenError::TimedOut))]);
}

#[test]
fn what_is_held_is_bounded_by_number_and_bytes() {
    let (mut alice, mut bob) = ahead();
    for ticket in 0..limits::HELD_FRAMES {
        let frame = seal(&mut alice, b"frame");
        assert_eq!(bob.open(NOW, ALICE, Codec::Opus, &frame, ticket as u64), Opened::Held);
    }
    assert_eq!(open(&mut bob, &seal(&mut alice, b"frame")), Opened::Dropped(OpenError::HoldFull));
    assert_eq!(bob.stats(ALICE).expired, 1);
    assert_eq!(bob.release(NOW + limits::HELD_FRAME_TIME).len(), limits::HELD_FRAMES);

    let big = seal(&mut alice, &vec![0; limits::HELD_FRAME_BYTES / 2]);
    assert_eq!(open(&mut bob, &big), Opened::Held);
    assert_eq!(open(&mut bob, &big), Opened::Dropped(OpenError::HoldFull), "two and their headers are too many bytes");
    assert_eq!(bob.release(NOW + limits::HELD_FRAME_TIME).len(), 1);
    assert_eq!(open(&mut bob, &big), Opened::Held, "room again");
}

#[test]
fn a_joiner_does_not_wait_for_the_epoch_before_its_own() {
    let mut alice = new_alice();
    let mut bob = Frames::new(BOB_KEY);
    bob.apply(install(epoch(1), 8));
    assert_eq!(open(&mut bob, &seal(&mut alice, b"frame")), Opened::Dropped(OpenError::Past));
    assert_eq!((bob.stats(ALICE).late, bob.stats(ALICE).waiting_since), (1, Some(NOW)));
}

#[test]
fn statistics_start_anew_with_the_holder_of_a_seat() {
    let (mut alice, mut bob) = (new_alice(), new_bob());
    assert!(matches!(open(&mut bob, &seal(&mut alice, b"frame")), Opened::Frame(_)));
    bob.apply(install(epoch(1), 8));
    assert_eq!(bob.stats(ALICE).opened, 1, "the same holder");
    let senders = senders(&[(ALICE, 9), (BOB, 2)]);
    bob.apply(KeyUpdate::Install { epoch: epoch(2), media: media(9), senders });
    assert_eq!(bob.stats(ALICE), SeatStats::default());
    assert_eq!(bob.all_stats().count(), 0);
}

fn codec() -> impl Strategy<Value = Codec> {
    prop::sample::select(&Codec::ALL[..])
}

proptest! {
    #[test]
    fn any_frame_goes_round_or_is_refused(codec in codec(), frame: Vec<u8>) {
        let (mut alice, mut bob) = (new_alice(), new_bob());
        match alice.seal(codec, &frame) {
            Ok(sealed) => prop_assert_eq!(bob.open(NOW, ALICE, codec, &sealed, 0), Opened::Frame(frame)),
            Err(error) => prop_assert!(matches!(error, SealError::Frame(_))),
        }
    }

    #[test]
    fn any_access_unit_goes_round(content in prop::collection::vec(0_u8..5, 0..200)) {
        let (mut alice, mut bob) = (new_alice(), new_bob());
        let frame = [H264_KEY, &content[..]].concat();
        let sealed = alice.seal(Codec::H264, &frame).expect("a key");
        prop_assert_eq!(bob.open(NOW, ALICE, Codec::H264, &sealed, 0), Opened::Frame(frame));
    }

    #[test]
    fn any_bytes_are_dropped_or_held(codec in codec(), seat: u16, frame: Vec<u8>) {
        prop_assert!(!matches!(new_bob().open(NOW, Seat(seat), codec, &frame, 0), Opened::Frame(_)));
    }

    /// Whatever order the network delivers in, each frame opens at most once, and always when it is in the window.
    #[test]
    fn any_order_opens_each_frame_once(order in prop::collection::vec(0_usize..40, 0..120)) {
        let (mut alice, mut bob) = (new_alice(), new_bob());
        let sealed: Vec<_> = (0..40).map(|_| seal(&mut alice, b"frame")).collect();
        let mut seen = std::collections::BTreeSet::new();
        for n in order {
            let opened = open(&mut bob, &sealed[n]);
            prop_assert_eq!(matches!(opened, Opened::Frame(_)), seen.insert(n), "{}: {:?}", n, opened);
        }
    }

    /// Epochs install, activate and retire in any order: no (key id, counter) is sealed twice under one secret, and what
    /// is sealed opens wherever that epoch is live.
    #[test]
    fn no_key_and_counter_twice(steps in prop::collection::vec((0_u8..4, 0_u32..80), 1..80)) {
        let (mut alice, mut bob) = (Frames::new(ALICE_KEY), Frames::new(BOB_KEY));
        let mut used = std::collections::BTreeSet::new();
        for (step, count) in steps {
            let secret = u8::try_from(count).expect("below 80");
            let update = match step {
                0 => install(epoch(count), secret),
                1 => KeyUpdate::Activate(epoch(count)),
                2 => KeyUpdate::Retire(epoch(count)),
                _ => {
                    if let Ok(sealed) = alice.seal(Codec::Opus, b"frame") {
                        let header = Header::read(&sealed).expect("a header");
                        let active = alice.sealer.active().expect("sealed under it");
                        prop_assert!(used.insert((active, header.counter)));
                        prop_assert_eq!(open(&mut bob, &sealed), Opened::Frame(b"frame".to_vec()));
                    }
                    continue;
                }
            };
            alice.apply(update.clone());
            bob.apply(update);
        }
    }
}
