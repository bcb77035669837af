//! The loop that moves bytes and time into a [`Session`] and carries out what comes of it.
//!
//! ```text
//! socket, requests, timer -> one Input -> Session::handle -> Outputs, in order -> socket, store, observer
//! ```
//!
//! There is one place that waits and one that calls `handle`. With [`Again`] the driver comes back by itself: while the
//! session keeps its seat it looks for the relay, and when the seat is lost it joins afresh with the same device and the
//! same frames. [`Client`](crate::Client) is the usual way to run this; the load test brings an [`Observer`] of its own and
//! takes the session back at the end.

mod line;

use std::{future::pending, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use conclave_shared::{
    crypto::random,
    limits,
    session::{
        Session,
        input::{Command, Input},
        output::{EndReason, Event, KeyUpdate, Link, Output},
    },
    time::Timestamp,
    wire::{
        self, Refusal, ToClient, WireError,
        code::{Code, Retry},
    },
};

use crate::{
    again::Again,
    backoff::{Backoff, LONGEST, LONGEST_FOR_A_SEAT, LONGEST_FOR_KEYS},
    store::{Store, StoreError},
    transport::Transport,
};
use line::{Happened, Line};

/// Requests that may wait for the driver: more than a person or a page can make while one is carried out.
pub const REQUESTS: usize = 64;
/// A connection that held this long was a good one: the next pause is short again.
const HELD: Duration = Duration::from_secs(3);
/// How long after a loss somebody may still keep the seat: the relay that lost the connection does for seconds, and one
/// that is being restarted may take its time.
const SEAT_KEPT: Duration = Duration::from_secs(60);
/// The longest pause that a relay which goes away may ask for.
const CLOSING: Duration = Duration::from_secs(10);

/// What a driver can be asked for while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Something for the session.
    Command(Command),
    /// Stop without a word. The session is not told and stays as it is; the connection is handed back as it is, and
    /// dropping it is what a crash looks like to everybody else.
    Abandon,
}

/// What sees everything that a driver does. All of it is called from the driver's task: be quick.
pub trait Observer: Send {
    /// The relay sent this text.
    fn received(&mut self, text: &str) {
        let _ = text;
    }

    /// This text goes to the relay.
    fn sending(&mut self, text: &str) {
        let _ = text;
    }

    /// The frame layer must know this.
    fn keys(&mut self, update: KeyUpdate);

    /// The application must know this. The session is as it is after the input that led to it; it can be changed only for
    /// the sake of audits, which cache what they try.
    fn event(&mut self, session: &mut Session, event: Event);
}

/// A session with everything it needs to run.
pub struct Driver<O> {
    /// The protocol.
    pub session: Session,
    /// The relay.
    pub transport: Transport,
    /// What the application wants. When all senders are gone, the session leaves the call.
    pub requests: mpsc::Receiver<Request>,
    /// Where the device is kept, if it is to outlive this process.
    pub store: Option<Store>,
    /// Who watches.
    pub observer: O,
    /// Zero of the session's clock.
    pub began: Instant,
    /// What to come back with; without it the session is over when its connection is.
    pub again: Option<Again>,
}

/// What is left when a driver has stopped.
pub struct Finished<O> {
    /// The session, ended or abandoned.
    pub session: Session,
    /// Who watched.
    pub observer: O,
    /// The connection of an abandoned driver, still open.
    pub transport: Option<Transport>,
    /// The device could not be stored: the session was stopped before it sent anything that depends on it.
    pub stored: Result<(), StoreError>,
}

impl<O: Observer> Driver<O> {
    /// Runs until the session is over for good, the device cannot be stored, or it is abandoned.
    pub async fn run(self) -> Finished<O> {
        let now = Instant::now();
        let run = Run {
            session: self.session,
            line: Line::Up(self.transport),
            requests: self.requests,
            asked: true,
            store: self.store,
            observer: self.observer,
            began: self.began,
            again: self.again,
            backoff: Backoff::default(),
            seated: false,
            for_seat: false,
            heard: None,
            whole_since: now,
            down_since: now,
            closing: None,
        };
        run.run().await
    }
}

/// A driver that runs.
struct Run<O> {
    session: Session,
    line: Line,
    requests: mpsc::Receiver<Request>,
    /// Somebody may still ask for something.
    asked: bool,
    store: Option<Store>,
    observer: O,
    began: Instant,
    again: Option<Again>,
    backoff: Backoff,
    /// A relay has given a seat at least once: what this device brings is right.
    seated: bool,
    /// The connection that is there, or is being made, is for a seat that this device had.
    for_seat: bool,
    /// Why the relay closes this connection, as it said in a message.
    heard: Option<Code>,
    /// When the connection was last whole, with a seat on it.
    whole_since: Instant,
    /// When it was lost.
    down_since: Instant,
    /// The pause that a relay which goes away has asked for.
    closing: Option<Duration>,
}

