//! Frames out of RTP packets: put in order, joined when whole, given up when a piece stays away.
//!
//! Without key or decoder nothing can be done with part of a frame: a sealed frame opens as a whole or not at all. So
//! a frame comes out the moment its last packet is there, and what is missing is waited for as long as a retransmission
//! may take, not longer.

use bytes::Bytes;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::Instant;

use super::{
    format::{Format, Kind},
    payload,
};

/// How long a missing video packet is waited for: some round trips of asking for it.
const VIDEO_PATIENCE: Duration = Duration::from_millis(500);
/// Audio is not asked for again: it can only have been overtaken.
const AUDIO_PATIENCE: Duration = Duration::from_millis(60);
/// Packets that wait at most: seconds of high-definition video.
const PACKETS: usize = 2048;

/// One packet, as far as it matters here.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) payload: Bytes,
}

/// What came out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// A whole frame, and when it is shown in ticks since the stream began.
    Frame(u64, Vec<u8>),
    /// Frames were lost before what follows.
    Gap,
}

/// Assembles the frames of one stream.
pub(super) struct Assembler {
    format: Format,
    /// Packets that wait, by number over all turns of the 16 bits, and since when.
    waiting: BTreeMap<i64, (Packet, Instant)>,
    /// The same packets by how long they have waited: every packet that comes asks for the oldest.
    since: BTreeSet<(Instant, i64)>,
    /// The number of the packet that comes next.
    next: Option<i64>,
    /// So many packets from the next one on are there, are of one frame, and do not end it: who leaves a frame open does
    /// not have all of it looked at again with every packet.
    looked: i64,
    sequence: Unwrapped,
    timestamp: Unwrapped,
    /// The time of the first frame.
    began: Option<i64>,
}

