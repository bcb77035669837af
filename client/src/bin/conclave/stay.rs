//! `conclave lead` and `conclave join`: one device that stays in a call.

use clap::Args;
use std::{io, path::PathBuf, sync::Arc, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, timeout};

use conclave_client::{
    Client, Events, Joining,
    again::{NoToken, Relays, TokenSource},
    media::Media,
    store::Store,
    token::{Grant, Issuer, TokenError},
};
use conclave_shared::{
    frame::{clear_bytes::Codec, opener::Opened, sealer::SealError},
    id::{CallName, Role, UserName},
    session::{
        Profile,
        config::Config,
        output::{EndReason, Event, Link},
    },
    wire::{Token, code::Code},
};

use crate::{
    args::{self, Mint, RelayList},
    exit::{self, Failure},
    media::{MediaArgs, MediaPlan},
    timeline::{Format, Frames, Note, Timeline},
};

/// How long a token that is made here is good for: it is used at once.
const TOKEN: Duration = Duration::from_secs(60);
/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_secs(3);
/// How often a member without media seals a frame: often enough that every key is used many times.
const FRAME: Duration = Duration::from_millis(100);

/// Leads a call without taking part: makes and renews the keys, sends no media
///
/// The bot is first in succession: it leads a call that it starts, and takes over when the lead goes, but never takes the
/// lead from a living one. It stays until Ctrl-C, which leaves properly. When the relay or the network is away it keeps
/// its keys and comes back by itself, and joins again when its seat is gone.
#[derive(Debug, Args)]
#[command(after_help = exit::HELP)]
pub(crate) struct Lead {
    #[command(flatten)]
    stay: Stay,
}

/// Takes part in a call: publishes files, records others, or has no media
///
/// With --publish, --publish-audio and --record it has a connection to every other member that has media, browsers
/// included, and tells what became of each stream. Ctrl-C finishes all recordings and leaves.
///
/// Without any of them, every 100 ms, and whenever the key changes, it seals a small made-up frame under its own key and opens it again under the key that the
/// others hold for its seat, and counts what fails: keys are exercised, and nothing is sent, because it has no media
/// transport and frames do not go over the relay.
#[derive(Debug, Args)]
#[command(after_help = exit::HELP)]
pub(crate) struct Join {
    #[command(flatten)]
    stay: Stay,
    #[command(flatten)]
    media: MediaArgs,
}

#[derive(Debug, Args)]
struct Stay {
    #[command(flatten)]
    relay: RelayList,
    /// The call
    #[arg(long, value_parser = args::call)]
    call: CallName,
    /// Who this is; the name that the token was made for
    #[arg(long, value_parser = args::user)]
    user: Option<UserName>,
    /// Access token; without one, it is made with CONCLAVE_SECRET or --key
    #[arg(long, env = "CONCLAVE_TOKEN", hide_env_values = true, value_name = "JWT")]
    token: Option<String>,
    #[command(flatten)]
    mint: Mint,
    /// Device key file, made on first use; without one the device is new each time and nobody can recognise it
    #[arg(long, value_name = "FILE")]
    device: Option<PathBuf>,
    /// Print one JSON object a line, as is done when the output is no terminal
    #[arg(long)]
    json: bool,
    /// Print words though the output is no terminal
    #[arg(long, conflicts_with = "json")]
    text: bool,
}

impl Lead {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        self.stay.run(Role::LeadBot, "lead bot", None).await
    }
}

impl Join {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let media = self.media.plan()?;
        match &media {
            Some(plan) if plan.records() => self.stay.run(Role::Recorder, "recorder", media).await,
            _ => self.stay.run(Role::Member, "headless member", media).await,
        }
    }
}

