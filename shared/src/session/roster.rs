//! The members that the lead has committed: what holds keys, and what succession is computed from.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use super::{error::RosterError, output::MemberInfo};
use crate::{
    id::{Curve25519Key, Ed25519Key, Instance, Joined, RosterHash, Seat},
    limits,
    wire::sealed::{Added, OlmEnd, roster_hash},
};

/// One committed member.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// What the commit said.
    pub(crate) added: Added,
    /// The card.
    pub(crate) info: Arc<MemberInfo>,
    /// The card's Olm identity key.
    pub(crate) curve25519: Curve25519Key,
}

impl Entry {
    /// This member as one end of an Olm message.
    pub(crate) fn end(&self) -> OlmEnd {
        OlmEnd { ed25519: self.info.ed25519, join: self.added.join }
    }
}

/// All committed members of one epoch. A leave of a thousand waits while its roster is made: copies are cheap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    /// In ascending order of their numbers.
    entries: Vec<Arc<Entry>>,
    senders: Arc<BTreeMap<Seat, Ed25519Key>>,
    /// In ascending order.
    devices: Vec<Ed25519Key>,
    /// Of this roster, once somebody has asked.
    hash: OnceLock<RosterHash>,
    /// The highest order number that was ever committed; a later member has a higher one.
    highest: Option<Joined>,
}

impl Roster {
    /// The roster that a joiner was told of, in any order.
    ///
    /// # Errors
    /// [`RosterError::SeatTaken`], [`RosterError::TooMany`].
    pub(crate) fn of(entries: impl IntoIterator<Item = Entry>) -> Result<Self, RosterError> {
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries.sort_by_key(|entry| entry.added.joined);
        Self::default().apply(&entries, &[])
    }

    /// The roster after a change: removals apply before adds.
    ///
    /// # Errors
    /// [`RosterError`], leaving this roster as it was.
    pub(crate) fn apply(&self, add: &[Entry], remove: &[Joined]) -> Result<Self, RosterError> {
        let mut next = self.clone();
        if !add.is_empty() || !remove.is_empty() {
            next.hash = OnceLock::new();
        }
        for joined in remove {
            let place = next.place(*joined).ok_or(RosterError::NotThere(*joined))?;
            let entry = next.entries.remove(place);
            Arc::make_mut(&mut next.senders).remove(&entry.added.seat);
            if let Ok(place) = next.devices.binary_search(&entry.info.ed25519) {
                next.devices.remove(place);
            }
        }
        for entry in add {
            let Added { seat, joined, .. } = entry.added;
            let device = entry.info.ed25519;
            if next.highest.is_some_and(|highest| joined <= highest) {
                return Err(RosterError::OutOfOrder(joined));
            }
            match next.devices.binary_search(&device) {
                Ok(_) => return Err(RosterError::DeviceTwice(joined)),
                Err(place) => next.devices.insert(place, device),
            }
            if Arc::make_mut(&mut next.senders).insert(seat, device).is_some() {
                return Err(RosterError::SeatTaken(joined));
            }
            next.highest = Some(joined);
            // Its number is above all others.
            next.entries.push(Arc::new(entry.clone()));
        }
        if next.entries.len() > limits::MEMBERS {
            return Err(RosterError::TooMany);
        }
        Ok(next)
    }

    /// Whether somebody can be added behind others that are about to be.
    ///
    /// # Errors
    /// The [`RosterError`] that [`apply`](Self::apply) would give.
    pub(crate) fn fits(&self, entry: &Entry, before: &[Entry]) -> Result<(), RosterError> {
        let Added { seat, joined, .. } = entry.added;
        let highest = before.last().map(|last| last.added.joined).or(self.highest);
        if highest.is_some_and(|highest| joined <= highest) {
            return Err(RosterError::OutOfOrder(joined));
        }
        if self.senders.contains_key(&seat) || before.iter().any(|other| other.added.seat == seat) {
            return Err(RosterError::SeatTaken(joined));
        }
        let device = entry.info.ed25519;
        if self.devices.binary_search(&device).is_ok() || before.iter().any(|other| other.info.ed25519 == device) {
            return Err(RosterError::DeviceTwice(joined));
        }
        if self.entries.len() + before.len() >= limits::MEMBERS {
            return Err(RosterError::TooMany);
        }
        Ok(())
    }

    /// See [`roster_hash`].
    pub(crate) fn hash(&self) -> RosterHash {
        *self.hash.get_or_init(|| roster_hash(self.iter().map(|entry| &entry.added)))
    }

    /// The highest order number that was ever committed.
    pub(crate) fn highest(&self) -> Option<Joined> {
        self.highest
    }

