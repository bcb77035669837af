//! What happens in a call, one line each: words for people, JSON for programs.

use anstyle::{AnsiColor, Style};
use jiff::{Timestamp, Zoned};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    time::Instant,
};

use conclave_client::media::{Published, StreamReport, is_signal};
use conclave_shared::{
    id::{Joined, Role},
    session::output::{EndReason, EpochInfo, Event, KeyMissing, Link, MemberInfo, PauseReason},
    wire::{AwayReason, LeftReason, sealed::Cause},
};

use crate::{args, exit::Failure};

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text {
        /// With colours.
        colours: bool,
    },
    /// One JSON object a line.
    Json,
}

/// Writes lines to standard output and remembers what the next ones need.
pub(crate) struct Timeline {
    format: Format,
    names: BTreeMap<Joined, String>,
    me: Option<Joined>,
    code: String,
    /// When the connection was lost.
    lost: Option<Instant>,
}

/// Something to say that is no event of a session.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Note {
    /// Connecting.
    Connecting {
        /// Where.
        url: String,
    },
    /// What the exercise of frames came to.
    Frames(Frames),
    /// What became of a published file.
    Published(Published),
    /// What became of a stream of somebody else.
    Stream(StreamReport),
}

/// Frames of a member without media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Frames {
    /// Sealed.
    pub(crate) sealed: u64,
    /// Opened, and equal to what was sealed.
    pub(crate) opened: u64,
    /// Not opened, or not equal.
    pub(crate) failed: u64,
}

impl Format {
    /// What was asked for; else words on a terminal and JSON into a pipe or file.
    pub(crate) fn choose(json: bool, text: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        if json || !(text || terminal) {
            return Self::Json;
        }
        Self::Text { colours: terminal && args::colours() }
    }
}

impl Timeline {
    pub(crate) const fn new(format: Format) -> Self {
        Self { format, names: BTreeMap::new(), me: None, code: String::new(), lost: None }
    }

    /// Tells of an event.
    ///
    /// # Errors
    /// When nobody reads standard output any more.
    pub(crate) fn event(&mut self, event: &Event) -> Result<(), Failure> {
        self.learn(event);
        // What peers tell each other of their connections is not for people, and has their addresses in it.
        if matches!(event, Event::Message { payload, .. } if is_signal(&payload.0)) {
            return Ok(());
        }
        if self.format == Format::Json {
            return line(&with_time(event)?);
        }
        let Some((what, style, text)) = self.words(event) else { return Ok(()) };
        self.write(what, style, &text)?;
        if matches!(event, Event::Link(Link::Down)) {
            self.lost = self.lost.or_else(|| Some(Instant::now()));
        } else if matches!(event, Event::Link(Link::Up) | Event::Seated { .. }) {
            self.lost = None;
        }
        if let Event::Epoch(EpochInfo { security_code, .. }) = event
            && self.code != *security_code
        {
            self.code.clone_from(security_code);
            self.write("code", Style::new(), &format!("{security_code}  (to compare: the same on every screen)"))?;
        }
        Ok(())
    }

    /// Tells of something else.
    ///
    /// # Errors
    /// When nobody reads standard output any more.
    pub(crate) fn note(&self, note: &Note) -> Result<(), Failure> {
        if self.format == Format::Json {
            return line(&with_time(note)?);
        }
        let (what, text) = match note {
            Note::Connecting { url } => ("connect", url.clone()),
            Note::Frames(frames) => (
                "frames",
                format!("{} sealed, {} opened again, {} failed", frames.sealed, frames.opened, frames.failed),
            ),
            Note::Published(published) => ("sent", sent(published)),
            Note::Stream(report) => ("stream", received(report)),
        };
        self.write(what, Style::new(), &text)
    }

