//! How the program ends: one sentence and a number for each reason.

use std::{io::Write, process};
use thiserror::Error;

use conclave_client::{load::LoadError, store::StoreError, token::TokenError, transport::ConnectError};
use conclave_shared::wire::code::Code;

/// Stands at the end of `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done: left on purpose, or nothing wrong was found
  1  a check failed: a wrong key, a missed rotation, a frame that did not open
  2  a wrong option, address, name, or secret
  3  no connection to the relay
  4  the relay refused: token, call full, protocol version
  5  the device key file, or another file, cannot be used
  6  put out of the call: removed by the lead, or joined again elsewhere
  7  a failure of this program or this machine

Variables: CONCLAVE_URL, CONCLAVE_TOKEN, CONCLAVE_SECRET (see .env.example), CONCLAVE_LOG (what to log, such as
conclave_client=debug), NO_COLOR.";

/// Why the program ends without having done what it was asked for.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// A check failed: what, the report has said.
    #[error("{0}")]
    Check(String),
    /// An option.
    #[error("{0}")]
    Usage(String),
    /// A token cannot be made from what was given.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The relay refused.
    #[error("{} {}", .0.sentence(), advice(*.0))]
    Refused(Code),
    /// Protocol versions do not meet.
    #[error(
        "the relay speaks protocol version {relay} and this program speaks {ours}: bring the older of the two up to date"
    )]
    Version {
        /// The newest that the relay speaks.
        relay: u16,
        /// The newest spoken here.
        ours: u16,
    },
    /// The key file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another file.
    #[error("cannot read {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Put out of the call.
    #[error("{0}")]
    Out(&'static str),
    /// A relay of our own could not be started.
    #[error("the relay could not be started: {0}")]
    Relay(String),
    /// The session failed.
    #[error("{0}")]
    Internal(String),
    /// No runtime.
    #[error("this machine gives no threads")]
    Runtime,
}

impl Failure {
    /// The exit code.
    const fn code(&self) -> i32 {
        match self {
            Self::Check(_) => 1,
            Self::Usage(_) | Self::Token(_) => 2,
            Self::Connect(_) => 3,
            Self::Refused(_) | Self::Version { .. } => 4,
            Self::Store(_) | Self::File { .. } => 5,
            Self::Out(_) => 6,
            Self::Relay(_) | Self::Internal(_) | Self::Runtime => 7,
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Connect(error) => Self::Connect(error),
            LoadError::Shape(_) | LoadError::Name(_) => Self::Usage(error.to_string()),
            LoadError::Control(_) => Self::Check(error.to_string()),
            LoadError::Device(_) | LoadError::Lead(_) => Self::Internal(error.to_string()),
        }
    }
}

/// Says why on standard error and ends the process.
pub(crate) fn fail(failure: &Failure) -> ! {
    // Nobody can be told that standard error is closed.
    let _ = writeln!(std::io::stderr(), "conclave: {failure}");
    process::exit(failure.code());
}

/// What a person can do about a code.
const fn advice(code: Code) -> &'static str {
    match code {
        Code::TokenRefused => "Make one with the relay's own secret: `conclave token`, or set CONCLAVE_SECRET.",
        Code::TokenExpired => {
            "Make a new one: `conclave token`, or set CONCLAVE_SECRET so that each join makes its own."
        }
        Code::WrongCall => "Give --call the name that the token was made for.",
        Code::UserMismatch => "Give --user the name that the token was made for.",
        Code::RoleRefused => {
            "Make the token with --role lead_bot for a lead bot, --role recorder for --record, --role member for others."
        }
        Code::CallFull | Code::TooManyCalls | Code::TooManyConnections => "Try again later.",
        Code::Replaced => "Use another --device file here or there.",
        Code::Removed => "Ask the lead.",
        Code::Version | Code::Malformed | Code::UnknownMessage => {
            "Bring the relay and this program to the same version."
        }
        Code::BadCard | Code::BadProof | Code::BadKeys => "Remove the device key file to make a new device.",
        Code::JoinTimeout
        | Code::SlowConsumer
        | Code::Unresponsive
        | Code::Closing
        | Code::TooFast
        | Code::LostSeat => "Start it again.",
        Code::TooLarge | Code::NotText | Code::TooDeep | Code::JoinFirst => "This is a fault of this program.",
        Code::AlreadyJoined | Code::NotLead | Code::PassedTerm | Code::UnknownMember | Code::OutOfOrder => {
            "The connection stays open."
        }
    }
}
