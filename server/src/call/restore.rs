//! A relay that was restarted knows nothing of the calls that go on. Their members bring their seats back.
//!
//! Nothing is taken on one member's word that another's contradicts: for a moment everybody is seated as they say, and
//! then the call is what most of them hold. A member that lies gains no key by it: others check every reign, commit and
//! proof against their own rosters.

use conclave_shared::{
    id::{Ed25519Key, Instance, JoinId, Joined, RelayNonce, Role, Seat, Term},
    limits::VERSION,
    time::Timestamp,
    wire::{
        Keys, Lead, LeftReason, MemberJoined, Restore,
        code::Code,
        signed::{Held, JoinProof, Signed, keys_bytes, resume_bytes, verify},
    },
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Admission, Call, ConnectionId, Refused, RestoreRequest, Step,
    join::version_sentence,
    lead::{Last, Reign},
    member::{Member, Presence, Unfit},
    pool::KeyPool,
    resume::Resumes,
};

/// How long after its start a relay takes seats that it does not know: clients come back within seconds, and later a
/// forgotten one must not disturb what has begun since.
pub const RESTORE_UNTIL: Duration = Duration::from_secs(30);
/// How long the members of a call are collected before it goes on: clients try at once, and again after half a second.
/// Longer than the longest pause of a client that looks for its seat: the lead that is still there is not replaced for
/// coming last.
pub const SETTLE: Duration = Duration::from_secs(2);
/// Order numbers and terms that are believed stay below these. No honest call comes near; a number at the very end of its
/// range would leave no room for those who come after. Numbers below 2^52 are exact in every client.
pub const HIGHEST_JOINED: u64 = 1 << 52;
/// See [`HIGHEST_JOINED`].
pub const HIGHEST_TERM: u32 = 1 << 31;
/// Order numbers that are remembered as removed, of a call whose members may still come back: every one of four full
/// calls. With more than that nobody is let back.
pub const REMOVED: usize = 4 * conclave_shared::limits::MEMBERS;

/// Numbers that are left out above the highest that was committed: those who had joined and were not committed yet when
/// the relay was lost, a full call of them. A lead may still add them in the commit that was under way.
const WAITING: u64 = conclave_shared::limits::MEMBERS as u64;
/// Terms beyond that of most members which some of them are believed to have heard of: leads that changed while the relay was
/// about to go.
const UNHEARD_TERMS: u32 = 8;
/// Order numbers beyond those that a second member has heard of which one is believed to have heard of: what relays leave out at
/// some restarts, twice.
const UNHEARD_NUMBERS: u64 = 16 * WAITING;
/// Committed members from which a call that has begun here does not give way any more to one that is brought back:
/// one may be alone because it was quicker, two have found each other.
const BEGUN: usize = 2;

/// How long after the relay's start even these give way: in the rush after a restart newcomers may be quicker than those
/// whose call it is.
const YOUNG: Duration = Duration::from_secs(5);

/// Where a call comes from.
#[derive(Debug)]
pub(super) enum Origin {
    /// It began here.
    Fresh,
    /// Members bring it back: nobody leads and nobody is let in until then.
    Settling { until: Timestamp, held: BTreeMap<Joined, Held> },
    /// It was brought back.
    Restored(Restored),
    /// It was brought back, nobody of then is left, and it began anew: nothing of then can come back any more.
    Anew,
}

/// What a call that was brought back goes by.
#[derive(Debug)]
pub(super) struct Restored {
    instance: Instance,
    /// The highest order number that was taken when the relay was lost.
    highest: Joined,
    /// Who of those was removed since; absent once these were too many, or nobody can be missing any more.
    removed: Option<BTreeSet<Joined>>,
    /// A lead was named: from then on members accept no leap in the terms.
    led: bool,
}

impl Origin {
    pub(super) const fn settles_at(&self) -> Option<Timestamp> {
        if let Self::Settling { until, .. } = self { Some(*until) } else { None }
    }

