//! `conclave load`: the load test on a terminal.

use clap::Args;
use comfy_table::{Cell, CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, interval};

use conclave_client::{
    load::{self, LossSpread, Phase, Progress, Report, Shape, Spread},
    transport::RelayUrl,
};

use crate::{
    args::{self, Mint},
    exit::{self, Failure},
};

mod relay;

/// How often the progress bar moves.
const TICK: Duration = Duration::from_millis(100);

/// Simulates joins and leaves with real devices, and checks every key
///
/// Every member is a real device on a real WebSocket. The calls are filled, then members leave and join in turn; every
/// second leave is signed, every second one drops its connection. Each key is compared with the lead's; each leaver is
/// shown every message that anybody received after it left and tries everything it ever held; each joiner tries for the
/// epoch before its first. A leaver that is granted a key on purpose must be caught. Anything wrong or missing: exit 1.
#[derive(Debug, Args)]
#[command(after_help = exit::HELP)]
pub(crate) struct Load {
    /// Address of the relay: wss://relay.example, or ws://127.0.0.1:8080 on this machine
    #[arg(
        long,
        env = "CONCLAVE_URL",
        value_parser = str::parse::<RelayUrl>,
        required_unless_present = "spawn_relay",
    )]
    url: Option<RelayUrl>,
    /// Start a relay of this program for the test alone, on a free port of 127.0.0.1, with a secret and limits of its own
    #[arg(long, value_name = "PROGRAM")]
    spawn_relay: Option<PathBuf>,
    #[command(flatten)]
    mint: Mint,
    /// Members of each call, its lead bot included
    #[arg(long, default_value_t = 100)]
    members: usize,
    /// Joins per second, over all calls, while they are filled
    #[arg(long, default_value_t = 20.0)]
    join_rate: f64,
    /// Leaves plus joins per minute in each call
    #[arg(long, default_value_t = 120.0)]
    churn: f64,
    /// How long members leave and join: 90s, 10m, 2h
    #[arg(long, value_parser = args::duration, default_value = "60s")]
    duration: Duration,
    /// How often each call then loses its lead: by a closed socket and by silence in turn
    #[arg(long, default_value_t = 0)]
    lead_loss: usize,
    /// Calls at the same time
    #[arg(long, default_value_t = 1)]
    calls: usize,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

impl Load {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let shape = Shape {
            calls: self.calls,
            members: self.members,
            join_rate: self.join_rate,
            churn: self.churn,
            duration: self.duration,
            lead_losses: self.lead_loss,
        };
        shape.check()?;
        let (relay, url, issuer) = match &self.spawn_relay {
            Some(program) => {
                let (relay, url, issuer) = relay::spawn(program, &shape).await?;
                (Some(relay), url, issuer)
            }
            None => {
                let url = self.url.ok_or_else(|| Failure::Usage("give --url or --spawn-relay".to_owned()))?;
                let issuer = self.mint.issuer()?;
                let issuer = issuer.ok_or_else(|| Failure::Usage("set CONCLAVE_SECRET, or give --key".to_owned()))?;
                (None, url, issuer)
            }
        };
        let progress = Arc::new(Progress::default());
        let bar = tokio::spawn(watch(progress.clone(), shape));
        let outcome = tokio::select! {
            outcome = load::run(&url, Arc::new(issuer), shape, progress) => outcome.map_err(Failure::from),
            _ = tokio::signal::ctrl_c() => Err(Failure::Internal("broken off".to_owned())),
        };
        bar.abort();
        let _ = bar.await;
        if let Some(relay) = relay {
            relay.stop().await;
        }
        tell(&outcome?, self.json)
    }
}

/// Moves a progress bar on standard error, if that is a terminal.
async fn watch(progress: Arc<Progress>, shape: Shape) {
    if !io::stderr().is_terminal() {
        return;
    }
    let members = (shape.calls * (shape.members - 1)) as u64;
    let style = ProgressStyle::with_template("{msg:>9} [{bar:40}] {pos}/{len} {prefix}");
    let bar = ProgressBar::new(members).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut churning = None;
    let mut tick = interval(TICK);
    loop {
        tick.tick().await;
        match progress.phase() {
            Phase::Filling => {
                bar.set_message("filling");
                bar.set_position(progress.members());
            }
            Phase::Churning => {
                let since: &mut Instant = churning.get_or_insert_with(Instant::now);
                bar.set_position(since.elapsed().as_secs().min(shape.duration.as_secs()));
                bar.set_length(shape.duration.as_secs());
                bar.set_prefix(format!("s, {} rotations", progress.rotations()));
                bar.set_message("churning");
            }
            Phase::Losing => {
                bar.set_position(progress.leads_lost());
                bar.set_length((shape.calls * shape.lead_losses) as u64);
                bar.set_prefix("leads lost".to_owned());
                bar.set_message("losing");
            }
            Phase::Checking => {
                bar.set_position(progress.tried());
                bar.set_length(progress.leavers());
                bar.set_prefix("leavers tried".to_owned());
                bar.set_message("checking");
            }
        }
    }
}

