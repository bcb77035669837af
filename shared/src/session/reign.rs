//! What a lead keeps in mind: who waits, who leaves, who has acknowledged what.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::{sync::Arc, time::Duration};

use super::{
    config::Config,
    epoch::activation,
    owing::{Given, Owing},
    pulse::Pulse,
    request::Asked,
    roster::Roster,
    rules,
    timer::{Deadline, Timer},
};
use crate::{
    crypto::group::{Export, OutboundGroup},
    id::{Ed25519Key, Epoch, Instance, Joined, RequestNonce, Term, Transcript},
    limits,
    time::Timestamp,
    wire::{
        Commit,
        sealed::{Added, Cause},
    },
};

/// Requests for a new session that are granted: one in this time, whoever asks. Each costs a message to every member.
const ROTATION_INTERVAL: Duration = Duration::from_secs(5);

/// Live epochs from which joins are spread out.
const PACED_FROM: usize = 6;
/// Epochs that then begin within the time in which one is wiped, twelve in a second: with the active and the pending one, below
/// the bound.
const PACED_EPOCHS: u32 = 24;
/// How long a commit may be under way to the relay and back before the application is told.
pub(super) const STALL_TIME: Duration = Duration::from_secs(5);
/// Sent again so often, a commit is kept back: few relays are restarted thrice within the time of one.
const RESENT: u8 = 2;
/// For how many times that a joiner has to show itself a relay that answers no ping keeps up whoever shows nothing.
const STANDS_FOR: u32 = 3;

/// The reign of this device.
pub(super) struct Reign {
    pub(super) term: Term,
    pub(super) instance: Instance,
    pub(super) phase: Phase,
    /// The session that the newest commit, staged or installed, leaves running.
    pub(super) session: Option<OutboundGroup>,
    /// When it was made.
    pub(super) session_since: Timestamp,
    /// The next new session, made in idle time like the ready grants that will go with it.
    pub(super) spare: Option<OutboundGroup>,
    /// What the newest commit, staged or installed, leads to.
    pub(super) tip: Tip,
    /// Commits that were sent and not yet sequenced by the relay.
    pub(super) staged: VecDeque<Staged>,
    /// Epochs that are installed and not yet active.
    pub(super) pending: VecDeque<Pending>,
    /// Present and not in the roster of the tip.
    pub(super) waiting: BTreeSet<Joined>,
    /// Present, and no commit can add them any more.
    pub(super) stranded: BTreeSet<Joined>,
    /// In the roster of the tip and to be removed, with the reason.
    pub(super) leaving: BTreeMap<Joined, Cause>,
    /// Of those, the ones that the application sent away; the others are taken for gone.
    pub(super) expelled: BTreeSet<Joined>,
    /// Somebody wants a new session.
    pub(super) rotate: Option<Cause>,
    /// One-time keys that were not delivered yet.
    pub(super) claiming: BTreeMap<Joined, Claiming>,
    /// Joiners that have not shown over Olm that they are there, with the epoch that they were given.
    pub(super) expected: BTreeMap<Joined, (Timestamp, Epoch)>,
    /// The newest epoch that each member acknowledged, and whether that was in time.
    acked: BTreeMap<Joined, (Epoch, bool)>,
    /// Until when an acknowledgement of each recent epoch is in time.
    deadlines: BTreeMap<Epoch, Timestamp>,
    asked: Option<Timestamp>,
    /// Signs of life.
    pub(super) pulse: Pulse,
    /// How often members asked for the newest epoch.
    pub(super) requests: Asked,
    /// Those whose answer waits for a one-time key.
    pub(super) regrants: BTreeMap<Joined, RequestNonce>,
    /// Until when those are waited for who have not come back to a relay that was restarted.
    pub(super) absent: BTreeMap<Joined, Timestamp>,
    /// What time those of whom a sign of life is expected were given anew.
    pub(super) given: BTreeMap<Joined, Given>,
    /// Those who are on their way out and have not shown themselves, and until when they had time to.
    unsettled: BTreeMap<Joined, Timestamp>,
    /// Since when the relay is not known to know of this reign: from when the connection drops until the relay takes the reign up.
    pub(super) lost: Option<Timestamp>,
    /// When the last commit was made.
    pub(super) last: Timestamp,
    /// It was said that the relay does not pass on what is under way.
    stalled: bool,
    /// How often the oldest of those under way was sent again, to a relay that was restarted.
    resent: u8,
}

