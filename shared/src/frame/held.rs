//! Frames that wait for their key, bounded in number, bytes and time.

use std::collections::{BTreeMap, VecDeque};

use super::{clear_bytes::Codec, kid::EpochBits};
use crate::{id::Seat, limits, time::Timestamp};

/// One waiting frame.
pub(super) struct HeldFrame {
    pub(super) from: Seat,
    pub(super) codec: Codec,
    pub(super) epoch: EpochBits,
    pub(super) frame: Vec<u8>,
    pub(super) ticket: u64,
    /// When to look at it again: its deadline, or at once when its key came.
    pub(super) due: Timestamp,
}

/// The waiting frames, by sender, each in the order of arrival.
#[derive(Default)]
pub(super) struct Held {
    by_seat: BTreeMap<Seat, VecDeque<HeldFrame>>,
    bytes: usize,
}

impl Held {
    /// Holds a frame; `false` when there is no room: the frames that wait already are worth more than a later one,
    /// which cannot be decoded without them.
    pub(super) fn push(&mut self, frame: HeldFrame) -> bool {
        let bytes = self.bytes.saturating_add(frame.frame.len());
        let waiting = self.by_seat.get(&frame.from).map_or(0, VecDeque::len);
        if planted!(HoldNoFrames) || waiting >= limits::HELD_FRAMES || bytes > limits::HELD_FRAME_BYTES {
            return false;
        }
        self.bytes = bytes;
        self.by_seat.entry(frame.from).or_default().push_back(frame);
        true
    }

    /// Marks the frames of an epoch as due.
    pub(super) fn expedite(&mut self, epoch: EpochBits) {
        self.by_seat
            .values_mut()
            .flatten()
            .filter(|held| held.epoch == epoch)
            .for_each(|held| held.due = Timestamp::ZERO);
    }

    /// Marks all frames as due.
    pub(super) fn expedite_all(&mut self) {
        self.by_seat.values_mut().flatten().for_each(|held| held.due = Timestamp::ZERO);
    }

    /// The earliest time at which a frame is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.by_seat.values().flatten().map(|held| held.due).min()
    }

    /// Takes out the frames that are due.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Vec<HeldFrame> {
        let mut due = Vec::new();
        self.by_seat.retain(|_, queue| {
            for held in std::mem::take(queue) {
                if held.due <= now { due.push(held) } else { queue.push_back(held) }
            }
            !queue.is_empty()
        });
        let bytes: usize = due.iter().map(|held| held.frame.len()).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        due
    }
}
