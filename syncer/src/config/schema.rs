//! The keys of the config file, their defaults, and what has to fit together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hcl::Value;
use ipnet::IpNet;
use ipvs::Forwarding;
use syncer_core::model::policy::{Ownership, VipPolicy};
use syncer_core::options::duration;
use syncer_core::plan::AddressKeeper;

use super::api::api;
use super::hints::{Hints, hints};
use super::read::{Problems, Section, root};
use super::service::services_of;
use super::value::{Unfit, boolean, number, parsed, text, texts};
use super::{Config, DirectorConfig, Problem, RealServerConfig, RegistrarConfig, SnatBackend};

const DRAIN_DEADLINE: Duration = Duration::from_mins(1);
const AUDIT_INTERVAL: Duration = Duration::from_secs(2);
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
const SHRINK_GUARD: f64 = 0.5;

pub(super) fn config(input: &str) -> Result<Config, Vec<Problem>> {
    let problems = Problems::new(input);
    let config = root(input, &problems).and_then(file);
    match (config, problems.take()) {
        (Some(config), found) if found.is_empty() => Ok(config),
        (_, found) => Err(found),
    }
}

fn file(mut file: Section) -> Option<Config> {
    let log_level = file
        .value("log_level", parsed(log_level))
        .unwrap_or_else(|| "info".to_owned());
    let state_dir = file
        .value("state_dir", text)
        .map_or_else(|| PathBuf::from("/var/lib/nomad-ipvs"), PathBuf::from);
    let consul = file.block("consul");
    if consul.is_none() {
        file.problem("the file needs a block consul { address = \"http://…:8500\" }");
    }
    let consul = consul.and_then(api);
    let nomad = file.block("nomad").map(api);
    let status = file.block("status").map(listen);
    let director = file.block("director");
    let services = file.blocks("service", 1);
    if director.is_none()
        && let Some(service) = services.first()
    {
        service.problem(
            "block service needs a block director: without that role there is no virtual service",
        );
    }
    let director = director.map(|section| self::director(section, services));
    let registrar = file.block("registrar").map(registrar);
    let real_server = file.block("real_server");
    if director.is_none() && registrar.is_none() && real_server.is_none() {
        file.problem(
            "the file needs a block director, registrar or real_server: without a role there is nothing to do",
        );
    }
    if registrar.is_some() && nomad.is_none() {
        file.problem("block registrar needs a block nomad: allocations come from there");
    }
    let hints = file
        .block("hints")
        .map(|section| hints(section, director.is_some(), nomad.is_some()));
    let is_told = hints.as_ref().is_none_or(|hints| {
        // Where the block is unusable, the problem is noted.
        hints.as_ref().is_none_or(|hints| hints.relay.is_some())
    });
    if let Some(real_server) = &real_server
        && (hints.is_none() || !is_told)
    {
        real_server.problem(
            "block real_server needs a block hints with directors: they say which packets come here",
        );
    }
    let is_direct = |vip: &VipPolicy| vip.forwarding == Forwarding::DirectRouting;
    let director_of = director.as_ref().and_then(Option::as_ref);
    let mut blocks = director_of
        .iter()
        .flat_map(|director| director.services.values());
    let hears_nodes =
        |hints: &Option<Hints>| hints.as_ref().is_some_and(|hints| hints.listen.is_some());
    if blocks.any(|block| block.vips.iter().any(is_direct))
        && !hints.as_ref().is_some_and(hears_nodes)
    {
        file.problem(
            "forward = \"dr\" needs a block hints with listen: nodes say there that they take packets to a VIP",
        );
    }
    if let (Some(real_server), Some(_)) = (&real_server, &director) {
        real_server.problem(
            "block real_server and block director exclude each other: packets to a VIP would be given to this machine's own \
             instances before the director sees them",
        );
    }
    let real_server = real_server.map(self::real_server);
    file.end();
    // Where a block is there and unusable, the problem is noted: the file is refused whatever stands here.
    Some(Config {
        log_level,
        state_dir,
        consul: consul?,
        nomad: nomad.flatten(),
        status: status.flatten(),
        director: director.flatten(),
        registrar,
        real_server: real_server.flatten(),
        hints: hints.flatten(),
        warnings: Vec::new(),
    })
}

