//! Replays the inputs that are worth keeping, and tries changes of them.
//!
//! `FUZZ_SECONDS=n` tries changes for that long for each target. The inputs are written anew by
//! `cargo test -p conclave-fuzz --test corpus -- --ignored`; what fuzzing found is added by hand.

use conclave_fuzz::{TARGETS, Target, seeds::seeds};
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    time::{Duration, Instant},
};

/// How long changes of a target's inputs are tried.
const TRIED: Duration = Duration::from_millis(300);
/// Bytes of all inputs together: they are part of every clone.
const CORPUS: usize = 400 << 10;

fn folder(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "corpus", target].iter().collect()
}

/// The inputs of a target with their names, in the order of the names.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder(target.name)).expect("every target has a corpus");
    let mut inputs: Vec<_> = files
        .map(|file| {
            let file = file.expect("a file");
            (file.file_name().to_string_lossy().into_owned(), fs::read(file.path()).expect("it can be read"))
        })
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} has inputs", target.name);
    inputs
}

fn run(target: &Target, name: &str, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        let text = String::from_utf8_lossy(input);
        panic!("{} fails on {name}, bytes {input:?}, as text {text}", target.name);
    }
}

#[test]
fn every_input_that_is_kept_holds_its_properties() {
    let mut bytes = 0;
    for target in TARGETS {
        for (name, input) in corpus(target) {
            assert!(input.len() <= target.longest, "{}/{name} is longer than what is fuzzed", target.name);
            bytes += input.len();
            run(target, &name, &input);
        }
    }
    assert!(bytes <= CORPUS, "{bytes} bytes of inputs");
}

#[test]
fn changes_of_them_hold_their_properties() {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let tried = seconds.map_or(TRIED, Duration::from_secs);
    for target in TARGETS {
        let inputs = corpus(target);
        let (mut dice, mut runs) = (Dice(0x9e37_79b9_7f4a_7c15), 0_u64);
        let began = Instant::now();
        while began.elapsed() < tried {
            let (name, input) = &inputs[dice.below(inputs.len())];
            let other = &inputs[dice.below(inputs.len())].1;
            let changed = dice.change(input, other, target.longest);
            run(target, &format!("a change of {name}"), &changed);
            runs += 1;
        }
        println!("{:<10} {runs:>8} changes of {} inputs", target.name, inputs.len());
    }
}

#[test]
#[ignore = "writes the corpus"]
fn write_the_corpus() {
    for (target, name, bytes) in seeds() {
        fs::create_dir_all(folder(target)).expect("a folder");
        fs::write(folder(target).join(name), bytes).expect("a file");
    }
}

/// Numbers that are the same in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).expect("31 bits") % bound.max(1)
    }

    /// One to four changes: a bit, a byte, a piece of another input, a piece twice, the end.
    fn change(&mut self, input: &[u8], other: &[u8], longest: usize) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..=self.below(4) {
            let place = self.below(bytes.len() + 1);
            match self.below(6) {
                0 if place < bytes.len() => bytes[place] ^= 1 << self.below(8),
                1 if place < bytes.len() => bytes[place] = b"\0\xff0127{}[]\",:-.eE\\\x80"[self.below(19)],
                2 => bytes.truncate(place),
                3 => {
                    let from = self.below(other.len() + 1);
                    let piece = &other[from..(from + self.below(64)).min(other.len())];
                    bytes.splice(place..place, piece.iter().copied());
                }
                4 => {
                    let end = (place + self.below(32)).min(bytes.len());
                    let piece = bytes[place..end].to_vec();
                    bytes.splice(place..place, piece);
                }
                _ => bytes.insert(place, u8::try_from(self.below(256)).expect("a byte")),
            }
        }
        bytes.truncate(longest);
        bytes
    }
}
