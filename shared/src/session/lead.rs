//! Leading: claiming keys, committing changes, granting epochs, activating them.

use serde_json::value::{RawValue, to_raw_value};
use std::{sync::Arc, time::Duration};
use zeroize::Zeroizing;

use super::{
    call::{Call, Ctx},
    config::Config,
    error::{CommitError, InternalError, SecurityEvent},
    grants::{Rekey, welcome},
    group::Install,
    member::unbind,
    output::Event,
    owing::Owing,
    reign::{Claiming, Phase, Plan, Reign, Staged, Tip},
    roster::{Entry, Roster},
};
use crate::{
    crypto::{
        group::{Export, InboundGroup, OutboundGroup},
        random, schedule,
        seal::seal_once,
        secret::Secret,
    },
    id::{AckMac, Epoch, Instance, Joined, Term},
    limits,
    time::Timestamp,
    wire::{
        Blob, Broadcast, Claim, Claimed, ClaimedKey, Commit, OlmMessage, encode,
        sealed::{Added, Cause, CommitBody, Content, OlmContext, OlmType, SealedSession, SecretBlob, SessionBody},
        signed::{Signed, keys_bytes, verify},
    },
};

/// How often a one-time key is asked for before its owner is given up: some tries, because the relay may be slow.
const CLAIM_TRIES: u8 = 3;

/// How many times the presence time a member has after a change of lead: it was here before, and may only be slow.
const PRESENCE_AFTER_CHANGE: u32 = 3;
/// What is left of that at least, where a device cannot know who showed themselves to other leads.
const LEAST_PRESENCE: Duration = Duration::from_secs(2);

/// A commit that is about to be sent, and what is granted with it.
pub(super) struct Upload {
    pub(super) commit: CommitBody,
    broadcast: Broadcast,
    pub(super) tip: Tip,
    /// The session from the index of the epoch on.
    export: Export,
    /// What a joiner is granted; empty when there is none.
    pub(super) welcome: Zeroizing<String>,
    /// What a member is granted, when the session is new.
    pub(super) rekey: Option<Rekey>,
}

/// In a large call only the lead hears who is there: whoever owed something to this one may have shown itself to others.
fn least_presence(roster: &Roster) -> Duration {
    if roster.len() > limits::ALIVE_TO_ALL { LEAST_PRESENCE } else { Duration::ZERO }
}

impl Call {
    /// This device leads from here on: with a new life of the call, or with the roster that it holds.
    pub(super) fn begin_reign(&mut self, ctx: &mut Ctx<'_>, term: Term) -> Result<(), InternalError> {
        let (instance, cause, tip) = match &self.group {
            Some(group) => {
                let roster = (*group.roster).clone();
                (group.instance, Cause::LeadChange, Tip { epoch: group.epoch, transcript: group.transcript, roster })
            }
            None => {
                let instance = Instance::new(random::bytes().map_err(|_| InternalError::Random)?);
                let transcript = schedule::genesis(&self.name, &instance, &self.me.end.ed25519);
                let tip = Tip { epoch: Epoch::first(term), transcript, roster: Roster::default() };
                (instance, Cause::Start, tip)
            }
        };
        let mut reign = Reign::new(ctx.now, (term, instance), Phase::Beginning(cause), tip);
        for claim in self.claims.iter().filter(|claim| claim.added.joined != self.me.joined) {
            let joined = claim.added.joined;
            if claim.present() {
                reign.arrive(joined, ctx.now, !self.olm.is_open(claim.added.join));
            } else {
                reign.depart(joined, Cause::Leave);
            }
        }
        // Whoever is in the roster and not even claimed by the relay is gone.
        let lost: Vec<_> = reign.tip.roster.iter().map(|entry| entry.added.joined).collect();
        for joined in lost.into_iter().filter(|joined| self.claims.get(*joined).is_none()) {
            reign.depart(joined, Cause::Leave);
        }
        // Here and not in a later commit, which a relay could keep back while this one goes through.
        let least = least_presence(&reign.tip.roster);
        self.elections.owing.retain(|joined, _| reign.tip.roster.contains(*joined));
        reign.given = self.elections.owing.iter().map(|(joined, owing)| (*joined, owing.given)).collect();
        for (joined, _) in self.elections.owing.iter().filter(|(_, owing)| owing.is_over(least)) {
            reign.drop_silent(ctx.now, *joined, Cause::Leave);
        }
        if let Some(settled) = self.settled_at {
            let unlisted = self.claims.unlisted().filter(|joined| !reign.leaving.contains_key(joined));
            reign.absent = unlisted.map(|joined| (joined, settled + ctx.config.absent)).collect();
        }
        self.reign = Some(reign);
        Ok(())
    }