    pub(crate) fn get(&self, joined: Joined) -> Option<&Entry> {
        self.entries.get(self.place(joined)?).map(|entry| &**entry)
    }

    pub(crate) fn contains(&self, joined: Joined) -> bool {
        self.place(joined).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The same roster, in which nobody comes below a number again.
    pub(crate) fn above(mut self, highest: Option<Joined>) -> Self {
        self.highest = self.highest.max(highest);
        self
    }

    /// The member of a device, if it has one.
    pub(crate) fn of_device(&self, device: &Ed25519Key) -> Option<Joined> {
        let taken = self.devices.binary_search(device).is_ok();
        let mut entries = self.iter().filter(|_| taken);
        entries.find(|entry| entry.info.ed25519 == *device).map(|entry| entry.added.joined)
    }

    /// Members by order number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().map(|entry| &**entry)
    }

    /// Who sends from which seat.
    pub(crate) fn senders(&self) -> Arc<BTreeMap<Seat, Ed25519Key>> {
        Arc::clone(&self.senders)
    }

    /// The first in succession whom `live` holds for alive: role first, then order of joining.
    pub(crate) fn first(&self, live: impl Fn(Joined) -> bool) -> Option<Joined> {
        let live = self.iter().filter(|entry| live(entry.added.joined));
        live.min_by_key(|entry| (Some(entry.added.role).filter(|_| !planted!(SuccessionByOrder)), entry.added.joined))
            .map(|entry| entry.added.joined)
    }

    /// Members as applications see them.
    pub(crate) fn infos(&self) -> Vec<Arc<MemberInfo>> {
        self.iter().map(|entry| Arc::clone(&entry.info)).collect()
    }

    /// See [`security_code`](crate::crypto::schedule::security_code).
    pub(crate) fn security_code(&self, instance: &Instance) -> String {
        crate::crypto::schedule::security_code(instance, self.devices.clone())
    }

    fn place(&self, joined: Joined) -> Option<usize> {
        self.entries.binary_search_by_key(&joined, |entry| entry.added.joined).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{CardHash, JoinId, Role};

    fn entry(seat: u16, joined: u64, role: Role) -> Entry {
        let (seat, joined) = (Seat(seat), Joined(joined));
        let ed25519 = Ed25519Key::new([u8::try_from(joined.0).expect("small"); 32]);
        let info = MemberInfo { seat, joined, role, user: String::new(), name: String::new(), ed25519 };
        Entry {
            added: Added { seat, joined, role, card: CardHash::new([0; 32]), join: JoinId::new([0; 32]) },
            info: Arc::new(info),
            curve25519: Curve25519Key::new([0; 32]),
        }
    }

    #[test]
    fn a_seat_and_an_order_number_are_used_once() {
        let roster = Roster::of([entry(0, 1, Role::Member), entry(1, 2, Role::Member)]).expect("two members");
        let apply = |add: &[Entry], remove: &[Joined]| roster.apply(add, remove).map(|roster| roster.hash());
        assert_eq!(apply(&[entry(1, 3, Role::Member)], &[]), Err(RosterError::SeatTaken(Joined(3))));
        assert_eq!(apply(&[entry(2, 2, Role::Member)], &[]), Err(RosterError::OutOfOrder(Joined(2))));
        assert_eq!(apply(&[], &[Joined(7)]), Err(RosterError::NotThere(Joined(7))));
        assert!(apply(&[entry(1, 3, Role::Member)], &[Joined(2)]).is_ok(), "removals apply before adds");
        let without_last = roster.apply(&[], &[Joined(2)]).expect("it is there");
        let again = without_last.apply(&[entry(1, 2, Role::Member)], &[]).map(|roster| roster.hash());
        assert_eq!(again, Err(RosterError::OutOfOrder(Joined(2))), "a number never comes back");
    }

    #[test]
    fn a_bot_is_first_in_succession_and_then_the_order_of_joining_counts() {
        let roster = Roster::of([entry(0, 1, Role::Member), entry(1, 2, Role::Member), entry(2, 3, Role::LeadBot)]);
        let roster = roster.expect("three members");
        assert_eq!(roster.first(|_| true), Some(Joined(3)));
        assert_eq!(roster.first(|joined| joined != Joined(3)), Some(Joined(1)));
        assert_eq!(roster.first(|_| false), None);
    }

    #[test]
    fn a_recorder_is_last_in_succession_however_early_it_came() {
        let roster = Roster::of([entry(0, 1, Role::Recorder), entry(1, 2, Role::Member)]).expect("two members");
        assert_eq!(roster.first(|_| true), Some(Joined(2)));
        assert_eq!(roster.first(|joined| joined != Joined(2)), Some(Joined(1)), "rather than nobody");
    }
}
