//! What the relay says of who is here: claims, until a lead commits them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    error::{CommitError, SecurityEvent},
    output::MemberInfo,
    roster::Entry,
};
use crate::{
    id::{CallName, CardHash, Curve25519Key, JoinId, Joined, Role, Seat},
    limits,
    wire::{
        MemberClaim,
        sealed::Added,
        signed::{JoinProof, Signed, VerifiedCard},
    },
};

/// Cards that are checked in one idle step: some two milliseconds.
const CHECKS_PER_STEP: usize = 16;
/// Claims that are kept: twice a full call, for members that leave as fast as others come.
const CLAIMS: usize = 2 * limits::MEMBERS;

/// One member as the relay describes it.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) added: Added,
    pub(crate) join: JoinId,
    pub(crate) info: Arc<MemberInfo>,
    pub(crate) curve25519: Curve25519Key,
    /// A lead told the relay that it committed this member.
    pub(crate) committed: bool,
    /// The relay holds it for connected.
    pub(crate) present: bool,
    card: Signed,
    proof: JoinProof,
    check: Check,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Waiting,
    Passed,
    Failed,
}

impl Claim {
    pub(crate) fn proof(&self) -> &JoinProof {
        &self.proof
    }

    fn entry(&self) -> Entry {
        Entry { added: self.added, join: self.join, info: Arc::clone(&self.info) }
    }
}

/// All claims of a call.
#[derive(Debug)]
pub(crate) struct Claims {
    call: CallName,
    claims: BTreeMap<Joined, Claim>,
    unchecked: BTreeSet<Joined>,
}

impl Claims {
    pub(crate) fn new(call: CallName) -> Self {
        Self { call, claims: BTreeMap::new(), unchecked: BTreeSet::new() }
    }

    /// Takes a claim in, unless its card cannot even be read.
    pub(crate) fn insert(&mut self, member: MemberClaim) -> Result<&Claim, SecurityEvent> {
        let joined = member.joined;
        let refused = SecurityEvent::BadCard { joined };
        let card = member.card.card_unverified().map_err(|_| refused)?;
        if self.claims.len() >= CLAIMS && !self.claims.contains_key(&joined) {
            return Err(refused);
        }
        self.unchecked.insert(joined);
        let claim = claim(&self.call, member, &card);
        Ok(self.claims.entry(joined).insert_entry(claim).into_mut())
    }

    pub(crate) fn get(&self, joined: Joined) -> Option<&Claim> {
        self.claims.get(&joined)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Claim> {
        self.claims.values()
    }

    /// Somebody is gone, as the relay says or as they signed.
    pub(crate) fn leave(&mut self, joined: Joined) {
        if let Some(claim) = self.claims.get_mut(&joined) {
            claim.present = false;
            if !claim.committed {
                self.remove(joined);
            }
        }
    }

    /// What a lead told the relay of its commit.
    pub(crate) fn commit(&mut self, add: &[Joined], remove: &[Joined]) {
        for joined in remove {
            self.remove(*joined);
        }
        for joined in add {
            if let Some(claim) = self.claims.get_mut(joined) {
                claim.committed = true;
            }
        }
    }

    /// Nobody is committed any more: another life of the call begins.
    pub(crate) fn forget_commits(&mut self) {
        self.claims.retain(|_, claim| claim.present);
        self.claims.values_mut().for_each(|claim| claim.committed = false);
    }

    fn remove(&mut self, joined: Joined) {
        self.claims.remove(&joined);
        self.unchecked.remove(&joined);
    }

    /// The roster entry for somebody whom a commit adds: card and proof must verify and be the ones committed.
    pub(crate) fn admit(&mut self, added: &Added) -> Result<Entry, CommitError> {
        let entry = self.verified(added.joined).map_err(|_| CommitError::Card(added.joined))?;
        if entry.added.card == added.card {
            Ok(Entry { added: *added, ..self.rename(entry, added.seat, added.role) })
        } else {
            Err(CommitError::Card(added.joined))
        }
    }

    /// A commit's word on seat and role stands above the relay's.
    fn rename(&self, entry: Entry, seat: Seat, role: Role) -> Entry {
        let info = MemberInfo { seat, role, ..(*entry.info).clone() };
        Entry { info: Arc::new(info), ..entry }
    }

    /// The entries of all whom the relay says to be committed, unchecked: for a joiner, whose grant holds their hash.
    pub(crate) fn committed(&self) -> impl Iterator<Item = Entry> {
        self.claims.values().filter(|claim| claim.committed).map(Claim::entry)
    }

    /// One entry whose card and proof verify.
    pub(crate) fn verified(&mut self, joined: Joined) -> Result<Entry, SecurityEvent> {
        self.check(joined)?;
        self.claims.get(&joined).map(Claim::entry).ok_or(SecurityEvent::BadProof { joined })
    }

    /// Whether cards wait for their check.
    pub(crate) fn has_unchecked(&self) -> bool {
        !self.unchecked.is_empty()
    }

    /// Checks some of the cards that wait: what is wrong comes back.
    pub(crate) fn check_some(&mut self) -> Vec<SecurityEvent> {
        let some: Vec<_> = self.unchecked.iter().copied().take(CHECKS_PER_STEP).collect();
        some.into_iter().filter_map(|joined| self.check(joined).err()).collect()
    }

    /// The member can never be admitted: it does not hold up those behind it.
    pub(crate) fn reject(&mut self, joined: Joined) {
        self.unchecked.remove(&joined);
        if let Some(claim) = self.claims.get_mut(&joined) {
            claim.check = Check::Failed;
        }
    }

    /// Whether a check failed.
    pub(crate) fn is_rejected(&self, joined: Joined) -> bool {
        self.claims.get(&joined).is_some_and(|claim| claim.check == Check::Failed)
    }

    fn check(&mut self, joined: Joined) -> Result<(), SecurityEvent> {
        self.unchecked.remove(&joined);
        let Some(claim) = self.claims.get_mut(&joined) else { return Ok(()) };
        let result = match claim.check {
            Check::Passed => return Ok(()),
            Check::Failed => Err(SecurityEvent::BadProof { joined }),
            Check::Waiting => match claim.card.card() {
                Err(_) => Err(SecurityEvent::BadCard { joined }),
                Ok(card) if claim.proof.verify(&self.call, &card).is_err() => Err(SecurityEvent::BadProof { joined }),
                Ok(_) => Ok(()),
            },
        };
        claim.check = if result.is_ok() { Check::Passed } else { Check::Failed };
        result
    }
}

fn claim(call: &CallName, member: MemberClaim, card: &VerifiedCard) -> Claim {
    let MemberClaim { seat, joined, role, .. } = member;
    let hash: CardHash = card.hash;
    Claim {
        added: Added { seat, joined, role, card: hash },
        join: member.proof.join_id(call, hash),
        info: Arc::new(MemberInfo {
            seat,
            joined,
            role,
            user: card.card.user.to_string(),
            name: card.card.name.to_string(),
            ed25519: card.card.ed25519,
        }),
        curve25519: card.card.curve25519,
        committed: member.committed,
        present: member.present,
        card: member.card,
        proof: member.proof,
        check: Check::Waiting,
    }
}