fn log_level(level: &str) -> Result<String, Unfit> {
    match level {
        "trace" | "debug" | "info" | "warn" | "error" => Ok(level.to_owned()),
        _ => Err(Unfit::not(
            "expected trace, debug, info, warn or error",
            level,
        )),
    }
}

fn listen(mut section: Section) -> Option<SocketAddr> {
    let listen = section.required(
        "listen",
        parsed(|text| text.parse().map_err(|_| "expected IP:PORT")),
    );
    section.end();
    listen
}

fn director(mut section: Section, services: Vec<Section>) -> Option<DirectorConfig> {
    let interface = section.required("interface", parsed(interface));
    let own = section.required("own", ranges);
    let addresses = section
        .value("addresses", parsed(address_keeper))
        .unwrap_or_default();
    let snat_backend = section
        .value("snat_backend", parsed(snat_backend))
        .unwrap_or(SnatBackend::Auto);
    let drain_deadline = section
        .value("drain_deadline", parsed(duration))
        .unwrap_or(DRAIN_DEADLINE);
    let audit_interval = section
        .value("audit_interval", parsed(interval))
        .unwrap_or(AUDIT_INTERVAL);
    let shrink_guard = section
        .value("shrink_guard", share)
        .unwrap_or_else(|| percent(SHRINK_GUARD));
    section.end();
    let ownership = Ownership::of(own.unwrap_or_default());
    let services = services_of(services, &ownership);
    Some(DirectorConfig {
        interface: interface?,
        ownership,
        addresses,
        snat_backend,
        drain_deadline,
        audit_interval,
        shrink_guard,
        services,
    })
}

fn interface(name: &str) -> Result<String, Unfit> {
    let usable = (1..=15).contains(&name.len()) && !name.contains(['/', ' ', '\0']);
    if usable {
        Ok(name.to_owned())
    } else {
        Err(Unfit::not("expected a network interface's name", name))
    }
}

fn ranges(value: &Value) -> Result<Vec<IpNet>, Unfit> {
    let range = |text: String| {
        text.parse::<IpNet>()
            .map_err(|_| Unfit::not("expected address ranges such as 198.18.0.0/24", text))
    };
    texts(value)?.into_iter().map(range).collect()
}

fn address_keeper(word: &str) -> Result<AddressKeeper, Unfit> {
    match word {
        "managed" => Ok(AddressKeeper::Syncer),
        "external" => Ok(AddressKeeper::Others),
        _ => Err(Unfit::not("expected managed or external", word)),
    }
}

fn snat_backend(word: &str) -> Result<SnatBackend, Unfit> {
    match word {
        "auto" => Ok(SnatBackend::Auto),
        "nftables" => Ok(SnatBackend::Nftables),
        "iptables" => Ok(SnatBackend::Iptables),
        _ => Err(Unfit::not("expected auto, nftables or iptables", word)),
    }
}

fn interval(text: &str) -> Result<Duration, Unfit> {
    let interval = duration(text)?;
    if interval < Duration::from_secs(1) {
        Err("expected at least 1s".into())
    } else {
        Ok(interval)
    }
}

fn share(value: &Value) -> Result<u8, Unfit> {
    let share = number(value)?;
    if (0.0..=1.0).contains(&share) {
        Ok(percent(share))
    } else {
        Err("expected a share from 0.0 to 1.0".into())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "0.0 to 1.0 becomes 0 to 100"
)]
fn percent(share: f64) -> u8 {
    (share * 100.0).round() as u8
}

fn registrar(mut section: Section) -> RegistrarConfig {
    let node = section.value("node", text);
    let check_interval = section
        .value("check_interval", parsed(interval))
        .unwrap_or(CHECK_INTERVAL);
    section.end();
    RegistrarConfig {
        node,
        check_interval,
    }
}

fn real_server(mut section: Section) -> Option<RealServerConfig> {
    let interface = section.required("interface", parsed(interface));
    let own = section.required("own", ranges);
    if let Some(own) = &own
        && !own.iter().any(|range| matches!(range, IpNet::V4(_)))
    {
        section.problem("own of block real_server needs an IPv4 range: the VIPs that this node takes packets to");
    }
    let host_ports = section.value("host_ports", boolean).unwrap_or(false);
    section.end();
    Some(RealServerConfig {
        interface: interface?,
        own: own?,
        host_ports,
    })
}
