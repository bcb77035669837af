//! `conclave`: a lead bot, a member with media or without, a load test and a mint for tokens.

mod args;
mod exit;
mod load;
mod media;
mod stay;
mod timeline;
mod token;

use clap::{Parser, Subcommand, error::ErrorKind};
use std::io::{self, IsTerminal};
use tracing_subscriber::EnvFilter;

use exit::Failure;

/// Keys for end-to-end-encrypted calls: a headless lead, a headless member, a load test, access tokens.
#[derive(Debug, Parser)]
#[command(name = "conclave", version, after_help = exit::HELP, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Lead(stay::Lead),
    Join(stay::Join),
    Load(load::Load),
    Token(token::Token),
}

fn main() {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => refuse(&error),
    };
    log_to_stderr();
    if let Err(failure) = run(arguments.command) {
        exit::fail(&failure);
    }
}

fn run(command: Command) -> Result<(), Failure> {
    if let Command::Token(token) = command {
        return token.run();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|_| Failure::Runtime)?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Lead(lead) => lead.run().await,
            Command::Join(join) => join.run().await,
            Command::Load(load) => load.run().await,
            Command::Token(token) => token.run(),
        }
    });
    // Whatever still runs in the background has nothing more to say.
    runtime.shutdown_background();
    outcome
}

/// A value that an option does not take is one sentence. Anything else (help, a missing option) clap words best.
fn refuse(error: &clap::Error) -> ! {
    if error.kind() == ErrorKind::ValueValidation {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        exit::fail(&Failure::Usage(line.trim_start_matches("error: ").to_owned()));
    }
    error.exit()
}

/// What is printed on standard output is for the caller; the log is for whoever looks for a fault.
fn log_to_stderr() {
    // The libraries below media warn of what is usual, such as a connection that has no way through yet.
    let filter =
        EnvFilter::try_from_env("CONCLAVE_LOG").unwrap_or_else(|_| EnvFilter::new("warn,rtc=error,webrtc=error"));
    let colours = io::stderr().is_terminal() && args::colours();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(io::stderr).init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn every_variable_is_documented() {
        let example = include_str!("../../../../.env.example");
        let command = Arguments::command();
        let options = command.get_subcommands().flat_map(clap::Command::get_arguments);
        let mut variables: Vec<&str> = options.filter_map(|option| option.get_env()?.to_str()).collect();
        assert!(variables.contains(&"CONCLAVE_TOKEN"), "{variables:?}");
        variables.push("CONCLAVE_LOG");
        for name in variables {
            let documented = example.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{name}=")));
            assert!(documented, "{name} is missing in .env.example");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
