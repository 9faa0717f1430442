//! Whether a virtual service does not believe its checks now, in a sentence for an operator. Pure.

use syncer_core::desired::Endpoint;
use syncer_core::model::catalog::Health;
use syncer_core::model::safeguard::Percent;
use syncer_core::pass::ServiceState;

/// Says that instances serve whose checks are not believed, where some do.
pub(super) fn sentence(service: &ServiceState) -> Option<String> {
    let (wanted, actual) = (service.wanted.as_ref()?, service.actual.as_ref()?);
    let least = wanted.safeguards.least_healthy;
    if least == Percent::default() {
        return None;
    }
    let serves = |endpoint: &&Endpoint| {
        let real = actual.real(endpoint.address);
        real.is_some_and(|real| real.weight.serves())
    };
    let is_critical = |endpoint: &&Endpoint| endpoint.health == Some(Health::Critical);
    let serving: Vec<&Endpoint> = wanted.endpoints.iter().filter(serves).collect();
    let doubted = serving
        .iter()
        .filter(|endpoint| is_critical(endpoint))
        .count();
    let healthy = serving.len().saturating_sub(doubted);
    (doubted > 0).then(|| {
        format!(
            "{}: checks are not believed: {healthy} of {} instances that serve are healthy, fewer than least_healthy ({least})",
            service.name,
            serving.len(),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use ipvs::{
        Forwarding, RealServer, Scheduler, ServiceId, ServiceSettings, Thresholds, VirtualService,
        Weight,
    };
    use syncer_core::desired::{Declared, Desired, DesiredService, Want};
    use syncer_core::model::safeguard::Safeguards;
    use syncer_core::pass::PassState;

    use super::*;

    /// `web` with instances of these healths, which have these weights in the kernel.
    fn of(least: f64, all: &[(Health, u32)]) -> Option<String> {
        let id: ServiceId = "198.18.0.29:80".parse().unwrap();
        let settings = ServiceSettings::new(Scheduler::WRR);
        let address = |port| SocketAddr::from(([198, 18, 0, 11], port));
        let endpoint = |(port, (health, _)): (u16, &(Health, u32))| Endpoint {
            address: address(port),
            want: Want::Doubt(Weight::ONE),
            phase: None,
            health: Some(*health),
            alloc: None,
            held: false,
        };
        let real = |(port, (_, weight)): (u16, &(Health, u32))| RealServer {
            address: address(port),
            weight: Weight::saturating(*weight),
            forwarding: Forwarding::Masquerade,
            thresholds: Thresholds::default(),
        };
        let wanted = DesiredService {
            name: Arc::from("web"),
            settings,
            forwarding: Forwarding::Masquerade,
            snat: false,
            drain: Duration::ZERO,
            safeguards: Safeguards {
                least_healthy: Percent::of_share(least).unwrap(),
                ..Safeguards::default()
            },
            declared: Declared::Config,
            complete: true,
            endpoints: (1..).zip(all).map(endpoint).collect(),
        };
        let mut desired = Desired::default();
        desired.services = [(id, Arc::new(wanted))].into();
        let reals = (1..).zip(all).map(real).collect();
        let table = [(id, VirtualService::new(settings, reals))]
            .into_iter()
            .collect();
        let mut state = PassState::default();
        state.follow_whole(&desired, &table);
        state
            .services
            .values()
            .find_map(|service| sentence(service))
    }

    #[test]
    fn a_critical_instance_that_serves_has_its_sentence() {
        use Health::{Critical, Passing};
        assert_eq!(
            of(0.5, &[(Passing, 1), (Critical, 1), (Critical, 0)]).unwrap(),
            "web: checks are not believed: 1 of 2 instances that serve are healthy, fewer than least_healthy (50 %)"
        );
        assert_eq!(of(0.5, &[(Passing, 1), (Critical, 0)]), None);
        assert_eq!(of(0.5, &[(Passing, 1)]), None);
        // It serves for another reason: that its drain has not begun.
        assert_eq!(of(0.0, &[(Critical, 1)]), None);
    }
}