    fn learn(&mut self, event: &Event) {
        let mut name = |member: &MemberInfo| self.names.insert(member.joined, member.user.clone());
        match event {
            Event::Seated { members, joined, .. } => {
                members.iter().for_each(|member| drop(name(member)));
                self.me = Some(*joined);
            }
            Event::MemberArrived(member) => drop(name(member)),
            Event::Epoch(epoch) => epoch.members.iter().for_each(|member| drop(name(member))),
            Event::MemberLeft { .. }
            | Event::Link(_)
            | Event::MemberAway { .. }
            | Event::MemberBack(_)
            | Event::KeyMissing(_)
            | Event::KeyFound
            | Event::Paused(_)
            | Event::Resumed
            | Event::LeadChanged { .. }
            | Event::Active(_)
            | Event::MemberPresent(_)
            | Event::MemberConfirmed(_)
            | Event::Message { .. }
            | Event::Security(_)
            | Event::Refused { .. }
            | Event::CommandFailed(_)
            | Event::Closing(_)
            | Event::Ended(_) => {}
        }
    }

    fn name(&self, joined: Joined) -> String {
        let name = self.names.get(&joined).map_or("somebody", String::as_str);
        if self.me == Some(joined) { format!("{name} (this device)") } else { name.to_owned() }
    }

    /// What to print; nothing for what people need not see.
    fn words(&self, event: &Event) -> Option<(&'static str, Style, String)> {
        let plain = Style::new();
        let good = AnsiColor::Green.on_default();
        let bad = AnsiColor::Red.on_default().bold();
        Some(match event {
            Event::Seated { seat, members, .. } => {
                ("seated", plain, format!("seat {seat}, {} here; waiting for the key", people(members.len())))
            }
            Event::MemberArrived(member) => {
                let role = match member.role {
                    Role::LeadBot => " (lead bot)",
                    Role::Member => "",
                    Role::Recorder => " (records)",
                };
                ("arrived", plain, format!("{}{role}, device {}", member.user, member.ed25519))
            }
            Event::MemberLeft { joined, reason } => ("left", plain, format!("{}{}", self.name(*joined), left(*reason))),
            Event::LeadChanged { joined, me, .. } => {
                let text = if *me { "this device leads".to_owned() } else { format!("{} leads", self.name(*joined)) };
                ("lead", AnsiColor::Cyan.on_default(), text)
            }
            Event::Epoch(epoch) => ("key", good, self.epoch(epoch)),
            Event::Active(epoch) => ("active", plain, format!("frames are sealed under {epoch}")),
            Event::MemberPresent(_) | Event::MemberConfirmed(_) => return None,
            Event::MemberAway { joined, reason } => {
                ("away", plain, format!("{} {}", self.name(*joined), away(*reason)))
            }
            Event::MemberBack(joined) => ("back", plain, format!("{} is here again", self.name(*joined))),
            Event::Link(Link::Down) => {
                ("lost", bad, "connection lost; keys are kept, looking for the relay".to_owned())
            }
            Event::Link(Link::Up) => ("back", good, format!("connected again{}; nothing was missed", self.after())),
            Event::Link(Link::Rejoining) => ("lost", bad, "the seat is gone: joining again, with new keys".to_owned()),
            Event::KeyMissing(why) => ("no key", bad, format!("{}; asking for it", missing(*why))),
            Event::KeyFound => ("key", good, "the newest key is here".to_owned()),
            Event::Paused(why) => ("paused", bad, paused(*why).to_owned()),
            Event::Resumed => ("resumed", good, "frames are sealed again".to_owned()),
            Event::Message { from, direct, payload } => {
                let to = if *direct { ", to this device" } else { "" };
                ("message", plain, format!("{} bytes from {}{to}", payload.0.len(), self.name(*from)))
            }
            Event::Security(event) => ("SECURITY", bad, format!("{event}; no key was taken")),
            Event::Refused { code, message } => ("refused", bad, format!("{message} ({})", code.name())),
            Event::CommandFailed(error) => ("failed", bad, error.to_string()),
            Event::Closing(after) => ("closing", plain, format!("the relay goes; back in {after} ms")),
            Event::Ended(reason) => ("ended", plain, ended(*reason)),
        })
    }

    /// " after 3.2 s", when it is known.
    fn after(&self) -> String {
        self.lost.map_or_else(String::new, |lost| format!(" after {:.1} s", lost.elapsed().as_secs_f64()))
    }

