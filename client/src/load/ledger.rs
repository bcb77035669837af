//! The books of one call under load: which epochs the lead made, who holds which, who has switched, what is missing.
//!
//! No input, no output, no clock: probes and the churn report to it, checks and figures come out of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    mem::take,
    sync::Arc,
    time::{Duration, Instant},
};

use conclave_shared::{
    id::{Epoch, Fingerprint, Joined, Transcript},
    session::output::EpochInfo,
};

use super::device::Way;

/// One epoch as the lead made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Which.
    pub(crate) epoch: Epoch,
    /// What its key must look like.
    pub(crate) fingerprint: Fingerprint,
    /// The salt of its key: public among members, so it helps nobody who lacks the ratchet.
    pub(crate) transcript: Transcript,
}

/// What a leaver is shown, and what it must not get.
#[derive(Debug)]
pub(crate) struct Exclusion {
    /// The leaver.
    pub(crate) joined: Joined,
    /// Every text that the relay sent to anybody else from its leave until all had switched.
    pub(crate) texts: Vec<Arc<str>>,
    /// The epochs without it.
    pub(crate) targets: Vec<Target>,
}

/// A leave that not everybody has switched away from.
struct Leave {
    joined: Joined,
    /// Since when others are to switch: its goodbye, or, without one, when the relay gave up its seat.
    since: Option<Instant>,
    /// Where the log stood.
    from: usize,
    /// The first epoch without the leaver.
    epoch: Option<Epoch>,
    /// Members that seal under an older epoch.
    waiting: BTreeSet<Joined>,
    /// When the last member switched.
    switched: Instant,
}

/// One epoch, and who in its roster has not shown that it holds it.
struct Made {
    target: Target,
    missing: BTreeSet<Joined>,
}

/// What the run counts of wrong things. Every one of them fails the run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// A member's key of an epoch differs from the lead's.
    pub(crate) wrong_keys: u64,
    /// Security events, refusals and connections that ended by themselves, in words, with how often.
    pub(crate) errors: BTreeMap<String, u64>,
}

/// The books of one call.
#[derive(Default)]
pub(crate) struct Ledger {
    epochs: BTreeMap<Epoch, Made>,
    /// Reports of members that came before the lead's own.
    early: BTreeMap<Epoch, Vec<(Joined, Fingerprint)>>,
    /// Everybody who is in the call as far as the harness knows, and the epoch that they seal under.
    active: BTreeMap<Joined, Option<Epoch>>,
    /// Everybody who was in the newest roster.
    roster: BTreeSet<Joined>,
    gone: BTreeSet<Joined>,
    leaves: Vec<Leave>,
    log: Vec<Arc<str>>,
    seen: HashSet<Arc<str>>,
    faults: Faults,
    /// Who made the newest epoch.
    lead: Option<Joined>,
    /// The leads that were lost on purpose.
    lost: Vec<Loss>,
}

/// A lead that was lost on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    lead: Joined,
    /// The newest epoch of the lost lead's reign that was made so far.
    epoch: Epoch,
    /// When it was lost.
    pub(crate) at: Instant,
    /// When the first member was told.
    pub(crate) detected: Option<Instant>,
    /// When the last member sealed under an epoch of another lead.
    pub(crate) healed: Option<Instant>,
}

/// Which leaves an entry has settled: how long each took, unless nobody was told of it, and what its leaver is to be shown.
pub(crate) type Settled = Vec<(Option<Duration>, Exclusion)>;

impl Ledger {
    /// A member has a seat.
    pub(crate) fn seated(&mut self, joined: Joined) {
        self.active.insert(joined, None);
    }

    /// Something went wrong that must not.
    pub(crate) fn error(&mut self, what: String) {
        *self.faults.errors.entry(what).or_default() += 1;
    }

    /// The lead made an epoch.
    pub(crate) fn made(&mut self, info: &EpochInfo, transcript: Transcript) {
        let target = Target { epoch: info.epoch, fingerprint: info.fingerprint, transcript };
        self.lead = Some(info.lead);
        self.roster = info.members.iter().map(|member| member.joined).collect();
        let missing = self.roster.difference(&self.gone).copied().collect();
        self.epochs.insert(info.epoch, Made { target, missing });
        for (member, fingerprint) in self.early.remove(&info.epoch).unwrap_or_default() {
            self.installed(member, info.epoch, fingerprint);
        }
        for leave in &mut self.leaves {
            if leave.epoch.is_none() && !self.roster.contains(&leave.joined) {
                leave.epoch = Some(info.epoch);
                let behind = |seals: &Option<Epoch>| seals.is_some_and(|epoch| epoch < info.epoch);
                leave.waiting =
                    self.active.iter().filter(|(_, seals)| behind(seals)).map(|(joined, _)| *joined).collect();
            }
        }
    }

