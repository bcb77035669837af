//! `conclave lead` and `conclave join`: one device that stays in a call.

use clap::Args;
use std::{io, path::PathBuf, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use conclave_client::{
    Client, Events, Joining,
    backoff::Backoff,
    store::Store,
    token::{Grant, Issuer},
    transport::RelayUrl,
};
use conclave_shared::{
    crypto::random,
    frame::{clear_bytes::Codec, opener::Opened, sealer::SealError},
    id::{CallName, Role, UserName},
    session::{
        Profile,
        config::Config,
        output::{EndReason, Event},
    },
    wire::{
        Token,
        code::{Code, Retry},
    },
};

use crate::{
    args::{self, Mint, Relay},
    exit::{self, Failure},
    timeline::{Format, Frames, Note, Timeline},
};

/// How long a token that is made here is good for: it is used at once.
const TOKEN: Duration = Duration::from_secs(60);
/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_secs(3);
/// A connection that held this long was a good one: the next pause is short again.
const HELD: Duration = Duration::from_secs(30);
/// How often a member without media seals a frame: often enough that every key is used many times.
const FRAME: Duration = Duration::from_millis(100);

/// Leads a call without taking part: makes and renews the keys, sends no media
///
/// The bot is first in succession: it leads a call that it starts, and takes over when the lead goes, but never takes the
/// lead from a living one. It stays until Ctrl-C, which leaves properly, and joins again when the relay or the network
/// was away.
#[derive(Debug, Args)]
#[command(after_help = exit::HELP)]
pub(crate) struct Lead {
    #[command(flatten)]
    stay: Stay,
}

/// Takes part in a call without media
///
/// Every 100 ms, and whenever the key changes, it seals a small made-up frame under its own key and opens it again under the key that the
/// others hold for its seat, and counts what fails: keys are exercised, and nothing is sent, because it has no media
/// transport and frames do not go over the relay.
#[derive(Debug, Args)]
#[command(after_help = exit::HELP)]
pub(crate) struct Join {
    #[command(flatten)]
    stay: Stay,
}

#[derive(Debug, Args)]
struct Stay {
    #[command(flatten)]
    relay: Relay,
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
        self.stay.run(Role::LeadBot, "lead bot").await
    }
}

impl Join {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        self.stay.run(Role::Member, "headless member").await
    }
}

