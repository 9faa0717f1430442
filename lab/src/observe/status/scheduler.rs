//! Nomad's view: every port of every allocation that is, or should be, there.

use anyhow::{Context, Result};

use super::compare::{Allocation, Allocations};
use crate::client::nomad;
use crate::world::context::Lab;

/// By host address and port.
pub(super) fn read(lab: &Lab) -> Result<Allocations> {
    let all = lab.nomad().allocations().context("ask Nomad")?;
    let mut by_address = Allocations::new();
    for allocation in all.iter().filter(|allocation| !allocation.is_over()) {
        for port in allocation.ports() {
            let seats = by_address.entry(port.address()).or_default();
            seats.push(view(allocation, port));
        }
    }
    Ok(by_address)
}

fn view(allocation: &nomad::Allocation, port: &nomad::Port) -> Allocation {
    let state = if allocation.is_wanted() {
        &allocation.client_status
    } else {
        "stopping"
    };
    Allocation {
        id: allocation.id.clone(),
        job: allocation.job.clone(),
        group: allocation.task_group.clone(),
        label: port.label.clone(),
        state: state.to_owned(),
    }
}
