//! The roster of a session with symbols in place of keys, for model checks of succession and of the chain of commits.

use std::sync::Arc;

use crate::{
    id::{CardHash, Curve25519Key, Ed25519Key, JoinId, Joined, Role, RosterHash, Seat},
    session::{
        error::RosterError,
        output::MemberInfo,
        request::follows,
        roster::{Entry, Roster},
    },
    wire::sealed::Added,
};

/// A real roster whose members have their order number for a seat, a device and a card.
#[derive(Clone, Debug, Default)]
pub struct SymbolicRoster(Roster);

impl SymbolicRoster {
    /// The roster that a joiner was told of, in any order.
    ///
    /// # Errors
    /// As for a real one.
    pub fn of(members: impl IntoIterator<Item = (Joined, Role)>) -> Result<Self, RosterError> {
        Roster::of(members.into_iter().map(entry)).map(Self)
    }

    /// The roster after a commit.
    ///
    /// # Errors
    /// As for a real one.
    pub fn apply(&self, add: &[(Joined, Role)], remove: &[Joined]) -> Result<Self, RosterError> {
        let add: Vec<_> = add.iter().copied().map(entry).collect();
        self.0.apply(&add, remove).map(Self)
    }

    /// Takes a later roster of the same call, as a grant on request carries it.
    ///
    /// # Errors
    /// When somebody comes back in it, or it lacks the device itself or its lead.
    pub fn later(&self, roster: Self, me: Joined, lead: Joined) -> Result<Self, RosterError> {
        follows(&self.0, roster.0, (me, lead)).map(Self)
    }

    /// The first in succession whom `live` holds for alive.
    pub fn first(&self, live: impl Fn(Joined) -> bool) -> Option<Joined> {
        self.0.first(live)
    }

    /// Whether somebody is in.
    #[must_use]
    pub fn contains(&self, joined: Joined) -> bool {
        self.0.contains(joined)
    }

    /// The hash that commits and grants carry.
    #[must_use]
    pub fn hash(&self) -> RosterHash {
        self.0.hash()
    }

    /// The highest order number that was ever committed.
    #[must_use]
    pub fn highest(&self) -> Option<Joined> {
        self.0.highest()
    }

    /// Who is in, by order number.
    pub fn members(&self) -> impl Iterator<Item = Joined> {
        self.0.iter().map(|entry| entry.added.joined)
    }
}

fn entry((joined, role): (Joined, Role)) -> Entry {
    let mut bytes = [0; 32];
    let (number, _) = bytes.split_at_mut(8);
    number.copy_from_slice(&joined.0.to_be_bytes());
    let ed25519 = Ed25519Key::new(bytes);
    // As many seats as a call has; a model check has a handful of members.
    let seat = Seat(u16::try_from(joined.0).unwrap_or(u16::MAX));
    let info = MemberInfo { seat, joined, role, user: String::new(), name: String::new(), ed25519 };
    Entry {
        added: Added { seat, joined, role, card: CardHash::new(bytes), join: JoinId::new(bytes) },
        info: Arc::new(info),
        curve25519: Curve25519Key::new(bytes),
    }
}
