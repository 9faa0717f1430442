//! Short words for the cases.

use std::net::SocketAddr;

use ipvs::{Forwarding, RealServer, ServiceId, ServiceSettings, Thresholds, Weight};

use super::{endpoint, plain_service};
use crate::desired::{DesiredService, Want};

pub(super) fn id(port: u16) -> ServiceId {
    format!("198.18.0.29:{port}").parse().unwrap()
}

pub(super) fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([198, 18, 0, 11], port))
}

pub(super) fn weight(weight: u32) -> Weight {
    Weight::saturating(weight)
}

pub(super) fn settings(scheduler: &str) -> ServiceSettings {
    ServiceSettings::new(scheduler.parse().unwrap())
}

pub(super) fn real(port: u16, weight: u32) -> RealServer {
    RealServer {
        address: address(port),
        weight: Weight::saturating(weight),
        forwarding: Forwarding::Masquerade,
        thresholds: Thresholds::default(),
    }
}

pub(super) fn service_with(wants: &[(u16, Want)]) -> DesiredService {
    plain_service(
        wants
            .iter()
            .map(|(port, want)| endpoint(*port, *want))
            .collect(),
    )
}
