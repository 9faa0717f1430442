//! The kernel's view: the IPVS table, read by this program inside the director's kernel.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use ipvs::{Client, Kernel as _, Table};

use super::compare::RealServer;
use crate::context::Lab;
use crate::{products, ui};

/// By real server.
pub type KernelView = BTreeMap<SocketAddr, RealServer>;

/// Asks the director.
pub(super) fn read(lab: &Lab) -> Result<KernelView> {
    if !lab.kernel.is_up() {
        bail!("the director's kernel doesn't answer");
    }
    let program = products::lab()?.display().to_string();
    let output = lab
        .kernel
        .capture(&[&program, "internal", "ipvs-table"])
        .context("ask the director's kernel")?;
    if output.code != 0 {
        bail!(
            "the director's kernel can't be read: {}",
            output.stderr.trim()
        );
    }
    serde_json::from_str(&output.stdout).context("read the director's table")
}

/// What `lab status` runs inside the director's kernel.
pub fn print_kernel_table() -> Result<()> {
    let live = Client::open()?.read(&Table::default())?;
    let mut view = KernelView::new();
    for (id, service) in live.table.iter() {
        for real in service.reals() {
            let connections = live
                .connections
                .get(&(*id, real.address))
                .copied()
                .unwrap_or_default();
            let entry = RealServer {
                vip: id.to_string(),
                weight: real.weight.get(),
                active: connections.active,
                inactive: connections.inactive,
            };
            view.insert(real.address, entry);
        }
    }
    ui::print(&serde_json::to_string(&view)?);
    Ok(())
}
