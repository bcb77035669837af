//! Secrets where they must not be: in anything that a relay was sent, or sends.

use crate::plain::World;
use conclave_shared::wire;
use std::collections::BTreeSet;

/// A run of a secret that is looked for: shorter ones happen by chance.
const WINDOW: usize = 16;

/// Every run of every secret.
#[derive(Default)]
pub struct Secrets {
    windows: BTreeSet<[u8; WINDOW]>,
    /// Their first two bytes: most of a text is told apart by these.
    first: BTreeSet<[u8; 2]>,
    /// Runs of letters that were looked through already: cards and proofs come again and again.
    seen: BTreeSet<String>,
}

impl Secrets {
    pub fn add(&mut self, secret: &[u8]) {
        for window in secret.windows(WINDOW).filter(|window| window.iter().any(|byte| *byte != window[0])) {
            self.windows.insert(window.try_into().expect("its length"));
            self.first.insert([window[0], window[1]]);
        }
    }

    pub fn len(&self) -> usize {
        self.windows.len()
    }

    fn in_bytes(&self, bytes: &[u8]) -> bool {
        let mut windows = bytes.windows(WINDOW);
        windows.any(|run| self.first.contains(&[run[0], run[1]]) && self.windows.contains(run))
    }

    /// Whether a text holds a run of a secret: as it is, in base64 of either alphabet, or in hexadecimal.
    pub fn in_text(&mut self, text: &str) -> bool {
        let letter = |letter: char| letter.is_ascii_alphanumeric() || "-_+/".contains(letter);
        let runs = text.split(|character| !letter(character)).filter(|run| run.len() >= WINDOW);
        let new: Vec<_> = runs.filter(|run| self.seen.insert((*run).to_owned())).map(str::to_owned).collect();
        new.iter().any(|run| self.in_run(run))
    }

    fn in_run(&self, run: &str) -> bool {
        let base64 = (0..4).filter_map(|skip| run.get(skip..)).map(unbase64);
        let hex = (0..2).filter_map(|skip| run.get(skip..)).map(unhex);
        self.in_bytes(run.as_bytes()) || base64.chain(hex).any(|bytes| self.in_bytes(&bytes))
    }
}

/// Six bits of each letter, until one that is none.
fn unbase64(run: &str) -> Vec<u8> {
    let value = |letter| match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'-' | b'+' => Some(62),
        b'_' | b'/' => Some(63),
        _ => None,
    };
    let bits: Vec<_> = run.bytes().map_while(value).map(u32::from).collect();
    let four = bits.chunks(4).map(|four| (four.len(), four.iter().fold(0, |bits, six| bits << 6 | six)));
    let bytes = four.map(|(letters, bits)| (letters, bits << (6 * (4 - letters))));
    bytes
        .flat_map(|(letters, bits)| bits.to_be_bytes()[1..].iter().copied().take(letters * 3 / 4).collect::<Vec<_>>())
        .collect()
}

fn unhex(run: &str) -> Vec<u8> {
    let digits: Vec<_> = run.chars().map_while(|digit| digit.to_digit(16)).collect();
    digits.chunks_exact(2).map(|two| u8::try_from(two[0] << 4 | two[1]).expect("a byte")).collect()
}

/// Every secret of everybody in a call.
pub fn secrets(world: &mut World) -> Secrets {
    let mut secrets = Secrets::default();
    for member in &mut world.members {
        member.media.iter().for_each(|media| secrets.add(media));
        member.session.secrets().iter().for_each(|secret| secrets.add(secret));
    }
    secrets
}

/// What of a call's secrets its relay was sent, or sent: the names of those messages.
pub fn of(world: &mut World) -> Vec<&'static str> {
    let mut secrets = secrets(world);
    assert!(secrets.len() > 100, "there is something to look for");
    let said = world.said.iter().map(|(_, message)| (message.name(), wire::encode(message)));
    let sent = world.wire.iter().map(|(_, message)| (message.name(), wire::encode(message)));
    said.chain(sent).filter(|(_, text)| secrets.in_text(text)).map(|(name, _)| name).collect()
}

#[test]
fn a_secret_that_is_planted_is_found_in_every_spelling() {
    use conclave_shared::{
        id::{Role, encode_base64},
        wire::{Join, ToRelay, Token},
    };
    let mut world = World::new();
    for _ in 0..2 {
        world.join(Role::Member);
        world.settle();
    }
    assert_eq!(of(&mut world), Vec::<&str>::new());
    let join = world.said.iter().find_map(|(_, message)| match message {
        ToRelay::Join(join) => Some(join.clone()),
        _ => None,
    });
    let join = join.expect("somebody joined");
    let mut kinds: Vec<Vec<u8>> = vec![world.members[0].media[0].to_vec()];
    kinds.extend(world.members[1].session.secrets().iter().map(|secret| secret.to_vec()));
    for secret in kinds {
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let inside = encode_base64(&[b"ab", secret.as_slice(), b"cd"].concat());
        for spelling in [hex.to_uppercase(), hex, encode_base64(&secret), inside, encode_base64(&secret[..16])] {
            let token = Token(format!("it is {spelling}"));
            world.said.push((0, Join { token, ..join.clone() }.into()));
            assert_eq!(of(&mut world), ["join"], "{spelling}");
            world.said.pop();
        }
    }
}
