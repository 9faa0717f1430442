//! `lab status`: what Nomad, Consul and the kernel each say, side by side, and where they differ.
//!
//! Each view is read from its own source, never through the syncer: the one thing that this must not take its word
//! for is whether it did its work. Only the reason for a difference is asked of it.

use std::process::ExitCode;

use anyhow::Result;

use crate::context::Lab;
use crate::ui;

mod catalogue;
mod compare;
mod kernel;
mod parts;
mod render;
mod scheduler;
mod words;

pub use compare::{Allocation, Instance, RealServer, Row, Syncer, Verdict, View, Words};
pub use kernel::{KernelView, print_kernel_table};

/// Everything that `lab status` shows.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Status {
    pub parts: Vec<parts::Part>,
    pub rows: Vec<Row>,
    /// All parts are up and all rows agree.
    pub agree: bool,
}

/// The three views, each from its own source.
pub fn look(lab: &Lab) -> View {
    View {
        allocations: scheduler::read(lab).map_err(|error| said(&error)),
        instances: catalogue::read(&lab.topology.consul_url()).map_err(|error| said(&error)),
        kernel: kernel_table(lab).map_err(|error| said(&error)),
        syncer: words::read(lab),
    }
}

/// The kernel's view alone.
pub fn kernel_table(lab: &Lab) -> Result<KernelView> {
    kernel::read(lab)
}

/// Reads and compares once.
pub fn read(lab: &Lab) -> Status {
    let parts = parts::look(lab);
    let view = look(lab);
    let rows = compare::rows(&view);
    let agree = parts.iter().all(|part| part.trouble.is_none())
        && view.is_whole()
        && rows.iter().all(|row| row.verdict == Verdict::Agree);
    Status { parts, rows, agree }
}

/// Shows it. Exit code 1 when something is down or differs, so that scripts can ask.
pub fn run(lab: &Lab, json: bool) -> Result<ExitCode> {
    let status = read(lab);
    ui::print(&if json {
        serde_json::to_string(&status)?
    } else {
        render::text(&status)
    });
    Ok(if status.agree {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn said(error: &anyhow::Error) -> String {
    format!("{error:#}")
}