    pub(super) const fn is_settling(&self) -> bool {
        matches!(self, Self::Settling { .. })
    }

    /// While members bring the call back, those who bring the same life of it as this one: who hold another are strangers, and
    /// hear nothing of each other before it is clear whose call it is. Nothing when all are of one life.
    pub(super) fn life_of(&self, joined: Joined) -> Option<BTreeSet<Joined>> {
        let Self::Settling { held, .. } = self else { return None };
        let instance = held.get(&joined)?.instance;
        if held.values().all(|held| held.instance == instance) {
            return None;
        }
        Some(held.values().filter(|held| held.instance == instance).map(|held| held.joined).collect())
    }

    /// Members may know of others that this relay has never seen.
    pub(super) const fn is_restored(&self) -> bool {
        matches!(self, Self::Restored(_))
    }

    /// Whether another relay, before a restart, gave out this number.
    pub(super) fn is_of_before(&self, joined: Joined) -> bool {
        matches!(self, Self::Restored(restored) if joined <= restored.highest)
    }

    /// The relay was stopped, and nobody could come back.
    pub(super) fn thaw(&mut self, now: Timestamp) {
        if let Self::Settling { until, .. } = self {
            *until = now + SETTLE;
        }
    }

    /// A commit removed somebody, who cannot come back by a seat of before.
    pub(super) fn removed(&mut self, joined: Joined) {
        if let Self::Restored(restored) = self
            && let Some(removed) = &mut restored.removed
            && joined <= restored.highest
        {
            removed.insert(joined);
            if removed.len() > REMOVED {
                restored.removed = None;
            }
        }
    }

    /// A commit added somebody. A lead does so only while nobody of its roster is missing: whoever comes now is not in it, and
    /// newcomers that were told so would count another roster.
    pub(super) fn added(&mut self) {
        if let Self::Restored(restored) = self {
            restored.removed = None;
        }
    }

    /// A lead is named.
    pub(super) fn led(&mut self) {
        if let Self::Restored(restored) = self {
            restored.led = true;
        }
    }

    /// It was brought back, and its members have heard of no lead yet.
    fn awaits_lead(&self) -> bool {
        matches!(self, Self::Restored(restored) if !restored.led)
    }

    /// Another life of the call begins.
    pub(super) fn begin_anew(&mut self) {
        if self.is_restored() {
            *self = Self::Anew;
        }
    }

    /// The lowest seat for somebody new, given the highest that is known to be held. A member that is still to come back
    /// holds a seat that this relay does not know; seats are always below the number of those who ever joined.
    pub(super) fn lowest_new_seat(&self, held: Option<Seat>) -> Seat {
        let Self::Restored(restored) = self else { return Seat(0) };
        let above_held = || held.map_or(0, |held| held.0.saturating_add(1));
        Seat(u16::try_from(restored.highest.0.saturating_add(WAITING)).unwrap_or_else(|_| above_held()))
    }
}

impl Restored {
    fn lets_back(&self, held: &Held) -> bool {
        let is_removed = |removed: &BTreeSet<Joined>| removed.contains(&held.joined);
        held.instance == self.instance
            && held.joined <= self.highest
            && self.removed.as_ref().is_some_and(|removed| !is_removed(removed))
    }
}

/// A restore whose every signature verified.
struct Returner {
    role: Role,
    card: Signed,
    ed25519: Ed25519Key,
    proof: JoinProof,
    join: JoinId,
    keys: Keys,
    held: Held,
}

impl Call {
    pub(super) fn restore(&mut self, step: &mut Step, connection: ConnectionId, request: RestoreRequest) {
        if self.connections.contains_key(&connection) {
            step.error(connection, Code::AlreadyJoined, Code::AlreadyJoined.sentence());
            return;
        }
        let returner = self.check_restore(step.now, request);
        if let Err(Refused { code, message }) =
            returner.and_then(|returner| self.bring_back(step, connection, returner))
        {
            step.close_because(connection, code, &message);
        }
    }