    /// Does everything that has become possible or due. Called after each input.
    pub(super) fn reign_on(&mut self, ctx: &mut Ctx<'_>) -> Result<(), InternalError> {
        if self.reign.as_ref().is_some_and(|reign| reign.is_confirmed()) {
            self.claim(ctx);
        }
        let Some(reign) = self.reign.as_mut().filter(|reign| reign.is_confirmed()) else { return Ok(()) };
        reign.expire_expected(ctx.now, ctx.config);
        if let Some(epoch) = reign.stall(ctx.now) {
            ctx.alarm(SecurityEvent::CommitStalled { epoch });
        }
        if reign.session.is_some() && ctx.now >= reign.session_since + ctx.config.rotation {
            reign.rotate.get_or_insert(Cause::Timer);
        }
        self.activate_ready(ctx)?;
        // A leave goes on top of a commit in flight, so there is at most one more round than epochs may be pending.
        for _ in 0..=limits::PENDING_EPOCHS {
            let Some(plan) = self.plan(ctx.now, ctx.config) else { break };
            self.stage(ctx, plan)?;
        }
        Ok(())
    }

    /// Asks for the one-time keys that are due, and gives up those that never come.
    fn claim(&mut self, ctx: &mut Ctx<'_>) {
        let Some(Reign { claiming, pulse, .. }) = &mut self.reign else { return };
        let mut of = Vec::new();
        let mut given_up = Vec::new();
        for (joined, claiming) in claiming.iter_mut().filter(|(_, claiming)| claiming.due <= ctx.now) {
            let due = ctx.now + ctx.config.claim;
            if claiming.asked.is_some_and(|asked| !pulse.has_answered(asked)) {
                // The relay is frozen or slow: that is not for lack of a key.
                claiming.due = due;
            } else if claiming.tries >= CLAIM_TRIES {
                given_up.push(*joined);
            } else {
                *claiming = Claiming { due, asked: Some(ctx.now), tries: claiming.tries + 1 };
                of.push(*joined);
            }
        }
        if !of.is_empty() {
            ctx.send(Claim { of });
        }
        for joined in given_up {
            // The relay has no key of somebody who is away and whom it does not know: nobody's fault.
            let away = self.claims.is_away(joined);
            self.give_up(ctx, joined, away);
        }
    }

    /// A member that no key can be sealed to cannot stay, and a joiner cannot come in.
    fn give_up(&mut self, ctx: &mut Ctx<'_>, joined: Joined, away: bool) {
        if !away {
            ctx.alarm(SecurityEvent::BadKeys { joined });
            self.claims.reject(joined);
        }
        if let Some(reign) = &mut self.reign {
            reign.strand(joined);
            reign.claiming.remove(&joined);
            if reign.tip.roster.contains(joined) {
                reign.depart(joined, if away { Cause::Leave } else { Cause::Remove });
            }
        }
    }

    /// One-time keys came: open an Olm session to each owner.
    pub(super) fn on_claimed(&mut self, ctx: &mut Ctx<'_>, claimed: Claimed) {
        for key in claimed.keys.into_iter().take(limits::MEMBERS) {
            let joined = key.joined;
            let wanted = self.reign.as_ref().is_some_and(|reign| reign.claiming.contains_key(&joined));
            if !wanted {
                continue;
            }
            match self.open_session(ctx, &key) {
                Some(()) => {
                    let reign = self.reign.as_mut();
                    let asked = reign.and_then(|reign| {
                        reign.claiming.remove(&joined);
                        reign.regrants.remove(&joined)
                    });
                    if let Some(nonce) = asked {
                        self.regrant(ctx, joined, nonce);
                    }
                }
                None => self.give_up(ctx, joined, false),
            }
        }
    }

