//! A session and its frames behind texts and bytes.

use conclave_shared::{
    crypto::random::RandomError,
    frame::{
        Frames,
        clear_bytes::Codec,
        opener::{OpenError, Opened, SeatStats},
        sealer::SealStats,
    },
    id::{CallName, IdError, Joined, Seat, UserName},
    identity::device::Device,
    limits,
    session::{
        Profile, Session,
        config::Config,
        input::{Command, Input},
        output::{EndReason, Event, Link, Output},
    },
    time::Timestamp,
    wire::{
        self, Blob, Refusal, ToClient, Token, WireError,
        code::{Code, Retry},
    },
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

/// One device in one call, and the keys of its frames. When its seat is lost it joins afresh: another session of the same
/// device takes the place of the one that is over, beside the same frames.
pub struct Driver {
    session: Session,
    profile: Profile,
    frames: Frames,
    /// The page can be asked for another token.
    renewable: bool,
    /// A relay has given a seat at least once: what this device brings is right.
    seated: bool,
    /// Why the relay closes this connection, as it said in a message.
    heard: Option<Code>,
    refused: u64,
    unknown_codec: u64,
}

/// Why a device cannot be made. Names no piece of the profile: it holds a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProfileError {
    /// Not the JSON object that it should be.
    #[error("a profile is {{\"call\", \"user\", \"name\", \"token\"}}, all of them text, and perhaps \"renewable\"")]
    Malformed,
    /// A name breaks its rule.
    #[error(transparent)]
    Name(#[from] IdError),
    /// The token is too long.
    #[error("a token has at most {} bytes", limits::TOKEN_LENGTH)]
    Token,
    /// The browser gave no random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// A command that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a command is one of leave, rotate, remove, send and missing_key, with its fields")]
pub struct CommandTextError;

impl Driver {
    /// A new device that is going to join.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn new(profile_json: &str) -> Result<Self, ProfileError> {
        let text: ProfileText = serde_json::from_str(profile_json).map_err(|_| ProfileError::Malformed)?;
        let profile = Profile {
            call: CallName::new(text.call)?,
            user: UserName::new(text.user)?,
            name: UserName::new(text.name)?,
            token: token(text.token)?,
        };
        let device = Device::generate()?;
        Ok(Self {
            frames: Frames::new(device.ed25519()),
            session: Session::new(device, profile.clone(), Config::default()),
            profile,
            renewable: text.renewable,
            seated: false,
            heard: None,
            refused: 0,
            unknown_codec: 0,
        })
    }

    /// Whether this text is a challenge that only a token which is still good can answer, where another can be had: a
    /// relay that was restarted asks for one. Who joins has brought theirs along.
    #[must_use]
    pub fn needs_token(&self, text: &str) -> bool {
        if !self.renewable || self.session.joined().is_none() {
            return false;
        }
        match wire::decode::<ToClient>(text, limits::FROM_RELAY_LENGTH) {
            Ok(ToClient::Challenge(challenge)) => self.session.needs_token(&challenge),
            Ok(_) | Err(_) => false,
        }
    }

    /// Replaces the access token for what comes.
    ///
    /// # Errors
    /// [`ProfileError::Token`] when it is too long to be one; the last one stays.
    pub fn set_token(&mut self, text: String) -> Result<(), ProfileError> {
        let token = token(text)?;
        self.profile.token = token.clone();
        self.session.set_token(token);
        Ok(())
    }

    /// Takes in one text message of the relay. A text that is no message changes nothing and is told as an event.
    pub fn received(&mut self, now: Timestamp, text: &str) -> String {
        match wire::decode::<ToClient>(text, limits::FROM_RELAY_LENGTH) {
            Ok(message) => {
                if let ToClient::Error(refusal) = &message {
                    self.heard = Some(refusal.code);
                }
                self.handle(now, Input::Received(message))
            }
            // A newer relay may say more than this device understands.
            Err(WireError::Unknown) => NOTHING.to_owned(),
            Err(error) => wire::encode(&[Told::Event(Heard::not_understood(error))]),
        }
    }

    /// Carries out a command.
    ///
    /// # Errors
    /// [`CommandTextError`] when the text is none.
    pub fn command(&mut self, now: Timestamp, json: &str) -> Result<String, CommandTextError> {
        let command = match serde_json::from_str(json).map_err(|_| CommandTextError)? {
            CommandText::Leave {} => Command::Leave,
            CommandText::Rotate {} => Command::Rotate,
            CommandText::Remove { joined } => Command::Remove(joined),
            CommandText::Send { to, payload } => Command::Send { to, payload: payload.0 },
            CommandText::MissingKey {} => Command::MissingKey,
        };
        Ok(self.handle(now, Input::Command(command)))
    }

    /// Lets the session do what is due. A time-out that only held frames wait for is the affair of
    /// [`release`](Self::release).
    pub fn timeout(&mut self, now: Timestamp) -> String {
        if self.session.next_timeout().is_some_and(|due| due <= now) {
            self.handle(now, Input::Timeout)
        } else {
            NOTHING.to_owned()
        }
    }

    /// The socket is gone, with this close code. The relay says its reason in a message first; the code is for when that
    /// message was lost.
    pub fn disconnected(&mut self, now: Timestamp, code: u16) -> String {
        let heard = self.heard.take();
        let known = Code::ALL.iter().copied().find(|known| known.number() == code);
        let Some(code) = known.filter(|code| heard != Some(*code)) else {
            return self.handle(now, Input::Disconnected);
        };
        let message = code.sentence().to_owned();
        let mut told = self.outputs(now, Input::Received(ToClient::Error(Refusal { code, message })));
        if !told.iter().any(|told| matches!(told, Told::Connect { .. } | Told::Close(_))) {
            told.extend(self.outputs(now, Input::Disconnected));
        }
        wire::encode(&told)
    }

    /// The earlier of what the session and the frames wait for.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        [self.session.next_timeout(), self.frames.next_timeout()].into_iter().flatten().min()
    }

    /// Seals a frame of this device; `None` when it must be dropped.
    pub fn seal(&mut self, codec: &str, frame: &[u8]) -> Option<Vec<u8>> {
        let Ok(codec) = Codec::from_mime(codec) else {
            self.refused += 1;
            return None;
        };
        self.frames.seal(codec, frame).ok()
    }

    /// Opens a frame of the member on a seat; `None` when its codec cannot be protected.
    // Five besides `self`, each of its own type.
    #[allow(clippy::too_many_arguments)]
    pub fn open(&mut self, now: Timestamp, from: Seat, codec: &str, frame: &[u8], ticket: u32) -> Option<Opened> {
        let Ok(codec) = Codec::from_mime(codec) else {
            self.unknown_codec += 1;
            return None;
        };
        Some(self.frames.open(now, from, codec, frame, ticket.into()))
    }

    /// The held frames that are done with, by ticket: opened, or to be dropped.
    pub fn release(&mut self, now: Timestamp) -> Vec<(u32, Result<Vec<u8>, OpenError>)> {
        let released = self.frames.release(now).into_iter();
        // Every ticket came in as 32 bits.
        released.filter_map(|(ticket, plain)| Some((u32::try_from(ticket).ok()?, plain))).collect()
    }

    /// What became of the frames, as JSON.
    #[must_use]
    pub fn stats(&self) -> String {
        let SealStats { sealed, refused } = self.frames.seal_stats();
        wire::encode(&Stats {
            own: SealStats { sealed, refused: refused + self.refused },
            unknown_codec: self.unknown_codec,
            seats: self.frames.all_stats().collect(),
        })
    }

    fn handle(&mut self, now: Timestamp, input: Input) -> String {
        wire::encode(&self.outputs(now, input))
    }

    fn outputs(&mut self, now: Timestamp, input: Input) -> Vec<Told> {
        let outputs = self.session.handle(now, input);
        let mut rejoins = false;
        let mut told = Vec::with_capacity(outputs.len());
        for output in outputs {
            match output {
                Output::Event(Event::Ended(reason)) if self.may_rejoin(reason) => {
                    rejoins = true;
                    told.push(Told::Event(Heard::Session(Event::Link(Link::Rejoining))));
                }
                Output::Close if rejoins => {
                    // Nothing else that could be a device to join with: without random bytes there is no call either.
                    told.push(match self.rejoin() {
                        Ok(()) => Told::Connect { fresh: true },
                        Err(_) => Told::Close(true),
                    });
                }
                output @ (Output::Send(_)
                | Output::Keys(_)
                | Output::Event(_)
                | Output::Persist(_)
                | Output::Connect
                | Output::Close) => told.extend(self.tell(output)),
            }
        }
        told
    }

    /// Whether the device may join afresh by itself. The first join must succeed: whoever asked for it can still mend what
    /// was wrong with it.
    fn may_rejoin(&self, reason: EndReason) -> bool {
        match reason.retry() {
            Retry::Later => self.seated || !refuses_a_join(reason),
            Retry::FreshToken => self.seated && self.renewable,
            Retry::No | Retry::GoOn => false,
        }
    }

    /// Puts another session in the place of the one that is over.
    fn rejoin(&mut self) -> Result<(), RandomError> {
        let fresh = |device| Session::new(device, self.profile.clone(), Config::default());
        // A session gives its device back only when it goes, and something has to stand in its place meanwhile.
        let over = std::mem::replace(&mut self.session, fresh(Device::generate()?));
        self.session = fresh(over.into_device());
        Ok(())
    }

    /// What leaves of an output: never a key.
    fn tell(&mut self, output: Output) -> Option<Told> {
        match output {
            Output::Send(message) => Some(Told::Send(wire::encode(&message))),
            Output::Keys(update) => {
                self.frames.apply(update);
                None
            }
            Output::Event(event) => {
                self.seated |= matches!(event, Event::Seated { .. });
                Some(Told::Event(Heard::Session(event)))
            }
            // A page's device lives for one call.
            Output::Persist(_) => None,
            Output::Connect => {
                self.heard = None;
                Some(Told::Connect { fresh: false })
            }
            Output::Close => Some(Told::Close(true)),
        }
    }
}

