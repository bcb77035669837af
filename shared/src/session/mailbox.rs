//! Application messages whose epoch has not come yet: they wait, bounded, instead of failing.

use std::collections::VecDeque;

use crate::{
    id::{Epoch, Joined},
    limits,
    time::Timestamp,
    wire::Blob,
};

/// A message whose signature verified and whose epoch is still to come.
pub(super) struct Waiting {
    pub(super) from: Joined,
    pub(super) epoch: Epoch,
    pub(super) n: u64,
    pub(super) to: Option<Joined>,
    pub(super) sealed: Blob,
}

/// All that wait, oldest first.
#[derive(Default)]
pub(super) struct Mailbox {
    waiting: VecDeque<(Timestamp, Waiting)>,
}

impl Mailbox {
    /// Keeps a message; the oldest goes when there are too many, and a sender has its share and no more.
    pub(super) fn hold(&mut self, now: Timestamp, message: Waiting) {
        if self.waiting.iter().filter(|(_, held)| held.from == message.from).count() >= limits::HELD_MESSAGES_OF_ONE {
            return;
        }
        if self.waiting.len() >= limits::HELD_MESSAGES {
            self.waiting.pop_front();
        }
        self.waiting.push_back((now + limits::HELD_MESSAGE_TIME, message));
    }

    /// The messages of an epoch that came, in their order.
    pub(super) fn take(&mut self, epoch: Epoch) -> Vec<Waiting> {
        let (ready, waiting) = self.waiting.drain(..).partition(|(_, message)| message.epoch <= epoch);
        self.waiting = waiting;
        let ready: VecDeque<(Timestamp, Waiting)> = ready;
        ready.into_iter().map(|(_, message)| message).collect()
    }

    /// Drops what waited too long.
    pub(super) fn expire(&mut self, now: Timestamp) {
        self.waiting.retain(|(until, _)| *until > now);
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        self.waiting.front().map(|(until, _)| *until)
    }
}
