//! What a device holds once it has a key: the roster, the transcript, the running Megolm session, the live epochs.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::{
    alive::first_alive,
    call::{Call, Ctx},
    epoch::{Epochs, Held},
    lease::Lease,
    output::{EpochInfo, Event, KeyUpdate},
    roster::Roster,
};
use crate::{
    crypto::{
        group::{GroupError, InboundGroup},
        schedule::EpochSecret,
    },
    id::{Epoch, Instance, Joined, Transcript},
    limits,
    time::Timestamp,
    wire::{Ack, sealed::Cause},
};

/// What a device holds once it has a key.
pub(super) struct Group {
    pub(super) instance: Instance,
    /// The newest epoch held, and everything of it.
    pub(super) epoch: Epoch,
    pub(super) transcript: Transcript,
    pub(super) roster: Arc<Roster>,
    pub(super) session: InboundGroup,
    pub(super) index: u32,
    /// All live epochs, that one included.
    pub(super) epochs: Epochs,
    /// Why the newest epoch began.
    pub(super) cause: Cause,
    pub(super) trail: Trail,
}

/// What goes on from one epoch to the next.
pub(super) struct Trail {
    /// The first epoch that this device ever held: bodies of earlier ones are not for it.
    pub(super) first: Epoch,
    /// The highest number of a body of each member.
    pub(super) heard: BTreeMap<Joined, u64>,
    /// The other members that have shown themselves to this device with its own transcript: never more than the roster.
    pub(super) confirmed: BTreeSet<Joined>,
    /// The transcripts of the newest epochs, oldest first, to be compared with what others hold.
    pub(super) past: VecDeque<(Epoch, Transcript)>,
    /// The highest order number that was ever committed, and when it was.
    newest: (Option<Joined>, Timestamp),
    /// When this device shows the next time that it is there.
    pub(super) next_alive: Timestamp,
    /// The newest epoch in which it showed that at once and to all, because somebody spoke of another history.
    shown: Option<Epoch>,
}

impl Trail {
    /// The first epoch that this device holds.
    fn new(ctx: &Ctx<'_>, first: Epoch, me: Joined) -> Self {
        Self {
            first,
            heard: BTreeMap::new(),
            confirmed: BTreeSet::new(),
            past: VecDeque::new(),
            newest: (None, ctx.now),
            next_alive: first_alive(ctx.now, me, ctx.config.alive),
            shown: None,
        }
    }

    /// When somebody last came in.
    pub(super) fn newcomer(&self) -> Timestamp {
        self.newest.1
    }

    /// The call is split: those of the other half find that out as soon as they see this device. Once in an epoch, so that
    /// nobody can make it talk.
    pub(super) fn show(&mut self, now: Timestamp, epoch: Epoch) {
        if self.shown != Some(epoch) {
            (self.shown, self.next_alive) = (Some(epoch), now);
        }
    }

    /// Whether the next sign of life is for all, whatever the size of the call.
    pub(super) fn shows(&self, now: Timestamp, epoch: Epoch) -> bool {
        self.shown == Some(epoch) && self.next_alive == now
    }

    fn go_on(&mut self, now: Timestamp, epoch: Epoch, transcript: Transcript, roster: &Roster) {
        self.heard.retain(|joined, _| roster.contains(*joined));
        self.confirmed.retain(|joined| roster.contains(*joined));
        if self.past.len() >= limits::PAST_TRANSCRIPTS {
            self.past.pop_front();
        }
        self.past.push_back((epoch, transcript));
        if roster.highest() > self.newest.0 {
            self.newest = (roster.highest(), now);
        }
    }
}

/// A checked epoch, about to be held.
pub(super) struct Install {
    pub(super) instance: Instance,
    pub(super) epoch: Epoch,
    pub(super) cause: Cause,
    pub(super) lead: Joined,
    pub(super) transcript: Transcript,
    pub(super) roster: Roster,
    /// A new session; the running one when absent.
    pub(super) session: Option<InboundGroup>,
    pub(super) index: u32,
    /// The number of the signed body that it came in.
    pub(super) body: Option<(Joined, u64)>,
}