    /// `None` when the keys do not verify or are of low order.
    fn open_session(&mut self, ctx: &mut Ctx<'_>, key: &ClaimedKey) -> Option<()> {
        let entry = self.claims.verified(key.joined).ok()?;
        let committed = self.reign.as_ref().and_then(|reign| reign.tip.roster.get(key.joined));
        if committed.is_some_and(|committed| committed.added.join != entry.added.join) {
            return None;
        }
        let hash = key.batch.hash().ok()?;
        match &key.signature {
            None if self.claims.get(key.joined)?.keys() == hash => {}
            None => return None,
            Some(signature) => {
                verify(&entry.info.ed25519, &keys_bytes(&self.name, &entry.added.join, &hash), signature).ok()?;
            }
        }
        let one_time = match key.index {
            Some(index) => key.batch.one_time_keys.get(usize::from(index))?,
            None => &key.batch.fallback_key,
        };
        self.olm.open(ctx.device, entry.added.join, &entry.curve25519, one_time).ok()
    }

    /// What the next commit shall do, if one is due and possible.
    fn plan(&self, now: Timestamp, config: &Config) -> Option<Plan> {
        let reign = self.reign.as_ref()?;
        match reign.phase {
            Phase::Beginning(Cause::Start) => {
                let own = self.claims.get(self.me.joined)?.added;
                reign.staged.is_empty().then(|| Plan { cause: Cause::Start, add: vec![own], remove: Vec::new() })
            }
            Phase::Beginning(cause) => {
                let others = reign.tip.roster.iter().filter(|entry| entry.added.joined != self.me.joined);
                let others: Vec<_> = others.map(|entry| &entry.added).collect();
                let leaves = |added: &&Added| reign.leaving.contains_key(&added.joined);
                let unopened = |added: &&Added| !self.olm.is_open(added.join);
                let remove = others.iter().copied().filter(|added| leaves(added) || unopened(added));
                let remove = remove.map(|added| added.joined).collect();
                let unopened = others.iter().any(|added| unopened(added) && !leaves(added));
                // The answer to a ping that was said behind the claim: no more keys come.
                (!unopened || reign.pulse.has_begun()).then(|| Plan { cause, add: Vec::new(), remove })
            }
            Phase::Ruling => {
                let live = self.group.as_ref().map_or(0, |group| group.epochs.len());
                if !reign.may_grant(now, live, config) {
                    return None;
                }
                let add = self.ready_joiners(reign);
                let cause = reign.cause(!add.is_empty())?;
                Some(Plan { cause, add, remove: reign.leaving.keys().copied().collect() })
            }
        }
    }

    /// Joiners come in by order number: one that waits for its key holds up those behind it, one that can never come in
    /// does not.
    fn ready_joiners(&self, reign: &Reign) -> Vec<Added> {
        // A joiner rebuilds the roster from what the relay lists: not while it holds somebody whom the relay has lost.
        if !reign.absent.is_empty() {
            return Vec::new();
        }
        let room = limits::MEMBERS.saturating_sub(reign.tip.roster.iter().count());
        let joiners = reign.waiting.iter().filter(|joined| !self.claims.is_rejected(**joined));
        let claims = joiners.filter_map(|joined| self.claims.get(*joined)).map(|claim| claim.added);
        let ready = claims.take_while(|added| self.olm.is_open(added.join));
        ready.take(room.min(limits::JOINERS_PER_COMMIT)).collect()
    }

