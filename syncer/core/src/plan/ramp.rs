//! Slow start: a weight that rises in steps, so that a real server that is new or back is not given its full share at once. Pure.
//!
//! A raise begins where the real server is, so that a restart of the director, or another raise on the way, goes on from there: of the
//! raises under way nothing needs to be kept on a disk.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ipvs::{ServiceId, Weight};

use crate::desired::RAMP_STEPS;
use crate::model::Moment;

/// A raise under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ramp {
    pub since: Moment,
    pub from: Weight,
}

/// All raises under way.
pub type Ramps = BTreeMap<(ServiceId, SocketAddr), Ramp>;

impl Ramp {
    /// The raise of a real server that has the weight `current` now: the one under way, or a new one.
    pub(super) fn of(under_way: Option<&Ramp>, current: Weight, now: Moment) -> Self {
        match under_way {
            // Otherwise it is not there yet, was lowered meanwhile, or the clock was set back.
            Some(ramp) if current.serves() && ramp.from <= current && ramp.since <= now => *ramp,
            _ => Self {
                since: now,
                from: current,
            },
        }
    }

    /// The weight now, and when the next step is due; `None` at the end.
    pub(super) fn weight(
        self,
        full: Weight,
        time: Duration,
        now: Moment,
    ) -> (Weight, Option<Moment>) {
        let step = (time / RAMP_STEPS).max(Duration::from_millis(1));
        let passed = now.since(self.since).as_millis() / step.as_millis();
        let done = u32::try_from(passed)
            .unwrap_or(RAMP_STEPS)
            .saturating_add(1)
            .min(RAMP_STEPS);
        let gained = u64::from(full.get()) * u64::from(done) / u64::from(RAMP_STEPS);
        let gained = u32::try_from(gained.max(1)).unwrap_or(u32::MAX);
        let weight = Weight::saturating(self.from.get().saturating_add(gained));
        if weight >= full {
            (full, None)
        } else {
            (weight, Some(self.since.after(step.saturating_mul(done))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Moment {
        Moment(1_000 + seconds * 1_000)
    }

    fn weight(number: u32) -> Weight {
        Weight::saturating(number)
    }

    #[test]
    fn a_weight_rises_by_a_tenth_and_is_full_at_the_last_step() {
        let ramp = Ramp::of(None, Weight::ZERO, at(0));
        let weights: Vec<u32> = (0..11)
            .map(|second| ramp.weight(weight(10), TIME, at(second)).0.get())
            .collect();
        assert_eq!(weights, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10]);
        assert_eq!(ramp.weight(weight(10), TIME, at(3)).1, Some(at(4)));
        assert_eq!(ramp.weight(weight(10), TIME, at(9)).1, None);
        assert_eq!(ramp.weight(weight(10), TIME, at(500)), (weight(10), None));
    }

    #[test]
    fn a_raise_goes_on_from_where_the_real_server_is() {
        let fresh = Ramp::of(None, weight(4), at(0));
        assert_eq!(fresh.weight(weight(10), TIME, at(0)).0, weight(5));
        assert_eq!(fresh.weight(weight(10), TIME, at(5)), (weight(10), None));
        let under_way = Ramp::of(None, Weight::ZERO, at(0));
        assert_eq!(Ramp::of(Some(&under_way), weight(3), at(4)), under_way);
    }

    #[test]
    fn a_raise_that_was_lowered_or_whose_clock_went_back_begins_anew() {
        let under_way = Ramp {
            since: at(5),
            from: weight(4),
        };
        assert_eq!(Ramp::of(Some(&under_way), weight(1), at(6)).since, at(6));
        assert_eq!(Ramp::of(Some(&under_way), weight(5), at(2)).since, at(2));
    }

    #[test]
    fn a_weight_with_fewer_steps_than_ten_rises_by_one() {
        let ramp = Ramp::of(None, Weight::ZERO, at(0));
        assert_eq!(
            ramp.weight(weight(2), TIME, at(0)),
            (weight(1), Some(at(1)))
        );
        let most = ramp.weight(Weight::MAX, TIME, at(4)).0;
        assert!(most < Weight::MAX && most.get() > u32::MAX / 5);
    }
}