    /// A member holds an epoch, under a key that looks like this.
    pub(crate) fn installed(&mut self, member: Joined, epoch: Epoch, fingerprint: Fingerprint) {
        let Some(made) = self.epochs.get_mut(&epoch) else {
            self.early.entry(epoch).or_default().push((member, fingerprint));
            return;
        };
        if made.target.fingerprint != fingerprint {
            self.faults.wrong_keys += 1;
        }
        made.missing.remove(&member);
    }

    /// A member seals under an epoch from here on.
    pub(crate) fn switched(&mut self, member: Joined, epoch: Epoch, now: Instant) -> Settled {
        if let Some(seals) = self.active.get_mut(&member) {
            *seals = Some(epoch);
        }
        for leave in &mut self.leaves {
            if leave.epoch.is_some_and(|without| epoch >= without) && leave.waiting.remove(&member) {
                leave.switched = now;
            }
        }
        if self.stuck() == 0
            && let Some(loss) = self.lost.last_mut()
        {
            loss.healed.get_or_insert(now);
        }
        self.settle()
    }

    /// Who leads: whoever made the newest epoch.
    pub(crate) fn lead(&self) -> Option<Joined> {
        self.lead
    }

    /// The lead is lost now.
    pub(crate) fn lose(&mut self, lead: Joined, at: Instant) {
        let Some(newest) = self.newest() else { return };
        self.lost.push(Loss { lead, epoch: newest.epoch, at, detected: None, healed: None });
    }

    /// A member was told that somebody is away or gone.
    pub(crate) fn missed_by_members(&mut self, joined: Joined, now: Instant) {
        if let Some(loss) = self.lost.last_mut().filter(|loss| loss.lead == joined) {
            loss.detected.get_or_insert(now);
        }
    }

    /// How the last loss goes.
    pub(crate) fn loss(&self) -> Option<Loss> {
        self.lost.last().copied()
    }

    /// Members that do not seal under an epoch of whoever came after the lead that was lost last.
    pub(crate) fn stuck(&self) -> usize {
        let Some(loss) = self.lost.last() else { return 0 };
        let passed = |seals: &&Option<Epoch>| seals.is_none_or(|epoch| epoch.term() <= loss.epoch.term());
        self.active.values().filter(passed).count()
    }

    /// A member was told that somebody has left.
    pub(crate) fn left(&mut self, joined: Joined, now: Instant) {
        for leave in self.leaves.iter_mut().filter(|leave| leave.joined == joined) {
            leave.since.get_or_insert(now);
        }
    }

    /// A member is about to leave, with a goodbye or without: it owes nothing more, and everybody else owes an epoch without
    /// it.
    pub(crate) fn leaving(&mut self, member: Joined, now: Instant, way: Way) -> Settled {
        self.gone.insert(member);
        self.active.remove(&member);
        for made in self.epochs.values_mut() {
            made.missing.remove(&member);
        }
        for leave in &mut self.leaves {
            leave.waiting.remove(&member);
        }
        let (from, waiting) = (self.log.len(), BTreeSet::new());
        let since = (way == Way::Signed).then_some(now);
        self.leaves.push(Leave { joined: member, since, from, epoch: None, waiting, switched: now });
        self.settle()
    }

    /// Somebody in the call received this while a leave was open.
    pub(crate) fn heard(&mut self, by: Option<Joined>, text: &str) {
        if self.leaves.is_empty() || by.is_some_and(|by| self.gone.contains(&by)) || self.seen.contains(text) {
            return;
        }
        let text: Arc<str> = text.into();
        self.seen.insert(text.clone());
        self.log.push(text);
    }

    /// There is a leave that not everybody has switched away from.
    pub(crate) fn has_open_leaves(&self) -> bool {
        !self.leaves.is_empty()
    }

    /// The epoch before this one.
    pub(crate) fn before(&self, epoch: Epoch) -> Option<Target> {
        self.epochs.range(..epoch).next_back().map(|(_, made)| made.target)
    }

