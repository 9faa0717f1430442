//! The status as one value, and whether the process is to be relied on: put together from what its parts have published.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipvs::ServiceId;
use syncer_core::model::LeftOut;
use syncer_core::pass::PassState;
use syncer_core::reading::Counts;
use tokio::time::Instant;

use super::Admin;
use crate::source::{self, Published};
use crate::status::{
    Failure, Health, Held, Pass, PlaceView, PortView, Rejection, Source, SourceHealth, Status,
    TakeView, services,
};

impl Admin {
    /// Judges whether the process is to be relied on, and what is wrong.
    pub fn health(&self) -> Health {
        let mut health = Health::default();
        for source in self.sources() {
            health.source(&SourceHealth {
                name: &source.name,
                age: source.age_ms.map(Duration::from_millis),
                error: source.error.as_deref(),
            });
        }
        if let Some(director) = &self.director {
            let trouble = director.trouble.borrow().clone();
            let state = Arc::clone(&director.passes.borrow());
            health.director(&state, trouble.as_deref(), Instant::now());
        }
        if let Some(registrar) = &self.registrar
            && !registrar.borrow().complete
        {
            health
                .unready
                .push("the node's registrations have not been compared yet".to_owned());
        }
        if let Some(real_server) = &self.real_server {
            let standing = real_server.borrow();
            let error = standing.error.iter();
            health.unready.extend(
                error.map(|error| format!("packets to VIPs are not taken as offered: {error}")),
            );
            if standing.unheard > 0 {
                let unheard = standing.unheard;
                health
                    .unwell
                    .push(format!("{unheard} directors have not offered anything yet"));
            }
        }
        if let Some(leases) = &self.leases {
            // They go the engine's way meanwhile.
            let error = leases.borrow().error.clone();
            let unwell = error.map(|error| format!("host ports depend on the engine: {error}"));
            health.unwell.extend(unwell);
        }
        health
    }

    /// Makes the whole status.
    pub fn status(&self, counts: &Counts) -> Status {
        let health = self.health();
        let mut roles = Vec::new();
        roles.extend(self.director.is_some().then(|| "director".to_owned()));
        roles.extend(self.registrar.is_some().then(|| "registrar".to_owned()));
        roles.extend(self.real_server.is_some().then(|| "real_server".to_owned()));
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            roles,
            ready: health.is_ready(),
            healthy: health.is_well(),
            reasons: health.unready.into_iter().chain(health.unwell).collect(),
            uptime_ms: age(self.started),
            sources: self.sources(),
            warnings: self.warnings.borrow().clone(),
            ..Status::default()
        };
        if let Some(director) = &self.director {
            let state = Arc::clone(&director.passes.borrow());
            take(&mut status, &state, counts);
            let trouble = director.trouble.borrow().clone();
            let failure = |what| Failure { age_ms: 0, what };
            status.errors.extend(trouble.map(failure));
            status.rejected.extend(self.left_out());
        }
        if let Some(registrar) = &self.registrar {
            status
                .registrations
                .clone_from(&registrar.borrow().registrations);
        }
        if let Some(real_server) = &self.real_server {
            let standing = real_server.borrow();
            status.takes = standing.taken.iter().map(take_view).collect();
            let refused = standing.refused.iter();
            status
                .rejected
                .extend(refused.map(|(service, reason)| Rejection {
                    service: service.clone(),
                    reason: reason.clone(),
                }));
        }
        if let Some(leases) = &self.leases {
            let ports = &leases.borrow().ports;
            status.host_ports = ports.iter().map(port_view).collect();
        }
        status
    }

    /// Lists what of the sources' answers can't be used.
    fn left_out(&self) -> Vec<Rejection> {
        let rejection = |service: &str, left: &LeftOut| Rejection {
            service: service.to_owned(),
            reason: format!("{}: {}", left.what, left.reason),
        };
        let mut rejections = Vec::new();
        let catalog = self.consul.1.as_ref();
        if let Some(catalog) = catalog.and_then(|catalog| catalog.borrow().view.clone()) {
            for (name, service) in &catalog.services {
                let left_out = service.left_out.iter();
                rejections.extend(left_out.map(|left| rejection(name, left)));
            }
            let refused = catalog.refused.iter();
            rejections.extend(refused.map(|(name, left)| rejection(name, left)));
        }
        let fleet = self.nomad.as_ref();
        if let Some(fleet) = fleet.and_then(|(_, fleet)| fleet.borrow().view.clone()) {
            rejections.extend(fleet.left_out.iter().map(|left| rejection("Nomad", left)));
        }
        rejections
    }

    fn sources(&self) -> Vec<Source> {
        let mut sources = Vec::new();
        let (address, catalog) = &self.consul;
        if let Some(catalog) = catalog {
            sources.push(source("consul", address, &catalog.borrow()));
        } else if let Some(registrar) = &self.registrar {
            let registrar = registrar.borrow();
            sources.push(Source {
                name: "consul".to_owned(),
                address: address.clone(),
                synced: registrar.read_at.is_some(),
                index: 0,
                age_ms: registrar.read_at.map(age),
                error: registrar.error.clone(),
            });
        }
        if let Some((address, fleet)) = &self.nomad {
            sources.push(source("nomad", address, &fleet.borrow()));
        }
        sources
    }
}

fn port_view((host, own): (&SocketAddr, &SocketAddr)) -> PortView {
    PortView {
        host: host.to_string(),
        container: own.to_string(),
    }
}

fn take_view((id, places): (&ServiceId, &Vec<(SocketAddr, u32)>)) -> TakeView {
    let view = |(address, share): &(SocketAddr, u32)| PlaceView {
        address: address.to_string(),
        share: *share,
    };
    TakeView {
        vip: id.to_string(),
        instances: places.iter().map(view).collect(),
    }
}

fn take(status: &mut Status, state: &PassState, counts: &Counts) {
    let now = source::now();
    status.stale = !state.outline.complete;
    status.pass = state.pass.map(|pass| Pass {
        number: pass.number,
        reason: pass.reason.word().to_owned(),
        age_ms: age(pass.ended.into()),
        duration_us: whole_micros(pass.took),
        longest_us: whole_micros(pass.longest),
        total_us: whole_micros(pass.total),
        steps: pass.steps,
        failed: pass.failed,
    });
    status.services = services(state, counts, now);
    let rejected = state.rejected.iter();
    status.rejected = rejected
        .map(|(name, why)| Rejection {
            service: name.to_string(),
            reason: why.reason.clone(),
        })
        .collect();
    status.held = state.hold.as_ref().map(|hold| Held {
        since_ms: u64::try_from(now.since(hold.since).as_millis()).unwrap_or(u64::MAX),
        real_servers: hold.lost,
        reason: hold.reason(now),
    });
    let errors = state.errors.iter();
    status.errors = errors
        .map(|(at, what)| Failure {
            age_ms: age((*at).into()),
            what: what.clone(),
        })
        .collect();
    status.kernel_ack = state.kernel_ack;
    status.services_unread = state.unread.services;
    status.drift = state.drift.to_vec();
}

fn source<T>(name: &str, address: &str, published: &Published<T>) -> Source {
    Source {
        name: name.to_owned(),
        address: address.to_owned(),
        synced: published.view.is_some(),
        index: published.index,
        age_ms: published.read_at.map(age),
        error: published.error.clone(),
    }
}

fn whole_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn age(at: Instant) -> u64 {
    u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)
}