/// What the one wait came to.
// Made and consumed at once: never stored, so its size costs nothing.
#[allow(clippy::large_enum_variant)]
enum Woken {
    Input(Input),
    /// Nothing that the session need know.
    Nothing,
    /// To be stopped without a word.
    Abandoned,
}

/// Whether it goes round again.
enum Next {
    Wait,
    /// The session is over and another takes its place.
    Rejoin,
    Stop,
}

impl<O: Observer> Run<O> {
    async fn run(mut self) -> Finished<O> {
        let stored = loop {
            let input = match self.wait().await {
                Woken::Input(input) => input,
                Woken::Nothing => continue,
                Woken::Abandoned => {
                    let Self { session, observer, line, .. } = self;
                    return Finished { session, observer, transport: line.into_transport(), stored: Ok(()) };
                }
            };
            let told_of_loss = matches!(input, Input::Disconnected);
            let now = self.now();
            let outputs = self.session.handle(now, input);
            match self.carry_out(outputs).await {
                Err(error) => break Err(error),
                Ok(Next::Stop) => break Ok(()),
                Ok(Next::Wait) if told_of_loss && matches!(self.line, Line::Gone) => break Ok(()),
                Ok(Next::Wait) => {}
                Ok(Next::Rejoin) => self = self.rejoin(),
            }
        };
        if let Some(transport) = self.line.into_transport() {
            transport.close().await;
        }
        Finished { session: self.session, observer: self.observer, transport: None, stored }
    }

