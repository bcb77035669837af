//! A small call, real sessions over a relay in memory, in which the bytes decide what happens and what becomes of every
//! message: passed on, lost, doubled, delayed past others, changed, cut short, given to somebody else.

use conclave_shared::{
    frame::{clear_bytes::Codec, opener::Opened},
    id::{Fingerprint, Joined, Role, Seat, Transcript},
    limits,
    session::input::{Command, Input},
    wire::{self, ToClient},
};
use std::collections::{BTreeMap, VecDeque};

use crate::plain::World;

/// Members that a run starts with, and may have in all.
const FIRST: usize = 3;
const MEMBERS: usize = 6;
/// Messages that the relay keeps back at most.
const KEPT: usize = 8;
/// A call that nothing is done to for so many milliseconds has nothing on its way.
const SETTLED: u64 = 3000;
/// What is sealed to see whose keys open it.
const FRAME: &[u8] = b"a frame of sound";

/// The bytes of a run, read once from the front; zeros when they are over.
struct Script(VecDeque<u8>);

impl Script {
    fn next(&mut self) -> usize {
        usize::from(self.0.pop_front().unwrap_or(0))
    }
}

pub(crate) fn session(data: &[u8]) {
    // Half of the bytes say what happens, half what becomes of the messages.
    let (happens, becomes) = data.split_at(data.len() / 2);
    let mut world = World::new();
    for _ in 0..FIRST {
        world.join(Role::Member);
        world.advance(100);
    }
    world.assert_agreement();
    let (mut becomes, mut kept) = (Script(becomes.to_vec().into()), VecDeque::new());
    world.tamper = Box::new(move |_, message| become_of(&mut becomes, &mut kept, message));
    let mut happens = Script(happens.to_vec().into());
    while !happens.0.is_empty() {
        happen(&mut world, &mut happens);
        world.settle();
    }
    world.tamper = Box::new(|_, message| vec![message]);
    world.advance(SETTLED);
    check_agreement(&world);
    check_frames(&mut world);
}

/// One thing that happens.
fn happen(world: &mut World, script: &mut Script) {
    let what = script.next();
    let who = script.next() % world.members.len();
    match what % 12 {
        0 => world.advance(script.next() as u64),
        1 => world.advance(50 * script.next() as u64),
        2 if world.members.len() < MEMBERS => {
            world.join(Role::Member);
        }
        3 => world.cut(who),
        4 => world.command(who, Command::Rotate),
        5 => world.command(who, Command::Remove(Joined(script.next() as u64))),
        6 => world.command(who, Command::Send { to: None, payload: vec![7; script.next()] }),
        7 => world.command(who, Command::Leave),
        8 => world.input(who, Input::Disconnected),
        // What was said to one is said to another, or once more.
        9 | 10 => {
            let said = script.next() << 8 | script.next();
            if let Some((_, message)) = world.wire.iter().rev().nth(said % world.wire.len().max(1)) {
                let message = message.clone();
                world.input(who, Input::Received(message));
            }
        }
        _ => {
            let length = script.next().min(script.0.len());
            let text: Vec<u8> = script.0.drain(..length).collect();
            let text = String::from_utf8_lossy(&text);
            if let Ok(message) = wire::decode::<ToClient>(&text, limits::FROM_RELAY_LENGTH) {
                world.input(who, Input::Received(message));
            }
        }
    }
}

/// What becomes of a message on its way to a member.
fn become_of(script: &mut Script, kept: &mut VecDeque<ToClient>, message: ToClient) -> Vec<ToClient> {
    match script.next() {
        160..176 => vec![],
        176..192 => vec![message.clone(), message],
        192..208 if kept.len() < KEPT => {
            kept.push_back(message);
            vec![]
        }
        192..224 => [message].into_iter().chain(kept.pop_front()).collect(),
        change @ 224.. => changed(script, change, &message).into_iter().collect(),
        _ => vec![message],
    }
}

/// The message with one byte of its text changed or its end cut off, if that is a message still.
fn changed(script: &mut Script, change: usize, message: &ToClient) -> Option<ToClient> {
    let mut text = wire::encode(message).into_bytes();
    let place = (script.next() << 8 | script.next()) % text.len();
    if change.is_multiple_of(8) {
        text.truncate(place);
    } else {
        *text.get_mut(place)? = b"0123456789abAB\"e"[script.next() % 16];
    }
    wire::decode(&String::from_utf8(text).ok()?, limits::FROM_RELAY_LENGTH).ok()
}

/// Whatever became of the messages: one transcript has one key, and one key one transcript.
fn check_agreement(world: &World) {
    let unknown = Transcript::new([0; 32]);
    let mut keys: BTreeMap<Transcript, Fingerprint> = BTreeMap::new();
    let mut transcripts: BTreeMap<Fingerprint, Transcript> = BTreeMap::new();
    let all = world.members.iter().flat_map(|member| member.epochs.values());
    for (fingerprint, transcript) in all.filter(|(_, transcript)| *transcript != unknown) {
        assert_eq!(keys.entry(*transcript).or_insert(*fingerprint), fingerprint, "one transcript has one key");
        assert_eq!(transcripts.entry(*fingerprint).or_insert(*transcript), transcript, "one key has one transcript");
    }
}

/// A frame opens for those who hold the key that its sender seals under, and comes out as it went in.
fn check_frames(world: &mut World) {
    let now = world.now;
    let sealed: Vec<_> = world.members.iter_mut().map(|member| member.frames.seal(Codec::Opus, FRAME).ok()).collect();
    for (sender, sealed) in sealed.iter().enumerate() {
        let Some(sealed) = sealed else { continue };
        assert_ne!(sealed, FRAME, "nothing goes out as it came in");
        for (receiver, member) in world.members.iter_mut().enumerate().filter(|(receiver, _)| *receiver != sender) {
            for seat in (0..MEMBERS).filter_map(|seat| u16::try_from(seat).ok()) {
                if let Opened::Frame(frame) = member.frames.open(now, Seat(seat), Codec::Opus, sealed, 0) {
                    assert_eq!(frame, FRAME, "from {sender} to {receiver}");
                }
            }
        }
    }
}
