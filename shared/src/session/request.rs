//! Asking for the newest epoch, and giving it: how a member heals that missed a commit, or whose Olm session broke.
//!
//! There is one way for all of it: ask with a fresh nonce, take a full grant like a joiner, then seal.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    call::{Call, Ctx},
    error::{CommitError, InternalError, RosterError, SecurityEvent},
    group::Install,
    member::{bind, import, unbind},
    output::{EndReason, Event, KeyMissing},
    reign::Claiming,
    roster::{Entry, Roster},
    rules::has_passed,
    timer::{Deadline, Timer},
};
use crate::{
    crypto::{random, schedule},
    id::{Epoch, Joined, RequestNonce},
    limits,
    time::Timestamp,
    wire::{
        Olm, OlmMessage, encode,
        sealed::{Added, Grant, KeyRequest, OLM_HEADER, OlmContext, OlmType, Regrant, SecretBlob},
    },
};
use zeroize::Zeroizing;

/// The first pause between two requests; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(10);
/// Requests without an answer after which a member without the newest epoch joins afresh: half a minute.
const TRIES: u32 = 6;
/// Requests whose answers are known when they come late: those of one waiting, and of the one before.
const ASKED: usize = 2 * TRIES as usize;
/// Requests of one member that are answered within [`WINDOW`], and those of them that cost a new Olm session.
const ANSWERS: usize = 10;
const SESSIONS: usize = 3;
const WINDOW: Duration = Duration::from_secs(60);

/// A request for the newest epoch.
pub(super) struct Wanting {
    /// What the application was told, if anything is missing.
    cause: Option<KeyMissing>,
    /// The Olm session with the lead does not open any more.
    fresh: bool,
    asked: Option<(RequestNonce, Timestamp)>,
    due: Timestamp,
    tries: u32,
}

/// How often each member asked.
#[derive(Default)]
pub(super) struct Asked(BTreeMap<Joined, VecDeque<(Timestamp, bool)>>);

impl Asked {
    /// Whether one more request is answered, with a new session if it wants one.
    fn allow(&mut self, now: Timestamp, from: Joined, fresh: bool) -> bool {
        let asked = self.0.entry(from).or_default();
        asked.retain(|(at, _)| now.since(*at) < WINDOW);
        let sessions = asked.iter().filter(|(_, fresh)| *fresh).count();
        let allowed = asked.len() < ANSWERS && (!fresh || sessions < SESSIONS);
        if allowed {
            asked.push_back((now, fresh));
        }
        allowed
    }

    pub(super) fn forget(&mut self, joined: Joined) {
        self.0.remove(&joined);
    }
}

impl Call {
    /// The newest epoch is wanted: asked for at once, and again until it comes.
    pub(super) fn want(&mut self, now: Timestamp, cause: Option<KeyMissing>, fresh: bool) {
        let wanting = self.wanting.get_or_insert(Wanting { cause: None, fresh, asked: None, due: now, tries: 0 });
        if fresh && !wanting.fresh {
            (wanting.fresh, wanting.due) = (true, now);
        }
        if wanting.cause.is_none() && cause.is_some() {
            wanting.cause = cause;
            self.told_missing = false;
        }
    }

    /// Somebody else leads: they are asked, without waiting.
    pub(super) fn want_of_new_lead(&mut self, now: Timestamp) {
        if let Some(wanting) = &mut self.wanting {
            (wanting.due, wanting.tries, wanting.asked) = (now, 0, None);
        }
    }

    /// Sends the request that is due.
    pub(super) fn ask(&mut self, ctx: &mut Ctx<'_>) -> Result<(), EndReason> {
        let (Some(wanting), Some(group)) = (&mut self.wanting, &self.group) else { return Ok(()) };
        if let Some(cause) = wanting.cause.filter(|_| !self.told_missing) {
            self.told_missing = true;
            ctx.event(Event::KeyMissing(cause));
        }
        let Some((_, lead)) = self.lead.filter(|_| self.reign.is_none() && self.line.is_up()) else { return Ok(()) };
        if wanting.due > ctx.now || lead == self.me.joined {
            return Ok(());
        }
        if wanting.tries >= TRIES && self.lease.is_behind() {
            return Err(EndReason::OutOfStep);
        }
        let nonce = random::bytes().map_err(|_| EndReason::Internal(InternalError::Random))?;
        let nonce = RequestNonce::new(nonce);
        // An answer that does not come may be one that does not open.
        let fresh = wanting.fresh || wanting.tries > 0;
        wanting.asked = Some((nonce, ctx.now));
        if self.asked.len() >= ASKED {
            self.asked.pop_front();
        }
        self.asked.push_back(nonce);
        wanting.due = ctx.now + (PAUSE * 2_u32.saturating_pow(wanting.tries)).min(LONGEST);
        wanting.tries = wanting.tries.saturating_add(1);
        let epoch = group.epoch;
        let signed = self.sign(ctx, epoch, Some(lead), &KeyRequest { nonce, fresh }.into());
        ctx.send(signed.map_err(EndReason::Internal)?);
        Ok(())
    }

