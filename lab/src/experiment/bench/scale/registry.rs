//! Services by script: in the catalogue of the lab's Consul, on nodes that are made up, so that no agent looks after them.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::REALS;
use crate::client::consul::Consul;
use crate::world::context::Lab;

/// The nodes' names begin so.
const NODE: &str = "scale-node-";

/// Services of one node: Consul looks at all checks of a node when one of its services changes.
const SERVICES_PER_NODE: usize = 20;

/// For one request, of a Consul that is busy with the others.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

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
    consul: Consul,
    /// So many services are registered.
    known: Cell<usize>,
}

impl<'a> Registry<'a> {
    pub(super) fn open(lab: &'a Lab) -> Result<Self> {
        let registry = Self {
            lab,
            consul: lab.consul(),
            known: Cell::new(0),
        };
        // Of an earlier run that was ended.
        registry.close()?;
        Ok(registry)
    }

    /// Forgets them all.
    pub(super) fn close(&self) -> Result<()> {
        let names = self.consul.nodes()?;
        for name in names.iter().filter(|name| name.starts_with(NODE)) {
            let node = json!({ "Node": name });
            self.consul
                .put("catalog/deregister", &node, ANSWER_TIMEOUT)
                .with_context(|| format!("forget {name}, which was made up"))?;
        }
        self.known.set(0);
        Ok(())
    }

    /// Registers all up to this number. Those that are there stay.
    pub(super) fn grow(&self, services: usize) -> Result<()> {
        let numbers: Vec<usize> = (self.known.get()..services).collect();
        for some in numbers.chunks(AT_ONCE) {
            for &number in some {
                if number % SERVICES_PER_NODE == 0 {
                    self.make_up_node(number)?;
                }
            }
            let mut operations = Vec::new();
            for &number in some {
                for instance in 0..REALS {
                    operations.extend(self.instance(number, instance)?);
                }
            }
            self.transaction(&operations)?;
        }
        self.known.set(self.known.get().max(services));
        Ok(())
    }

    fn make_up_node(&self, number: usize) -> Result<()> {
        let node = json!({ "Node": node(number), "Address": self.address(199).to_string() });
        self.consul
            .put("catalog/register", &node, ANSWER_TIMEOUT)
            .context("make up a node")
    }

    /// What a service's first instance is from now on.
    pub(super) fn set(&self, number: usize, first: First) -> Result<()> {
        self.transaction(&[match first {
            First::Passing => check(number, 0, "passing"),
            First::Critical => check(number, 0, "critical"),
            First::Weight(weight) => self.service(number, 0, weight)?,
        }])
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
        let service = self.service(number, instance, 1)?;
        Ok([service, check(number, instance, "passing")])
    }

    fn service(&self, number: usize, instance: usize, weight: u32) -> Result<Value> {
        let host = u8::try_from(instance)?.checked_add(FIRST_REAL);
        let port = u16::try_from(number)?.checked_add(FIRST_REAL_PORT);
        let (host, port) = host.zip(port).context("more services than ports")?;
        Ok(
            json!({ "Service": { "Verb": "set", "Node": node(number), "Service": {
                "ID": id(number, instance), "Service": name(number),
                "Address": self.address(host).to_string(), "Port": port,
                "Tags": [format!("ipvs.vip={}", self.vip(number)?), "ipvs.scheduler=rr", "ipvs.forward=masq"],
                "Weights": { "Passing": weight, "Warning": 1 },
            }}}),
        )
    }

    fn transaction(&self, operations: &[Value]) -> Result<()> {
        ensure!(operations.len() <= 64, "Consul takes 64 operations at once");
        let body = Value::Array(operations.to_vec());
        self.consul.put("txn", &body, ANSWER_TIMEOUT)
    }
}

/// A service's first instance, as it is registered.
#[derive(Debug, Clone, Copy)]
pub(super) enum First {
    Passing,
    Critical,
    /// It passes on, with that weight: a change that none of Consul's lists names.
    Weight(u32),
}

fn node(number: usize) -> String {
    format!("{NODE}{}", number / SERVICES_PER_NODE)
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
        "Node": node(number), "CheckID": id, "Name": "scale", "Status": status,
        "ServiceID": id, "ServiceName": name(number),
    }}})
}
