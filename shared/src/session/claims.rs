//! What the relay says of who is here: claims, until a lead commits them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    error::{CommitError, SecurityEvent},
    output::MemberInfo,
    roster::Entry,
};
use crate::{
    id::{CallName, Curve25519Key, JoinId, Joined, KeysHash},
    limits,
    time::Timestamp,
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
/// How long one who went before being committed is remembered: the commit that adds it may be on its way.
const LINGER: Duration = Duration::from_secs(10);

/// One member as the relay describes it.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) added: Added,
    pub(crate) info: Arc<MemberInfo>,
    /// In the roster; before there is one, the relay's word for it.
    pub(crate) committed: bool,
    /// The relay names it to joiners as committed: after a restart also somebody who was removed before.
    named: bool,
    curve25519: Curve25519Key,
    /// When the relay said that it is gone.
    gone: Option<Timestamp>,
    /// It signed that it leaves: no word of the relay undoes that.
    signed_out: bool,
    /// It keeps its seat and cannot lead.
    away: bool,
    /// The relay knows of it: not so after a restart, until it comes back.
    listed: bool,
    card: Signed,
    proof: JoinProof,
    check: Check,
    /// This device, leading, cannot add it; another lead may have.
    rejected: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Waiting,
    Passed,
    Failed,
}

impl Claim {
    /// The hash of the one-time keys that the join proof signs.
    pub(crate) fn keys(&self) -> KeysHash {
        self.proof.keys
    }

    /// The relay holds it for connected.
    pub(crate) fn present(&self) -> bool {
        self.gone.is_none() && !self.signed_out
    }

    /// Whether it may lead.
    pub(crate) fn live(&self) -> bool {
        self.present() && !self.away
    }

    /// It keeps its seat and cannot lead.
    pub(crate) fn away(&self) -> bool {
        self.present() && self.away
    }

    /// What the device itself signed when it joined.
    pub(crate) fn signed(&self) -> (&Signed, &JoinProof) {
        (&self.card, &self.proof)
    }