    fn check_restore(&self, now: Timestamp, request: RestoreRequest) -> Result<Returner, Refused> {
        let RestoreRequest { admission, restore, nonce } = request;
        if restore.version != VERSION {
            return Err(Refused { code: Code::Version, message: version_sentence(restore.version) });
        }
        if restore.call != self.name || admission.call != self.name {
            return Err(Refused::plain(Code::WrongCall));
        }
        if now >= Timestamp::ZERO + RESTORE_UNTIL {
            return Err(Refused::plain(Code::LostSeat));
        }
        check_held(&restore.held)?;
        if restore.held.role != admission.role {
            // The roster holds its role, and joiners rebuild the roster from what is listed here.
            return Err(Refused::plain(Code::LostSeat));
        }
        self.check_signatures(&admission, restore, &nonce)
    }

    fn check_signatures(
        &self,
        admission: &Admission,
        restore: Restore,
        nonce: &RelayNonce,
    ) -> Result<Returner, Refused> {
        let Restore { card, proof, held, keys, signature, .. } = restore;
        let verified = card.card().map_err(|error| Refused::because(Code::BadCard, &error))?;
        if verified.card.user != admission.user {
            return Err(Refused::plain(Code::UserMismatch));
        }
        let ed25519 = verified.card.ed25519;
        let bad_proof = |error| Refused::because(Code::BadProof, &error);
        let join = proof.verify(&self.name, &verified).map_err(bad_proof)?;
        verify(&ed25519, &resume_bytes(&self.name, nonce, &join, Some(&held)), &signature).map_err(bad_proof)?;
        let bad_keys = |error| Refused::because(Code::BadKeys, &error);
        let hash = keys.keys.hash().map_err(bad_keys)?;
        verify(&ed25519, &keys_bytes(&self.name, &join, &hash), &keys.signature).map_err(bad_keys)?;
        Ok(Returner { role: admission.role, card, ed25519, proof, join, keys, held })
    }

    fn bring_back(&mut self, step: &mut Step, connection: ConnectionId, returner: Returner) -> Result<(), Refused> {
        self.may_come_back(step.now, &returner.held)?;
        let again = self.members.values().find(|member| member.is_present() && member.join == returner.join);
        if let Some(again) = again {
            let same = (again.joined, again.seat) == (returner.held.joined, returner.held.seat);
            return if same { self.seat_again(step, connection, returner) } else { Err(lost()) };
        }
        if matches!(self.origin, Origin::Fresh) {
            self.begin_settling(step);
        }
        self.clear_place(step, &returner)?;
        self.seat_returner(step, connection, returner);
        Ok(())
    }

    fn may_come_back(&self, now: Timestamp, held: &Held) -> Result<(), Refused> {
        let may = match &self.origin {
            Origin::Fresh => {
                let begun = self.members.values().filter(|member| member.committed).count() >= BEGUN;
                now < Timestamp::ZERO + YOUNG || !begun
            }
            Origin::Settling { .. } => true,
            Origin::Restored(restored) => restored.lets_back(held),
            Origin::Anew => false,
        };
        if may { Ok(()) } else { Err(lost()) }
    }

    /// The first member of a call that goes on: whoever has begun it anew meanwhile joins what there is.
    fn begin_settling(&mut self, step: &mut Step) {
        for connection in std::mem::take(&mut self.connections).into_keys() {
            step.close(connection, Code::LostSeat);
        }
        self.members.clear();
        self.reign = None;
        self.origin = Origin::Settling { until: step.now + SETTLE, held: BTreeMap::new() };
    }