/// How far a reign has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its first commit is still to be made, once the relay has said which one-time keys there are.
    Beginning(Cause),
    /// It goes on.
    Ruling,
}

/// What a commit leads to.
#[derive(Clone)]
pub(super) struct Tip {
    pub(super) epoch: Epoch,
    pub(super) transcript: Transcript,
    pub(super) roster: Roster,
}

/// A commit on its way to the relay and back.
pub(super) struct Staged {
    pub(super) tip: Tip,
    pub(super) cause: Cause,
    /// The new session, if it made one.
    pub(super) session: Option<Export>,
    pub(super) index: u32,
    pub(super) added: Vec<Joined>,
    pub(super) removed: Vec<Joined>,
    pub(super) since: Timestamp,
    /// As it was sent.
    pub(super) upload: Arc<Commit>,
}

/// An epoch that is installed and not yet active.
pub(super) struct Pending {
    pub(super) epoch: Epoch,
    since: Timestamp,
    ratcheted: bool,
    /// Whose acknowledgement is waited for.
    missing: BTreeSet<Joined>,
}

/// A one-time key that was asked for.
#[derive(Clone, Copy)]
pub(super) struct Claiming {
    pub(super) due: Timestamp,
    /// When the relay was last asked.
    pub(super) asked: Option<Timestamp>,
    pub(super) tries: u8,
}

/// What the next commit shall do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) cause: Cause,
    pub(super) add: Vec<Added>,
    pub(super) remove: Vec<Joined>,
}

impl Reign {
    pub(super) fn new(now: Timestamp, (term, instance): (Term, Instance), phase: Phase, tip: Tip) -> Self {
        Self {
            term,
            instance,
            phase,
            session: None,
            spare: None,
            session_since: Timestamp::ZERO,
            tip,
            staged: VecDeque::new(),
            pending: VecDeque::new(),
            waiting: BTreeSet::new(),
            stranded: BTreeSet::new(),
            stalled: false,
            resent: 0,
            last: Timestamp::ZERO,
            leaving: BTreeMap::new(),
            expelled: BTreeSet::new(),
            rotate: None,
            claiming: BTreeMap::new(),
            expected: BTreeMap::new(),
            acked: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            asked: None,
            pulse: Pulse::new(now),
            requests: Asked::default(),
            regrants: BTreeMap::new(),
            absent: BTreeMap::new(),
            given: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            lost: None,
        }
    }

    /// Somebody came: the relay pushes a one-time key; if none comes, it is claimed. One who is committed already came
    /// before: the relay says it again when an add crossed with a leave.
    pub(super) fn arrive(&mut self, joined: Joined, due: Timestamp, keyless: bool) {
        self.absent.remove(&joined);
        let (contains, highest) = (self.tip.roster.contains(joined), self.tip.roster.highest());
        if !contains && highest.is_some_and(|highest| joined <= highest) {
            // Others came in before it, or it is on its way out: its number has passed, and it can only join again.
            self.stranded.insert(joined);
            return;
        }
        if !contains {
            self.waiting.insert(joined);
        }
        if keyless {
            self.claiming.insert(joined, Claiming { due, asked: None, tries: 0 });
        }
    }

    /// A device that is in comes again under a later number: its earlier place goes. An earlier number that is told of once more,
    /// because its add crossed with its going, takes no place away.
    pub(super) fn replace(&mut self, joined: Joined, device: &Ed25519Key) {
        if let Some(earlier) = self.tip.roster.of_device(device).filter(|earlier| *earlier < joined) {
            self.depart(earlier, Cause::Leave);
        }
    }

    /// Somebody can never be added: the relay is told with the next commit, so that the device can join again.
    pub(super) fn strand(&mut self, joined: Joined) {
        if self.waiting.remove(&joined) {
            self.stranded.insert(joined);
        }
    }

    /// Whom the relay is told of with the next commit although the roster does not hold them: those who can never be added, and
    /// those whom it calls committed and who are not. None of them is added later.
    pub(super) fn turn_away(&mut self, misnamed: impl Iterator<Item = Joined>) -> BTreeSet<Joined> {
        let mut away = std::mem::take(&mut self.stranded);
        away.extend(misnamed);
        for staged in &self.staged {
            away.retain(|joined| !staged.upload.remove.contains(joined));
        }
        for joined in &away {
            self.waiting.remove(joined);
            self.claiming.remove(joined);
        }
        away
    }