fn tell(report: &Report, json: bool) -> Result<(), Failure> {
    let text = if json {
        serde_json::to_string(report).map_err(|error| Failure::Internal(error.to_string()))?
    } else {
        table(report)
    };
    writeln!(io::stdout(), "{text}").map_err(|error| Failure::Internal(error.to_string()))?;
    if report.passed() {
        return Ok(());
    }
    let control = if report.control_caught { "" } else { ", and the control was not caught" };
    Err(Failure::Check(format!(
        "{} wrong keys, {} missed rotations, {} other errors{control}",
        report.wrong_keys,
        report.missed_rotations.len(),
        report.errors.values().sum::<u64>(),
    )))
}

fn table(report: &Report) -> String {
    let mut times = sheet(&["", "count", "p50", "p95", "p99", "max"]);
    for (name, spread) in
        [("join→key, ms", report.join_to_key_ms), ("leave→all-switched, ms", report.leave_to_all_switched_ms)]
    {
        let Spread { count, p50, p95, p99, max } = spread;
        let numbers = [p50, p95, p99, max].map(|number| format!("{number:.1}"));
        times.add_row([name.to_owned(), count.to_string()].into_iter().chain(numbers).map(Cell::new));
    }
    let mut figures = sheet(&["calls", "members", "rotations", "bytes up", "bytes down", "lead CPU"]);
    figures.add_row([
        report.calls.to_string(),
        report.members.to_string(),
        report.rotations.to_string(),
        format!("{:.0} / rotation", report.bytes_up_per_rotation),
        format!("{:.0} / rotation", report.bytes_down_per_rotation),
        format!("{:.2} ms / rotation", report.lead_cpu_ms_per_rotation),
    ]);
    let mut checks = sheet(&["wrong keys", "missed rotations", "joiners tried", "leavers tried", "control", "errors"]);
    checks.add_row([
        report.wrong_keys.to_string(),
        report.missed_rotations.len().to_string(),
        format!("{} of {}", report.joiners_checked, report.joins),
        format!("{} of {}", report.leavers_checked, report.leaves),
        (if report.control_caught { "caught" } else { "NOT CAUGHT" }).to_owned(),
        report.errors.values().sum::<u64>().to_string(),
    ]);
    let losses = (report.lead_losses > 0).then(|| losses(report));
    let missed = report.missed_rotations.iter().map(|what| format!("missed: {what}"));
    let errors = report.errors.iter().map(|(what, times)| format!("error: {what} ({times}×)"));
    let tables = [times, figures, checks].map(|table| table.to_string());
    tables.into_iter().chain(losses).chain(missed).chain(errors).collect::<Vec<_>>().join("\n")
}

/// How lost leads were followed, beside what is aimed at.
fn losses(report: &Report) -> String {
    let mut table = sheet(&["lead lost → new epoch active at all, ms", "count", "p50", "p95", "max", "aim"]);
    let LossSpread { from_last_sign_ms: from_loss, from_detection_ms: from_notice } = report.lead_closed;
    let silent = report.lead_silent;
    for (name, spread, aim) in [
        ("closed socket, from detection", from_notice, 300),
        ("closed socket, from the loss", from_loss, 2000),
        ("silent, from detection", silent.from_detection_ms, 300),
        ("silent, from its last sign of life", silent.from_last_sign_ms, 5000),
    ] {
        let Spread { count, p50, p95, max, .. } = spread;
        let numbers = [p50, p95, max].map(|number| format!("{number:.1}"));
        let cells = [name.to_owned(), count.to_string()].into_iter().chain(numbers);
        table.add_row(cells.chain([format!("p95 < {aim}")]).map(Cell::new));
    }
    table.to_string()
}

fn sheet(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(heads);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