    pub(super) fn ask_deadline(&self) -> Option<Deadline> {
        let wanting = self.wanting.as_ref().filter(|_| self.line.is_up() && self.reign.is_none())?;
        Some((wanting.due, Timer::KeyRequest))
    }

    /// The newest epoch is here: nothing is wanted any more.
    pub(super) fn found(&mut self, ctx: &mut Ctx<'_>) {
        self.lease.catch_up();
        (self.out_of_step, self.unsure) = (false, false);
        if self.wanting.take().is_some_and(|wanting| wanting.cause.is_some()) && self.told_missing {
            self.told_missing = false;
            ctx.event(Event::KeyFound);
        }
    }

    /// A member asks the lead.
    pub(super) fn on_key_request(&mut self, ctx: &mut Ctx<'_>, from: Joined, epoch: Epoch, request: KeyRequest) {
        let (Some(reign), Some(group)) = (&mut self.reign, &self.group) else { return };
        let Some(entry) = group.roster.get(from) else { return };
        if epoch > group.epoch {
            // Only a lead makes epochs, and this one has not made that. One of an earlier reign it may have missed.
            if epoch.term() >= reign.term {
                ctx.alarm(SecurityEvent::Fork { from, epoch });
            }
            return;
        }
        let fresh = request.fresh || !self.olm.is_open(entry.added.join);
        // Who hears nobody itself prolongs nobody's lease.
        if self.lease.is_over(ctx.now, ctx.config) {
            return;
        }
        if !reign.stays(from) || !reign.requests.allow(ctx.now, from, fresh) {
            return;
        }
        if fresh {
            reign.regrants.insert(from, request.nonce);
            reign.claiming.insert(from, Claiming { due: ctx.now, asked: None, tries: 0 });
        } else {
            self.regrant(ctx, from, request.nonce);
        }
    }

    /// Gives a member the newest epoch that is installed.
    pub(super) fn regrant(&mut self, ctx: &mut Ctx<'_>, to: Joined, nonce: RequestNonce) {
        let Some(group) = &mut self.group else { return };
        let (Some(entry), Ok(export)) = (group.roster.get(to).cloned(), group.session.export(group.index)) else {
            return;
        };
        let listed = group.roster.len() <= limits::REGRANT_MEMBERS;
        let members = group.roster.iter().filter(|_| listed).map(|entry| entry.added).collect();
        let (instance, epoch) = (group.instance, group.epoch);
        let grant = Grant {
            instance,
            epoch,
            transcript: group.transcript,
            roster: group.roster.hash(),
            lead: self.me.joined,
            policy: schedule::policy(),
            cause: group.cause,
            session: SecretBlob::new(export.expose()),
        };
        let rest = Zeroizing::new(encode(&Regrant { nonce, grant, members }));
        if let Ok(message) = self.seal_olm(entry.end(), (instance, epoch), OlmType::Regrant, rest.as_bytes()) {
            ctx.send(Olm { to, message });
        }
    }

    /// Turns the ratchet of the lead's Olm session, so that it heals and its next grants cost little.
    pub(super) fn turn(&mut self, ctx: &mut Ctx<'_>, lead: Joined) {
        let Some(group) = &self.group else { return };
        let Some(to) = group.roster.get(lead).map(Entry::end) else { return };
        let context =
            OlmContext { call: &self.name, instance: group.instance, from: self.me.end, to, epoch: group.epoch };
        // Without a session there is nothing to heal.
        if let Ok(message) = self.olm.answer(to.join, &bind(&context, OlmType::Turn, &[])) {
            ctx.send(Olm { to: lead, message });
        }
    }

    /// A message of a member did not open: the session is broken, and a new one is made. The message may also have been
    /// late, so it is nobody's fault.
    pub(super) fn replace_session(&mut self, ctx: &Ctx<'_>, from: Joined) {
        if let Some(reign) = &mut self.reign
            && reign.requests.allow(ctx.now, from, true)
        {
            reign.claiming.insert(from, Claiming { due: ctx.now, asked: None, tries: 0 });
        }
    }

    /// An Olm message to a member: the lead's answer to its request.
    pub(super) fn on_regrant(&mut self, ctx: &mut Ctx<'_>, from: Joined, message: &OlmMessage) {
        let Some((nonce, asked)) = self.wanting.as_ref().and_then(|wanting| wanting.asked) else { return };
        if self.lead.is_none_or(|(_, lead)| lead != from) {
            return;
        }
        match self.check_regrant(ctx, from, nonce, message) {
            // Its answer to an earlier request, or what its sender said to a lead that this device was.
            Ok(Answer::Passed) => {}
            Ok(Answer::Held) => {
                self.lease.answered(asked);
                self.found(ctx);
            }
            Ok(Answer::Newer(install)) => {
                let install = *install;
                let roster: Vec<_> = install.roster.iter().map(|entry| entry.added.joined).collect();
                if self.install(ctx, install).is_ok() {
                    self.claims.commit_all(&roster);
                    self.lease.answered(asked);
                }
            }
            // The session is broken, or somebody meddled: the next request is for a new one.
            Err(CommitError::Grant) => self.want(ctx.now, None, true),
            // A relay that was restarted may not know of a newcomer: asked again later.
            Err(CommitError::Card(joined)) if self.is_stranger(joined) => {}
            Err(reason) => {
                if let Some(epoch) = self.epoch() {
                    ctx.alarm(SecurityEvent::CommitRefused { epoch, reason });
                }
            }
        }
    }

