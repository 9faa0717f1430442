//! The rule that makes three views one: a phase of the allocation and a health of the instance give a [`Want`]. Pure.
//!
//! | Nomad | Consul | real server |
//! |---|---|---|
//! | pending, own task not running | any | none if new, weight 0 if known |
//! | own task restarting | any | weight 0, kept |
//! | running | passing, warning | weight as Consul gives it |
//! | running | critical, maintenance | weight 0, kept |
//! | running | gone | drain |
//! | stopping | any | drain |
//! | complete, failed | any | gone at once |
//! | lost | passing | drain |
//! | lost | anything else | gone at once |
//! | unknown, or not from Nomad | present | as Consul says |
//! | unknown | gone | kept |
//! | not from Nomad | gone | drain |

use ipvs::Weight;

use super::Want;
use crate::model::catalog::{Health, Instance};
use crate::model::fleet::Phase;

/// What the rule has to know of an instance.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    pub health: Health,
    pub weight_passing: u32,
    pub weight_warning: u32,
}

impl Facts {
    /// Reads the facts of an instance.
    pub fn of(instance: &Instance) -> Self {
        let (passing, warning) = (instance.weight_passing, instance.weight_warning);
        let own = instance.tags.weight.map(Weight::get);
        Self {
            health: instance.health,
            weight_passing: own.unwrap_or(passing),
            // Nobody gets more for a warning than it asks for when all is well.
            weight_warning: own.map_or(warning, |own| own.min(warning)),
        }
    }

    fn want(self) -> Want {
        let weight = match self.health {
            Health::Passing => self.weight_passing,
            Health::Warning => self.weight_warning,
            Health::Critical | Health::Maintenance => 0,
        };
        if weight == 0 {
            Want::Quiesce
        } else {
            Want::Serve(Weight::saturating(weight))
        }
    }
}

/// Applies the table. `phase` is `None` for what is not from Nomad, `facts` is `None` for what the catalogue does not have.
#[expect(clippy::match_same_arms, reason = "one arm for each row of the table")]
pub fn want(phase: Option<Phase>, facts: Option<Facts>) -> Want {
    match (phase, facts) {
        (Some(Phase::Pending | Phase::Restarting), _) => Want::Quiesce,
        (Some(Phase::Stopping), _) => Want::Drain,
        (Some(Phase::Complete | Phase::Failed), _) => Want::Remove,
        (
            Some(Phase::Lost),
            Some(Facts {
                health: Health::Passing,
                ..
            }),
        ) => Want::Drain,
        (Some(Phase::Lost), _) => Want::Remove,
        (Some(Phase::Unknown), None) => Want::Keep,
        (Some(Phase::Running | Phase::Unknown) | None, Some(facts)) => facts.want(),
        (Some(Phase::Running) | None, None) => Want::Drain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(health: Health) -> Facts {
        Facts {
            health,
            weight_passing: 10,
            weight_warning: 3,
        }
    }

    const HEALTHS: [Option<Health>; 5] = [
        None,
        Some(Health::Passing),
        Some(Health::Warning),
        Some(Health::Critical),
        Some(Health::Maintenance),
    ];

    /// One line for each row of the table: phase, and what it makes of gone, passing, warning, critical, maintenance.
    #[test]
    fn every_row_of_the_rule_holds() {
        let by_consul = [
            Want::Serve(Weight::saturating(10)),
            Want::Serve(Weight::saturating(3)),
            Want::Quiesce,
            Want::Quiesce,
        ];
        let with = |gone: Want| [gone, by_consul[0], by_consul[1], by_consul[2], by_consul[3]];
        let lost = [
            Want::Remove,
            Want::Drain,
            Want::Remove,
            Want::Remove,
            Want::Remove,
        ];
        let rows = [
            (Some(Phase::Pending), [Want::Quiesce; 5]),
            (Some(Phase::Restarting), [Want::Quiesce; 5]),
            (Some(Phase::Running), with(Want::Drain)),
            (Some(Phase::Stopping), [Want::Drain; 5]),
            (Some(Phase::Complete), [Want::Remove; 5]),
            (Some(Phase::Failed), [Want::Remove; 5]),
            (Some(Phase::Lost), lost),
            (Some(Phase::Unknown), with(Want::Keep)),
            (None, with(Want::Drain)),
        ];
        for (phase, wants) in rows {
            for (health, expected) in HEALTHS.into_iter().zip(wants) {
                assert_eq!(
                    want(phase, health.map(facts)),
                    expected,
                    "{phase:?} {health:?}"
                );
            }
        }
    }

    #[test]
    fn a_weight_of_zero_from_the_catalogue_quiesces() {
        let warned = Facts {
            health: Health::Warning,
            weight_passing: 1,
            weight_warning: 0,
        };
        assert_eq!(want(None, Some(warned)), Want::Quiesce);
    }
}
