//! Taking in the lead's commits: every check that stands between a message and a key.

use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{
    call::{Call, Ctx},
    claims::Claim,
    error::{CommitError, SecurityEvent},
    group::{Group, Install},
    output::{EndReason, KeyMissing, Output},
    roster::{Entry, Roster},
    rules::{Step, comes_next, may_commit, suits},
};
use crate::{
    crypto::{
        group::{EXPORT_LENGTH, Export, InboundGroup},
        pairwise::PairwiseError,
        schedule,
        seal::{open_once, unwrap_key},
        secret::Secret,
    },
    id::{Epoch, Instance, Joined},
    time::Timestamp,
    wire::{
        Blob, Broadcast, Committed, Olm, OlmMessage,
        code::Code,
        sealed::{
            CommitBody, Content, Grant, OLM_HEADER, OlmContext, OlmEnd, OlmType, SecretBlob, SessionBody, ready_aad,
        },
        signed::{Body, Signed, Speaker, body_bytes, verify},
    },
};

/// A commit that holds, and what to install for it.
type Followed = (Install, CommitBody);

impl Call {
    /// The lead moved the call on, as the relay says.
    pub(super) fn on_commit(&mut self, ctx: &mut Ctx<'_>, event: Committed) -> Result<(), EndReason> {
        let epoch = event.epoch;
        let settling = self.is_settling(ctx);
        let unsure = settling || self.unsure;
        let behind = (self.lease.is_behind() || unsure) && self.epoch() < Some(epoch);
        let lawful = may_commit(self.lead, event.from, epoch);
        let result = if self.group.is_some() || event.from == self.me.joined {
            let removed = lawful && event.remove.contains(&self.me.joined);
            let result = if removed { Ok(()) } else { self.follow(ctx, &event) };
            if lawful && let Err(alarm) = &result {
                self.miss(ctx.now, &event, *alarm);
            }
            result
        } else {
            self.claims.commit(&event.add, &event.remove);
            match &event.grant {
                Some(grant) if event.add.contains(&self.me.joined) => {
                    let joined = self.enter(ctx, event.from, epoch, grant);
                    joined.map_err(|reason| SecurityEvent::CommitRefused { epoch, reason })
                }
                _ => Ok(()),
            }
        };
        if lawful && event.remove.contains(&self.me.joined) {
            // Whoever was taken for gone may come again; whoever was sent away may not.
            let lost = event.lost.contains(&self.me.joined);
            return Err(if lost { EndReason::Closed(Code::LostSeat) } else { EndReason::Removed });
        }
        if let Err(alarm) = result
            && !(behind && shows_gap(alarm, settling, unsure))
        {
            ctx.alarm(alarm);
        }
        Ok(())
    }

    /// A commit of the lead came that this device cannot follow: it asks for what came of it.
    fn miss(&mut self, now: Timestamp, event: &Committed, alarm: SecurityEvent) {
        if self.group.as_ref().is_none_or(|group| event.epoch <= group.epoch) {
            return;
        }
        self.out_of_step = true;
        self.lease.fall_behind(now);
        let broken = matches!(alarm, SecurityEvent::CommitRefused { reason: CommitError::Grant, .. });
        self.want(now, Some(KeyMissing::Refused), broken);
        // The relay's word on who is in, until a grant says which roster is true.
        self.claims.commit(&event.add, &event.remove);
    }

    /// A member follows a commit, if it comes from the lead and next.
    fn follow(&mut self, ctx: &mut Ctx<'_>, event: &Committed) -> Result<(), SecurityEvent> {
        let Committed { from, epoch, .. } = *event;
        if !may_commit(self.lead, from, epoch) {
            return Err(SecurityEvent::CommitByOther { from, epoch });
        }
        if from == self.me.joined {
            let own = self.install_own(ctx, epoch);
            return own.map_err(|reason| SecurityEvent::CommitRefused { epoch, reason });
        }
        let Some(group) = &mut self.group else { return Ok(()) };
        let current = group.epoch;
        if epoch <= current && (self.unsure || self.is_settling(ctx)) {
            // After a restart of the relay the lead sends again what some have got already.
            return Ok(());
        }
        if !comes_next(current, epoch) {
            return Err(SecurityEvent::EpochOutOfOrder { epoch, current });
        }
        let followed = match &event.broadcast {
            // A new term begins with a new session: its lead must not step one that the last lead knows.
            Broadcast::Ratchet(_) if epoch.count() == 0 => Err(CommitError::Binding),
            Broadcast::Ratchet(message) => self.follow_ratchet(from, epoch, message),
            Broadcast::Session(signed) => self.follow_session(ctx, (from, epoch), signed, event.grant.as_ref()),
        };
        followed
            .and_then(|(install, body)| {
                self.install(ctx, install).map_err(|_| CommitError::Session)?;
                let add: Vec<_> = body.add.iter().map(|added| added.joined).collect();
                self.claims.commit(&add, &body.remove);
                Ok(())
            })
            .map_err(|reason| SecurityEvent::CommitRefused { epoch, reason })
    }