impl Group {
    /// Wipes what is past its time, unless it may still be needed, and switches by itself when the lead did not say so in
    /// time. True when something was
    /// wiped.
    pub(super) fn timeout(&mut self, ctx: &mut Ctx<'_>, keeps: bool) -> bool {
        if let Some(epoch) = self.epochs.due_switch(ctx.now) {
            self.activate(ctx, epoch);
        }
        if keeps {
            return false;
        }
        let expired = self.epochs.expire(ctx.now);
        expired.iter().for_each(|epoch| ctx.keys(KeyUpdate::Retire(*epoch)));
        !expired.is_empty()
    }

    /// Seals under an epoch from here on, if it is held and newer.
    pub(super) fn activate(&mut self, ctx: &mut Ctx<'_>, epoch: Epoch) {
        if self.epochs.activate(ctx.now, epoch, ctx.config.retire) {
            ctx.keys(KeyUpdate::Activate(epoch));
            ctx.event(Event::Active(epoch));
        }
    }
}

impl Call {
    /// Holds a checked epoch: the only place where a key comes to life.
    pub(super) fn install(&mut self, ctx: &mut Ctx<'_>, install: Install) -> Result<(), GroupError> {
        let Install { instance, epoch, cause, lead, transcript, roster, mut session, index, body } = install;
        let ratchet = match (&mut session, &mut self.group) {
            (Some(session), _) => session.ratchet(index)?,
            (None, Some(group)) => group.session.ratchet(index)?,
            (None, None) => return Err(GroupError::Index),
        };
        let me = self.me.joined;
        let turns = matches!(cause, Cause::LeadChange | Cause::Timer) && self.group.is_some();
        let (running, mut epochs, mut trail) = match self.group.take() {
            Some(group) => (Some(group.session), group.epochs, group.trail),
            None => {
                self.lease = Lease::new(ctx.now);
                (None, Epochs::default(), Trail::new(ctx, epoch, me))
            }
        };
        #[cfg(feature = "audit")]
        session.iter_mut().for_each(|session| ctx.hoard.keep(session));
        let mut session = session.or(running).ok_or(GroupError::Index)?;
        // Nothing needs an index below the newest epoch: a device that is taken later tells less.
        session.forget_before(index);
        let secret = EpochSecret::new(&ratchet, &transcript);
        let media = secret.media();
        let ack = Ack { epoch, mac: secret.auth().ack(if planted!(AckForAnother) { lead } else { me }) };
        trail.heard.extend(body);
        trail.go_on(ctx.now, epoch, transcript, &roster);
        let roster = Arc::new(roster);
        let info = EpochInfo {
            epoch,
            cause,
            lead,
            members: roster.infos(),
            roster: roster.hash(),
            fingerprint: media.fingerprint(),
            security_code: roster.security_code(&instance),
        };
        let held = Held {
            secret,
            roster: Arc::clone(&roster),
            switch_at: Epochs::switch_at(ctx.now, cause.ratchets(), ctx.config),
            retire_at: None,
        };
        for wiped in epochs.install(epoch, held) {
            ctx.keys(KeyUpdate::Retire(wiped));
        }
        ctx.keys(KeyUpdate::Install { epoch, media, senders: roster.senders() });
        ctx.event(Event::Epoch(info));
        if !self.is_lead() && trail.first != epoch {
            ctx.send(ack);
        }
        self.left.retain(|joined, _| roster.contains(*joined));
        self.told.retain(|joined, _| roster.contains(*joined));
        self.group = Some(Group { instance, epoch, transcript, roster, session, index, epochs, cause, trail });
        // Whoever made this epoch signed for it, or sealed it to this device, with its transcript.
        self.confirm_member(ctx, lead);
        self.found(ctx);
        if turns && !self.is_lead() {
            self.turn(ctx, lead);
        }
        self.release_messages(ctx, epoch);
        Ok(())
    }
}