    fn epoch(&self, epoch: &EpochInfo) -> String {
        let how = if epoch.cause.ratchets() { "ratchet" } else { "new session" };
        format!(
            "epoch {} after {} ({how}), {}, by {}",
            epoch.epoch,
            cause(epoch.cause),
            people(epoch.members.len()),
            self.name(epoch.lead),
        )
    }

    fn write(&self, what: &str, style: Style, text: &str) -> Result<(), Failure> {
        let time = Zoned::now().strftime("%H:%M:%S%.3f").to_string();
        if self.format == (Format::Text { colours: true }) {
            let dim = Style::new().dimmed();
            line(&format!("{dim}{time}{dim:#}  {style}{what:<8}{style:#}  {text}"))
        } else {
            line(&format!("{time}  {what:<8}  {text}"))
        }
    }
}

/// `{"time": "2026-01-31T12:00:00.123Z", …}`: the thing's own single key follows.
fn with_time(thing: &impl Serialize) -> Result<String, Failure> {
    #[derive(Serialize)]
    struct WithTime<'a, T> {
        time: String,
        #[serde(flatten)]
        thing: &'a T,
    }
    let time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    serde_json::to_string(&WithTime { time, thing }).map_err(|error| Failure::Internal(error.to_string()))
}

fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| Failure::Internal(error.to_string()))
}

fn people(count: usize) -> String {
    if count == 1 { "1 member".to_owned() } else { format!("{count} members") }
}

fn sent(published: &Published) -> String {
    let Published { format, sealed, refused, sent, key_requests } = published;
    format!(
        "{}: {sealed} frames sealed, {sent} sent, {refused} not sent for want of a key; key frame asked for {key_requests} times",
        format.mime()
    )
}

fn received(StreamReport { stream, stats, over }: &StreamReport) -> String {
    format!(
        "{} {} {}{}: {} frames in, {} opened, {} undecryptable, {} held, {} duplicates, {} dropped; {} gaps, {} recorded",
        stream.user,
        stream.format.mime(),
        stream.number,
        if *over { " (over)" } else { "" },
        stats.frames_in,
        stats.opened,
        stats.undecryptable,
        stats.held,
        stats.duplicates,
        stats.dropped,
        stats.gaps,
        stats.recorded,
    )
}

const fn left(reason: LeftReason) -> &'static str {
    match reason {
        LeftReason::Left => "",
        LeftReason::Closed => ", without a word",
        LeftReason::Replaced => ", joined again with the same device",
        LeftReason::Removed => ", removed by the lead",
        LeftReason::Refused => ", put out by the relay for breaking a rule",
    }
}

const fn away(reason: AwayReason) -> &'static str {
    match reason {
        AwayReason::Dropped => "has lost the connection; the seat is kept for a moment",
        AwayReason::Silent => "says nothing",
        AwayReason::Declined => "cannot lead for now",
    }
}

const fn missing(why: KeyMissing) -> &'static str {
    match why {
        KeyMissing::Refused => "the newest key did not hold",
        KeyMissing::Withheld => "there is a newer key that never came",
        KeyMissing::Frames => "frames came whose key is not here",
    }
}

const fn paused(why: PauseReason) -> &'static str {
    match why {
        PauseReason::Behind => {
            "nothing is sealed: the newest key is missing, and somebody may have been shut out of it"
        }
        PauseReason::Lease => "nothing is sealed: nothing fresh was heard of the lead for too long",
    }
}

const fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Start => "the start",
        Cause::Join => "a join",
        Cause::Leave => "a leave",
        Cause::Remove => "a removal",
        Cause::LeadChange => "a change of lead",
        Cause::Timer => "its time was over",
        Cause::Request => "a request",
    }
}

fn ended(reason: EndReason) -> String {
    match reason {
        EndReason::Left => "left the call; all keys are wiped".to_owned(),
        EndReason::Removed => "removed by the lead; all keys are wiped".to_owned(),
        EndReason::OutOfStep => "could not follow the call; all keys are wiped".to_owned(),
        EndReason::Closed(code) => format!("closed by the relay: {}", code.sentence()),
        EndReason::Version { relay, ours } => format!("the relay speaks version {relay}, this program {ours}"),
        EndReason::Disconnected => "the connection is gone; all keys are wiped".to_owned(),
        EndReason::Internal(error) => error.to_string(),
    }
}