    /// Somebody is gone.
    pub(super) fn depart(&mut self, joined: Joined, cause: Cause) {
        self.waiting.remove(&joined);
        self.stranded.remove(&joined);
        self.claiming.remove(&joined);
        if let Some((until, _)) = self.expected.remove(&joined) {
            self.unsettled.insert(joined, until);
        }
        self.absent.remove(&joined);
        self.regrants.remove(&joined);
        self.requests.forget(joined);
        self.pulse.forget(joined);
        self.pending.iter_mut().for_each(|pending| {
            pending.missing.remove(&joined);
        });
        if self.tip.roster.contains(joined) && !(planted!(ForgetLeave) && cause == Cause::Leave) {
            self.leaving.entry(joined).or_insert(cause);
        }
    }

    /// Whether somebody is in and nothing is under way to take them out.
    pub(super) fn stays(&self, joined: Joined) -> bool {
        self.tip.roster.contains(joined) && !self.leaving.contains_key(&joined)
    }

    /// The application wants somebody out; `None` when they are not in.
    pub(super) fn remove(&mut self, joined: Joined) -> Option<()> {
        self.tip.roster.contains(joined).then(|| {
            self.expelled.insert(joined);
            self.depart(joined, Cause::Remove);
        })
    }

    /// Whom the application wants out and no commit that was sequenced has taken out.
    pub(super) fn not_removed(&self) -> impl Iterator<Item = Joined> {
        let sent = self
            .staged
            .iter()
            .flat_map(|staged| staged.removed.iter().filter(|joined| !staged.upload.lost.contains(joined)).copied());
        self.expelled.iter().copied().chain(sent)
    }

    /// The application wants a new session.
    pub(super) fn request_rotation(&mut self) {
        self.rotate.get_or_insert(Cause::Request);
    }

    /// A member wants a new session.
    pub(super) fn rotation_asked(&mut self, now: Timestamp) {
        if self.asked.is_none_or(|asked| now.since(asked) >= ROTATION_INTERVAL) {
            self.asked = Some(now);
            self.request_rotation();
        }
    }

    /// Whether another epoch may be granted on top of those that are not active yet, given how many are live.
    pub(super) fn may_grant(&self, now: Timestamp, live: usize, config: &Config) -> bool {
        let in_flight = self.staged.len() + self.pending.len();
        let live = live + self.staged.len();
        if self.leaving.is_empty() {
            let room = live < limits::LIVE_EPOCHS.saturating_sub(limits::LIVE_EPOCHS_FOR_REMOVAL);
            in_flight == 0 && room && self.paced(live, config) <= now
        } else {
            in_flight < limits::PENDING_EPOCHS && live < limits::LIVE_EPOCHS
        }
    }

    /// When the next epoch without a removal may begin: at once while few are live, then so far apart that their number
    /// settles below the bound. Joiners share an epoch sooner than one of them waits for a wiping.
    pub(super) fn paced(&self, live: usize, config: &Config) -> Timestamp {
        let apart = if live < PACED_FROM { Duration::ZERO } else { config.retire / PACED_EPOCHS };
        self.last + apart
    }

    /// Whether somebody waits for the next epoch.
    pub(super) fn has_wishes(&self) -> bool {
        self.rotate.is_some() || !self.waiting.is_empty()
    }

    /// Why the next epoch begins: the gravest of all reasons.
    pub(super) fn cause(&self, joiners: bool) -> Option<Cause> {
        let removal = self.leaving.values().max().copied();
        rules::cause(removal, self.rotate, joiners)
    }

    /// An epoch of this reign is installed: wait for the members of the active one that were in time last time.
    pub(super) fn installed(
        &mut self,
        (now, config): (Timestamp, &Config),
        staged: &Staged,
        active: Option<(Epoch, &Roster)>,
        me: Joined,
    ) {
        for joined in &staged.removed {
            self.acked.remove(joined);
            self.unsettled.remove(joined);
            self.given.remove(joined);
        }
        (self.resent, self.stalled) = (0, false);
        let epoch = staged.tip.epoch;
        let waited_for = |joined: &Joined, active| {
            *joined != me
                && staged.tip.roster.contains(*joined)
                && !self.leaving.contains_key(joined)
                && self.is_prompt(now, *joined, active)
        };
        let missing = active.map_or_else(BTreeSet::new, |(active, roster)| {
            let members = roster.iter().map(|entry| entry.added.joined);
            members.filter(|joined| waited_for(joined, active)).collect()
        });
        let ratcheted = staged.cause.ratchets();
        self.deadlines.insert(epoch, staged.since + activation(ratcheted, config));
        self.pending.push_back(Pending { epoch, since: staged.since, ratcheted, missing });
    }

