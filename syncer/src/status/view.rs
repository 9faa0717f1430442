//! Each real server in words: what Nomad says, what Consul says, what the kernel has, and why. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ipvs::{Forwarding, RealServer, Scheduler, ServiceId};
use syncer_core::desired::{Declared, Desired, DesiredService, Endpoint, Want};
use syncer_core::model::Moment;
use syncer_core::model::catalog::Health;
use syncer_core::model::fleet::Phase;
use syncer_core::pass::{PassState, ServiceState};
use syncer_core::plan::Drain;
use syncer_core::reading::Counts;

use super::options::words;
use super::{RealServerView, Service};

/// All virtual services of ours, those on their way out included; with `counts`, as far as those go.
pub fn services(state: &PassState, counts: &Counts, now: Moment) -> Vec<Service> {
    let views = state.services.iter();
    views
        .map(|(id, service)| view(id, service, &state.outline, counts, now))
        .collect()
}

fn view(
    id: &ServiceId,
    service: &ServiceState,
    outline: &Desired,
    counts: &Counts,
    now: Moment,
) -> Service {
    let actual = service.actual.as_ref();
    let forwarding = forwarding(service);
    let drain = |address| service.drain(address);
    let mut reals: BTreeMap<SocketAddr, RealServerView> = BTreeMap::new();
    for real in actual.map(|actual| actual.reals()).unwrap_or_default() {
        let endpoint = leaving(outline, real);
        let view = endpoint_view(
            outline,
            forwarding,
            &endpoint,
            Some(real),
            drain(real.address),
            now,
        );
        reals.insert(real.address, view);
    }
    let wanted = service.wanted.as_ref();
    for endpoint in wanted
        .map(|wanted| &wanted.endpoints[..])
        .unwrap_or_default()
    {
        let real = actual.and_then(|actual| actual.real(endpoint.address));
        let mut view = endpoint_view(
            outline,
            forwarding,
            endpoint,
            real,
            drain(endpoint.address),
            now,
        );
        if actual.is_none() && matches!(endpoint.want, Want::Serve(_) | Want::Warm(_)) {
            // It is the first thing that a pass does for it: nothing is tried before it is there.
            "failed".clone_into(&mut view.state);
            "the kernel has not taken its virtual service: see errors".clone_into(&mut view.why);
        }
        reals.insert(endpoint.address, view);
    }
    for (address, view) in &mut reals {
        if let Some(connections) = counts.get(&(*id, *address)) {
            view.active = Some(connections.active);
            view.inactive = Some(connections.inactive);
        }
    }
    let (vip, protocol) = parts(id);
    Service {
        name: service.name.to_string(),
        vip,
        protocol,
        scheduler: wanted
            .map(|wanted| wanted.settings.scheduler)
            .or(actual.map(|actual| actual.settings.scheduler))
            .unwrap_or(Scheduler::WRR),
        forward: forwarding.word().to_owned(),
        snat: service.snat,
        options: options(service),
        declared: declared(wanted.map(|wanted| &**wanted)).to_owned(),
        real_servers: reals.into_values().collect(),
    }
}

/// Names what is not as by default. What the kernel has of it counts where nobody wants the service any more.
fn options(service: &ServiceState) -> Vec<String> {
    let wanted = service.wanted.as_ref();
    let of_kernel = || service.actual.as_ref().map(|actual| actual.settings);
    let settings = wanted.map(|wanted| wanted.settings).or_else(of_kernel);
    let safeguards = wanted.map(|wanted| wanted.safeguards).unwrap_or_default();
    settings.map_or_else(Vec::new, |settings| words(&settings, &safeguards))
}

fn forwarding(service: &ServiceState) -> Forwarding {
    let of_real = || Some(service.actual.as_ref()?.reals().first()?.forwarding);
    let wanted = service.wanted.as_ref().map(|wanted| wanted.forwarding);
    wanted.or_else(of_real).unwrap_or(Forwarding::Masquerade)
}

fn declared(wanted: Option<&DesiredService>) -> &'static str {
    match wanted.map(|wanted| wanted.declared) {
        Some(Declared::Config) => "config",
        Some(Declared::Tags) => "tags",
        Some(Declared::Disk) => "disk",
        None => "gone",
    }
}

fn parts(id: &ServiceId) -> (String, String) {
    match id {
        ServiceId::Address { protocol, address } => (address.to_string(), protocol.to_string()),
        ServiceId::Mark { .. } => (id.to_string(), "fwmark".to_owned()),
    }
}