    /// Whether somebody came in since this device last heard of the roster, and the relay never told of them.
    fn is_stranger(&self, joined: Joined) -> bool {
        let highest = self.group.as_ref().and_then(|group| group.roster.highest());
        Some(joined) > highest && self.claims.get(joined).is_none()
    }

    fn check_regrant(
        &mut self,
        ctx: &mut Ctx<'_>,
        from: Joined,
        nonce: RequestNonce,
        message: &OlmMessage,
    ) -> Result<Answer, CommitError> {
        let mut payload = self.open_olm(ctx, from, message)?;
        let kind = payload.first().copied();
        if kind == Some(OlmType::Turn.as_byte()) || kind == Some(OlmType::Present.as_byte()) {
            return Ok(Answer::Passed);
        }
        let json = payload.get(OLM_HEADER..).unwrap_or_default();
        let Regrant { nonce: echoed, grant, members } =
            serde_json::from_slice(json).map_err(|_| CommitError::Malformed)?;
        let group = self.group.as_ref().ok_or(CommitError::Undecryptable)?;
        let lead = group.roster.get(from).ok_or(CommitError::Lead)?;
        let Grant { instance, epoch, transcript, cause, .. } = grant;
        let context = OlmContext { call: &self.name, instance, from: lead.end(), to: self.me.end, epoch };
        unbind(&mut payload, &context, OlmType::Regrant).ok_or(CommitError::Grant)?;
        if echoed != nonce && self.asked.contains(&echoed) {
            return Ok(Answer::Passed);
        }
        let passed = has_passed(self.lead, group.epoch, epoch);
        if echoed != nonce || instance != group.instance || grant.lead != from || passed {
            return Err(CommitError::Binding);
        }
        if grant.policy != schedule::policy() {
            return Err(CommitError::Policy);
        }
        if epoch == group.epoch {
            return if transcript == group.transcript { Ok(Answer::Held) } else { Err(CommitError::Transcript) };
        }
        // A transcript leads to one epoch. Under a later number its keys would count anew, from where they were used.
        if group.trail.past.iter().any(|(_, past)| *past == transcript) {
            return Err(CommitError::Transcript);
        }
        let roster = if members.is_empty() {
            Roster::of(self.claims.committed())?
        } else {
            // Whoever is in already is known, also when the relay says that a later commit took them out.
            let known = |added: &Added| group.roster.get(added.joined).filter(|entry| entry.added == *added).cloned();
            let entry = |added| known(added).map_or_else(|| self.claims.admit(added), Ok);
            Roster::of(members.iter().map(entry).collect::<Result<Vec<_>, _>>()?)?
        };
        if roster.hash() != grant.roster {
            return Err(RosterError::Hash.into());
        }
        let roster = follows(&group.roster, roster, (self.me.joined, from))?;
        let session = import(grant.session)?;
        let index = session.index();
        let session = Some(session);
        let install = Install { instance, epoch, cause, lead: from, transcript, roster, session, index, body: None };
        Ok(Answer::Newer(Box::new(install)))
    }
}

/// What a lead answered.
enum Answer {
    /// Nothing that is still asked for.
    Passed,
    /// The epoch is the one that this device holds.
    Held,
    /// Another one.
    Newer(Box<Install>),
}

/// A later roster may lack some of those that this device holds, and has newcomers; nobody who was removed comes back, and
/// nobody is described anew.
pub(super) fn follows(held: &Roster, roster: Roster, (me, lead): (Joined, Joined)) -> Result<Roster, RosterError> {
    let highest = held.highest();
    let returns = |entry: &&Entry| {
        let joined = entry.added.joined;
        let known = held.get(joined);
        known.map_or(Some(joined) <= highest, |known| known.added != entry.added)
    };
    if let Some(entry) = roster.iter().find(returns) {
        return Err(RosterError::OutOfOrder(entry.added.joined));
    }
    for joined in [me, lead] {
        if !roster.contains(joined) {
            return Err(RosterError::NotThere(joined));
        }
    }
    Ok(roster.above(highest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_one_member_are_answered_within_limits() {
        let (mut asked, now) = (Asked::default(), Timestamp::ZERO);
        let fresh = (0..5).filter(|_| asked.allow(now, Joined(1), true)).count();
        assert_eq!(fresh, SESSIONS);
        let plain = (0..20).filter(|_| asked.allow(now, Joined(1), false)).count();
        assert_eq!(plain, ANSWERS - SESSIONS);
        assert!(asked.allow(now, Joined(2), true), "another member's requests are its own");
        assert!(asked.allow(now + WINDOW, Joined(1), true), "time goes by");
    }
}
