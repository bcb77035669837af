//! The loop that moves bytes and time into a [`Session`] and carries out what comes of it.
//!
//! ```text
//! socket, requests, timer -> one Input -> Session::handle -> Outputs, in order -> socket, store, observer
//! ```
//!
//! There is one place that waits and one that calls `handle`. [`Client`](crate::Client) is the usual way to run this;
//! the load test brings an [`Observer`] of its own and takes the session back at the end.

use std::future::pending;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use conclave_shared::{
    limits,
    session::{
        Session,
        input::{Command, Input},
        output::{Event, KeyUpdate, Output},
    },
    time::Timestamp,
    wire::{self, Refusal, ToClient, WireError},
};

use crate::{
    store::{Store, StoreError},
    transport::{Incoming, Transport},
};

/// Requests that may wait for the driver: more than a person or a page can make while one is carried out.
pub const REQUESTS: usize = 64;

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

/// The driver was told to stop without a word.
struct Abandoned;

/// Whether it goes round again.
enum Next {
    Wait,
    Stop,
}

impl<O: Observer> Driver<O> {
    /// Runs until the session closes, the connection is gone, the device cannot be stored, or it is abandoned.
    pub async fn run(mut self) -> Finished<O> {
        let mut connected = true;
        let mut asked = true;
        let stored = loop {
            let woken =
                if connected { self.wait(&mut connected, &mut asked).await } else { Ok(Some(Input::Disconnected)) };
            let input = match woken {
                Ok(Some(input)) => input,
                Ok(None) => continue,
                Err(Abandoned) => {
                    let Self { session, observer, transport, .. } = self;
                    return Finished { session, observer, transport: Some(transport), stored: Ok(()) };
                }
            };
            let last = matches!(input, Input::Disconnected);
            let now = self.now();
            let outputs = self.session.handle(now, input);
            match self.carry_out(outputs, &mut connected).await {
                Err(error) => break Err(error),
                Ok(Next::Stop) => break Ok(()),
                Ok(Next::Wait) if last => break Ok(()),
                Ok(Next::Wait) => {}
            }
        };
        self.transport.close().await;
        Finished { session: self.session, observer: self.observer, transport: None, stored }
    }

    /// Waits for the one next thing. What has arrived goes first, because it may settle what a request or a deadline is
    /// about; a request goes before a deadline for the same reason.
    async fn wait(&mut self, connected: &mut bool, asked: &mut bool) -> Result<Option<Input>, Abandoned> {
        let deadline = self.session.next_timeout().map(|at| self.began + at.since(Timestamp::ZERO));
        let timer = async {
            match deadline {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            incoming = self.transport.next() => match incoming {
                Incoming::Text(text) => Ok(self.decode(&text)),
                Incoming::Closed(code) => {
                    *connected = false;
                    // The relay says the code in a message first; this is for when that message was lost.
                    Ok(code.map(|code| {
                        Input::Received(ToClient::Error(Refusal { code, message: code.sentence().to_owned() }))
                    }))
                }
            },
            request = self.requests.recv(), if *asked => match request {
                Some(Request::Command(command)) => Ok(Some(Input::Command(command))),
                Some(Request::Abandon) => Err(Abandoned),
                None => {
                    *asked = false;
                    Ok(Some(Input::Command(Command::Leave)))
                }
            },
            () = timer => Ok(Some(Input::Timeout)),
        }
    }

    fn decode(&mut self, text: &str) -> Option<Input> {
        self.observer.received(text);
        match wire::decode::<ToClient>(text, limits::COMMIT_LENGTH) {
            Ok(message) => {
                tracing::trace!(message = message.name(), bytes = text.len(), "received");
                Some(Input::Received(message))
            }
            Err(WireError::Unknown) => {
                tracing::debug!(bytes = text.len(), "the relay is newer: a message of a kind unknown here");
                None
            }
            Err(error @ (WireError::Limit(_) | WireError::Envelope { .. } | WireError::Malformed { .. })) => {
                tracing::warn!(%error, "the relay sent what is no message");
                None
            }
        }
    }

    async fn carry_out(&mut self, outputs: Vec<Output>, connected: &mut bool) -> Result<Next, StoreError> {
        let (mut next, mut queued) = (Next::Wait, false);
        for output in outputs {
            match output {
                Output::Send(message) => {
                    let text = wire::encode(&message);
                    tracing::trace!(message = message.name(), bytes = text.len(), "sending");
                    self.observer.sending(&text);
                    queued = true;
                    if *connected {
                        *connected = self.transport.feed(text).await;
                    }
                }
                Output::Keys(update) => self.observer.keys(update),
                Output::Event(event) => self.observer.event(&mut self.session, event),
                Output::Persist(pickle) => {
                    if let Some(store) = self.store.clone() {
                        let saving = tokio::task::spawn_blocking(move || store.save(&pickle));
                        // The task neither panics nor is it ever aborted; if the runtime goes, so does this driver.
                        saving.await.unwrap_or(Ok(()))?;
                    }
                }
                Output::Connect => {}
                Output::Close => next = Next::Stop,
            }
        }
        if queued && *connected {
            *connected = self.transport.flush().await;
        }
        Ok(next)
    }

    fn now(&self) -> Timestamp {
        let elapsed = self.began.elapsed().as_millis();
        Timestamp::from_millis(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }
}
