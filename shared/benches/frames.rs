//! Sealing and opening frames beside bare AES-128-GCM of `ring` on a cached key: `make bench` prints the table.
//!
//! Both sides are given a frame as a slice and return another as a vector, allocation and copying included. They take
//! turns in short rounds of computing time of one thread, and the median of each is compared, so that whatever else the
//! machine does falls on both.
#![allow(missing_docs, clippy::print_stdout, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use conclave_shared::{
    crypto::{schedule::MediaSecret, secret::Secret},
    frame::{Frames, clear_bytes::Codec, opener::Opened},
    id::{Ed25519Key, Epoch, Seat, Term},
    session::output::KeyUpdate,
    time::Timestamp,
};
use cpu_time::ThreadTime;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::{collections::BTreeMap, hint::black_box, sync::Arc, time::Duration};

/// Bytes of a frame: sound, a small picture, an ordinary one, a key frame.
const SIZES: [usize; 4] = [120, 1000, 10_000, 60_000];
/// What each is compared with. Nothing of Opus stays clear, so all of it is encrypted on both sides.
const CODEC: Codec = Codec::Opus;
/// Bytes of the frames of one round: they stay in a cache.
const ROUND: usize = 256 << 10;
/// At most so many frames are in a round.
const MOST: usize = 500;
const ROUNDS: usize = 1001;
/// What is authenticated beside a frame: as long as an SFrame header.
const HEADER: [u8; 4] = [0x93, 1, 0x42, 7];
const ALICE: (Seat, Ed25519Key) = (Seat(1), Ed25519Key::new([1; 32]));
const BOB: (Seat, Ed25519Key) = (Seat(2), Ed25519Key::new([2; 32]));

/// What one round took to seal and to open.
#[derive(Clone, Copy)]
struct Took {
    seal: Duration,
    open: Duration,
}

fn measured(frames: usize, seal: impl FnMut(&mut Vec<Vec<u8>>), open: impl FnMut(Vec<u8>)) -> Took {
    let (mut seal, mut open) = (seal, open);
    let mut sealed = Vec::with_capacity(frames);
    let began = ThreadTime::now();
    for _ in 0..frames {
        seal(&mut sealed);
    }
    let sealing = began.elapsed();
    let began = ThreadTime::now();
    sealed.drain(..).for_each(&mut open);
    Took { seal: sealing, open: began.elapsed() }
}

/// Nothing but the cipher.
struct Bare {
    key: LessSafeKey,
    counter: u64,
}

impl Bare {
    fn nonce(counter: u64) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[4..].copy_from_slice(&counter.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    fn round(&mut self, frame: &[u8], frames: usize) -> Took {
        let (key, counter) = (&self.key, &mut self.counter);
        let mut opened = *counter;
        measured(
            frames,
            |sealed| {
                let mut buffer = Vec::with_capacity(frame.len() + AES_128_GCM.tag_len());
                buffer.extend_from_slice(frame);
                key.seal_in_place_append_tag(Self::nonce(*counter), Aad::from(HEADER), &mut buffer).expect("sealed");
                *counter += 1;
                sealed.push(buffer);
            },
            |sealed| {
                let mut buffer = Vec::with_capacity(sealed.len());
                buffer.extend_from_slice(&sealed);
                let length =
                    key.open_in_place(Self::nonce(opened), Aad::from(HEADER), &mut buffer).expect("opened").len();
                buffer.truncate(length);
                opened += 1;
                black_box(buffer);
            },
        )
    }
}

/// The frames of a call.
struct Ours {
    alice: Frames,
    bob: Frames,
}

impl Ours {
    fn new() -> Self {
        let holder = |own| {
            let epoch = Epoch(Term(1), 2);
            let media = MediaSecret::new(Secret::take(&mut [7; 32]).expect("32 bytes"));
            let senders: Arc<BTreeMap<_, _>> = Arc::new([ALICE, BOB].into());
            let mut frames = Frames::new(own);
            frames.apply(KeyUpdate::Install { epoch, media, senders });
            frames.apply(KeyUpdate::Activate(epoch));
            frames
        };
        Self { alice: holder(ALICE.1), bob: holder(BOB.1) }
    }

    fn round(&mut self, codec: Codec, frame: &[u8], frames: usize) -> Took {
        measured(
            frames,
            |sealed| sealed.push(self.alice.seal(codec, frame).expect("sealed")),
            |sealed| match self.bob.open(Timestamp::ZERO, ALICE.0, codec, &sealed, 0) {
                Opened::Frame(frame) => drop(black_box(frame)),
                other @ (Opened::Held | Opened::Dropped(_)) => panic!("{other:?}"),
            },
        )
    }
}

/// Microseconds of one frame, in the middle round.
fn median(rounds: &[Took], of: impl Fn(&Took) -> Duration, frames: usize) -> f64 {
    let mut times: Vec<_> = rounds.iter().map(of).collect();
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6 / frames as f64
}

/// Microseconds of one frame: bare and ours, each to seal and to open.
fn compared(codec: Codec, frame: &[u8]) -> [f64; 4] {
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("a key"));
    let (mut bare, mut ours) = (Bare { key, counter: 0 }, Ours::new());
    let frames = (ROUND / frame.len()).clamp(1, MOST);
    let rounds: Vec<_> = (0..ROUNDS).map(|_| (bare.round(frame, frames), ours.round(codec, frame, frames))).collect();
    let (bare, ours): (Vec<_>, Vec<_>) = rounds.into_iter().unzip();
    let both = |rounds: &[Took]| [median(rounds, |took| took.seal, frames), median(rounds, |took| took.open, frames)];
    let ([a, b], [c, d]) = (both(&bare), both(&ours));
    [a, b, c, d]
}

fn row(name: &str, [bare_seal, bare_open, seal, open]: [f64; 4]) {
    let ratio = (seal + open) / (bare_seal + bare_open);
    println!(
        "{name:>12}{bare_seal:>11.3}{bare_open:>9.3}{seal:>11.3}{open:>9.3}{:>11.2}{:>9.2}{ratio:>9.2}",
        seal / bare_seal,
        open / bare_open
    );
}

/// A frame of a codec with so many bytes; what is behind its beginning looks like nothing.
fn frame(codec: Codec, size: usize) -> Vec<u8> {
    let begins: &[u8] = match codec {
        Codec::Vp8 => &[0x50, 0, 0, 0x9d, 1, 0x2a, 16, 0, 16, 0],
        Codec::Vp9 => &[0x82, 0x49, 0x83, 0x42],
        Codec::Av1 => &[0x12, 0, 0x0a, 1, 7, 0x30],
        Codec::H264 => &[0, 0, 0, 1, 0x67, 0x42, 0xc0, 0, 0, 0, 1, 0x68, 0xce, 0, 0, 0, 1, 0x65, 0xb8],
        Codec::Opus => &[0x78],
    };
    let noise = (0_u32..).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8);
    begins.iter().copied().chain(noise).take(size).collect()
}

fn main() {
    let head = "        bare: seal     open ours: seal     open  ratio seal     open     both";
    println!(
        "\nA frame: microseconds to seal and to open it, beside bare AES-128-GCM of ring (aim: both within 1.2)\n"
    );
    println!("       bytes{}", &head[4..]);
    for size in SIZES {
        row(&size.to_string(), compared(CODEC, &frame(CODEC, size)));
    }
    println!("\nThe same for each codec at 10,000 bytes\n");
    println!("       codec{}", &head[4..]);
    for codec in Codec::ALL {
        let name = codec.mime().rsplit('/').next().unwrap_or_default();
        row(name, compared(codec, &frame(codec, 10_000)));
    }
}