    /// Makes a commit and sends it. It is installed when the relay has sequenced it.
    fn stage(&mut self, ctx: &mut Ctx<'_>, plan: Plan) -> Result<(), InternalError> {
        let (add, roster) = self.admit(ctx, &plan)?;
        if plan.cause.ratchets() && add.is_empty() && !planted!(RatchetOnLeave) {
            return Ok(());
        }
        let Some(reign) = &mut self.reign else { return Ok(()) };
        let epoch = match plan.cause {
            Cause::Start | Cause::LeadChange => Epoch::first(reign.term),
            Cause::Join | Cause::Leave | Cause::Remove | Cause::Timer | Cause::Request => {
                let tip = if planted!(SkipEpoch) { reign.tip.epoch.next() } else { Some(reign.tip.epoch) };
                tip.and_then(Epoch::next).ok_or(InternalError::Counter)?
            }
        };
        let ratchets = plan.cause.ratchets();
        let prepared = reign.spare.take_if(|_| !ratchets);
        let mut session = match reign.session.take().filter(|_| ratchets).or(prepared) {
            Some(session) => session,
            None => OutboundGroup::new().map_err(|_| InternalError::Crypto)?,
        };
        let plan = Plan { add: add.iter().map(|entry| entry.added).collect(), ..plan };
        let upload = self.upload(ctx, (epoch, roster), plan, &mut session)?;
        let grants = self.grants(&upload)?;
        let Upload { commit, broadcast, tip, export, .. } = upload;
        let added: Vec<_> = commit.add.iter().map(|added| added.joined).collect();
        let removed = commit.remove.clone();
        let Some(reign) = &mut self.reign else { return Ok(()) };
        let misnamed = self.claims.named().filter(|joined| !tip.roster.contains(*joined) && !removed.contains(joined));
        let remove: Vec<_> = removed.iter().copied().chain(reign.turn_away(misnamed)).collect();
        let lost = remove.iter().copied().filter(|joined| !reign.expelled.remove(joined)).collect();
        let upload = Arc::new(Commit { epoch, add: added.clone(), remove, lost, broadcast, grants });
        ctx.send(Arc::clone(&upload));
        for joined in added.iter().copied().filter(|joined| *joined != self.me.joined) {
            reign.waiting.remove(&joined);
            reign.expected.insert(joined, (ctx.now + ctx.config.presence, epoch));
            reign.pulse.expect(ctx.now, joined);
        }
        if commit.cause == Cause::LeadChange {
            // Whom the last lead had proof of is not known here: an acknowledgement of this epoch is one.
            let time = ctx.config.presence * PRESENCE_AFTER_CHANGE;
            let members = tip.roster.iter().map(|entry| entry.added.joined);
            for joined in members.filter(|joined| *joined != self.me.joined) {
                let left = self.elections.owing.remove(&joined).map_or(time, |owing| owing.left);
                let given = reign.given.get(&joined).copied().unwrap_or_default();
                let Owing { left, given } = Owing { left, given }.at_least(least_presence(&tip.roster));
                reign.expected.insert(joined, (ctx.now + left, epoch));
                reign.given.insert(joined, given);
            }
        }
        reign.leaving.retain(|joined, _| !removed.contains(joined));
        reign.claiming.retain(|joined, _| !removed.contains(joined));
        if !ratchets {
            reign.rotate = None;
            reign.session_since = ctx.now;
        }
        reign.phase = Phase::Ruling;
        reign.last = ctx.now;
        reign.session = Some(session);
        reign.tip = tip.clone();
        // Whoever waits with a lower number can only join again: the relay sees to it.
        reign.waiting.retain(|joined| Some(*joined) > tip.roster.highest());
        let (cause, index, session) = (commit.cause, commit.index, (!ratchets).then_some(export));
        reign.staged.push_back(Staged { tip, cause, session, index, added, removed, since: ctx.now, upload });
        Ok(())
    }

    /// The entries of those whom a commit adds and the roster with them; whoever does not verify, or was given a seat or a
    /// number that is not free, stays out.
    fn admit(&mut self, ctx: &mut Ctx<'_>, plan: &Plan) -> Result<(Vec<Entry>, Roster), InternalError> {
        let Some(reign) = &self.reign else { return Err(InternalError::Crypto) };
        let without = reign.tip.roster.apply(&[], &plan.remove).map_err(|_| InternalError::Crypto)?;
        let mut entries = Vec::with_capacity(plan.add.len());
        for added in &plan.add {
            let joined = added.joined;
            let checked = self.claims.admit(added).map_err(|_| SecurityEvent::BadCard { joined }).and_then(|entry| {
                let fits = without.fits(&entry, &entries);
                fits.map(|()| entry).map_err(|reason| SecurityEvent::BadClaim { joined, reason })
            });
            match checked {
                Ok(entry) => entries.push(entry),
                Err(event) => {
                    ctx.alarm(event);
                    self.claims.reject(joined);
                    if let Some(reign) = &mut self.reign {
                        reign.strand(joined);
                    }
                }
            }
        }
        if entries.is_empty() {
            return Ok((entries, without));
        }
        let roster = without.apply(&entries, &[]).map_err(|_| InternalError::Crypto)?;
        Ok((entries, roster))
    }