    /// A join: the commit is the next message of the running session.
    fn follow_ratchet(&mut self, from: Joined, epoch: Epoch, message: &Blob) -> Result<Followed, CommitError> {
        let group = self.group.as_mut().ok_or(CommitError::Undecryptable)?;
        let text = group.session.decrypt(group.index, &message.0).map_err(|_| CommitError::Undecryptable)?;
        let body = parse_commit(&text)?;
        let index = group.index.checked_add(1);
        let step = Step::Ratchet { adds: !body.add.is_empty(), removes: !body.remove.is_empty() };
        if !suits(step, body.cause, epoch) {
            return Err(CommitError::Binding);
        }
        if body.session != group.session.id() || Some(body.index) != index {
            return Err(CommitError::Session);
        }
        let install = self.check(&text, &body, (from, epoch), None)?;
        Ok((install, body))
    }

    /// Everything else: a new session, sealed under the key that this device's own grant carries.
    fn follow_session(
        &mut self,
        ctx: &mut Ctx<'_>,
        (from, epoch): (Joined, Epoch),
        signed: &Signed,
        grant: Option<&OlmMessage>,
    ) -> Result<Followed, CommitError> {
        let group = self.group.as_ref().ok_or(CommitError::Undecryptable)?;
        let lead = group.roster.get(from).ok_or(CommitError::Lead)?.clone();
        let instance = group.instance;
        let grant = grant.ok_or(CommitError::NoGrant)?;
        let key = self.open_grant(ctx, (&lead, instance), (epoch, signed.text_hash()), grant)?;
        let speaker = Speaker { call: self.name.clone(), instance, ed25519: lead.info.ed25519, join: lead.added.join };
        verify(&lead.info.ed25519, &body_bytes(&speaker, signed.text.get()), &signed.signature)
            .map_err(|_| CommitError::Signature)?;
        let (text, session, n) = self.open_broadcast(&key, (from, epoch), signed)?;
        let body = parse_commit(text.get().as_bytes())?;
        if !suits(Step::Session, body.cause, epoch) {
            return Err(CommitError::Binding);
        }
        if body.session != session.id() || body.index != session.index() {
            return Err(CommitError::Session);
        }
        let install = self.check(text.get().as_bytes(), &body, (from, epoch), Some(session))?;
        Ok((Install { body: Some((from, n)), ..install }, body))
    }

    /// The key of a broadcast, from this device's own grant: one that names this broadcast, or one that was ready before,
    /// with the key sealed for this broadcast and epoch.
    fn open_grant(
        &mut self,
        ctx: &mut Ctx<'_>,
        (lead, instance): (&Entry, Instance),
        (epoch, broadcast): (Epoch, [u8; 32]),
        grant: &OlmMessage,
    ) -> Result<Secret<32>, CommitError> {
        let ready = grant.split_ready();
        let message = ready.as_ref().map_or(grant, |(message, _)| message);
        let mut payload = self.open_olm(ctx, lead.added.joined, message)?;
        let mut context = OlmContext { call: &self.name, instance, from: lead.end(), to: self.me.end, epoch };
        if let Some((_, sealed)) = ready {
            context.epoch = Epoch::first(epoch.term());
            let wrapping = unbind(&mut payload, &context, OlmType::Ready).and_then(Secret::take);
            let aad = ready_aad(epoch, &broadcast);
            return unwrap_key(&wrapping.ok_or(CommitError::Grant)?, &aad, sealed)
                .map_err(|_| CommitError::OtherBroadcast);
        }
        let rest = unbind(&mut payload, &context, OlmType::Rekey).ok_or(CommitError::Grant)?;
        let (key, hash) = rest.split_at_mut_checked(32).ok_or(CommitError::Grant)?;
        let key = Secret::take(key).ok_or(CommitError::Grant)?;
        if *hash == broadcast { Ok(key) } else { Err(CommitError::OtherBroadcast) }
    }

