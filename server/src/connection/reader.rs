//! From the socket to the call, within what a socket may do.

use conclave_shared::{
    id::RelayNonce,
    limits::{LimitError, MESSAGE_LENGTH, VERSION},
    wire::{Join, Restore, Resume, ToRelay, WireError, code::Code, decode},
};
use futures_util::{Stream, StreamExt as _};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::{
    Relay,
    guard::{FRAGMENTS, Violation, Watch},
    outbound::Outbound,
    refuse_because,
};
use crate::{
    address::{Bucket, Waiting},
    call::{JoinRequest, RestoreRequest, ResumeRequest, version_sentence},
    calls::{Place, Socket},
};

/// A lead talks to everybody, so it may say more.
const LEAD_FACTOR: f64 = 10.0;

/// What a socket's messages come from.
pub(super) trait Messages: Stream<Item = Result<Message, Error>> + Unpin {}
impl<S: Stream<Item = Result<Message, Error>> + Unpin> Messages for S {}

pub(super) struct Reader {
    relay: Arc<Relay>,
    outbound: Outbound,
    watch: Watch,
    unanswered: Arc<AtomicU32>,
    bucket: Bucket,
}

/// What a connection may begin with.
enum First {
    Join(Join),
    Resume(Resume),
    Restore(Box<Restore>),
}

/// Why reading stopped.
struct Stop {
    /// What to tell the client; nothing when it went by itself.
    refusal: Option<(Code, String)>,
}

impl Stop {
    const GONE: Self = Self { refusal: None };

    fn plain(code: Code) -> Self {
        Self { refusal: Some((code, code.sentence().to_owned())) }
    }

    fn because(code: Code, reason: &dyn std::fmt::Display) -> Self {
        Self { refusal: Some((code, format!("{} ({reason})", code.sentence()))) }
    }
}

impl Reader {
    pub(super) fn new(relay: Arc<Relay>, outbound: Outbound, watch: Watch, unanswered: Arc<AtomicU32>) -> Self {
        let bucket = Bucket::new(relay.limits.messages_per_second, relay.limits.message_burst);
        Self { relay, outbound, watch, unanswered, bucket }
    }

    /// Reads until the client is gone or has to go.
    pub(super) async fn run<S: Messages>(mut self, stream: &mut S, nonce: RelayNonce, waiting: &Waiting) {
        let place = match self.enter(stream, nonce).await {
            Ok(place) => place,
            Err(Stop { refusal }) => {
                if let Some((code, message)) = refusal {
                    tracing::debug!(code = code.name(), "join refused");
                    refuse_because(&self.outbound, code, message);
                }
                return;
            }
        };
        waiting.release();
        loop {
            match self.message(stream).await {
                Ok(message) => place.received(message),
                // The relay may learn new messages before its clients do, and they before it.
                Err(Stop { refusal: Some((code, message)) }) if !code.closes() => place.refused(code, message),
                Err(Stop { refusal: Some((code, message)) }) => {
                    tracing::debug!(code = code.name(), "connection refused");
                    return place.refused(code, message);
                }
                Err(Stop { refusal: None }) => return,
            }
        }
    }

    /// Reads the first message, which says what seat is wanted, and brings it to the call.
    async fn enter<S: Messages>(&mut self, stream: &mut S, nonce: RelayNonce) -> Result<Place, Stop> {
        let relay = Arc::clone(&self.relay);
        let mut closing = relay.closing.clone();
        let first = tokio::select! {
            first = timeout(relay.limits.join_time, self.first(stream)) => match first {
                Ok(first) => first?,
                Err(_) => return Err(Stop::plain(Code::JoinTimeout)),
            },
            _ = closing.wait_for(|closing| *closing) => return Err(Stop::plain(Code::Closing)),
        };
        match first {
            First::Join(join) => self.join(join, nonce),
            First::Resume(resume) => self.resume(resume, nonce),
            First::Restore(restore) => self.restore(*restore, nonce),
        }
    }

    fn join(&self, join: Join, nonce: RelayNonce) -> Result<Place, Stop> {
        check_version(join.version)?;
        let admission = self.relay.admissions.admit(&join.token, &join.call);
        let admission = admission.map_err(|error| Stop::plain(error.code()))?;
        self.relay.calls.join(JoinRequest { admission, join, nonce }, self.socket()).map_err(Stop::plain)
    }