    /// The newest epoch of the lead.
    pub(crate) fn newest(&self) -> Option<Target> {
        self.epochs.values().next_back().map(|made| made.target)
    }

    /// How many epochs the lead made.
    pub(crate) fn rotations(&self) -> u64 {
        self.epochs.len() as u64
    }

    /// Nothing is owed: everybody holds and seals under the newest epoch, whose roster names exactly them.
    pub(crate) fn is_settled(&self) -> bool {
        let newest = self.newest().map(|target| target.epoch);
        self.leaves.is_empty()
            && self.epochs.values().all(|made| made.missing.is_empty())
            && self.active.values().all(|seals| *seals == newest)
            && self.active.keys().eq(self.roster.iter())
    }

    /// What is owed, one sentence each: every one of them is a missed rotation.
    pub(crate) fn missed(&self) -> Vec<String> {
        let newest = self.newest().map(|target| target.epoch);
        let unsettled = self.leaves.iter().map(|leave| match leave.epoch {
            None => format!("member {} left and no epoch without it came", leave.joined),
            Some(epoch) => {
                format!("{} members do not seal under {epoch}, without member {}", leave.waiting.len(), leave.joined)
            }
        });
        let missing = self.epochs.iter().filter(|(_, made)| !made.missing.is_empty());
        let missing = missing.map(|(epoch, made)| format!("{} members never held epoch {epoch}", made.missing.len()));
        let outside = self.active.keys().filter(|joined| !self.roster.contains(joined));
        let outside = outside.map(|joined| format!("member {joined} was never added"));
        let behind = self.active.iter().filter(|(_, seals)| **seals != newest);
        let behind = behind.map(|(joined, _)| format!("member {joined} does not seal under the newest epoch"));
        unsettled.chain(missing).chain(outside).chain(behind).collect()
    }

