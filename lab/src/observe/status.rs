//! `lab status`: what Nomad, Consul and the kernel each say, side by side, and where they differ.
//!
//! Each view is read from its own source, never through the syncer: the one thing that this must not take its word
//! for is whether it did its work. Only the reason for a difference is asked of it. The data plane is asked, too: where all
//! views agree and no connection comes about, something is wrong that no view shows.

use std::process::ExitCode;

use anyhow::Result;

use crate::report::{plain, ui};
use crate::world::context::Lab;

mod catalogue;
mod compare;
mod data_plane;
mod kernel;
mod parts;
mod render;
mod scheduler;
mod words;

pub use compare::{
    Allocation, Allocations, Instance, Instances, Row, Syncer, Verdict, View, Words,
};
pub use data_plane::{DataPlane, Reach};
pub use kernel::{Kernel, RealServer, print_kernel_count, print_kernel_table};

/// Everything that `lab status` shows.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Status {
    pub parts: Vec<parts::Part>,
    pub rows: Vec<Row>,
    /// Whether a connection through each VIP comes about.
    pub data_plane: DataPlane,
    /// All parts are up, all rows agree and all VIPs answer.
    pub agree: bool,
}

/// The three views, each from its own source.
pub fn look(lab: &Lab) -> View {
    let kernel = kernel_table(lab).map_err(|error| reason(&error));
    let data_plane = match &kernel {
        Ok(table) => data_plane::ask(lab, table).map_err(|error| reason(&error)),
        Err(_) => Err("the kernel's table is not known".to_owned()),
    };
    View {
        allocations: scheduler::read(lab).map_err(|error| reason(&error)),
        instances: catalogue::read(lab).map_err(|error| reason(&error)),
        kernel,
        data_plane,
        syncer: words::read(lab),
    }
}

/// The kernel's view alone.
pub fn kernel_table(lab: &Lab) -> Result<Kernel> {
    kernel::read(lab)
}

/// Reads and compares once.
pub fn read(lab: &Lab) -> Status {
    let parts = parts::look(lab);
    let view = look(lab);
    let rows = compare::rows(&view);
    let agree = parts.iter().all(|part| part.trouble.is_none())
        && view.is_whole()
        && rows.iter().all(|row| row.verdict == Verdict::Agree)
        && view.silent().is_empty();
    Status {
        parts,
        rows,
        data_plane: view.data_plane.unwrap_or_default(),
        agree,
    }
}

/// Shows it. Exit code 1 when something is down or differs, so that scripts can ask.
pub fn run(lab: &Lab, json: bool) -> Result<ExitCode> {
    let status = read(lab);
    ui::print(&if json {
        plain::json(&serde_json::to_string(&status)?).into_owned()
    } else {
        render::text(&status)
    });
    Ok(if status.agree {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn reason(error: &anyhow::Error) -> String {
    format!("{error:#}")
}