    /// A relay that knows nothing of a call must see again who may be in it.
    fn restore(&self, restore: Restore, nonce: RelayNonce) -> Result<Place, Stop> {
        check_version(restore.version)?;
        let admission = self.relay.admissions.admit(&restore.token, &restore.call);
        let admission = admission.map_err(|error| Stop::plain(error.code()))?;
        self.relay.calls.restore(RestoreRequest { admission, restore, nonce }, self.socket()).map_err(Stop::plain)
    }

    /// Needs no token: the member's own signature, over this connection's nonce, is all that the call asks for.
    fn resume(&self, resume: Resume, nonce: RelayNonce) -> Result<Place, Stop> {
        check_version(resume.version)?;
        self.relay.calls.resume(ResumeRequest { resume, nonce }, self.socket()).map_err(Stop::plain)
    }

    fn socket(&self) -> Socket {
        Socket { outbound: self.outbound.clone(), leads: Arc::clone(&self.watch.leads) }
    }

    async fn first<S: Messages>(&mut self, stream: &mut S) -> Result<First, Stop> {
        let text = self.text(stream).await?;
        match decode::<ToRelay>(&text, MESSAGE_LENGTH) {
            Ok(ToRelay::Join(join)) => Ok(First::Join(join)),
            Ok(ToRelay::Resume(resume)) => Ok(First::Resume(resume)),
            Ok(ToRelay::Restore(restore)) => Ok(First::Restore(restore)),
            Ok(_) | Err(WireError::Unknown) => Err(Stop::plain(Code::JoinFirst)),
            Err(error) => Err(other_version(&text).map_or_else(|| wire(&error), version)),
        }
    }

    async fn message<S: Messages>(&mut self, stream: &mut S) -> Result<ToRelay, Stop> {
        let text = self.text(stream).await?;
        let message = decode::<ToRelay>(&text, self.watch.limit()).map_err(|error| wire(&error))?;
        if text.len() > MESSAGE_LENGTH && !matches!(message, ToRelay::Commit(_)) {
            return Err(Stop::plain(Code::TooLarge));
        }
        Ok(message)
    }

    /// The next text; pings and pongs are answered and counted on the way.
    async fn text<S: Messages>(&mut self, stream: &mut S) -> Result<Utf8Bytes, Stop> {
        loop {
            let message = match stream.next().await {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(self.failed(&error)),
                None => return Err(Stop::GONE),
            };
            self.unanswered.store(0, Ordering::Relaxed);
            let factor = if self.watch.leads.load(Ordering::Relaxed) { LEAD_FACTOR } else { 1.0 };
            if !self.bucket.take_with(factor) {
                return Err(Stop::plain(Code::TooFast));
            }
            match message {
                Message::Text(text) => return Ok(text),
                Message::Binary(_) => return Err(Stop::plain(Code::NotText)),
                Message::Close(_) => return Err(Stop::GONE),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    fn failed(&self, error: &Error) -> Stop {
        match (self.watch.violation(), error) {
            (Some(Violation::TooLarge), _) | (None, Error::Capacity(_)) => Stop::plain(Code::TooLarge),
            (Some(Violation::TooManyFragments), _) => {
                Stop::because(Code::Malformed, &format_args!("more than {FRAGMENTS} fragments"))
            }
            (None, Error::Utf8(_)) => Stop::because(Code::Malformed, &"text that is not UTF-8"),
            (
                None,
                Error::Protocol(tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake),
            ) => Stop::GONE,
            (None, Error::Protocol(error)) => Stop::because(Code::Malformed, error),
            (None, _) => Stop::GONE,
        }
    }
}

fn version(theirs: u16) -> Stop {
    Stop { refusal: Some((Code::Version, version_sentence(theirs))) }
}

fn check_version(theirs: u16) -> Result<(), Stop> {
    if theirs == VERSION { Ok(()) } else { Err(version(theirs)) }
}

/// The version of a first message that cannot be read otherwise: another version may have other fields.
fn other_version(text: &str) -> Option<u16> {
    #[derive(Deserialize)]
    struct AnyVersion {
        version: u16,
    }
    let any: BTreeMap<String, AnyVersion> = serde_json::from_str(text).ok()?;
    any.into_values().map(|first| first.version).find(|version| *version != VERSION)
}

fn wire(error: &WireError) -> Stop {
    match error {
        WireError::Limit(LimitError::Length { .. }) => Stop::because(Code::TooLarge, error),
        WireError::Limit(LimitError::Depth) => Stop::because(Code::TooDeep, error),
        WireError::Envelope { .. } | WireError::Malformed { .. } => Stop::because(Code::Malformed, error),
        WireError::Unknown => Stop::plain(Code::UnknownMessage),
    }
}