impl Stay {
    async fn run(self, role: Role, name: &str, media: Option<MediaPlan>) -> Result<(), Failure> {
        let name = UserName::new(name).map_err(|error| Failure::Internal(error.to_string()))?;
        let format = Format::choose(self.json, self.text);
        let mut device = Staying {
            relays: self.relay.relays,
            call: self.call,
            user: self.user.unwrap_or_else(|| name.clone()),
            name,
            role,
            media,
            pass: pass(self.token, &self.mint)?,
            store: self.device.map_or_else(Store::memory, Store::file),
            timeline: Timeline::new(format),
            frames: Frames::default(),
            down: false,
            stop: Stop::new().map_err(|error| Failure::Internal(error.to_string()))?,
        };
        let outcome = device.stay().await;
        if device.exercises() {
            device.timeline.note(&Note::Frames(device.frames))?;
        }
        outcome?;
        match device.frames.failed {
            0 => Ok(()),
            failed => {
                Err(Failure::Check(format!("{failed} frames did not open under the key that they were sealed under")))
            }
        }
    }
}

/// What lets a device in.
enum Pass {
    Token(Token),
    Issuer(Arc<Issuer>),
}

fn pass(token: Option<String>, mint: &Mint) -> Result<Pass, Failure> {
    if let Some(token) = token.filter(|token| !token.trim().is_empty()) {
        return Ok(Pass::Token(Token(token.trim().to_owned())));
    }
    let issuer = mint.issuer()?;
    issuer.map(|issuer| Pass::Issuer(Arc::new(issuer))).ok_or_else(|| {
        Failure::Usage(
            "no access token: set CONCLAVE_TOKEN, or CONCLAVE_SECRET to make one, or give --token".to_owned(),
        )
    })
}

/// A device that stays in a call over any number of connections.
struct Staying {
    relays: Relays,
    call: CallName,
    user: UserName,
    name: UserName,
    role: Role,
    media: Option<MediaPlan>,
    pass: Pass,
    store: Store,
    timeline: Timeline,
    frames: Frames,
    /// There is no connection at this moment.
    down: bool,
    stop: Stop,
}

/// How it ended, when nothing was wrong.
struct Left;

impl Staying {
    /// From the first connection to the end.
    async fn stay(&mut self) -> Result<(), Failure> {
        self.timeline.note(&Note::Connecting { url: self.relays.here().to_string() })?;
        let (token, tokens) = self.tokens()?;
        let joining = Joining {
            device: self.store.open()?,
            store: Some(self.store.clone()),
            profile: Profile { call: self.call.clone(), user: self.user.clone(), name: self.name.clone(), token },
            tokens,
            config: Config::default(),
        };
        let (client, mut events) = tokio::select! {
            connected = Client::connect(self.relays.clone(), joining) => connected?,
            () = self.stop.came() => return Ok(()),
        };
        let media = self.media.as_ref().map(|plan| plan.start(&client, &self.relays)).transpose()?;
        let outcome = self.listen(&client, &mut events, media.as_ref()).await;
        if let (Some(plan), Some(media)) = (&self.media, media) {
            plan.finish(&media, &self.timeline)?;
        }
        let Left = outcome?;
        drop(client);
        if !self.down {
            events.outcome().await?;
        }
        Ok(())
    }

    /// The first token, and where further ones come from.
    fn tokens(&self) -> Result<(Token, TokenSource), Failure> {
        match &self.pass {
            Pass::Token(token) => Ok((token.clone(), TokenSource::First)),
            Pass::Issuer(issuer) => {
                let (issuer, call, user, role) = (issuer.clone(), self.call.clone(), self.user.clone(), self.role);
                let make = move || -> Result<Token, TokenError> {
                    issuer.issue(&Grant { call: &call, user: &user, role, lifetime: TOKEN })
                };
                let first = make()?;
                Ok((first, TokenSource::made_by(move || make().map_err(|_| NoToken))))
            }
        }
    }

    /// A member without media makes up frames, so that its keys are used.
    fn exercises(&self) -> bool {
        self.role == Role::Member && self.media.is_none()
    }