    /// What went wrong so far.
    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Takes out the leaves from which everybody has switched away.
    fn settle(&mut self) -> Settled {
        let (done, open) =
            take(&mut self.leaves).into_iter().partition(|leave| leave.epoch.is_some() && leave.waiting.is_empty());
        self.leaves = open;
        let done: Vec<Leave> = done;
        let settled = done.into_iter().map(|leave| {
            let targets = leave.epoch.map(|first| self.epochs.range(first..).map(|(_, made)| made.target).collect());
            let texts = self.log.get(leave.from..).unwrap_or_default().to_vec();
            let exclusion = Exclusion { joined: leave.joined, texts, targets: targets.unwrap_or_default() };
            (leave.since.map(|since| leave.switched.saturating_duration_since(since)), exclusion)
        });
        let settled = settled.collect();
        if self.leaves.is_empty() {
            self.log.clear();
            self.seen.clear();
        }
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_shared::{
        id::{Ed25519Key, Role, RosterHash, Seat, Term},
        session::output::MemberInfo,
        wire::sealed::Cause,
    };

    fn epoch(count: u32) -> Epoch {
        Epoch(Term(1), count)
    }

    fn print(n: u8) -> Fingerprint {
        Fingerprint::new([n; 16])
    }

    fn make(ledger: &mut Ledger, count: u8, members: &[u64]) {
        let member = |joined: &u64| MemberInfo {
            seat: Seat(0),
            joined: Joined(*joined),
            role: Role::Member,
            user: String::new(),
            name: String::new(),
            ed25519: Ed25519Key::new([0; 32]),
        };
        let info = EpochInfo {
            epoch: epoch(count.into()),
            cause: Cause::Leave,
            lead: Joined(1),
            members: members.iter().map(member).map(Arc::new).collect(),
            roster: RosterHash::new([0; 32]),
            fingerprint: print(count),
            security_code: String::new(),
        };
        ledger.made(&info, Transcript::new([count; 32]));
    }

    /// Members 1, 2 and 3 hold epoch 0 and seal under it.
    fn three() -> Ledger {
        let mut ledger = Ledger::default();
        make(&mut ledger, 0, &[1, 2, 3]);
        for joined in [1, 2, 3].map(Joined) {
            ledger.seated(joined);
            ledger.installed(joined, epoch(0), print(0));
            ledger.switched(joined, epoch(0), Instant::now());
        }
        ledger
    }

    #[test]
    fn a_leave_is_settled_when_the_last_remaining_member_has_switched() {
        let (mut ledger, start) = (three(), Instant::now());
        assert!(ledger.is_settled());
        assert!(ledger.leaving(Joined(2), start, Way::Signed).is_empty());
        ledger.heard(Some(Joined(2)), "the leaver's own");
        ledger.heard(Some(Joined(3)), "a text");
        ledger.heard(Some(Joined(1)), "a text");
        make(&mut ledger, 1, &[1, 3]);
        for joined in [1, 3].map(Joined) {
            ledger.installed(joined, epoch(1), print(1));
        }
        assert!(ledger.switched(Joined(1), epoch(1), start).is_empty());
        assert!(!ledger.is_settled());
        let mut settled = ledger.switched(Joined(3), epoch(1), start + Duration::from_millis(7));
        let (took, exclusion) = settled.pop().expect("the leave is settled");
        assert_eq!(took, Some(Duration::from_millis(7)));
        assert_eq!(exclusion.texts, ["a text".into()]);
        assert_eq!(exclusion.targets.len(), 1);
        assert!(ledger.is_settled() && ledger.missed().is_empty());
    }

    #[test]
    fn a_wrong_key_is_counted_whoever_reports_first() {
        let mut ledger = three();
        ledger.installed(Joined(2), epoch(1), print(9));
        make(&mut ledger, 1, &[1, 2, 3]);
        ledger.installed(Joined(3), epoch(1), print(8));
        ledger.installed(Joined(1), epoch(1), print(1));
        assert_eq!(ledger.faults().wrong_keys, 2);
    }

    #[test]
    fn whatever_is_owed_is_named() {
        let mut ledger = three();
        ledger.leaving(Joined(2), Instant::now(), Way::Signed);
        assert_eq!(ledger.missed(), ["member 2 left and no epoch without it came"]);
        ledger.seated(Joined(4));
        make(&mut ledger, 1, &[1, 3]);
        let missed = ledger.missed().join("; ");
        assert!(missed.contains("2 members do not seal under 1.1"), "{missed}");
        assert!(missed.contains("2 members never held epoch 1.1"), "{missed}");
        assert!(missed.contains("member 4 was never added"), "{missed}");
    }

    #[test]
    fn a_lost_lead_is_followed_when_the_last_member_seals_under_another_leads_epoch() {
        let (mut ledger, start) = (three(), Instant::now());
        let later = |millis| start + Duration::from_millis(millis);
        assert_eq!(ledger.lead(), Some(Joined(1)));
        ledger.leaving(Joined(1), start, Way::Dropped);
        ledger.lose(Joined(1), start);
        assert_eq!(ledger.stuck(), 2);
        ledger.missed_by_members(Joined(3), later(1));
        ledger.missed_by_members(Joined(1), later(2));
        ledger.missed_by_members(Joined(1), later(3));
        ledger.switched(Joined(2), epoch(1), later(4));
        assert_eq!(ledger.stuck(), 2, "an epoch of the lost lead is none of another");
        ledger.switched(Joined(2), Epoch(Term(2), 0), later(5));
        assert_eq!(ledger.loss().expect("a loss").healed, None);
        ledger.switched(Joined(3), Epoch(Term(2), 0), later(6));
        let loss = ledger.loss().expect("a loss");
        assert_eq!((loss.detected, loss.healed, ledger.stuck()), (Some(later(2)), Some(later(6)), 0));
    }

    #[test]
    fn a_leave_without_a_goodbye_counts_from_when_the_relay_gives_up_the_seat() {
        let (mut ledger, start) = (three(), Instant::now());
        let later = |millis| start + Duration::from_millis(millis);
        ledger.leaving(Joined(2), start, Way::Dropped);
        ledger.left(Joined(2), later(10_000));
        ledger.left(Joined(2), later(10_003));
        make(&mut ledger, 1, &[1, 3]);
        ledger.switched(Joined(1), epoch(1), later(10_004));
        let settled = ledger.switched(Joined(3), epoch(1), later(10_009));
        assert_eq!(settled.first().map(|(took, _)| *took), Some(Some(Duration::from_millis(9))));
    }

    #[test]
    fn a_member_that_leaves_owes_nothing() {
        let (mut ledger, now) = (three(), Instant::now());
        ledger.leaving(Joined(2), now, Way::Signed);
        make(&mut ledger, 1, &[1, 3]);
        ledger.installed(Joined(1), epoch(1), print(1));
        ledger.switched(Joined(1), epoch(1), now);
        let settled = ledger.leaving(Joined(3), now, Way::Signed);
        assert_eq!(settled.len(), 1, "the first leave waited for the second leaver alone");
    }
}
