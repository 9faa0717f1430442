//! `lab`: all of nomad-ipvs on one machine, with real parts.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use lab::{agents, doctor, packages, paths, privilege, test, ui};

#[derive(Debug, Parser)]
enum Cli {
    /// Can this machine run the lab?
    Doctor {
        #[arg(long)]
        json: bool,
        #[arg(long)]
        no_install: bool,
        #[arg(long)]
        kernel: Option<doctor::Kernel>,
    },
    /// Run the checks: all of them, or one stage.
    Test { stage: Option<test::Stage> },
    /// Get the agents and the packages, as `up` does.
    Setup { more: Vec<String> },
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            ui::complain(&format!("lab: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let person = paths::Person::find()?;
    let paths = paths::Paths::of(&person, "default");
    match cli {
        Cli::Doctor {
            json,
            no_install,
            kernel,
        } => {
            let intent = doctor::Intent {
                person: &person,
                paths: &paths,
                kernel: *kernel,
                installing: if *no_install {
                    doctor::Installing::Forbidden
                } else {
                    doctor::Installing::Allowed
                },
                engine: doctor::Engine::Own,
                claims: doctor::Claims {
                    subnet: ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(198, 18, 0, 0), 24),
                    links: vec![],
                    namespaces: vec![],
                    made: vec![],
                },
            };
            let report = doctor::examine(&intent).report;
            ui::print(&if *json {
                report.json().to_string()
            } else {
                report.table()
            });
            Ok(if report.is_fit() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Cli::Test { stage } => {
            let lab = std::env::current_exe()?;
            if test::needs_root(*stage) {
                privilege::become_root()?;
            }
            let bench = test::Bench {
                person: &person,
                cache: &paths.cache,
                lab,
                guest: Err("no guest yet".into()),
                stories: Ok(()),
            };
            Ok(test::run(*stage, &bench))
        }
        Cli::Setup { more } => {
            privilege::become_root()?;
            let ui = ui::Ui::new(ui::Mode::choose(false));
            let mut step = ui.step("packages");
            let missing = packages::missing(packages::Plans {
                boots_uml: true,
                builds_agents: true,
            });
            let mut wanted = packages::packages_of(&missing);
            wanted.extend(more.iter().map(String::as_str));
            let came = packages::install(&wanted, &mut |text| {
                step.note(text);
            })?;
            step.end(ui::Outcome::Ok, &format!("installed: {}", came.join(" ")));
            let mut step = ui.step("agents");
            let (nomad, consul) = agents::ensure_both(&person, &paths.cache, &mut step)?;
            step.end(ui::Outcome::Ok, &format!("{nomad}, {consul}"));
            let step = ui.step("busybox");
            let busybox = packages::static_busybox(&person, &paths.cache)?;
            step.end(ui::Outcome::Ok, &busybox.display().to_string());
            Ok(ExitCode::SUCCESS)
        }
    }
}
