//! When a sorry server serves: while no other real server does. Pure.

use ipvs::{RealServer, ServiceId, VirtualService, Weight};

use super::merge::Merge;
use crate::desired::{DesiredService, Endpoint, Want};

impl Merge<'_> {
    /// What an endpoint should be now: a sorry server serves or drains.
    pub(super) fn resolved(
        &self,
        id: &ServiceId,
        wanted: &DesiredService,
        endpoint: &Endpoint,
    ) -> Want {
        match endpoint.want {
            Want::Substitute if self.is_served(id, wanted) => Want::Drain,
            Want::Substitute => Want::Serve(Weight::ONE),
            want => want,
        }
    }

    /// Whether a real server of an instance serves after this plan.
    fn is_served(&self, id: &ServiceId, wanted: &DesiredService) -> bool {
        let endpoints = || wanted.endpoints.iter();
        endpoints().any(|endpoint| self.serves(id, endpoint))
            || self.reals(id).any(|real| {
                let own = endpoints().find(|endpoint| endpoint.address == real.address);
                let want = own.map_or_else(
                    || self.desired.fate(real.address).0,
                    |endpoint| endpoint.want,
                );
                match want {
                    Want::Keep => true,
                    Want::Drain => self.bridges(id, Some(wanted), real),
                    _ => false,
                }
            })
    }

    /// Whether an endpoint serves by itself, or goes on serving.
    pub(super) fn serves(&self, id: &ServiceId, endpoint: &Endpoint) -> bool {
        match endpoint.want {
            Want::Serve(weight) => weight.serves(),
            Want::Warm(_) | Want::Doubt(_) | Want::Keep => {
                let current = self.observed.table.get(id);
                current
                    .and_then(|current| current.real(endpoint.address))
                    .is_some_and(|real| real.weight.serves())
            }
            Want::Quiesce | Want::Drain | Want::Remove | Want::Substitute => false,
        }
    }

    fn reals(&self, id: &ServiceId) -> impl Iterator<Item = &RealServer> {
        let current = self.observed.table.get(id).map(VirtualService::reals);
        current
            .unwrap_or_default()
            .iter()
            .filter(|real| real.weight.serves())
    }
}