    /// Whose place it is when two say that it is theirs. An order number is its first bringer's, a seat that of whom
    /// joined earlier: the later of two with one seat cannot have been added while the other was there.
    fn clear_place(&mut self, step: &mut Step, returner: &Returner) -> Result<(), Refused> {
        let Held { joined, seat, .. } = returner.held;
        if self.members.contains_key(&joined) || self.of_device(returner.ed25519).is_some() {
            return Err(lost());
        }
        let holder = self.members.values().find(|member| member.seat == seat).map(|member| member.joined);
        if let Some(holder) = holder {
            if !self.origin.is_settling() || holder < joined {
                return Err(lost());
            }
            self.turn_out(step, holder);
        }
        if self.members.len() >= self.config.members { Err(Refused::plain(Code::CallFull)) } else { Ok(()) }
    }

    fn seat_returner(&mut self, step: &mut Step, connection: ConnectionId, returner: Returner) {
        let Returner { role, card, ed25519, proof, join, keys, held } = returner;
        let at = self.next_at();
        let here = Presence::Here(connection);
        let is_vacant = self.origin.is_restored() && self.reign.is_none();
        // Where nobody leads any more, one that remembers an older reign lacks what came of the newer ones.
        let lags = is_vacant && held.term < self.last_term;
        if self.origin.awaits_lead() {
            self.last_term = self.last_term.max(self.believable(held.term));
        }
        let member = Member {
            joined: held.joined,
            seat: held.seat,
            role,
            card,
            ed25519,
            proof,
            join,
            pool: KeyPool::signed(keys),
            committed: true,
            presence: if lags { Presence::Unfit(connection, Unfit::Behind) } else { here },
            received: 0,
            resumes: Resumes::default(),
            welcomed: at.1,
        };
        let claim = member.claim();
        self.members.insert(held.joined, member);
        self.connections.insert(connection, held.joined);
        self.remember_held(held);
        self.welcome(step, connection, at, &claim);
        self.tell_all_but(step, held.joined, &MemberJoined { at, member: claim }.into());
        self.ensure_lead(step);
    }

    /// A member that never heard that it was seated. It begins again, with the keys that it brings.
    fn seat_again(&mut self, step: &mut Step, connection: ConnectionId, returner: Returner) -> Result<(), Refused> {
        let Returner { keys, held, .. } = returner;
        self.give_up_connection(step, held.joined);
        self.tell_back(step, held.joined);
        let at = conclave_shared::wire::At(self.config.relay, self.last_sequence);
        let member = self.members.get_mut(&held.joined).ok_or_else(lost)?;
        member.presence = Presence::Here(connection);
        member.pool = KeyPool::signed(keys);
        (member.received, member.welcomed) = (0, at.1);
        let claim = member.claim();
        self.connections.insert(connection, held.joined);
        self.remember_held(held);
        self.welcome(step, connection, at, &claim);
        self.ensure_lead(step);
        Ok(())
    }

    fn remember_held(&mut self, held: Held) {
        if let Origin::Settling { held: all, .. } = &mut self.origin {
            all.insert(held.joined, held);
        }
    }

    /// Everybody had time to come: the call is what most of them hold.
    pub(super) fn settle(&mut self, step: &mut Step) {
        if self.origin.settles_at().is_none_or(|at| at > step.now) {
            return;
        }
        let Origin::Settling { held, .. } = std::mem::replace(&mut self.origin, Origin::Anew) else {
            return;
        };
        let here = |held: &Held| self.members.get(&held.joined).is_some_and(Member::is_present);
        let present: BTreeMap<Joined, Held> =
            held.iter().filter(|(_, held)| here(held)).map(|(joined, held)| (*joined, *held)).collect();
        let Some((instance, term, lead)) = held_by_most(&present) else {
            return;
        };
        let (ours, others): (Vec<Held>, Vec<Held>) = held.into_values().partition(|held| held.instance == instance);
        let highest = highest_of(&ours).unwrap_or(self.last_joined);
        self.last_joined = Joined(highest.0.saturating_add(WAITING));
        self.origin = Origin::Restored(Restored { instance, highest, removed: Some(BTreeSet::new()), led: false });
        for held in others {
            // The others never heard of it.
            self.close_out(step, held.joined);
        }
        self.take_up(step, &ours, (term, lead));
    }

