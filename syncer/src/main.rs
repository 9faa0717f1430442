//! The syncer's command line and the life of its process. Exit codes: 0 done, 1 failed, 2 bad arguments or config.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line talks to its terminal"
)]

mod agent;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use dlmalloc::GlobalDlmalloc;
use ipvs_syncer::config::{self, Config};
use ipvs_syncer::error::chain;
use ipvs_syncer::http::{Api, Http};
use ipvs_syncer::status::{Status, text};
use ipvs_syncer::terminal::{escaped, escaped_json};

/// Keeps Linux IPVS and the Consul catalogue equal to what Nomad and Consul say.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run in the foreground until SIGTERM or SIGINT; the data plane stays as it is. SIGHUP has the config read again.
    Agent(File),
    /// Check a config file and change nothing.
    Validate(File),
    /// Show how a running syncer stands.
    Status {
        /// Where it listens: status.listen of its config.
        #[arg(
            long,
            default_value = "http://127.0.0.1:9180",
            env = "IPVS_SYNCER_ADDR"
        )]
        address: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct File {
    /// The config file, HCL.
    #[arg(
        long = "config",
        value_name = "FILE",
        required_unless_present = "file",
        conflicts_with = "file"
    )]
    config: Option<PathBuf>,
    #[arg(value_name = "FILE", hide = true)]
    file: Option<PathBuf>,
}

impl File {
    /// The config, or what is wrong with it on stderr.
    fn load(self) -> Result<(PathBuf, Config), ExitCode> {
        let path = self.config.or(self.file).unwrap_or_default();
        let loaded = config::load(&path).map_err(|error| {
            eprintln!("{}", chain(&error));
            ExitCode::from(2)
        })?;
        Ok((path, loaded))
    }
}

/// Views, tables and what is written to disk are built and dropped by the megabyte, on several threads; this one joins what was freed,
/// whoever freed it (docs/decisions/0017-an-allocator-that-joins-what-is-free.md).
#[global_allocator]
static ALLOCATOR: GlobalDlmalloc = GlobalDlmalloc;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Validate(file) => match file.load() {
            Ok((_, config)) => {
                for warning in &config.warnings {
                    eprintln!("warning: {warning}");
                }
                println!("the config is good");
                Ok(())
            }
            Err(code) => return code,
        },
        Command::Agent(file) => match file.load() {
            Ok((path, config)) => run(agent::run(path, config)),
            Err(code) => return code,
        },
        Command::Status { address, json } => run(status(address, json)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ipvs-syncer: {}", escaped(&chain(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

fn run(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(work)
}

async fn status(address: String, json: bool) -> anyhow::Result<()> {
    let api = Api::at(address.parse()?);
    let http = Http::new(&api, "X-Unused")?;
    let answer = http
        .get("/v1/status", Duration::from_secs(10))
        .await
        .with_context(|| format!("no syncer answers at {address} (its config's status.listen)"))?;
    if json {
        println!("{}", escaped_json(&String::from_utf8_lossy(&answer.body)));
    } else {
        let status: Status = answer.json("/v1/status")?;
        print!("{}", text(&status));
    }
    Ok(())
}
