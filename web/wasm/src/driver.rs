//! A session and its frames behind texts and bytes.

use conclave_shared::{
    crypto::random::RandomError,
    frame::{
        Frames,
        clear_bytes::Codec,
        opener::{Opened, SeatStats},
        sealer::SealStats,
    },
    id::{CallName, IdError, Joined, Seat, UserName},
    identity::device::Device,
    limits,
    session::{
        Profile, Session,
        config::Config,
        input::{Command, Input},
        output::{Event, Output},
    },
    time::Timestamp,
    wire::{self, Blob, ToClient, Token, WireError},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

/// One device in one call, and the keys of its frames.
pub struct Driver {
    session: Session,
    frames: Frames,
    refused: u64,
    unknown_codec: u64,
}

/// Why a device cannot be made. Names no piece of the profile: it holds a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProfileError {
    /// Not the JSON object that it should be.
    #[error("a profile is {{\"call\", \"user\", \"name\", \"token\"}}, all of them text")]
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
#[error("a command is one of leave, rotate, remove and send, with its fields")]
pub struct CommandTextError;

impl Driver {
    /// A new device that is going to join.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn new(profile_json: &str) -> Result<Self, ProfileError> {
        let text: ProfileText = serde_json::from_str(profile_json).map_err(|_| ProfileError::Malformed)?;
        if text.token.len() > limits::TOKEN_LENGTH {
            return Err(ProfileError::Token);
        }
        let profile = Profile {
            call: CallName::new(text.call)?,
            user: UserName::new(text.user)?,
            name: UserName::new(text.name)?,
            token: Token(text.token),
        };
        let device = Device::generate()?;
        Ok(Self {
            frames: Frames::new(device.ed25519()),
            session: Session::new(device, profile, Config::default()),
            refused: 0,
            unknown_codec: 0,
        })
    }

    /// Takes in one text message of the relay. A text that is no message changes nothing and is told as an event.
    pub fn received(&mut self, now: Timestamp, text: &str) -> String {
        match wire::decode::<ToClient>(text, limits::FROM_RELAY_LENGTH) {
            Ok(message) => self.handle(now, Input::Received(message)),
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

    /// The socket is gone.
    pub fn disconnected(&mut self, now: Timestamp) -> String {
        self.handle(now, Input::Disconnected)
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
    pub fn release(&mut self, now: Timestamp) -> Vec<(u32, Option<Vec<u8>>)> {
        let released = self.frames.release(now).into_iter();
        // Every ticket came in as 32 bits.
        released.filter_map(|(ticket, plain)| Some((u32::try_from(ticket).ok()?, plain.ok()))).collect()
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
        let outputs = self.session.handle(now, input);
        wire::encode(&outputs.into_iter().filter_map(|output| self.tell(output)).collect::<Vec<_>>())
    }

    /// What leaves of an output: never a key.
    fn tell(&mut self, output: Output) -> Option<Told> {
        match output {
            Output::Send(message) => Some(Told::Send(wire::encode(&message))),
            Output::Keys(update) => {
                self.frames.apply(update);
                None
            }
            Output::Event(event) => Some(Told::Event(Heard::Session(event))),
            // A page's device lives for one join.
            Output::Persist(_) | Output::Connect => None,
            Output::Close => Some(Told::Close(true)),
        }
    }
}

/// No outputs.
const NOTHING: &str = "[]";

#[derive(Deserialize)]
struct ProfileText {
    call: String,
    user: String,
    name: String,
    token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum CommandText {
    Leave {},
    Rotate {},
    Remove { joined: Joined },
    Send { to: Option<Joined>, payload: Blob },
}

/// One output as the page reads it.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Send(String),
    Event(Heard),
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