    /// Writes the commit and seals it for everybody.
    fn upload(
        &mut self,
        ctx: &Ctx<'_>,
        (epoch, roster): (Epoch, Roster),
        plan: Plan,
        session: &mut OutboundGroup,
    ) -> Result<Upload, InternalError> {
        let Some(reign) = &self.reign else { return Err(InternalError::Crypto) };
        let prev = reign.tip.transcript;
        let index = session.index() + u32::from(plan.cause.ratchets());
        let hash = roster.hash();
        let commit = CommitBody {
            call: self.name.clone(),
            instance: reign.instance,
            epoch,
            prev,
            cause: plan.cause,
            lead: self.me.joined,
            policy: schedule::policy(),
            add: plan.add,
            remove: plan.remove,
            roster: hash,
            session: session.id(),
            index,
        };
        let text = to_raw_value(&commit).map_err(|_| InternalError::Crypto)?;
        let transcript = schedule::extend(&prev, text.get().as_bytes());
        let early = u32::from(planted!(GrantCurrentIndex) && plan.cause.ratchets());
        let export = session.export(index - early).map_err(|_| InternalError::Crypto)?;
        let (broadcast, rekey) = if plan.cause.ratchets() {
            (Broadcast::Ratchet(session.encrypt(text.get().as_bytes())), None)
        } else {
            let (signed, rekey) = self.seal_session(ctx, epoch, text, &export)?;
            (Broadcast::Session(signed), Some(rekey))
        };
        let welcome =
            if commit.add.is_empty() { Zeroizing::default() } else { welcome(&commit, (transcript, hash), &export) };
        Ok(Upload { commit, broadcast, tip: Tip { epoch, transcript, roster }, export, welcome, rekey })
    }

    /// Seals a new session and its commit under a fresh key, and signs the whole once.
    fn seal_session(
        &mut self,
        ctx: &Ctx<'_>,
        epoch: Epoch,
        commit: Box<RawValue>,
        export: &Export,
    ) -> Result<(Signed, Rekey), InternalError> {
        let key = Secret::take(&mut random::bytes::<32>().map_err(|_| InternalError::Random)?);
        let key = key.ok_or(InternalError::Crypto)?;
        let plain = encode(&SessionBody { commit, session: SecretBlob::new(export.expose()) });
        let plain = Zeroizing::new(plain);
        let sealed = SealedSession { sealed: Blob(seal_once(&key, plain.as_bytes())) };
        let signed = self.sign(ctx, epoch, None, &Content::from(sealed))?;
        let broadcast = signed.text_hash();
        Ok((signed, Rekey { key, broadcast }))
    }

    /// The relay has sequenced our own commit.
    pub(super) fn install_own(&mut self, ctx: &mut Ctx<'_>, epoch: Epoch) -> Result<(), CommitError> {
        let reign = self.reign.as_mut().ok_or(CommitError::Lead)?;
        let staged = reign.staged.pop_front_if(|staged| staged.tip.epoch == epoch).ok_or(CommitError::Transcript)?;
        let active = self.group.as_ref().and_then(|group| {
            let active = group.epochs.active()?;
            Some((active, &*group.epochs.get(active)?.roster))
        });
        reign.installed((ctx.now, ctx.config), &staged, active, self.me.joined);
        let claims = &self.claims;
        reign.wait_not_for(|joined| claims.is_away(joined));
        let instance = reign.instance;
        if let Some(session) = &mut reign.session
            && reign.staged.is_empty()
        {
            session.forget_before(staged.index);
        }
        let (added, removed) = (staged.added.clone(), staged.removed.clone());
        self.claims.unname(&staged.upload.remove);
        let Staged { tip: Tip { transcript, roster, .. }, cause, session, index, .. } = staged;
        let session = session.map(|export| InboundGroup::import(&export)).transpose();
        let session = session.map_err(|_| CommitError::Session)?;
        let lead = self.me.joined;
        let install = Install { instance, epoch, cause, lead, transcript, roster, session, index, body: None };
        self.install(ctx, install).map_err(|_| CommitError::Session)?;
        self.claims.commit(&added, &removed);
        Ok(())
    }

