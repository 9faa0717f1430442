//! Each real server in words: what Nomad says, what Consul says, what the kernel has, and why. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ipvs::{Forwarding, RealServer, ServiceId, Table};

use super::{RealServerView, Service};
use crate::desired::{Declared, Desired, DesiredService, Endpoint, SavedService, Want};
use crate::model::Moment;
use crate::model::catalog::Health;
use crate::model::fleet::Phase;
use crate::plan::{Drain, Drains};

/// What a pass left behind.
#[derive(Debug, Clone, Copy)]
pub struct PassView<'a> {
    pub desired: &'a Desired,
    pub table: &'a Table,
    pub drains: &'a Drains,
    /// Names of services that are on their way out.
    pub last: &'a [SavedService],
    pub now: Moment,
}

/// All virtual services of ours, those on their way out included.
pub fn services(pass: &PassView<'_>, owns: impl Fn(&ServiceId) -> bool) -> Vec<Service> {
    let mut views: BTreeMap<ServiceId, Service> = BTreeMap::new();
    for (id, service) in &pass.desired.services {
        views.insert(*id, service_view(pass, id, service));
    }
    for (id, there) in pass.table.iter().filter(|(id, _)| owns(id)) {
        if views.contains_key(id) {
            continue;
        }
        let saved = pass.last.iter().find(|saved| saved.id == *id);
        let reals = there
            .reals()
            .iter()
            .map(|real| leaving(pass, id, real))
            .collect();
        let (vip, protocol) = parts(id);
        let service = Service {
            name: saved.map_or_else(|| id.to_string(), |saved| saved.name.to_string()),
            vip,
            protocol,
            scheduler: there.settings.scheduler,
            forward: there
                .reals()
                .first()
                .map_or("masq", |real| forward(real.forwarding))
                .to_owned(),
            snat: saved.is_some_and(|saved| saved.snat),
            declared: "gone".to_owned(),
            real_servers: reals,
        };
        views.insert(*id, service);
    }
    views.into_values().collect()
}

fn service_view(pass: &PassView<'_>, id: &ServiceId, service: &DesiredService) -> Service {
    let there = pass.table.get(id);
    let mut reals: BTreeMap<SocketAddr, RealServerView> = BTreeMap::new();
    for real in there.map(ipvs::VirtualService::reals).unwrap_or_default() {
        reals.insert(real.address, leaving(pass, id, real));
    }
    for endpoint in &service.endpoints {
        let real = there.and_then(|there| there.real(endpoint.address));
        let drain = pass.drains.0.get(&(*id, endpoint.address));
        reals.insert(endpoint.address, endpoint_view(pass, endpoint, real, drain));
    }
    let (vip, protocol) = parts(id);
    Service {
        name: service.name.to_string(),
        vip,
        protocol,
        scheduler: service.settings.scheduler,
        forward: forward(service.forwarding).to_owned(),
        snat: service.snat,
        declared: match service.declared {
            Declared::Config => "config",
            Declared::Tags => "tags",
            Declared::Disk => "disk",
        }
        .to_owned(),
        real_servers: reals.into_values().collect(),
    }
}

fn parts(id: &ServiceId) -> (String, String) {
    match id {
        ServiceId::Address { protocol, address } => (address.to_string(), protocol.to_string()),
        ServiceId::Mark { .. } => (id.to_string(), "fwmark".to_owned()),
    }
}

fn forward(forwarding: Forwarding) -> &'static str {
    match forwarding {
        Forwarding::Masquerade => "masq",
        Forwarding::DirectRouting => "dr",
        Forwarding::Tunnel(_) => "tun",
        Forwarding::Local => "local",
        Forwarding::Bypass => "bypass",
    }
}

/// A real server that the catalogue has not.
fn leaving(pass: &PassView<'_>, id: &ServiceId, real: &RealServer) -> RealServerView {
    let (want, phase) = pass.desired.fate(real.address);
    let endpoint = Endpoint {
        address: real.address,
        want,
        phase,
        health: None,
        alloc: None,
        held: false,
    };
    let drain = pass.drains.0.get(&(*id, real.address));
    endpoint_view(pass, &endpoint, Some(real), drain)
}

fn endpoint_view(
    pass: &PassView<'_>,
    endpoint: &Endpoint,
    real: Option<&RealServer>,
    drain: Option<&Drain>,
) -> RealServerView {
    let fleet = pass.desired.fleet.as_ref();
    let alloc = fleet.and_then(|fleet| match endpoint.alloc {
        Some(id) => fleet.get(id),
        None => fleet.at(endpoint.address),
    });
    let port = alloc.and_then(|alloc| {
        alloc
            .ports
            .iter()
            .find(|port| port.address == endpoint.address)
    });
    let nomad = endpoint.phase.map(phase_word);
    let consul = endpoint.health.map_or("gone", health_word);
    let state = state(endpoint, real, drain);
    let mut why = format!("{}, {consul}", nomad.unwrap_or("not from Nomad"));
    match state {
        "warming" => why.push_str(": takes no connection yet"),
        "held" => why.push_str(": held until two more reads agree"),
        "waiting" if matches!(endpoint.want, Want::Keep) => {
            why.push_str(": Nomad has not been read yet");
        }
        "draining" if real.is_some_and(|real| real.weight.serves()) => {
            why.push_str(": serves until its successor does");
        }
        "draining" => why.push_str(": takes nothing new, keeps its connections"),
        _ => {}
    }
    RealServerView {
        address: endpoint.address.to_string(),
        alloc: endpoint
            .alloc
            .or(alloc.map(|alloc| alloc.id))
            .map(|id| id.to_string()),
        job: alloc.map(|alloc| alloc.job.to_string()),
        group: alloc.map(|alloc| alloc.group.to_string()),
        task: port
            .and_then(|port| port.task.as_ref())
            .map(ToString::to_string),
        node: alloc.map(|alloc| alloc.node_name.to_string()),
        nomad: nomad.map(str::to_owned),
        consul: consul.to_owned(),
        weight: real.map(|real| real.weight.get()),
        active: None,
        inactive: None,
        state: state.to_owned(),
        why,
        deadline_ms: drain.map(|drain| {
            u64::try_from(drain.deadline.since(pass.now).as_millis()).unwrap_or(u64::MAX)
        }),
    }
}

fn state(endpoint: &Endpoint, real: Option<&RealServer>, drain: Option<&Drain>) -> &'static str {
    let serves = real.is_some_and(|real| real.weight.serves());
    match endpoint.want {
        _ if endpoint.held => "held",
        Want::Drain if real.is_some() => "draining",
        Want::Keep if drain.is_some() => "draining",
        _ if serves => "active",
        Want::Warm(_) => "warming",
        Want::Serve(_) => "failed",
        Want::Quiesce if real.is_some() => "quiesced",
        Want::Quiesce | Want::Keep | Want::Drain | Want::Remove => "waiting",
    }
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "pending",
        Phase::Restarting => "restarting",
        Phase::Running => "running",
        Phase::Stopping => "stopping",
        Phase::Complete => "complete",
        Phase::Failed => "failed",
        Phase::Lost => "lost",
        Phase::Unknown => "unknown",
    }
}

fn health_word(health: Health) -> &'static str {
    match health {
        Health::Passing => "passing",
        Health::Warning => "warning",
        Health::Critical => "critical",
        Health::Maintenance => "maintenance",
    }
}