impl Stay {
    async fn run(self, role: Role, name: &str) -> Result<(), Failure> {
        let name = UserName::new(name).map_err(|error| Failure::Internal(error.to_string()))?;
        let format = Format::choose(self.json, self.text);
        let mut device = Staying {
            url: self.relay.url,
            call: self.call,
            user: self.user.unwrap_or_else(|| name.clone()),
            name,
            role,
            pass: pass(self.token, &self.mint)?,
            store: self.device.map_or_else(Store::memory, Store::file),
            timeline: Timeline::new(format),
            frames: Frames::default(),
            seated: false,
            stop: Stop::new().map_err(|error| Failure::Internal(error.to_string()))?,
        };
        let outcome = device.stay().await;
        if role == Role::Member {
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
    Issuer(Box<Issuer>),
}

fn pass(token: Option<String>, mint: &Mint) -> Result<Pass, Failure> {
    if let Some(token) = token.filter(|token| !token.trim().is_empty()) {
        return Ok(Pass::Token(Token(token.trim().to_owned())));
    }
    let issuer = mint.issuer()?;
    issuer.map(|issuer| Pass::Issuer(Box::new(issuer))).ok_or_else(|| {
        Failure::Usage(
            "no access token: set CONCLAVE_TOKEN, or CONCLAVE_SECRET to make one, or give --token".to_owned(),
        )
    })
}

/// A device that stays in a call over any number of connections.
struct Staying {
    url: RelayUrl,
    call: CallName,
    user: UserName,
    name: UserName,
    role: Role,
    pass: Pass,
    store: Store,
    timeline: Timeline,
    frames: Frames,
    /// The relay has let it in at least once, so what it was given was right.
    seated: bool,
    stop: Stop,
}

/// How one connection went.
enum Went {
    /// Left on purpose.
    Left,
    /// Lost, or closed by the relay in a way that another attempt may mend.
    Lost(String),
}

impl Staying {
    async fn stay(&mut self) -> Result<(), Failure> {
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            let reason = match self.once().await {
                Ok(Went::Left) => return Ok(()),
                Ok(Went::Lost(reason)) => reason,
                Err(Failure::Connect(error)) if self.seated => error.to_string(),
                Err(failure) => return Err(failure),
            };
            if began.elapsed() > HELD {
                backoff.reset();
            }
            let pause = backoff.next(random::bytes().map_or(0, u64::from_be_bytes));
            let after = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            self.timeline.note(&Note::Reconnecting { after, reason: &reason })?;
            tokio::select! {
                () = sleep(pause) => {}
                () = self.stop.came() => return Ok(()),
            }
        }
    }

    /// One connection, from its first byte to its last.
    async fn once(&mut self) -> Result<Went, Failure> {
        self.timeline.note(&Note::Connecting { url: self.url.to_string() })?;
        let joining = Joining {
            device: self.store.open()?,
            store: Some(self.store.clone()),
            profile: Profile {
                call: self.call.clone(),
                user: self.user.clone(),
                name: self.name.clone(),
                token: self.token()?,
            },
            config: Config::default(),
        };
        let (client, mut events) = tokio::select! {
            connected = Client::connect(&self.url, joining) => connected?,
            () = self.stop.came() => return Ok(Went::Left),
        };
        let went = self.listen(&client, &mut events).await?;
        drop(client);
        events.outcome().await?;
        Ok(went)
    }

    fn token(&self) -> Result<Token, Failure> {
        match &self.pass {
            Pass::Token(token) => Ok(token.clone()),
            Pass::Issuer(issuer) => {
                let grant = Grant { call: &self.call, user: &self.user, role: self.role, lifetime: TOKEN };
                Ok(issuer.issue(&grant)?)
            }
        }
    }

    async fn listen(&mut self, client: &Client, events: &mut Events) -> Result<Went, Failure> {
        let mut frames = interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut ticket = 0;
        loop {
            tokio::select! {
                biased;
                event = events.next() => match event {
                    Some(event) => {
                        if let Some(went) = self.told(&event)? {
                            return Ok(went);
                        }
                        // Every key is exercised, however short its time.
                        if self.role == Role::Member && matches!(event, Event::Active(_)) {
                            ticket += 1;
                            self.frames.exercise(client, ticket);
                        }
                    }
                    None => return Ok(Went::Lost("the connection is gone".to_owned())),
                },
                () = self.stop.came() => return self.goodbye(client, events).await,
                _ = frames.tick(), if self.role == Role::Member => {
                    ticket += 1;
                    self.frames.exercise(client, ticket);
                }
            }
        }
    }

    /// Prints an event; an end is also judged.
    fn told(&mut self, event: &Event) -> Result<Option<Went>, Failure> {
        self.timeline.event(event)?;
        if matches!(event, Event::Seated { .. }) {
            self.seated = true;
        }
        let Event::Ended(reason) = event else { return Ok(None) };
        match *reason {
            EndReason::Left => Ok(Some(Went::Left)),
            EndReason::OutOfStep => Ok(Some(Went::Lost("this device could not follow the call".to_owned()))),
            EndReason::Disconnected => Ok(Some(Went::Lost("the connection is gone".to_owned()))),
            EndReason::Removed | EndReason::Closed(Code::Removed) => {
                Err(Failure::Out("the lead removed this device from the call"))
            }
            EndReason::Closed(Code::Replaced) => {
                Err(Failure::Out("the same device joined the call again; use another --device file here or there"))
            }
            EndReason::Closed(code) if self.may_retry(code) => Ok(Some(Went::Lost(code.sentence().to_owned()))),
            EndReason::Closed(code) => Err(Failure::Refused(code)),
            EndReason::Version { relay, ours } => Err(Failure::Version { relay, ours }),
            EndReason::Internal(error) => Err(Failure::Internal(error.to_string())),
        }
    }

    /// Whether another attempt can go better. The first one must succeed: whoever typed it is still looking.
    fn may_retry(&self, code: Code) -> bool {
        let helps = match code.retry() {
            Retry::Later => true,
            Retry::FreshToken => matches!(self.pass, Pass::Issuer(_)),
            Retry::No | Retry::GoOn => false,
        };
        self.seated && helps
    }

    /// Leaves, signed, and tells what still comes.
    async fn goodbye(&mut self, client: &Client, events: &mut Events) -> Result<Went, Failure> {
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
        Ok(Went::Left)
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