    /// What the roster would hold of it.
    pub(crate) fn entry(&self) -> Entry {
        Entry { added: self.added, info: Arc::clone(&self.info), curve25519: self.curve25519 }
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

    /// Takes a claim in, unless its card cannot even be read. Who is known already stays as they are: the relay says it
    /// again when a commit and a leave crossed, and may not say anything else. Whether they are `committed` is the relay's
    /// word only where no roster contradicts it.
    pub(crate) fn insert(
        &mut self,
        now: Timestamp,
        member: MemberClaim,
        committed: bool,
    ) -> Result<&Claim, SecurityEvent> {
        let joined = member.joined;
        let refused = SecurityEvent::BadCard { joined };
        let card = member.card.card_unverified().map_err(|_| refused)?;
        self.expire(now);
        let mut new = claim(&self.call, now, member, &card);
        new.committed &= committed;
        match self.claims.get(&joined) {
            Some(known) if known.added != new.added => return Err(SecurityEvent::Rewritten { joined }),
            Some(_) => {}
            None if self.claims.len() >= CLAIMS => return Err(refused),
            None => {
                self.unchecked.insert(joined);
            }
        }
        let (gone, away, named) = (new.gone, new.away, new.named);
        let claim = self.claims.entry(joined).or_insert(new);
        (claim.gone, claim.away, claim.named, claim.listed) = (gone, away, named, true);
        Ok(claim)
    }

    /// A relay that was restarted may give a number again that nobody was committed under.
    pub(crate) fn make_way(&mut self, member: &MemberClaim) {
        let other = |claim: &Claim| !claim.committed && claim.proof != member.proof;
        if self.claims.get(&member.joined).is_some_and(other) {
            self.claims.remove(&member.joined);
        }
    }

    pub(crate) fn get(&self, joined: Joined) -> Option<&Claim> {
        self.claims.get(&joined)
    }

    /// The highest order number that the relay gave out, as far as is known.
    pub(crate) fn highest(&self) -> Option<Joined> {
        self.claims.last_key_value().map(|(joined, _)| *joined)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Claim> {
        self.claims.values()
    }

    /// Whether the relay holds somebody for connected.
    pub(crate) fn is_present(&self, joined: Joined) -> bool {
        self.claims.get(&joined).is_some_and(Claim::present)
    }

    /// Whether somebody may lead, as far as the relay says.
    pub(crate) fn is_live(&self, joined: Joined) -> bool {
        self.claims.get(&joined).is_some_and(Claim::live)
    }

    /// Whether somebody keeps their seat and cannot lead for now.
    pub(crate) fn is_away(&self, joined: Joined) -> bool {
        self.claims.get(&joined).is_some_and(Claim::away)
    }

    /// Somebody cannot lead for now, or can again. Whether that is news.
    pub(crate) fn set_away(&mut self, joined: Joined, away: bool) -> bool {
        let claim = self.claims.get_mut(&joined).filter(|claim| claim.present() && claim.away != away);
        claim.map(|claim| claim.away = away).is_some()
    }

    /// The relay was restarted and lists these: whoever it does not list may still come back.
    pub(crate) fn relist(&mut self, now: Timestamp, listed: &BTreeSet<Joined>) {
        for claim in self.claims.values_mut().filter(|claim| !listed.contains(&claim.added.joined)) {
            claim.named = false;
            if claim.committed {
                (claim.away, claim.listed) = (true, false);
            } else {
                claim.gone.get_or_insert(now);
            }
        }
    }

    /// Committed members whom a relay that was restarted has not seen.
    pub(crate) fn unlisted(&self) -> impl Iterator<Item = Joined> {
        self.claims.values().filter(|claim| !claim.listed && claim.present()).map(|claim| claim.added.joined)
    }

    /// Whom the relay names to joiners as committed.
    pub(crate) fn named(&self) -> impl Iterator<Item = Joined> {
        self.claims.values().filter(|claim| claim.named).map(|claim| claim.added.joined)
    }

    /// The relay was told of these that they are out.
    pub(crate) fn unname(&mut self, removed: &[Joined]) {
        for joined in removed {
            if let Some(claim) = self.claims.get_mut(joined) {
                claim.named = false;
            }
        }
    }

    /// Exactly these are committed, as a roster that was checked says.
    pub(crate) fn commit_all(&mut self, roster: &[Joined]) {
        let roster: BTreeSet<_> = roster.iter().copied().collect();
        self.claims.retain(|joined, claim| !claim.committed || roster.contains(joined));
        let claims = &self.claims;
        self.unchecked.retain(|joined| claims.contains_key(joined));
        for claim in self.claims.values_mut().filter(|claim| roster.contains(&claim.added.joined)) {
            claim.committed = true;
        }
    }

    /// Somebody is gone, as the relay says or as they signed.
    pub(crate) fn leave(&mut self, now: Timestamp, joined: Joined) {
        if let Some(claim) = self.claims.get_mut(&joined) {
            claim.gone.get_or_insert(now);
        }
    }

    /// Somebody signed that they leave.
    pub(crate) fn sign_out(&mut self, joined: Joined) {
        if let Some(claim) = self.claims.get_mut(&joined) {
            claim.signed_out = true;
        }
    }

    /// Whether somebody signed that they leave.
    pub(crate) fn is_signed_out(&self, joined: Joined) -> bool {
        self.claims.get(&joined).is_some_and(|claim| claim.signed_out)
    }

    /// A commit that this device checked, or, before it has a roster, what a lead told the relay of one.
    pub(crate) fn commit(&mut self, add: &[Joined], remove: &[Joined]) {
        for joined in remove {
            self.claims.remove(joined);
            self.unchecked.remove(joined);
        }
        for joined in add {
            if let Some(claim) = self.claims.get_mut(joined) {
                (claim.committed, claim.named) = (true, true);
            }
        }
    }

    /// Nobody is committed any more: another life of the call begins.
    pub(crate) fn forget_commits(&mut self) {
        self.claims.retain(|_, claim| claim.present());
        self.claims.values_mut().for_each(|claim| (claim.committed, claim.named) = (false, false));
    }

    /// Forgets those who went before they were committed.
    fn expire(&mut self, now: Timestamp) {
        let kept = |claim: &Claim| claim.committed || claim.named;
        let old = |claim: &Claim| !kept(claim) && claim.gone.is_some_and(|gone| now.since(gone) > LINGER);
        self.claims.retain(|_, claim| !old(claim));
        let claims = &self.claims;
        self.unchecked.retain(|joined| claims.contains_key(joined));
    }

    /// The roster entry for somebody whom a commit adds: card and proof must verify and be the ones committed. Seat and
    /// role are the commit's word.
    pub(crate) fn admit(&mut self, added: &Added) -> Result<Entry, CommitError> {
        let refused = CommitError::Card(added.joined);
        let entry = self.verified(added.joined).map_err(|_| refused)?;
        if (entry.added.card, entry.added.join) != (added.card, added.join) {
            return Err(refused);
        }
        if entry.added == *added {
            return Ok(entry);
        }
        let info = MemberInfo { seat: added.seat, role: added.role, ..(*entry.info).clone() };
        Ok(Entry { added: *added, info: Arc::new(info), ..entry })
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

    /// The member can never be admitted by this device: it does not hold up those behind it.
    pub(crate) fn reject(&mut self, joined: Joined) {
        if let Some(claim) = self.claims.get_mut(&joined) {
            claim.rejected = true;
        }
    }

    /// Whether a check failed, or this device cannot add it.
    pub(crate) fn is_rejected(&self, joined: Joined) -> bool {
        self.claims.get(&joined).is_some_and(|claim| claim.rejected || claim.check == Check::Failed)
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

fn claim(call: &CallName, now: Timestamp, member: MemberClaim, card: &VerifiedCard) -> Claim {
    let MemberClaim { seat, joined, role, .. } = member;
    let join: JoinId = member.proof.join_id(call, card.hash);
    Claim {
        added: Added { seat, joined, role, card: card.hash, join },
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
        named: member.committed,
        gone: (!member.present).then_some(now),
        signed_out: false,
        away: member.away.is_some(),
        listed: true,
        card: member.card,
        proof: member.proof,
        check: Check::Waiting,
        rejected: false,
    }
}
