//! Signed bodies: what members say to each other under their own names.

use serde_json::value::{RawValue, to_raw_value};
use zeroize::Zeroizing;

use super::{
    call::{Call, Ctx},
    error::{CommandError, InternalError, SecurityEvent},
    group::Group,
    line::Stage,
    mailbox::Waiting,
    output::{EndReason, Event},
};
use crate::{
    crypto::seal::{open_message, seal_message},
    id::{Epoch, Joined},
    limits,
    wire::{
        Blob, LeftReason,
        sealed::{Activate, Content, Leave, Rotate, SealedMessage, message_aad},
        signed::{Body, Signed, Speaker, body_bytes, verify},
    },
};

impl Group {
    /// Whether a body's number is above all that were heard of its sender.
    pub(super) fn is_new(&self, from: Joined, n: u64) -> bool {
        self.trail.heard.get(&from).is_none_or(|last| n > *last)
    }
}

impl Call {
    /// Signs a body with the next number.
    pub(super) fn sign(
        &mut self,
        ctx: &Ctx<'_>,
        epoch: Epoch,
        to: Option<Joined>,
        content: &Content,
    ) -> Result<Signed, InternalError> {
        let n = self.next_n()?;
        self.sign_numbered(ctx, Body { epoch, n, to, content: raw(content)? })
    }

    fn sign_numbered(&self, ctx: &Ctx<'_>, body: Body) -> Result<Signed, InternalError> {
        let instance = self.group.as_ref().map(|group| group.instance);
        let instance = instance.or_else(|| self.reign.as_ref().map(|reign| reign.instance));
        let speaker = Speaker {
            call: self.name.clone(),
            instance: instance.ok_or(InternalError::Crypto)?,
            ed25519: self.me.end.ed25519,
            join: self.me.end.join,
        };
        let text = raw(&body)?;
        let signature = ctx.device.sign(&body_bytes(&speaker, text.get()));
        Ok(Signed { text, signature })
    }

    /// Leaves: says so, signed, when there is anybody who could check it.
    pub(super) fn leave(&mut self, ctx: &mut Ctx<'_>) -> EndReason {
        // On a connection that the relay has not given the seat to, nothing else may be said; the seat ends by itself then.
        if matches!(self.line.stage(), Stage::Up | Stage::Resuming)
            && let Some(epoch) = self.epoch()
            && let Ok(signed) = self.sign(ctx, epoch, None, &Leave {}.into())
        {
            ctx.send(signed);
        }
        EndReason::Left
    }

