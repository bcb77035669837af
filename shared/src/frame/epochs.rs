//! The live epochs and all keys made of them. Dropping an epoch drops its keys, counters and replay windows with it.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use super::{
    kid::{EpochBits, Kid},
    opener::OpeningKey,
    sealer::SealingKey,
};
use crate::{
    crypto::schedule::MediaSecret,
    id::{Ed25519Key, Epoch, Seat},
    limits,
};

type Senders = Arc<BTreeMap<Seat, Ed25519Key>>;

/// Epochs by what a key id says of them: so no two can share a key id.
#[derive(Default)]
pub(super) struct Epochs {
    live: BTreeMap<EpochBits, LiveEpoch>,
    /// The newest epoch ever installed, and its senders; kept when the epoch is wiped.
    newest: Option<(Epoch, Senders)>,
}

struct LiveEpoch {
    epoch: Epoch,
    media: MediaSecret,
    senders: Senders,
    sealing: Option<SealingKey>,
    opening: BTreeMap<Seat, OpeningKey>,
}

/// Why there is no key for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The epoch is still to come, as far as the key id tells.
    Ahead,
    /// The epoch is over, or began before this device came.
    Past,
    /// Nobody on that seat may send in that epoch.
    NotASender,
}

impl Epochs {
    /// Takes in an epoch and returns the seats that changed hands with it.
    ///
    /// An epoch that does not come after all before is ignored: a key that was wiped must not come back, since its
    /// counter and its replay window would start again.
    pub(super) fn install(&mut self, epoch: Epoch, media: MediaSecret, senders: Senders) -> BTreeSet<Seat> {
        let empty = Senders::default();
        let before = match &self.newest {
            Some((newest, _)) if epoch <= *newest => {
                tracing::warn!(%epoch, %newest, "an epoch came out of order and is ignored");
                return BTreeSet::new();
            }
            Some((_, senders)) => senders,
            None => &empty,
        };
        let seats: BTreeSet<Seat> = before.keys().chain(senders.keys()).copied().collect();
        let changed = seats.into_iter().filter(|seat| before.get(seat) != senders.get(seat)).collect();

        let bits = EpochBits::of(epoch);
        self.live.remove(&bits);
        while self.live.len() >= limits::LIVE_EPOCHS
            && let Some(oldest) = self.live.values().map(|live| live.epoch).min()
        {
            self.live.remove(&EpochBits::of(oldest));
        }
        self.newest = Some((epoch, Arc::clone(&senders)));
        let live = LiveEpoch { epoch, media, senders, sealing: None, opening: BTreeMap::new() };
        self.live.insert(bits, live);
        if planted!(ResetCounters) {
            self.live.values_mut().for_each(|live| live.sealing = None);
        }
        changed
    }

    /// Wipes an epoch, unless a newer one with the same key id has done so already.
    pub(super) fn retire(&mut self, epoch: Epoch) {
        let bits = EpochBits::of(epoch);
        if self.live.get(&bits).is_some_and(|live| live.epoch == epoch) {
            self.live.remove(&bits);
        }
    }

    /// Wipes all.
    pub(super) fn clear(&mut self) {
        self.live.clear();
    }

    /// The key of the device `own` in an epoch, made on first use.
    pub(super) fn sealing(&mut self, epoch: Epoch, own: &Ed25519Key) -> Option<&mut SealingKey> {
        let live = self.live.get_mut(&EpochBits::of(epoch)).filter(|live| live.epoch == epoch)?;
        if live.sealing.is_none() {
            let (seat, _) = live.senders.iter().find(|(_, sender)| *sender == own)?;
            live.sealing = SealingKey::derive(&live.media, Kid::new(*seat, epoch), own);
        }
        live.sealing.as_mut()
    }

    /// The key that a key id names, made on first use.
    pub(super) fn opening(&mut self, kid: Kid) -> Result<&mut OpeningKey, Missing> {
        let Some(live) = self.live.get_mut(&kid.epoch()) else {
            let past = self.newest.as_ref().is_some_and(|(newest, _)| kid.epoch().not_after(*newest));
            return Err(if past { Missing::Past } else { Missing::Ahead });
        };
        match live.opening.entry(kid.seat()) {
            Entry::Occupied(key) => Ok(key.into_mut()),
            Entry::Vacant(place) => {
                let sender = live.senders.get(&kid.seat()).ok_or(Missing::NotASender)?;
                // The library derives for every suite it has: this error does not happen, and would drop the frame.
                let key = OpeningKey::derive(&live.media, kid, sender).ok_or(Missing::NotASender)?;
                Ok(place.insert(key))
            }
        }
    }
}
