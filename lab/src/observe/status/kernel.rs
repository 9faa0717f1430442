//! The kernel's view: the IPVS table, read by this program inside the director's kernel.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail};
use ipvs::{Client, Kernel as _, ServiceId, Table};
use serde::{Deserialize, Serialize};

use crate::report::ui;
use crate::supply::products;
use crate::world::context::Lab;

/// A real server of a virtual service, as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealServer {
    pub address: SocketAddr,
    /// The virtual service, as the kernel names it: `tcp://198.18.0.29:80`.
    pub vip: String,
    /// The forwarding method: masq, dr, tun.
    pub forward: String,
    pub weight: u32,
    pub active: u32,
    pub inactive: u32,
}

impl RealServer {
    /// Whether it is one of the virtual service at this address, which is told without protocol.
    pub fn serves(&self, vip: &str) -> bool {
        address_of(&self.vip) == vip
    }
}

/// A virtual service's address without its protocol.
pub(super) fn address_of(vip: &str) -> &str {
    vip.rsplit_once("://").map_or(vip, |(_, address)| address)
}

/// Real servers, by address. One may be behind several VIPs.
pub type Kernel = BTreeMap<SocketAddr, Vec<RealServer>>;

/// Asks the director.
pub(super) fn read(lab: &Lab) -> Result<Kernel> {
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
    let reals = serde_json::from_str(&output.stdout).context("read the director's table")?;
    Ok(by_address(reals))
}

/// What `lab status` runs inside the director's kernel.
pub fn print_kernel_table() -> Result<()> {
    let live = Client::open()?.read(&Table::default())?;
    let mut reals = Vec::new();
    for (id, service) in live.table.iter() {
        reals.extend(service.reals().iter().map(|real| {
            let connections = live
                .connections
                .get(&(*id, real.address))
                .copied()
                .unwrap_or_default();
            RealServer {
                address: real.address,
                vip: id.to_string(),
                forward: real.forwarding.word().to_owned(),
                weight: real.weight.get(),
                active: connections.active,
                inactive: connections.inactive,
            }
        }));
    }
    ui::print(&serde_json::to_string(&reals)?);
    Ok(())
}

/// How many real servers of all virtual services at an address are sent to, as `lab bench scale` asks inside the director's
/// kernel.
pub fn print_kernel_count(vip: IpAddr) -> Result<()> {
    let live = Client::open()?.read(&Table::default())?;
    let at = |id: &ServiceId| match id {
        ServiceId::Address { address, .. } => address.ip() == vip,
        ServiceId::Mark { .. } => false,
    };
    let ours = live.table.iter().filter(|(id, _)| at(id));
    let serving = ours.flat_map(|(_, service)| service.reals());
    let serving = serving.filter(|real| real.weight.get() > 0);
    ui::print(&serving.count().to_string());
    Ok(())
}

/// Each real server of each virtual service: one behind two VIPs is there twice.
fn by_address(reals: Vec<RealServer>) -> Kernel {
    let mut kernel = Kernel::new();
    for real in reals {
        kernel.entry(real.address).or_default().push(real);
    }
    kernel
}

#[cfg(test)]
impl RealServer {
    /// One without connections.
    pub(crate) fn idle(address: &str, vip: &str, weight: u32) -> Self {
        Self {
            address: address.parse().unwrap(),
            vip: vip.to_owned(),
            forward: "masq".to_owned(),
            weight,
            active: 0,
            inactive: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_server_behind_two_vips_is_there_twice() {
        let real = |vip: &str, weight| RealServer::idle("198.18.0.11:25000", vip, weight);
        let both = vec![
            real("tcp://198.18.0.29:80", 0),
            real("tcp://198.18.0.30:80", 1),
        ];
        let kernel = by_address(both.clone());
        assert_eq!(kernel.into_values().collect::<Vec<_>>(), [both]);
    }
}
