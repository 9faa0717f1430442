//! The lab: nomad-ipvs with real Nomad, Consul, Docker and IPVS on one machine, in one command.
//!
//! This file is the life of the process: what was typed, whether root is needed, the command, the exit code. A guest's
//! first process is this program too; it is recognised by its settings in the environment.

mod cli;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use lab::client::env;
use lab::experiment::{bench, chaos};
use lab::host::{descriptors, privilege};
use lab::observe::{logs, status};
use lab::report::ui::{Mode, Ui};
use lab::report::{plain, ui};
use lab::supply::products;
use lab::world::context::{Choices, Lab};
use lab::world::kernel::scratch::Scratch;
use lab::{doctor, down, exec, guest, intent, test, up};

use crate::cli::{Cli, Command, Internal};

/// Memory of the guest that test binaries run in, in MiB.
const TEST_GUEST: u32 = 768;

fn main() -> ExitCode {
    if let Ok(settings) = std::env::var(guest::init::VARIABLE)
        && std::process::id() == 1
    {
        // Console 0 is the guest's log on the host.
        guest::init::run(&settings, |error| {
            ui::complain(&format!("guest: {error:#}"));
        });
        return ExitCode::FAILURE;
    }
    let cli = Cli::parse();
    // What `exec` becomes is the caller's own.
    if !matches!(cli.command, Command::Exec { .. }) {
        descriptors::close_inherited();
    }
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            ui::complain(&format!("lab: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let done = ExitCode::SUCCESS;
    match &cli.command {
        Command::Up(args) => {
            build(args.no_build)?;
            privilege::become_root()?;
            let ui = Ui::new(Mode::choose(args.json));
            let lab = Lab::open_with(
                cli.profile(),
                Choices {
                    kernel: args.kernel,
                    nodes: args.nodes,
                    forward: args.forward,
                },
            )?;
            let wish = up::Wish {
                install: installing(args.no_install),
                job: !args.no_job,
                driver: args.driver,
            };
            Ok(up::run(&lab, &ui, wish).map_or(ExitCode::FAILURE, |()| done))
        }
        Command::Down(args) => {
            privilege::become_root()?;
            let ui = Ui::new(Mode::choose(args.json));
            Ok(down::run(&Lab::open(cli.profile(), None)?, &ui)
                .map_or(ExitCode::FAILURE, |()| done))
        }
        Command::Status(args) => {
            privilege::become_root()?;
            status::run(&Lab::open(cli.profile(), None)?, args.json)
        }
        Command::Doctor(args) => {
            let lab = Lab::open(cli.profile(), args.kernel)?;
            let report = doctor::examine(&intent::intent(&lab, installing(args.no_install))).report;
            ui::print(&if args.json {
                plain::json(&report.json().to_string()).into_owned()
            } else {
                report.table()
            });
            Ok(if report.is_fit() {
                done
            } else {
                ExitCode::FAILURE
            })
        }
        Command::Env => env::lines(&Lab::open(cli.profile(), None)?)
            .map(|lines| ui::print(&lines))
            .map(|()| done),
        Command::Logs { follow, part } => {
            logs::run(&Lab::open(cli.profile(), None)?, part, *follow).map(|()| done)
        }
        Command::Exec { node, command } => {
            privilege::become_root()?;
            let code = exec::run(&Lab::open(cli.profile(), None)?, *node, command)?;
            Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from))
        }
        Command::Bench { figure } => {
            privilege::become_root()?;
            bench::run(Lab::open(cli.profile(), None)?, *figure).map(|()| done)
        }
        Command::Test { stage } => run_tests(*stage),
        Command::Chaos(args) => {
            build(args.no_build)?;
            privilege::become_root()?;
            let ui = Ui::new(Mode::choose(args.json));
            let wish = chaos::Wish {
                episodes: args.episodes,
                seed: args.seed.unwrap_or_else(chaos::any_seed),
            };
            let choices = Choices {
                forward: args.forward,
                ..Choices::default()
            };
            chaos::run(Lab::open_with(cli.profile(), choices)?, &ui, wish)
        }
        Command::Internal { command } => internal(command).map(|()| done),
    }
}

/// Builds the products, as the person: root's run through sudo finds them built.
fn build(forbidden: bool) -> Result<()> {
    if forbidden || std::env::var_os("SUDO_UID").is_some() {
        return Ok(());
    }
    products::build()
}

fn installing(forbidden: bool) -> doctor::Installing {
    if forbidden {
        doctor::Installing::Forbidden
    } else {
        doctor::Installing::Allowed
    }
}

/// The tests have a profile of their own, so that a lab that is up isn't touched.
fn run_tests(stage: Option<test::Stage>) -> Result<ExitCode> {
    let program = std::env::current_exe().context("find the own program")?;
    if test::needs_root(stage) {
        privilege::become_root()?;
    }
    let lab = Lab::open("kernel", None)?;
    let scratch = std::cell::OnceCell::new();
    let in_guest = |argv: &[String]| {
        if scratch.get().is_none() {
            let _ = scratch.set(Scratch::boot(&lab.paths, &lab.person, TEST_GUEST)?);
        }
        let guest = scratch.get().context("no guest")?;
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        let output = guest.run(&words)?;
        Ok(test::Ran {
            code: output.code,
            output: output.stdout + &output.stderr,
        })
    };
    let root = privilege::standing() == privilege::Standing::Root;
    let bench = test::Bench {
        person: &lab.person,
        cache: &lab.paths.cache,
        lab: program,
        guest: if root {
            Ok(&in_guest)
        } else {
            Err("a guest needs root, and there is no sudo".to_owned())
        },
        stories: if root {
            Ok(())
        } else {
            Err("the lab needs root, and there is no sudo".to_owned())
        },
    };
    Ok(test::run(stage, &bench))
}

fn internal(command: &Internal) -> Result<()> {
    match command {
        Internal::Keeper { description } => {
            let text = std::fs::read_to_string(description)
                .with_context(|| format!("read {}", description.display()))?;
            guest::keeper::run(
                &serde_json::from_str(&text).context("read the guest's description")?,
            )
        }
        Internal::GuestServer => guest::server::run(),
        Internal::WatchLag { consul, vip } => bench::watch(consul, vip),
        Internal::WatchExits { consul, vip } => bench::watch_exits(consul, vip),
        Internal::WatchScale { consul } => bench::watch_scale(consul),
        Internal::IpvsTable => status::print_kernel_table(),
        Internal::IpvsCount { vip } => status::print_kernel_count(*vip),
    }
}
