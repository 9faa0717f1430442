//! Services by script: in the catalogue of the lab's Consul, on a node that is made up, so that no agent looks after them.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::REALS;
use crate::api::Api;
use crate::context::Lab;

const NODE: &str = "scale";

/// For one request, of a Consul that is busy with the others.
const ANSWERING: Duration = Duration::from_secs(30);

/// Services in one transaction: each instance is two operations, and Consul takes 64.
const AT_ONCE: usize = 6;

/// The first service's port behind the bench's VIP, and its instances'.
const FIRST_PORT: u16 = 1001;
const FIRST_REAL_PORT: u16 = 20_000;

/// The first of the addresses where nobody is, as its last octet.
const FIRST_REAL: u8 = 200;

/// What is registered.
pub(super) struct Registry<'a> {
    lab: &'a Lab,
    consul: Api,
}

impl<'a> Registry<'a> {
    pub(super) fn open(lab: &'a Lab) -> Result<Self> {
        let registry = Self {
            lab,
            consul: lab.consul(),
        };
        // Of an earlier run that was ended.
        registry.close()?;
        let node = json!({ "Node": NODE, "Address": registry.address(199).to_string() });
        registry
            .consul
            .put("catalog/register", &node, ANSWERING)
            .context("make up a node")?;
        Ok(registry)
    }

    /// Forgets them all.
    pub(super) fn close(&self) -> Result<()> {
        let node = json!({ "Node": NODE });
        let limit = Duration::from_mins(2);
        let forgotten = self.consul.put("catalog/deregister", &node, limit);
        forgotten.context("forget the node that was made up")
    }

    /// Registers all up to this number. Those that are there stay.
    pub(super) fn grow(&self, services: usize) -> Result<()> {
        let known = self.known()?;
        let numbers: Vec<usize> = (known..services).collect();
        for some in numbers.chunks(AT_ONCE) {
            let mut operations = Vec::new();
            for &number in some {
                for instance in 0..REALS {
                    operations.extend(self.instance(number, instance)?);
                }
            }
            self.transaction(&operations)?;
        }
        Ok(())
    }

    fn known(&self) -> Result<usize> {
        let path = format!("catalog/node-services/{NODE}");
        let found = self.consul.get_json(&path, ANSWERING)?;
        let services = found["Services"].as_array().map_or(0, Vec::len);
        Ok(services / REALS)
    }

    /// Whether a service's first instance passes from now on.
    pub(super) fn set(&self, number: usize, status: &str) -> Result<()> {
        self.transaction(&[check(number, 0, status)])
    }

    /// The virtual service of a number.
    pub(super) fn vip(&self, number: usize) -> Result<SocketAddrV4> {
        let port = u16::try_from(number)?.checked_add(FIRST_PORT);
        let port = port.context("more services than ports")?;
        Ok(SocketAddrV4::new(self.lab.topology.third_vip(), port))
    }

    fn address(&self, host: u8) -> Ipv4Addr {
        let [a, b, c, _] = self.lab.topology.third_vip().octets();
        Ipv4Addr::new(a, b, c, host)
    }

    fn instance(&self, number: usize, instance: usize) -> Result<[Value; 2]> {
        let host = u8::try_from(instance)?.checked_add(FIRST_REAL);
        let port = u16::try_from(number)?.checked_add(FIRST_REAL_PORT);
        let (host, port) = host.zip(port).context("more services than ports")?;
        let service = json!({ "Service": { "Verb": "set", "Node": NODE, "Service": {
            "ID": id(number, instance), "Service": name(number),
            "Address": self.address(host).to_string(), "Port": port,
            "Tags": [format!("ipvs.vip={}", self.vip(number)?), "ipvs.scheduler=rr", "ipvs.forward=masq"],
        }}});
        Ok([service, check(number, instance, "passing")])
    }

    fn transaction(&self, operations: &[Value]) -> Result<()> {
        ensure!(operations.len() <= 64, "Consul takes 64 operations at once");
        let body = Value::Array(operations.to_vec());
        self.consul.put("txn", &body, ANSWERING)
    }
}

fn name(number: usize) -> String {
    format!("scale-{number}")
}

fn id(number: usize, instance: usize) -> String {
    format!("scale-{number}-{instance}")
}

fn check(number: usize, instance: usize, status: &str) -> Value {
    let id = id(number, instance);
    json!({ "Check": { "Verb": "set", "Check": {
        "Node": NODE, "CheckID": id, "Name": "scale", "Status": status,
        "ServiceID": id, "ServiceName": name(number),
    }}})
}