    /// Replaces the session, or asks the lead to.
    pub(super) fn rotate(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CommandError> {
        let epoch = self.epoch().ok_or(CommandError::NoKey)?;
        if let Some(reign) = &mut self.reign {
            reign.request_rotation();
            return Ok(());
        }
        let lead = self.lead.map(|(_, lead)| lead);
        let signed = self.sign(ctx, epoch, lead, &Rotate {}.into()).map_err(|_| CommandError::Ended)?;
        ctx.send(signed);
        Ok(())
    }

    /// Tells senders to switch.
    pub(super) fn send_activate(&mut self, ctx: &mut Ctx<'_>, epoch: Epoch) -> Result<(), InternalError> {
        let signed = self.sign(ctx, epoch, None, &Activate {}.into())?;
        ctx.send(signed);
        Ok(())
    }

    /// Seals and signs an application message under the newest epoch.
    pub(super) fn send_message(
        &mut self,
        ctx: &mut Ctx<'_>,
        to: Option<Joined>,
        (first, payload): (Option<u64>, &[u8]),
    ) -> Result<(), CommandError> {
        if payload.len() > limits::APPLICATION_MESSAGE {
            return Err(CommandError::TooLong);
        }
        let n = self.next_n().map_err(|_| CommandError::Ended)?;
        let group = self.group.as_ref().ok_or(CommandError::NoKey)?;
        if let Some(to) = to.filter(|to| !group.roster.contains(*to)) {
            return Err(CommandError::UnknownMember(to));
        }
        let epoch = group.epoch;
        let held = group.epochs.get(epoch).ok_or(CommandError::NoKey)?;
        let me = held.roster.get(self.me.joined).ok_or(CommandError::NoKey)?;
        let key = held.secret.message(me.added.seat, &me.info.ed25519);
        // A message that is sealed again keeps its first number: whoever heard it knows it by that.
        let first = first.unwrap_or(n);
        let plain = Zeroizing::new([first.to_be_bytes().as_slice(), payload].concat());
        let sealed = Blob(seal_message(&key, n, &message_aad(epoch, n, to), &plain));
        let content = raw(&Content::from(SealedMessage { sealed })).map_err(|_| CommandError::Ended)?;
        let signed = self.sign_numbered(ctx, Body { epoch, n, to, content }).map_err(|_| CommandError::Ended)?;
        ctx.send(signed);
        self.unsaid.keep(n, (to, Some(first), Zeroizing::new(payload.to_vec())));
        Ok(())
    }

    /// Takes in a body: from a member of the roster, signed, for this device, and new.
    pub(super) fn on_body(&mut self, ctx: &mut Ctx<'_>, from: Joined, signed: &Signed) {
        match self.check_body(from, signed) {
            Ok(Some(body)) => self.on_content(ctx, from, &body),
            Ok(None) => {}
            Err(event) => ctx.alarm(event),
        }
    }

    /// `None` for a body that is not for this device, or from somebody who is not (or no longer) a member.
    fn check_body(&mut self, from: Joined, signed: &Signed) -> Result<Option<Body>, SecurityEvent> {
        if from == self.me.joined {
            return Ok(None);
        }
        let Some(group) = &mut self.group else { return Ok(None) };
        let Some(sender) = group.roster.get(from) else { return Ok(None) };
        let speaker = Speaker {
            call: self.name.clone(),
            instance: group.instance,
            ed25519: sender.info.ed25519,
            join: sender.added.join,
        };
        let bad = SecurityEvent::BadBody { from };
        verify(&speaker.ed25519, &body_bytes(&speaker, signed.text.get()), &signed.signature).map_err(|_| bad)?;
        let body = Body::parse(signed).map_err(|_| bad)?;
        if body.to.is_some_and(|to| to != self.me.joined) {
            return Ok(None);
        }
        if !group.is_new(from, body.n) {
            return Err(SecurityEvent::Replay { from, n: body.n });
        }
        group.trail.heard.insert(from, body.n);
        Ok((body.epoch >= group.trail.first).then_some(body))
    }

    fn on_content(&mut self, ctx: &mut Ctx<'_>, from: Joined, body: &Body) {
        match Content::parse(&body.content) {
            Ok(Content::Activate(_)) => self.on_activate(ctx, from, body.epoch),
            Ok(Content::Leave(_)) => {
                self.on_left(ctx, from, LeftReason::Left);
                self.claims.sign_out(from);
            }
            Ok(Content::Rotate(_)) => {
                let now = ctx.now;
                if let Some(reign) = &mut self.reign {
                    reign.rotation_asked(now);
                }
            }
            Ok(Content::Message(message)) => {
                let Body { epoch, n, to, .. } = *body;
                let message = Waiting { from, epoch, n, to, sealed: message.sealed };
                let newest = self.epoch().unwrap_or(epoch);
                if epoch > newest {
                    // Epochs of the running term or the next can still come soon; others are somebody's invention.
                    if epoch.term().0 > newest.term().0.saturating_add(1) {
                        return;
                    }
                    self.mailbox.hold(ctx.now, message);
                } else {
                    self.on_message(ctx, &message);
                }
            }
            // A session comes with a commit and nowhere else.
            Ok(Content::Session(_)) => ctx.alarm(SecurityEvent::BadBody { from }),
            Ok(Content::Beat(beat)) => self.on_beat(ctx, from, body.epoch, beat),
            Ok(Content::Alive(alive)) => self.on_alive(ctx, from, body.epoch, alive),
            Ok(Content::KeyRequest(request)) => self.on_key_request(ctx, from, body.epoch, request),
            Err(crate::wire::WireError::Unknown) => {}
            Err(_) => ctx.alarm(SecurityEvent::BadBody { from }),
        }
    }

    fn on_activate(&mut self, ctx: &mut Ctx<'_>, from: Joined, epoch: Epoch) {
        if !self.leads(ctx, from, epoch) {
            return;
        }
        if let Some(group) = &mut self.group {
            group.activate(ctx, epoch);
        }
        self.heard_of(ctx, epoch);
    }

    fn on_message(&mut self, ctx: &mut Ctx<'_>, message: &Waiting) {
        let Waiting { from, epoch, n, to, sealed } = message;
        // An epoch that was wiped: the message came too late to be read by anybody.
        let Some(held) = self.group.as_ref().and_then(|group| group.epochs.get(*epoch)) else { return };
        let Some(sender) = held.roster.get(*from) else { return };
        let key = held.secret.message(sender.added.seat, &sender.info.ed25519);
        match open_message(&key, *n, &message_aad(*epoch, *n, *to), &sealed.0) {
            Ok(plain) => {
                // Signed by the sender, and sealed with a key that the transcript is part of.
                self.confirm_member(ctx, *from);
                self.hear(ctx, message, &plain);
            }
            Err(_) => ctx.alarm(SecurityEvent::BadMessage { from: *from }),
        }
    }

    /// Tells of a message, once: a relay that lies about what it got has it said again.
    fn hear(&mut self, ctx: &mut Ctx<'_>, message: &Waiting, plain: &[u8]) {
        let Waiting { from, n, to, .. } = *message;
        let Some((first, payload)) = plain.split_first_chunk().filter(|(first, _)| u64::from_be_bytes(**first) <= n)
        else {
            return ctx.alarm(SecurityEvent::BadMessage { from });
        };
        let first = u64::from_be_bytes(*first);
        if self.told.get(&from).is_some_and(|last| first <= *last) {
            return;
        }
        self.told.insert(from, first);
        ctx.event(Event::Message { from, direct: to.is_some(), payload: Blob(payload.to_vec()) });
    }

    /// Opens the messages that waited for an epoch.
    pub(super) fn release_messages(&mut self, ctx: &mut Ctx<'_>, epoch: Epoch) {
        for message in self.mailbox.take(epoch) {
            self.on_message(ctx, &message);
        }
    }
}

fn raw(value: &impl serde::Serialize) -> Result<Box<RawValue>, InternalError> {
    to_raw_value(value).map_err(|_| InternalError::Crypto)
}