    /// A member holds an epoch.
    pub(super) fn on_ack(&mut self, ctx: &mut Ctx<'_>, from: Joined, epoch: Epoch, mac: &AckMac) {
        let (Some(reign), Some(group)) = (&mut self.reign, &self.group) else { return };
        // An epoch that is wiped already needs no acknowledgement.
        let Some(held) = group.epochs.get(epoch) else { return };
        if !held.roster.contains(from) || !held.secret.auth().verify(from, mac) {
            ctx.alarm(SecurityEvent::BadAck { from });
        } else {
            reign.acknowledge(ctx.now, from, epoch);
            // An acknowledgement can be played again, and any member can make another's: it shows that a member of before is
            // there, by an epoch of this reign, and never a newcomer.
            let shows = |(_, first): &(Timestamp, Epoch)| first.count() == 0 && epoch >= *first;
            if reign.expected.get(&from).is_some_and(shows) {
                reign.settle(from);
                ctx.event(Event::MemberPresent(from));
            }
        }
    }

    /// An Olm message to this device outside of a commit: a joiner shows that it is there.
    pub(super) fn on_olm(&mut self, ctx: &mut Ctx<'_>, from: Joined, message: &OlmMessage) {
        let Some(reign) = &self.reign else { return self.on_regrant(ctx, from, message) };
        let (instance, expected) = (reign.instance, reign.expected.get(&from).map(|(_, epoch)| *epoch));
        // Somebody who is being removed may have spoken before hearing of it.
        let heard = expected.is_some() || reign.stays(from);
        let bad = SecurityEvent::BadOlm { from };
        let Some(end) = self.group.as_ref().and_then(|group| group.roster.get(from)).map(Entry::end) else {
            if heard {
                ctx.alarm(bad);
            }
            return;
        };
        let Ok(mut payload) = self.open_olm(ctx, from, message) else {
            if heard {
                self.replace_session(ctx, from);
            }
            return;
        };
        if payload.first() == Some(&OlmType::Regrant.as_byte()) {
            // Its answer to what this device asked before it led.
            return;
        }
        let is = |payload: &mut [u8], kind, epoch| {
            let context = OlmContext { call: &self.name, instance, from: end, to: self.me.end, epoch };
            unbind(payload, &context, kind).is_some()
        };
        let past = self.group.iter().flat_map(|group| group.trail.past.iter().rev()).map(|(epoch, _)| *epoch);
        // What was said under an earlier epoch may have waited for a connection.
        let spoken = expected
            .into_iter()
            .chain(past)
            .find(|epoch| is(&mut payload, OlmType::Present, *epoch) || is(&mut payload, OlmType::Turn, *epoch));
        let Some(epoch) = spoken else {
            if heard {
                ctx.alarm(bad);
            }
            return;
        };
        let Some(reign) = &mut self.reign else { return };
        // Whoever speaks over Olm is there, whatever they say; what was said of an earlier epoch a relay may have kept until now.
        if expected.is_some_and(|expected| epoch >= expected) {
            reign.settle(from);
            reign.acknowledge(ctx.now, from, epoch);
            ctx.event(Event::MemberPresent(from));
        }
        // It answers a commit or grant that this lead made, which carried the transcript.
        self.confirm_member(ctx, from);
    }

    /// Tells senders to switch when it is time.
    fn activate_ready(&mut self, ctx: &mut Ctx<'_>) -> Result<(), InternalError> {
        let Some(epoch) = self.reign.as_ref().and_then(|reign| reign.ready(ctx.now, ctx.config)) else {
            return Ok(());
        };
        self.send_activate(ctx, epoch)?;
        let (Some(reign), Some(group)) = (&mut self.reign, &mut self.group) else { return Ok(()) };
        group.activate(ctx, epoch);
        reign.activated(epoch);
        Ok(())
    }
}
