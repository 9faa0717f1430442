//! What the loop tells about itself.

use std::collections::VecDeque;

use ipvs::ServiceId;
use tokio::time::Instant;

use super::act::Done;
use super::{Reason, Reconciler};
use crate::director::Director;
use crate::source;
use crate::status::{Acknowledged, Failure, Held, Pass, PassView, Rejection, Service, services};

/// How many errors are kept for the status.
const KEPT_ERRORS: usize = 20;

/// How things stand.
#[derive(Debug, Clone)]
pub struct Told {
    pub ready: bool,
    pub stale: bool,
    pub pass: Option<Pass>,
    pub services: Vec<Service>,
    /// The identities of `services`' virtual services that the kernel has, to count connections.
    pub ids: Vec<ServiceId>,
    pub rejected: Vec<Rejection>,
    pub held: Option<Held>,
    pub errors: Vec<Failure>,
    pub kernel_ack: Acknowledged,
}

/// Passes and errors so far.
#[derive(Debug, Default)]
pub(super) struct Log {
    passes: u64,
    complete: bool,
    last: Option<(Reason, Instant, u64, usize, usize)>,
    errors: VecDeque<(Instant, String)>,
}

impl Log {
    /// `whole`: whatever was not done was refused, and nothing is in doubt.
    pub(super) fn passed(&mut self, reason: Reason, started: Instant, done: Done, whole: bool) {
        self.passes += 1;
        self.complete |= whole;
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last = Some((reason, Instant::now(), micros, done.steps, done.failed));
    }

    /// The same error again is the newest, not one more.
    pub(super) fn failed(&mut self, what: String) {
        self.errors.retain(|(_, there)| *there != what);
        self.errors.push_back((Instant::now(), what));
        if self.errors.len() > KEPT_ERRORS {
            self.errors.pop_front();
        }
    }
}

impl<D: Director> Reconciler<D> {
    pub(super) fn told(&self) -> Told {
        let state = &self.state;
        let pass = PassView {
            desired: &state.desired,
            table: &state.mirror.table,
            drains: &state.drains,
            last: &state.last,
            now: source::now(),
        };
        let owns = |id: &ServiceId| self.policy.ownership.owns(id);
        let rejected = state.desired.rejected.iter();
        Told {
            ready: state.told.complete && state.desired.complete,
            stale: !state.desired.complete,
            pass: state.told.last.map(|(reason, at, duration_us, steps, failed)| Pass {
                number: state.told.passes,
                reason: reason.word().to_owned(),
                age_ms: age(at),
                duration_us,
                steps,
                failed,
            }),
            services: services(&pass, owns),
            ids: state.mirror.table.iter().map(|(id, _)| *id).filter(|id| owns(id)).collect(),
            rejected: rejected
                .map(|(name, why)| Rejection { service: name.to_string(), reason: why.reason.clone() })
                .collect(),
            held: state.losses.hold.as_ref().map(|hold| Held {
                since_ms: u64::try_from(pass.now.since(hold.since).as_millis()).unwrap_or(u64::MAX),
                real_servers: hold.lost,
                reason: format!(
                    "the catalogue lost {} of {} serving real servers at once{}; they are kept until two more reads agree",
                    hold.lost,
                    hold.serving,
                    if hold.contradicted { ", and Nomad says that they run" } else { "" }
                ),
            }),
            errors: state
                .told
                .errors
                .iter()
                .map(|(at, what)| Failure { age_ms: age(*at), what: what.clone() })
                .chain(self.store.trouble().map(|what| Failure { age_ms: 0, what }))
                .collect(),
            kernel_ack: Acknowledged::from(&state.acknowledged),
        }
    }
}

fn age(at: Instant) -> u64 {
    u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)
}