    /// Opens the signed broadcast of a new session.
    fn open_broadcast(
        &self,
        key: &Secret<32>,
        (from, epoch): (Joined, Epoch),
        signed: &Signed,
    ) -> Result<(Box<RawValue>, InboundGroup, u64), CommitError> {
        let body = Body::parse(signed).map_err(|_| CommitError::Malformed)?;
        let group = self.group.as_ref().ok_or(CommitError::Undecryptable)?;
        if body.epoch != epoch || body.to.is_some() || !group.is_new(from, body.n) {
            return Err(CommitError::Binding);
        }
        let Ok(Content::Session(content)) = Content::parse(&body.content) else { return Err(CommitError::Malformed) };
        let plain = open_once(key, &content.sealed.0).map(Zeroizing::new).map_err(|_| CommitError::Undecryptable)?;
        let SessionBody { commit, session } = serde_json::from_slice(&plain).map_err(|_| CommitError::Malformed)?;
        Ok((commit, import(session)?, body.n))
    }

    /// The checks that hold for every commit, on this device's own copy of the roster.
    fn check(
        &mut self,
        text: &[u8],
        body: &CommitBody,
        (from, epoch): (Joined, Epoch),
        session: Option<InboundGroup>,
    ) -> Result<Install, CommitError> {
        let Some(Group { instance, transcript, roster, .. }) = &self.group else {
            return Err(CommitError::Undecryptable);
        };
        let bound = body.call == self.name && body.instance == *instance && body.epoch == epoch && body.lead == from;
        if !bound {
            return Err(CommitError::Binding);
        }
        if body.prev != *transcript {
            return Err(CommitError::Transcript);
        }
        if body.policy != schedule::policy() {
            return Err(CommitError::Policy);
        }
        let add = body.add.iter().map(|added| self.claims.admit(added)).collect::<Result<Vec<_>, _>>()?;
        let roster = roster.apply(&add, &body.remove)?;
        check_hash(&roster, body)?;
        if !roster.contains(from) || !roster.contains(self.me.joined) {
            return Err(CommitError::Binding);
        }
        Ok(Install {
            instance: *instance,
            epoch,
            cause: body.cause,
            lead: from,
            transcript: schedule::extend(transcript, text),
            roster,
            session,
            index: body.index,
            body: None,
        })
    }

    /// A joiner takes its first epoch from the lead's grant, checks it against the roster and says over Olm that it is
    /// there.
    fn enter(
        &mut self,
        ctx: &mut Ctx<'_>,
        from: Joined,
        epoch: Epoch,
        message: &OlmMessage,
    ) -> Result<(), CommitError> {
        if !may_commit(self.lead, from, epoch) {
            return Err(CommitError::Lead);
        }
        let lead = self.claims.verified(from).map_err(|_| CommitError::Lead)?;
        let mut payload = self.open_olm(ctx, from, message)?;
        let json = payload.get(OLM_HEADER..).unwrap_or_default();
        let grant: Grant = serde_json::from_slice(json).map_err(|_| CommitError::Malformed)?;
        let instance = grant.instance;
        let context = OlmContext { call: &self.name, instance, from: lead.end(), to: self.me.end, epoch };
        unbind(&mut payload, &context, OlmType::Welcome).ok_or(CommitError::Grant)?;
        if grant.epoch != epoch || grant.lead != from {
            return Err(CommitError::Binding);
        }
        if grant.policy != schedule::policy() {
            return Err(CommitError::Policy);
        }
        let roster = Roster::of(self.claims.committed())?;
        let other = roster.hash() != grant.roster && !planted!(SkipRosterHash);
        if other || !roster.contains(from) || !roster.contains(self.me.joined) {
            return Err(CommitError::Roster(super::error::RosterError::Hash));
        }
        let session = import(grant.session)?;
        let index = session.index() + u32::from(planted!(GrantCurrentIndex) && grant.cause.ratchets());
        let Grant { transcript, cause, .. } = grant;
        let context = OlmContext { call: &self.name, instance, from: self.me.end, to: lead.end(), epoch };
        let present = bind(&context, OlmType::Present, &[]);
        let message = self.olm.answer(lead.added.join, &present).map_err(|_| CommitError::Grant)?;
        let session = Some(session);
        let install = Install { instance, epoch, cause, lead: from, transcript, roster, session, index, body: None };
        self.install(ctx, install).map_err(|_| CommitError::Session)?;
        ctx.send(Olm { to: from, message });
        Ok(())
    }

