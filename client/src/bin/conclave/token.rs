//! `conclave token`: makes an access token.

use clap::{Args, ValueEnum};
use std::{io::Write, time::Duration};

use conclave_client::token::Grant;
use conclave_shared::id::{CallName, Role, UserName};

use crate::{
    args::{self, Mint},
    exit::{self, Failure},
};

/// Makes an access token and prints it
///
/// The token says who may join which call in which role. It is signed with the relay's secret (CONCLAVE_SECRET), or with
/// an Ed25519 key whose public half the relay has. Whoever can do that can let anybody in: keep it on servers.
#[derive(Debug, Args)]
#[command(after_help = exit::HELP)]
pub(crate) struct Token {
    /// The call that it lets into
    #[arg(long, value_parser = args::call)]
    call: CallName,
    /// Whom it lets in; the same name as --user when joining
    #[arg(long, value_parser = args::user)]
    user: UserName,
    /// In which role
    #[arg(long, value_enum, default_value_t = TokenRole::Member)]
    role: TokenRole,
    /// How long it is good for: 90s, 10m, 2h, at most 24h
    #[arg(long, value_parser = args::duration, default_value = "10m")]
    ttl: Duration,
    #[command(flatten)]
    mint: Mint,
}

/// A role as the command line spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TokenRole {
    /// An ordinary participant
    #[value(name = "member")]
    Member,
    /// A headless bot that leads whenever it is there
    #[value(name = "lead_bot")]
    LeadBot,
    /// A participant that records, for everybody to see
    #[value(name = "recorder")]
    Recorder,
}

impl From<TokenRole> for Role {
    fn from(role: TokenRole) -> Self {
        match role {
            TokenRole::Member => Self::Member,
            TokenRole::LeadBot => Self::LeadBot,
            TokenRole::Recorder => Self::Recorder,
        }
    }
}

impl Token {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let issuer =
            self.mint.issuer()?.ok_or_else(|| Failure::Usage("set CONCLAVE_SECRET, or give --key".to_owned()))?;
        let grant = Grant { call: &self.call, user: &self.user, role: self.role.into(), lifetime: self.ttl };
        let token = issuer.issue(&grant)?;
        writeln!(std::io::stdout(), "{}", token.0).map_err(|error| Failure::Internal(error.to_string()))
    }
}
