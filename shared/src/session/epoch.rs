//! The epochs that a member holds: at most [`limits::LIVE_EPOCHS`], from their installation to their wiping.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    config::Config,
    roster::Roster,
    timer::{Deadline, Timer},
};
use crate::{crypto::schedule::EpochSecret, id::Epoch, limits, time::Timestamp};

/// One live epoch.
pub(crate) struct Held {
    pub(crate) secret: EpochSecret,
    pub(crate) roster: Arc<Roster>,
    /// When the sender switches by itself if the lead does not say so.
    pub(crate) switch_at: Timestamp,
    /// When its keys are wiped, once senders have switched away from it.
    pub(crate) retire_at: Option<Timestamp>,
}

/// All live epochs of one member.
#[derive(Default)]
pub(crate) struct Epochs {
    held: BTreeMap<Epoch, Held>,
    active: Option<Epoch>,
}

impl Epochs {
    /// Takes a new epoch in. Returns the epochs that are wiped for it: one of the same key id bits, or the oldest when
    /// there are too many.
    pub(crate) fn install(&mut self, epoch: Epoch, held: Held) -> Vec<Epoch> {
        let mut wiped: Vec<_> = self.held.keys().copied().filter(|old| id_bits(*old) == id_bits(epoch)).collect();
        let keep = limits::LIVE_EPOCHS.saturating_sub(1);
        let live = self.held.keys().filter(|old| !wiped.contains(old));
        let excess = live.clone().count().saturating_sub(keep);
        wiped.extend(live.copied().take(excess).collect::<Vec<_>>());
        wiped.iter().for_each(|old| self.wipe(*old));
        self.held.insert(epoch, held);
        wiped
    }

    pub(crate) fn get(&self, epoch: Epoch) -> Option<&Held> {
        self.held.get(&epoch)
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn active(&self) -> Option<Epoch> {
        self.active
    }

    /// Switches senders to an epoch that is held and newer than the active one; older ones get their time of wiping.
    pub(crate) fn activate(&mut self, now: Timestamp, epoch: Epoch, retire: Duration) -> bool {
        if !self.held.contains_key(&epoch) || self.active.is_some_and(|active| active >= epoch) {
            return false;
        }
        self.active = Some(epoch);
        let at = if planted!(RetireAtOnce) { now } else { now + retire };
        for (_, old) in self.held.range_mut(..epoch) {
            old.retire_at = Some(old.retire_at.map_or(at, |known| known.min(at)));
        }
        true
    }

    /// The newest epoch whose own time to switch has come.
    pub(crate) fn due_switch(&self, now: Timestamp) -> Option<Epoch> {
        self.pending().filter(|(_, held)| held.switch_at <= now).map(|(epoch, _)| *epoch).last()
    }

    /// Wipes what is past its time.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Vec<Epoch> {
        let due =
            self.held.iter().filter(|(_, held)| held.retire_at.is_some_and(|at| at <= now && !planted!(KeepOldKeys)));
        let due: Vec<_> = due.map(|(epoch, _)| *epoch).collect();
        due.iter().for_each(|epoch| self.wipe(*epoch));
        due
    }

    /// What is due, and when.
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = Deadline> {
        let switches = self.pending().map(|(_, held)| (held.switch_at, Timer::Switch));
        let retires = self.held.values().filter(|_| !planted!(KeepOldKeys));
        retires.filter_map(|held| Some((held.retire_at?, Timer::Retire))).chain(switches)
    }

    /// When a sender switches to an epoch that is installed now.
    pub(crate) fn switch_at(now: Timestamp, ratcheted: bool, config: &Config) -> Timestamp {
        now + activation(ratcheted, config) + config.switch_margin
    }

    fn pending(&self) -> impl Iterator<Item = (&Epoch, &Held)> {
        let active = self.active;
        self.held.iter().filter(move |(epoch, _)| Some(**epoch) > active)
    }

    fn wipe(&mut self, epoch: Epoch) {
        self.held.remove(&epoch);
    }
}

/// How long the lead waits for acknowledgements of an epoch.
pub(crate) fn activation(ratcheted: bool, config: &Config) -> Duration {
    if ratcheted { config.activate_ratchet } else { config.activate_session }
}

/// The eight bits by which a frame names its epoch.
fn id_bits(epoch: Epoch) -> (u32, u32) {
    (epoch.term().0 & 3, epoch.count() & 63)
}