    /// The reign goes on if its lead is here and nobody has heard of a newer one, which has ended it; if not, another begins.
    fn take_up(&mut self, step: &mut Step, ours: &[Held], (term, lead): (Term, Joined)) {
        // Whoever was away when the newer reign began lacks its epochs, and must not lead before it has them.
        for held in ours.iter().filter(|held| held.term < term) {
            self.sit_back(step, held.joined, Unfit::Behind);
        }
        let heard = ours.iter().map(|held| held.term).max().unwrap_or(term);
        if heard == term && self.members.get(&lead).is_some_and(Member::is_fit) {
            self.last_term = term;
            self.reign = Some(Reign::new(step.now, term, lead, Last::Unknown));
            self.origin.led();
            let at = self.next_at();
            self.tell_all(step, &Lead { at, term, joined: lead, genesis: false }.into());
        } else {
            self.last_term = term;
            self.last_term = self.believable(heard);
        }
        self.ensure_lead(step);
    }

    /// The next term comes above every one that somebody may have heard of; one that lies moves it by little.
    fn believable(&self, heard: Term) -> Term {
        heard.min(Term(self.last_term.0.saturating_add(UNHEARD_TERMS)))
    }

    /// Somebody whose place it is not: they join afresh.
    fn turn_out(&mut self, step: &mut Step, joined: Joined) {
        self.close_out(step, joined);
        self.tell_left(step, joined, LeftReason::Closed);
    }

    fn close_out(&mut self, step: &mut Step, joined: Joined) {
        let connection = self.end(step.now, joined, LeftReason::Closed).flatten();
        self.members.remove(&joined);
        if let Some(connection) = connection {
            step.close(connection, Code::LostSeat);
        }
    }
}

fn lost() -> Refused {
    Refused::plain(Code::LostSeat)
}

fn check_held(held: &Held) -> Result<(), Refused> {
    let possible = held.joined <= held.highest
        && held.highest.0 < HIGHEST_JOINED
        && held.term.0 < HIGHEST_TERM
        && held.joined.0 > 0;
    if possible { Ok(()) } else { Err(Refused::because(Code::Malformed, &"numbers that no call can have")) }
}

/// The highest order number that was taken, as they say. One that lies moves it by little: with the highest number that there
/// is nobody new could ever come.
fn highest_of(ours: &[Held]) -> Option<Joined> {
    let mut said: Vec<u64> = ours.iter().map(|held| held.highest.max(held.joined).0).collect();
    said.sort_unstable();
    let first = said.pop()?;
    let second = said.pop().unwrap_or(first);
    Some(Joined(first.min(second.saturating_add(UNHEARD_NUMBERS))))
}

/// The life that most of them hold, among as many that of the earliest of them; and in it the reign that most hold, among
/// as many the newer: whoever remembers the older one did not hear of the change before the relay was lost.
fn held_by_most(held: &BTreeMap<Joined, Held>) -> Option<(Instance, Term, Joined)> {
    let mut lives: BTreeMap<Instance, (usize, Reverse<Joined>)> = BTreeMap::new();
    let mut reigns: BTreeMap<(Instance, Term, Joined), usize> = BTreeMap::new();
    for (joined, held) in held {
        // By order of joining: the first that is counted is the earliest.
        lives.entry(held.instance).or_insert((0, Reverse(*joined))).0 += 1;
        *reigns.entry((held.instance, held.term, held.lead)).or_default() += 1;
    }
    let (life, _) = lives.into_iter().max_by_key(|(_, vote)| *vote)?;
    let reigns = reigns.into_iter().filter(|((instance, ..), _)| *instance == life);
    reigns.max_by_key(|((_, term, _), votes)| (*votes, *term)).map(|(reign, _)| reign)
}