impl Assembler {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            waiting: BTreeMap::new(),
            since: BTreeSet::new(),
            next: None,
            looked: 0,
            sequence: Unwrapped { bits: 16, last: None },
            timestamp: Unwrapped { bits: 32, last: None },
            began: None,
        }
    }

    pub(super) const fn format(&self) -> Format {
        self.format
    }

    /// Takes a packet.
    pub(super) fn push(&mut self, now: Instant, packet: Packet) {
        let number = self.sequence.unwrap(i64::from(packet.sequence));
        if self.next.is_none() && payload::begins(self.format, &packet.payload) {
            self.next = Some(number);
        }
        if self.next.is_some_and(|next| number >= next) {
            self.waiting.entry(number).or_insert_with(|| {
                self.since.insert((now, number));
                (packet, now)
            });
        }
    }

    /// The next frame, or the next gap; `None` when something must come first.
    pub(super) fn next(&mut self, now: Instant) -> Option<Came> {
        loop {
            self.pass_padding();
            if let Some(count) = self.whole() {
                // Packets that hold no frame are a gap like packets that are not there.
                return Some(self.take(count).unwrap_or(Came::Gap));
            }
            if self.waiting.len() <= PACKETS && self.due().is_none_or(|due| now < due) {
                return None;
            }
            if self.give_up() {
                return Some(Came::Gap);
            }
        }
    }

    /// When what is missing is given up; `None` when nothing is missing.
    pub(super) fn due(&self) -> Option<Instant> {
        let patience = match self.format.kind() {
            Kind::Audio => AUDIO_PATIENCE,
            Kind::Video => VIDEO_PATIENCE,
        };
        let (oldest, _) = self.since.first()?;
        Some(*oldest + patience)
    }

    /// Packets without payload fill the line and belong to no frame.
    fn pass_padding(&mut self) {
        while let Some(next) = self.next
            && self.waiting.get(&next).is_some_and(|(packet, _)| packet.payload.is_empty())
        {
            self.pop();
        }
    }

    /// Takes out the packet that comes next.
    fn pop(&mut self) -> Option<Packet> {
        let (number, (packet, since)) = self.waiting.pop_first()?;
        self.since.remove(&(since, number));
        self.next = Some(number + 1);
        self.looked = 0;
        Some(packet)
    }

    /// How many packets the frame that comes next has, if all are there.
    fn whole(&mut self) -> Option<usize> {
        let next = self.next?;
        let (first, _) = self.waiting.get(&next)?;
        let timestamp = first.timestamp;
        while let Some((packet, _)) = self.waiting.get(&(next + self.looked)) {
            if packet.timestamp != timestamp {
                return usize::try_from(self.looked).ok();
            }
            if packet.marker || self.format.kind() == Kind::Audio {
                return usize::try_from(self.looked + 1).ok();
            }
            self.looked += 1;
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<Came> {
        let mut payloads = Vec::with_capacity(count);
        let mut timestamp = 0;
        for _ in 0..count {
            let packet = self.pop()?;
            timestamp = packet.timestamp;
            payloads.push(packet.payload);
        }
        let time = self.timestamp.unwrap(i64::from(timestamp));
        let began = *self.began.get_or_insert(time);
        let frame = payload::join(self.format, &payloads)?;
        // What comes before the first frame counts as at its time.
        Some(Came::Frame(u64::try_from(time - began).unwrap_or_default(), frame))
    }

    /// Goes on to the next packet that begins a frame; `false` when there was nothing to give up.
    fn give_up(&mut self) -> bool {
        let Some(next) = self.next else { return false };
        let mut before: Option<(i64, u32, bool)> = None;
        let mut found = None;
        for (number, (packet, _)) in &self.waiting {
            let follows = before.is_some_and(|(last, timestamp, marker)| {
                last + 1 == *number && (marker || timestamp != packet.timestamp)
            });
            if *number > next && (follows || payload::begins(self.format, &packet.payload)) {
                found = Some(*number);
                break;
            }
            before = Some((*number, packet.timestamp, packet.marker));
        }
        let last = self.waiting.last_key_value().map(|(number, _)| *number);
        let Some(go_on) = found.or(last.map(|last| last + 1)) else { return false };
        let kept = self.waiting.split_off(&go_on);
        for (number, (_, since)) in std::mem::replace(&mut self.waiting, kept) {
            self.since.remove(&(since, number));
        }
        self.looked = 0;
        // Without a beginning in sight, the next packet that is one is waited for.
        self.next = found;
        true
    }
}

/// A counter of few bits that turns over, as one that does not.
struct Unwrapped {
    bits: u32,
    last: Option<i64>,
}

impl Unwrapped {
    fn unwrap(&mut self, value: i64) -> i64 {
        let turn = 1_i64 << self.bits;
        let unwrapped = self.last.map_or(value, |last| {
            let step = (value - last).rem_euclid(turn);
            last + if step >= turn / 2 { step - turn } else { step }
        });
        self.last = Some(self.last.map_or(unwrapped, |last| last.max(unwrapped)));
        unwrapped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::payload::Payloader;

    /// The packets of some VP8 frames, the first of which has this sequence number.
    fn packets(first: u16, sizes: &[usize]) -> Vec<Packet> {
        let mut payloader = Payloader::new(Format::Vp8);
        let mut packets = Vec::new();
        for (n, size) in (0_u8..).zip(sizes) {
            let payloads = payloader.split(n == 0, &vec![n; *size]);
            let count = payloads.len();
            for (i, payload) in payloads.into_iter().enumerate() {
                let sequence = first.wrapping_add(u16::try_from(packets.len()).expect("few"));
                let timestamp = (u32::MAX - 3000).wrapping_add(u32::from(n) * 3000);
                packets.push(Packet { sequence, timestamp, marker: i + 1 == count, payload });
            }
        }
        packets
    }

    fn all(assembler: &mut Assembler, now: Instant) -> Vec<Option<(u64, usize)>> {
        let came = std::iter::from_fn(|| assembler.next(now));
        came.map(|came| match came {
            Came::Frame(time, frame) => Some((time, frame.len())),
            Came::Gap => None,
        })
        .collect()
    }

    #[test]
    fn frames_come_out_whole_and_at_once_over_the_turn_of_both_counters() {
        let mut assembler = Assembler::new(Format::Vp8);
        let now = Instant::now();
        let mut out = Vec::new();
        for packet in packets(65_534, &[3000, 100, 5000]) {
            assembler.push(now, packet);
            out.extend(all(&mut assembler, now));
        }
        assert_eq!(out, [Some((0, 3000)), Some((3000, 100)), Some((6000, 5000))]);
        assert_eq!(assembler.due(), None);
    }

    #[test]
    fn what_comes_out_of_order_is_put_in_order_and_twice_is_once() {
        let mut assembler = Assembler::new(Format::Vp8);
        let now = Instant::now();
        let packets = packets(7, &[3000, 3000]);
        for n in [0, 2, 2, 1, 1, 5, 3, 4, 0] {
            assembler.push(now, packets[n].clone());
        }
        assert_eq!(all(&mut assembler, now), [Some((0, 3000)), Some((3000, 3000))]);
        assembler.push(now, packets[0].clone());
        assert_eq!(all(&mut assembler, now), []);
    }

    #[test]
    fn a_missing_packet_is_waited_for_and_then_given_up_with_its_frame_alone() {
        let mut assembler = Assembler::new(Format::Vp8);
        let now = Instant::now();
        for (n, packet) in packets(7, &[100, 3000, 3000]).into_iter().enumerate() {
            if n != 2 {
                assembler.push(now, packet);
            }
        }
        assert_eq!(all(&mut assembler, now), [Some((0, 100))]);
        assert_eq!(assembler.due(), Some(now + VIDEO_PATIENCE));
        let later = now + VIDEO_PATIENCE;
        assert_eq!(all(&mut assembler, later), [None, Some((6000, 3000))]);
        assert_eq!(assembler.due(), None);
    }

    #[test]
    fn a_stream_begins_with_the_first_frame_that_is_whole() {
        let mut assembler = Assembler::new(Format::Vp8);
        let now = Instant::now();
        for packet in packets(7, &[3000, 200]).into_iter().skip(1) {
            assembler.push(now, packet);
        }
        assert_eq!(all(&mut assembler, now), [Some((0, 200))]);
    }

    #[test]
    fn waiting_is_bounded() {
        let mut assembler = Assembler::new(Format::Vp8);
        let now = Instant::now();
        let packets = packets(0, &[100, 4_000_000]);
        assembler.push(now, packets[0].clone());
        for packet in packets.into_iter().skip(2) {
            assembler.push(now, packet);
            let _ = all(&mut assembler, now);
            assert!(assembler.waiting.len() <= PACKETS);
            assert_eq!(assembler.waiting.len(), assembler.since.len());
        }
    }

    #[test]
    fn of_a_frame_that_stays_open_each_packet_is_looked_at_once() {
        let mut assembler = Assembler::new(Format::Vp8);
        let now = Instant::now();
        let packets = packets(0, &[1_000_000, 100]);
        assert!(packets.len() > 500);
        let (last, open) = packets.split_last().expect("many");
        let (end, open) = open.split_last().expect("many");
        for (n, packet) in (1..).zip(open) {
            assembler.push(now, packet.clone());
            assert_eq!((assembler.next(now), assembler.looked), (None, n));
        }
        assembler.push(now, last.clone());
        assembler.push(now, end.clone());
        assert_eq!(all(&mut assembler, now), [Some((0, 1_000_000)), Some((3000, 100))]);
        assert_eq!((assembler.looked, assembler.due()), (0, None));
    }

    #[test]
    fn how_far_was_looked_is_forgotten_with_what_is_given_up() {
        let mut assembler = Assembler::new(Format::Vp8);
        let now = Instant::now();
        for (n, packet) in packets(0, &[5000, 100, 5000]).into_iter().enumerate() {
            if n != 3 {
                assembler.push(now, packet);
                assert_eq!(all(&mut assembler, now), []);
            }
        }
        assert_eq!(all(&mut assembler, now + VIDEO_PATIENCE), [None, Some((0, 100)), Some((3000, 5000))]);
        assert_eq!((assembler.waiting.len(), assembler.since.len(), assembler.looked), (0, 0, 0));
    }

    #[test]
    fn sound_goes_on_without_what_is_lost() {
        let mut assembler = Assembler::new(Format::Opus);
        let now = Instant::now();
        for sequence in [1, 2, 4] {
            let timestamp = u32::from(sequence) * 960;
            assembler.push(now, Packet { sequence, timestamp, marker: false, payload: Bytes::from(vec![1; 9]) });
        }
        assert_eq!(all(&mut assembler, now), [Some((0, 9)), Some((960, 9))]);
        assert_eq!(all(&mut assembler, now + AUDIO_PATIENCE), [None, Some((2880, 9))]);
    }
}