    /// No epoch waits for these any more: they are away, and cannot acknowledge anything.
    pub(super) fn wait_not_for(&mut self, away: impl Fn(Joined) -> bool) {
        self.pending.iter_mut().for_each(|pending| pending.missing.retain(|joined| !away(*joined)));
    }

    /// Whether a member acknowledged the active epoch in time, or still can.
    fn is_prompt(&self, now: Timestamp, joined: Joined, active: Epoch) -> bool {
        match self.acked.get(&joined) {
            Some((epoch, in_time)) if *epoch >= active => *in_time,
            _ => self.deadlines.get(&active).is_some_and(|deadline| now <= *deadline),
        }
    }

    /// A member holds an epoch, and with it every earlier one.
    pub(super) fn acknowledge(&mut self, now: Timestamp, joined: Joined, epoch: Epoch) {
        let in_time = self.deadlines.get(&epoch).is_some_and(|deadline| now <= *deadline);
        let newest = self.acked.entry(joined).or_insert((epoch, in_time));
        if epoch > newest.0 {
            *newest = (epoch, in_time);
        }
        for pending in self.pending.iter_mut().filter(|pending| pending.epoch <= epoch) {
            pending.missing.remove(&joined);
        }
    }

    /// The epoch that can be activated: the newest that all hold, or simply the newest when the oldest waits too long.
    pub(super) fn ready(&self, now: Timestamp, config: &Config) -> Option<Epoch> {
        let held = self.pending.iter().rev().find(|pending| pending.missing.is_empty());
        let overdue = self.deadline(config).is_some_and(|deadline| deadline <= now);
        let newest = self.pending.back().filter(|_| overdue);
        newest.or(held).map(|pending| pending.epoch)
    }

    /// An epoch is active: nothing waits for it or an earlier one.
    pub(super) fn activated(&mut self, epoch: Epoch) {
        self.pending.retain(|pending| pending.epoch > epoch);
        self.deadlines.retain(|old, _| *old >= epoch);
    }

    /// Until when the oldest epoch waits for acknowledgements.
    pub(super) fn deadline(&self, config: &Config) -> Option<Timestamp> {
        self.pending.front().map(|oldest| oldest.since + activation(oldest.ratcheted, config))
    }

    /// Whether the relay is known to know of this reign.
    pub(super) fn is_confirmed(&self) -> bool {
        self.lost.is_none()
    }

    /// How long this device has led, as far as it can know.
    pub(super) fn lasted(&self, now: Timestamp) -> Duration {
        Duration::from_millis(self.pulse.at(self.lost.unwrap_or(now)))
    }

    /// The relay knows of this reign again: what is under way is sent once more.
    pub(super) fn taken_up(&mut self) {
        (self.lost, self.stalled) = (None, false);
        self.resent = if self.staged.is_empty() { 0 } else { self.resent.saturating_add(1) };
    }

    /// The epoch of a commit that the relay has kept to itself for too long, told once until it is sequenced.
    pub(super) fn stall(&mut self, now: Timestamp) -> Option<Epoch> {
        let oldest = self.staged.front().filter(|_| !self.stalled)?;
        let stalls = self.resent > RESENT || now.since(oldest.since) >= STALL_TIME;
        let stalled = stalls.then_some(oldest.tip.epoch);
        self.stalled = stalled.is_some();
        stalled
    }

    /// The newest epoch of a reign that the relay has neither taken up nor given to somebody else for too long since the
    /// connection was, told once until it takes it up.
    pub(super) fn left_hanging(&mut self, now: Timestamp, up_since: Timestamp) -> Option<Epoch> {
        let hangs = !self.is_confirmed() && !self.stalled && now.since(up_since) >= STALL_TIME;
        self.stalled |= hangs;
        hangs.then_some(self.tip.epoch)
    }

    /// When that is due.
    pub(super) fn hanging_deadline(&self, up_since: Timestamp) -> Option<Deadline> {
        (!self.is_confirmed() && !self.stalled).then_some((up_since + STALL_TIME, Timer::Stall))
    }