    /// Opens an Olm message from somebody: with the key of the roster where there is one, of the relay's claim where not.
    pub(super) fn open_olm(
        &mut self,
        ctx: &mut Ctx<'_>,
        from: Joined,
        message: &OlmMessage,
    ) -> Result<Zeroizing<Vec<u8>>, CommitError> {
        let committed = self.group.as_ref().and_then(|group| group.roster.get(from)).cloned();
        let entry = committed.or_else(|| self.claims.get(from).map(Claim::entry)).ok_or(CommitError::Lead)?;
        let opened = self.olm.decrypt(ctx.now, ctx.device, (entry.added.join, &entry.curve25519), message);
        let opened = opened.map_err(|_| CommitError::Grant)?;
        if opened.device_changed {
            ctx.out.push(Output::Persist(ctx.device.pickle()));
        }
        Ok(opened.plaintext)
    }

    /// Seals a small payload to a member: every grant goes through here.
    pub(super) fn seal_olm(
        &mut self,
        to: OlmEnd,
        (instance, epoch): (Instance, Epoch),
        kind: OlmType,
        rest: &[u8],
    ) -> Result<OlmMessage, PairwiseError> {
        let context = OlmContext { call: &self.name, instance, from: self.me.end, to, epoch };
        self.olm.seal(to.join, &bind(&context, kind, rest))
    }
}

/// Puts type and context in front of an Olm payload.
pub(super) fn bind(context: &OlmContext<'_>, kind: OlmType, rest: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([context.header(kind).as_slice(), rest].concat())
}

/// The rest of an Olm payload, if type and context are the expected ones.
pub(super) fn unbind<'a>(payload: &'a mut [u8], context: &OlmContext<'_>, kind: OlmType) -> Option<&'a mut [u8]> {
    let (header, rest) = payload.split_first_chunk_mut()?;
    (*header == context.header(kind)).then_some(rest)
}

pub(super) fn import(mut session: SecretBlob) -> Result<InboundGroup, CommitError> {
    let export = Export::take(session.expose_mut());
    const { assert!(EXPORT_LENGTH == 165, "the exported form of Megolm") };
    InboundGroup::import(&export.ok_or(CommitError::Session)?).map_err(|_| CommitError::Session)
}

fn parse_commit(text: &[u8]) -> Result<CommitBody, CommitError> {
    serde_json::from_slice(text).map_err(|_| CommitError::Malformed)
}

fn check_hash(roster: &Roster, body: &CommitBody) -> Result<(), CommitError> {
    if roster.hash() == body.roster || planted!(SkipRosterHash) {
        Ok(())
    } else {
        Err(super::error::RosterError::Hash.into())
    }
}

/// Whether a refusal may come of an epoch that never arrived, here or at a new lead: who knows that one is missing need not
/// be told with each that follows. A relay that was killed took with it what was on its way, newcomers' cards too; and the
/// first commit of a term does not say by its number which one it follows, its lead may not know whom the missing one added.
fn shows_gap(alarm: SecurityEvent, settling: bool, unsure: bool) -> bool {
    if let SecurityEvent::CommitRefused { epoch, reason } = alarm {
        let first = matches!(reason, CommitError::Transcript | CommitError::NoGrant) && epoch.count() == 0;
        return unsure && (first || matches!(reason, CommitError::Card(_)));
    }
    let other = matches!(alarm, SecurityEvent::CommitByOther { .. });
    settling && other || matches!(alarm, SecurityEvent::EpochOutOfOrder { .. })
}
