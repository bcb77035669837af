//! Application messages around a gap in the connection: sealed under an epoch that may be gone when they arrive, they are
//! sealed once more instead of being said again as they were.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};
use zeroize::Zeroizing;

use super::{
    call::{Call, Ctx},
    error::CommandError,
    output::Event,
};
use crate::{
    id::Joined,
    limits,
    time::Timestamp,
    wire::{ToRelay, sealed::Content, signed::Body},
};

/// Messages that are kept after they were sent, and that wait: as many as a connection keeps.
const KEPT: usize = 64;

/// For whom, the number that it was first said under, and what.
type Message = (Option<Joined>, Option<u64>, Zeroizing<Vec<u8>>);

/// Messages that may have to be sealed again.
#[derive(Default)]
pub(super) struct Unsaid {
    /// The newest that were sent, by the number of their body.
    sent: BTreeMap<u64, Message>,
    /// Those that wait for a connection.
    waiting: VecDeque<Message>,
    /// Since when there was no connection, until everything that was missed has come: all waits.
    behind_since: Option<Timestamp>,
}

/// How long keys are kept for what is still to be heard again: a seat lasts ten seconds without a connection, and is then
/// taken up within one or two.
const MISSED: Duration = Duration::from_secs(12);

impl Unsaid {
    /// The connection is gone.
    pub(super) fn fall_silent(&mut self, now: Timestamp) {
        self.behind_since.get_or_insert(now);
    }

    /// Until when keys are kept that would be wiped if nothing had been missed.
    pub(super) fn keeps_until(&self) -> Option<Timestamp> {
        self.behind_since.map(|since| since + MISSED)
    }

    /// A message was sent in the body of this number.
    pub(super) fn keep(&mut self, n: u64, message: Message) {
        if self.sent.len() >= KEPT {
            self.sent.pop_first();
        }
        self.sent.insert(n, message);
    }
}

impl Call {
    /// An application message: sealed now, or once there is a connection and everything missed on it has come.
    pub(super) fn say(&mut self, ctx: &mut Ctx<'_>, to: Option<Joined>, payload: Vec<u8>) -> Result<(), CommandError> {
        let payload = Zeroizing::new(payload);
        if self.may_speak() {
            return self.send_message(ctx, to, (None, &payload));
        }
        if payload.len() > limits::APPLICATION_MESSAGE {
            return Err(CommandError::TooLong);
        }
        if self.unsaid.waiting.len() >= KEPT {
            return Err(CommandError::Offline);
        }
        self.unsaid.waiting.push_back((to, None, payload));
        Ok(())
    }

    /// Of what would be said again as it was, application messages are taken out: their epoch may be gone.
    pub(super) fn take_back(&mut self) {
        let again = std::mem::take(&mut self.again);
        let mut lost = Vec::new();
        self.again =
            again.into_iter().filter(|message| message_number(message).map(|n| lost.push(n)).is_none()).collect();
        for n in lost.into_iter().rev() {
            if let Some(message) = self.unsaid.sent.remove(&n) {
                self.unsaid.waiting.push_front(message);
            }
        }
    }

    /// There is a connection, everything missed on it has come, and no commit of its own is still to be said again: what is
    /// said before it has a higher number, and the commit would be taken for a replay.
    fn may_speak(&self) -> bool {
        let owes = self.reign.as_ref().is_some_and(|reign| !reign.is_confirmed() && !reign.staged.is_empty());
        self.line.is_up() && self.unsaid.behind_since.is_none() && !owes
    }

    /// Everything that was missed has come.
    pub(super) fn catch_up(&mut self, ctx: &mut Ctx<'_>) {
        self.unsaid.behind_since = None;
        self.say_again(ctx);
    }

    /// What waited is sealed and sent, if it need not wait longer.
    pub(super) fn say_again(&mut self, ctx: &mut Ctx<'_>) {
        if !self.may_speak() {
            return;
        }
        let waiting = std::mem::take(&mut self.unsaid.waiting);
        for (to, first, payload) in waiting.into_iter().filter(|_| !planted!(LoseUnsaid)) {
            if let Err(error) = self.send_message(ctx, to, (first, &payload)) {
                ctx.event(Event::CommandFailed(error));
            }
        }
    }
}

/// The number of a body that holds an application message.
fn message_number(message: &ToRelay) -> Option<u64> {
    let ToRelay::Body(signed) = message else { return None };
    let body = Body::parse(signed).ok()?;
    matches!(Content::parse(&body.content), Ok(Content::Message(_))).then_some(body.n)
}