/// Whether this is a relay's answer to a join, which another try a moment later would not change.
const fn refuses_a_join(reason: EndReason) -> bool {
    matches!(reason, EndReason::Closed(Code::CallFull | Code::TooManyCalls | Code::TooManyConnections))
}

fn token(text: String) -> Result<Token, ProfileError> {
    if text.len() > limits::TOKEN_LENGTH { Err(ProfileError::Token) } else { Ok(Token(text)) }
}

/// No outputs.
const NOTHING: &str = "[]";

#[derive(Deserialize)]
struct ProfileText {
    call: String,
    user: String,
    name: String,
    token: String,
    #[serde(default)]
    renewable: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum CommandText {
    Leave {},
    Rotate {},
    Remove { joined: Joined },
    Send { to: Option<Joined>, payload: Blob },
    MissingKey {},
}

/// One output as the page reads it.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Send(String),
    Event(Heard),
    /// Open a connection; `fresh`: to join with, so that a fresh token helps.
    Connect {
        fresh: bool,
    },
    Close(bool),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Heard {
    Session(Event),
    Relay { protocol_error: Sentence },
}

impl Heard {
    /// The relay sent a text that is no message.
    fn not_understood(error: WireError) -> Self {
        Self::Relay { protocol_error: Sentence { message: error.to_string() } }
    }
}

#[derive(Serialize)]
struct Sentence {
    message: String,
}

#[derive(Serialize)]
struct Stats {
    own: SealStats,
    unknown_codec: u64,
    seats: BTreeMap<Seat, SeatStats>,
}

#[cfg(test)]
mod tests;