/// A real server that is missing from the catalogue.
fn leaving(outline: &Desired, real: &RealServer) -> Endpoint {
    let (want, phase) = outline.fate(real.address);
    Endpoint {
        address: real.address,
        want,
        phase,
        health: None,
        alloc: None,
        held: false,
    }
}

fn endpoint_view(
    outline: &Desired,
    forwarding: Forwarding,
    endpoint: &Endpoint,
    real: Option<&RealServer>,
    drain: Option<&Drain>,
    now: Moment,
) -> RealServerView {
    let fleet = outline.fleet.as_ref();
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
    let mut why = if endpoint.want == Want::Substitute {
        "sorry server: serves while no other does".to_owned()
    } else {
        format!("{}, {consul}", nomad.unwrap_or("not from Nomad"))
    };
    match state {
        "warming" if forwarding == Forwarding::DirectRouting => why.push_str(
            ": it does not listen yet, or its node does not take packets to the VIP (real_server)",
        ),
        "warming" => why.push_str(": takes no connection yet"),
        "held" => why.push_str(": held until two more reads agree"),
        "waiting" if matches!(endpoint.want, Want::Keep) => {
            why.push_str(": Nomad has not been read yet");
        }
        "draining" if real.is_some_and(|real| real.weight.serves()) => {
            why.push_str(": serves until its successor does");
        }
        "draining" => why.push_str(": takes nothing new, keeps its connections"),
        "active" if endpoint.health == Some(Health::Critical) => {
            why.push_str(": its check is not believed, for too few are healthy (least_healthy)");
        }
        _ => {}
    }
    if let Some(real) = real.filter(|real| real.forwarding != forwarding) {
        why.push_str("; goes by ");
        why.push_str(real.forwarding.word());
        why.push_str(" until it is replaced, or has weight 0 and no connection");
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
        deadline_ms: drain
            .map(|drain| u64::try_from(drain.deadline.since(now).as_millis()).unwrap_or(u64::MAX)),
    }
}

fn state(endpoint: &Endpoint, real: Option<&RealServer>, drain: Option<&Drain>) -> &'static str {
    let serves = real.is_some_and(|real| real.weight.serves());
    match endpoint.want {
        _ if endpoint.held => "held",
        Want::Drain if real.is_some() => "draining",
        Want::Keep | Want::Remove | Want::Substitute if drain.is_some() => "draining",
        _ if serves => "active",
        Want::Doubt(_) if real.is_none() => "waiting",
        Want::Warm(_) | Want::Doubt(_) => "warming",
        Want::Serve(_) => "failed",
        Want::Quiesce if real.is_some() => "quiesced",
        Want::Substitute => "sorry",
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use ipvs::{Scheduler, ServiceSettings, Table, VirtualService, Weight};
    use syncer_core::desired::DesiredService;

    use syncer_core::model::safeguard::Safeguards;

    use super::*;

    #[test]
    fn an_endpoint_of_a_service_that_the_kernel_refused_has_failed() {
        let id: ServiceId = "198.18.0.29:80".parse().unwrap();
        let settings = ServiceSettings::new(Scheduler::WRR);
        let endpoint = |port, want| Endpoint {
            address: SocketAddr::from(([198, 18, 0, 11], port)),
            want,
            phase: None,
            health: Some(Health::Passing),
            alloc: None,
            held: false,
        };
        let service = DesiredService {
            name: Arc::from("web"),
            settings,
            forwarding: Forwarding::Masquerade,
            snat: false,
            drain: Duration::ZERO,
            safeguards: Safeguards::default(),
            declared: Declared::Config,
            complete: true,
            endpoints: vec![
                endpoint(1, Want::Warm(Weight::ONE)),
                endpoint(2, Want::Serve(Weight::ONE)),
                endpoint(3, Want::Quiesce),
            ],
        };
        let mut desired = Desired::default();
        (desired.services, desired.complete) = ([(id, Arc::new(service))].into(), true);
        let states = |table: &Table| -> Vec<String> {
            let mut state = PassState::default();
            state.follow_whole(&desired, table);
            let views = services(&state, &Counts::new(), Moment(0));
            let reals = views[0].real_servers.iter();
            reals.map(|real| real.state.clone()).collect()
        };
        assert_eq!(states(&Table::default()), ["failed", "failed", "waiting"]);
        let there = VirtualService::new(settings, Vec::new());
        let table = [(id, there)].into_iter().collect();
        assert_eq!(states(&table), ["warming", "failed", "waiting"]);
    }
}
