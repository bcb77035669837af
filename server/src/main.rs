//! The relay's binary: reads flags and environment, listens, runs until Ctrl-C or a termination signal.

use clap::Parser as _;
use conclave_server::config::{Config, Options};
use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let (listen, log) = (options.listen, EnvFilter::new(&options.log));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(log).with_ansi(colours).with_writer(std::io::stderr).init();
    let config = match Config::try_from(options) {
        Ok(config) => config,
        Err(error) => return fail(&error.to_string()),
    };
    let listener = match TcpListener::bind(listen).await {
        Ok(listener) => listener,
        Err(error) => return fail(&format!("cannot listen on {listen}: {error}")),
    };
    match conclave_server::run(listener, config, stopped()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

/// One sentence for a person.
fn fail(sentence: &str) -> ExitCode {
    // Nobody is left to tell when standard error is closed.
    let _closed = writeln!(std::io::stderr(), "conclave-server: {sentence}");
    ExitCode::FAILURE
}

/// Ends at Ctrl-C or a termination signal.
async fn stopped() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<Option<()>>();
    tokio::select! {
        () = interrupt => {}
        _ = terminate => {}
    }
}