    /// The relay answered a ping. If it stood still before that, nobody could be heard: they are given time anew.
    pub(super) fn answered(&mut self, now: Timestamp, n: u32, config: &Config) {
        if self.pulse.pong(now, n) {
            // Once for each, as a relay makes such silences at will; and not for those who have most of their time before them, who
            // may need it for the next.
            let expected = self.expected.iter_mut().map(|(joined, (until, _))| (joined, until));
            for (joined, until) in expected.chain(&mut self.absent) {
                if until.since(now) < config.presence / 2 && self.given.entry(*joined).or_default().stand() {
                    *until = now + config.presence;
                }
            }
        }
    }

    /// Joiners whose time to show themselves is over are to be removed, unless the relay stands still: that is not their
    /// silence.
    pub(super) fn expire_expected(&mut self, now: Timestamp, config: &Config) {
        let stands = if self.pulse.stands(now) { config.presence * STANDS_FOR } else { Duration::ZERO };
        let silent = self.expected.iter().filter(|(_, (until, _))| *until + stands <= now);
        for joined in silent.map(|(joined, _)| *joined).collect::<Vec<_>>() {
            self.drop_silent(now, joined, Cause::Remove);
        }
        let lost = self.absent.iter().filter(|(_, until)| **until + stands <= now);
        for joined in lost.map(|(joined, _)| *joined).collect::<Vec<_>>() {
            self.depart(joined, Cause::Leave);
        }
    }

    /// A relay that was restarted gives nobody less than this, so that they can come back.
    pub(super) fn extend_expected(&mut self, until: Timestamp) {
        for (joined, (deadline, _)) in self.expected.iter_mut().filter(|(_, (deadline, _))| *deadline < until) {
            if self.given.entry(*joined).or_default().extend() {
                *deadline = until;
            }
        }
    }

    /// Somebody gave no sign of life for too long.
    pub(super) fn drop_silent(&mut self, now: Timestamp, joined: Joined, cause: Cause) {
        self.depart(joined, cause);
        self.unsettled.insert(joined, now);
    }

    /// Somebody of whom a sign of life was expected gave it.
    pub(super) fn settle(&mut self, joined: Joined) {
        self.expected.remove(&joined);
        self.given.remove(&joined);
    }

    /// Somebody echoes what is said now. On their way out they go, as was decided, and owe nothing.
    pub(super) fn heard(&mut self, joined: Joined) {
        self.unsettled.remove(&joined);
    }

    /// What is still owed when this reign is over, also by those whose removal no commit has brought about: a relay that keeps
    /// commits back would have their time begin anew.
    pub(super) fn owing(&self, now: Timestamp) -> impl Iterator<Item = (Joined, Owing)> {
        let expected = self.expected.iter().map(|(joined, (until, _))| (joined, until));
        expected.chain(&self.unsettled).map(move |(joined, until)| {
            let given = self.given.get(joined).copied().unwrap_or_default();
            (*joined, Owing { left: until.since(now), given })
        })
    }

    /// Time that went by without a connection counts against nobody.
    pub(super) fn touch(&mut self, now: Timestamp) {
        self.staged.iter_mut().for_each(|staged| staged.since = now);
        self.pending.iter_mut().for_each(|pending| pending.since = now);
    }

    /// Makes the next new session ahead of its need. Without one it is made when it is needed.
    pub(super) fn prepare(&mut self) {
        self.spare = self.spare.take().or_else(|| OutboundGroup::new().ok());
    }

    /// No epoch is on its way: there is time to prepare the next one.
    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Ruling && self.staged.is_empty() && self.pending.is_empty()
    }

    /// What is due, and when.
    pub(super) fn deadlines(&self, config: &Config) -> impl Iterator<Item = Deadline> {
        let old = self.session.is_some() && self.rotate.is_none();
        let rotation = old.then_some((self.session_since + config.rotation, Timer::Rotation));
        let stall =
            self.staged.front().filter(|_| !self.stalled).map(|staged| (staged.since + STALL_TIME, Timer::Stall));
        let activate = self.deadline(config).map(|at| (at, Timer::Activate));
        let claims = self.claiming.values().map(|claiming| (claiming.due, Timer::Claim));
        let expected = self.expected.values().map(|(until, _)| (*until, Timer::Presence));
        let absent = self.absent.values().map(|until| (*until, Timer::Absent));
        let due = [rotation, stall, activate].into_iter().flatten();
        due.chain(claims).chain(expected).chain(absent).chain(self.pulse.deadlines(config))
    }
}