    /// Waits for the one next thing. What has arrived goes first, because it may settle what a request or a deadline is
    /// about; a request goes before a deadline for the same reason.
    async fn wait(&mut self) -> Woken {
        let deadline = self.session.next_timeout().map(|at| self.began + at.since(Timestamp::ZERO));
        let timer = async {
            match deadline {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            happened = self.line.next() => self.happened(happened),
            request = self.requests.recv(), if self.asked => match request {
                Some(Request::Command(command)) => Woken::Input(Input::Command(command)),
                Some(Request::Abandon) => Woken::Abandoned,
                None => {
                    self.asked = false;
                    Woken::Input(Input::Command(Command::Leave))
                }
            },
            () = timer => Woken::Input(Input::Timeout),
        }
    }

    fn happened(&mut self, happened: Happened) -> Woken {
        match happened {
            Happened::Text(text) => self.decode(&text),
            Happened::Closed(code) => {
                self.line = Line::Gone;
                // The relay says the code in a message first; this is for when that message was lost.
                code.filter(|code| self.heard != Some(*code)).map_or(Woken::Nothing, |code| {
                    let message = code.sentence().to_owned();
                    Woken::Input(Input::Received(ToClient::Error(Refusal { code, message })))
                })
            }
            Happened::Gone => Woken::Input(Input::Disconnected),
            Happened::Connected(transport, token) => {
                if let Some(token) = token {
                    self.session.set_token(token);
                }
                self.line = Line::Up(transport);
                Woken::Nothing
            }
            Happened::Failed(error) => {
                tracing::info!(%error, "no relay yet");
                if let Some(again) = &mut self.again {
                    again.relays.go_on();
                }
                self.connect();
                Woken::Nothing
            }
            Happened::Token(transport, challenge, token) => {
                if let Some(token) = token {
                    self.session.set_token(token);
                }
                self.line = Line::Up(transport);
                Woken::Input(Input::Received(challenge.into()))
            }
        }
    }

    fn decode(&mut self, text: &str) -> Woken {
        self.observer.received(text);
        match wire::decode::<ToClient>(text, limits::COMMIT_LENGTH) {
            Ok(message) => {
                tracing::trace!(message = message.name(), bytes = text.len(), "received");
                if let ToClient::Error(refusal) = &message {
                    self.heard = Some(refusal.code);
                }
                self.ask_for_token(message)
            }
            Err(WireError::Unknown) => {
                tracing::debug!(bytes = text.len(), "the relay is newer: a message of a kind unknown here");
                Woken::Nothing
            }
            Err(error @ (WireError::Limit(_) | WireError::Envelope { .. } | WireError::Malformed { .. })) => {
                tracing::warn!(%error, "the relay sent what is no message");
                Woken::Nothing
            }
        }
    }

    /// A challenge that can be answered with a good token only waits for one. Who joins has brought theirs along.
    fn ask_for_token(&mut self, message: ToClient) -> Woken {
        let asking = match (message, &mut self.again) {
            (ToClient::Challenge(challenge), Some(again))
                if self.session.joined().is_some()
                    && again.tokens.is_asked()
                    && self.session.needs_token(&challenge) =>
            {
                (challenge, again.tokens.ask())
            }
            (message, _) => return Woken::Input(Input::Received(message)),
        };
        let (challenge, token) = asking;
        let line = std::mem::replace(&mut self.line, Line::Gone);
        self.line = match line.into_transport() {
            Some(transport) => Line::Asking(Some((transport, challenge)), token),
            None => Line::Gone,
        };
        Woken::Nothing
    }

    async fn carry_out(&mut self, outputs: Vec<Output>) -> Result<Next, StoreError> {
        let (mut next, mut queued, mut rejoins) = (Next::Wait, false, false);
        for output in outputs {
            match output {
                Output::Send(message) => {
                    let text = wire::encode(&message);
                    tracing::trace!(message = message.name(), bytes = text.len(), "sending");
                    self.observer.sending(&text);
                    queued = true;
                    self.line.feed(text).await;
                }
                Output::Keys(update) => self.observer.keys(update),
                Output::Event(Event::Ended(reason)) if self.may_rejoin(reason) => {
                    tracing::info!(?reason, "the seat is lost: joining afresh");
                    rejoins = true;
                    self.observer.event(&mut self.session, Event::Link(Link::Rejoining));
                }
                Output::Event(event) => self.event(event),
                Output::Persist(pickle) => {
                    if let Some(store) = self.store.clone() {
                        let saving = tokio::task::spawn_blocking(move || store.save(&pickle));
                        // The task neither panics nor is it ever aborted; if the runtime goes, so does this driver.
                        saving.await.unwrap_or(Ok(()))?;
                    }
                }
                Output::Connect if self.again.is_some() => {
                    self.down_since = Instant::now();
                    self.connect();
                }
                Output::Connect => {
                    // The session would wait for a connection; this driver makes none.
                    next = Next::Stop;
                    self.observer.keys(KeyUpdate::Clear);
                    self.event(Event::Ended(EndReason::Disconnected));
                }
                Output::Close => next = if rejoins { Next::Rejoin } else { Next::Stop },
            }
        }
        if queued {
            self.line.flush().await;
        }
        Ok(next)
    }

    fn event(&mut self, event: Event) {
        if matches!(event, Event::Seated { .. } | Event::Link(Link::Up)) {
            self.seated = true;
            self.whole_since = Instant::now();
        } else if let Event::Closing(after) = event {
            self.closing = Some(Duration::from_millis(after));
        }
        self.observer.event(&mut self.session, event);
    }

    /// Whether the device may join afresh by itself. The first join must succeed: whoever asked for it can still mend what
    /// was wrong with it.
    fn may_rejoin(&self, reason: EndReason) -> bool {
        let Some(again) = &self.again else { return false };
        match reason.retry() {
            Retry::Later => self.seated || !refuses_a_join(reason),
            Retry::FreshToken => self.seated && again.tokens.is_asked(),
            Retry::No | Retry::GoOn => false,
        }
    }

    /// Puts another session in the place of one that is over: the same device, the same frames.
    fn rejoin(mut self) -> Self {
        let Some(again) = &self.again else { return self };
        self.session = Session::new(self.session.into_device(), again.profile.clone(), again.config);
        self.down_since = Instant::now();
        self.connect();
        self
    }

    /// Tries the next address after a pause.
    fn connect(&mut self) {
        if let Some(old) = std::mem::replace(&mut self.line, Line::Gone).into_transport() {
            // Nobody waits for this goodbye.
            tokio::spawn(old.close());
        }
        self.heard = None;
        let Some(again) = &mut self.again else { return };
        if self.seated && self.down_since.saturating_duration_since(self.whole_since) > HELD {
            self.backoff.reset();
            self.whole_since = self.down_since;
        }
        let keeps_seat = self.session.joined().is_some();
        if self.for_seat && !keeps_seat {
            self.backoff.ease(LONGEST_FOR_A_SEAT);
        }
        self.for_seat = keeps_seat;
        let longest = match keeps_seat {
            true if self.down_since.elapsed() < SEAT_KEPT => LONGEST_FOR_A_SEAT,
            true => LONGEST_FOR_KEYS,
            false => LONGEST,
        };
        let drawn = self.backoff.next(random::bytes().map_or(0, u64::from_be_bytes), longest);
        let pause = match self.closing.take() {
            // Where there is another relay, the one that goes away is not waited for.
            Some(_) if again.relays.len() > 1 => {
                again.relays.go_on();
                drawn
            }
            asked => drawn.max(asked.unwrap_or_default().min(CLOSING)),
        };
        let token = (!keeps_seat).then(|| again.tokens.ask());
        let url = again.relays.here().clone();
        tracing::debug!(%url, pause = pause.as_millis(), "connecting again");
        self.line = Line::connecting(pause, url, token);
    }

    fn now(&self) -> Timestamp {
        let elapsed = self.began.elapsed().as_millis();
        Timestamp::from_millis(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }
}

/// Whether this is a relay's answer to a join, which another try a moment later would not change.
const fn refuses_a_join(reason: EndReason) -> bool {
    matches!(reason, EndReason::Closed(Code::CallFull | Code::TooManyCalls | Code::TooManyConnections))
}