    async fn listen(&mut self, client: &Client, events: &mut Events, media: Option<&Media>) -> Result<Left, Failure> {
        let mut frames = interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let every = self.media.as_ref().map_or(FRAME, |plan| plan.report);
        let mut report = interval_at(Instant::now() + every, every);
        report.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut ticket = 0;
        loop {
            tokio::select! {
                biased;
                event = events.next() => match event {
                    Some(event) => {
                        if let Some(media) = media {
                            media.told(&event).await;
                        }
                        if let Some(left) = self.told(&event)? {
                            return Ok(left);
                        }
                        // Every key is exercised, however short its time.
                        if self.exercises() && matches!(event, Event::Active(_)) {
                            ticket += 1;
                            self.frames.exercise(client, ticket);
                        }
                    }
                    // The device could not be stored: the outcome says why.
                    None => return Ok(Left),
                },
                () = self.stop.came() => return self.goodbye(client, events).await,
                _ = frames.tick(), if self.exercises() => {
                    ticket += 1;
                    self.frames.exercise(client, ticket);
                }
                _ = report.tick(), if media.is_some() => {
                    if let (Some(plan), Some(media)) = (&self.media, media) {
                        plan.tell(media, &self.timeline)?;
                    }
                }
            }
        }
    }

    /// Prints an event; an end is also judged.
    fn told(&mut self, event: &Event) -> Result<Option<Left>, Failure> {
        self.timeline.event(event)?;
        if let Event::Link(link) = event {
            self.down = *link != Link::Up;
        } else if let Event::Seated { joined, members, .. } = event {
            self.down = false;
            let own = members.iter().find(|member| member.joined == *joined).map(|member| member.role);
            // Nobody is recorded by a member that does not look like a recorder.
            if self.role == Role::Recorder && own != Some(Role::Recorder) {
                return Err(Failure::Refused(Code::RoleRefused));
            }
        }
        let Event::Ended(reason) = event else { return Ok(None) };
        match *reason {
            EndReason::Left => Ok(Some(Left)),
            EndReason::OutOfStep => Err(Failure::Internal("this device could not follow the call".to_owned())),
            EndReason::Disconnected => Err(Failure::Internal("the connection is gone".to_owned())),
            EndReason::Removed | EndReason::Closed(Code::Removed) => {
                Err(Failure::Out("the lead removed this device from the call"))
            }
            EndReason::Closed(Code::Replaced) => {
                Err(Failure::Out("the same device joined the call again; use another --device file here or there"))
            }
            EndReason::Closed(code) => Err(Failure::Refused(code)),
            EndReason::Version { relay, ours } => Err(Failure::Version { relay, ours }),
            EndReason::Internal(error) => Err(Failure::Internal(error.to_string())),
        }
    }

    /// Leaves, signed, and tells what still comes.
    async fn goodbye(&mut self, client: &Client, events: &mut Events) -> Result<Left, Failure> {
        if client.leave().await.is_ok() {
            let rest = async {
                while let Some(event) = events.next().await {
                    let over = matches!(event, Event::Ended(_));
                    self.timeline.event(&event)?;
                    if over {
                        break;
                    }
                }
                Ok::<(), Failure>(())
            };
            // A relay that does not take the goodbye sees the connection close.
            timeout(GOODBYE, rest).await.unwrap_or(Ok(()))?;
        }
        Ok(Left)
    }
}

impl Frames {
    /// Seals one frame and opens it as the others would.
    fn exercise(&mut self, client: &Client, ticket: u64) {
        let plain = ticket.to_be_bytes();
        let sealed = match client.seal(Codec::Opus, &plain) {
            Ok(sealed) => sealed,
            // Before the first epoch there is nothing to exercise.
            Err(SealError::NoKey | SealError::Paused) => return,
            Err(SealError::Frame(_) | SealError::Exhausted | SealError::Crypto) => {
                self.failed += 1;
                return;
            }
        };
        self.sealed += 1;
        let opened = client.seat().map(|seat| client.open(seat, Codec::Opus, &sealed, ticket));
        match opened {
            Some(Opened::Frame(frame)) if frame == plain && sealed != plain => self.opened += 1,
            Some(Opened::Frame(_) | Opened::Held | Opened::Dropped(_)) | None => self.failed += 1,
        }
    }
}

/// Ctrl-C, or the signal that service managers send. Listened to from the start, so that none is lost.
struct Stop {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    #[cfg(not(unix))]
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(unix)]
    async fn came(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    async fn came(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
