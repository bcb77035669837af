//! Bugs on purpose, so that the simulator can show that it finds them. This module and every use of it exist only in a
//! build with the compiler flag `--cfg planted`, which nothing but the simulator's own build sets. It is no feature of the
//! crate: features add up over a build, and so could reach a program by mistake.
//!
//! A bug is planted for one thread; nothing is planted where nobody asked.

use std::cell::Cell;

/// Stands in every program that bugs can be planted in, for a test that looks for it in those that people run.
#[used]
static MARK: [u8; 32] = *b"bugs can be planted in this one!";

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One thing that a program of this protocol could do wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[$doc])* $name,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

bugs! {
    /// The lead grants a joiner the session from the index of now on, not from the next one.
    GrantCurrentIndex,
    /// A leave steps the session that the leaver has, instead of replacing it.
    RatchetOnLeave,
    /// The relay lists one committed member as waiting, and nobody compares the roster's hash.
    SkipRosterHash,
    /// The salt of an epoch's secret is not the transcript.
    DropTranscript,
    /// A commit does not go into the transcript.
    StaleTranscript,
    /// No key is ever wiped.
    KeepOldKeys,
    /// Keys are wiped as soon as senders switch away from them, while frames are under way.
    RetireAtOnce,
    /// Another epoch starts the counters of those before it anew.
    ResetCounters,
    /// A frame whose key is on its way is dropped.
    HoldNoFrames,
    /// Messages that waited for the connection are dropped.
    LoseUnsaid,
    /// Succession goes by the order of joining alone.
    SuccessionByOrder,
    /// The lead does not exclude who left.
    ForgetLeave,
    /// A lead that leads again grants with what it made ready when it led before.
    KeepReadyGrants,
    /// An acknowledgement speaks for the lead, not for its sender.
    AckForAnother,
    /// The lead leaves out a number between two epochs.
    SkipEpoch,
    /// A session asks to be woken for what is done already.
    WakeForNothing,
    /// The relay says some events twice to somebody who resumes, and the client takes events in twice.
    ReplayTwice,
    /// The relay leaves out the first event that somebody who resumes has missed.
    ForgetOnReplay,
    /// The relay does not count what it received, so that those who resume say all of it again.
    CountNothing,
    /// The relay names a lead that is away.
    NameTheAbsent,
    /// The relay names two leads in one term.
    RepeatTerm,
    /// The relay takes commits of a term that has passed.
    AcceptPassedTerm,
    /// The relay hands out a one-time key twice.
    OneTimeKeyTwice,
    /// The relay gives the seat of somebody who is away to a newcomer.
    SeatTwice,
}

/// Plants a bug in this thread, or none.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this one is planted in this thread.
#[must_use]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}
