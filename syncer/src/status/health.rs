//! Whether the syncer is to be relied on, whether it is well, and if not, why: in sentences for an operator. Pure.
//!
//! *Not ready*: what the sources say now is not, or may not be, what the data plane does. *Unwell*: it is, and something
//! needs a look. A service that is refused for what it asks for is neither: that is its owner's matter, and stands under
//! `rejected`.

use std::time::Duration;

use syncer_core::pass::PassState;
use tokio::time::Instant;

use super::doubt;
use crate::source::blocking;

/// A source that answers nothing but errors for longer is no longer followed; shorter is a restart or a lost leader.
pub const SOURCE_FAILING_LIMIT: Duration = Duration::from_secs(10);

/// A source that is held up by nothing answers within its query's time.
pub const SOURCE_SILENCE_LIMIT: Duration = blocking::LIMIT.saturating_add(Duration::from_secs(16));

/// Beyond the audit's interval: a pass over a large table takes long.
pub const PASS_OVERDUE: Duration = Duration::from_mins(1);

/// How a source stands.
#[derive(Debug, Clone, Copy)]
pub struct SourceHealth<'a> {
    pub name: &'a str,
    /// Time since it answered last; `None` if it never did.
    pub age: Option<Duration>,
    pub error: Option<&'a str>,
}

/// What is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Why it is not to be relied on.
    pub unready: Vec<String>,
    /// What else is amiss.
    pub unwell: Vec<String>,
}

impl Health {
    /// Whether the data plane does what the sources say, as far as anybody can know.
    pub fn is_ready(&self) -> bool {
        self.unready.is_empty()
    }

    /// Whether nothing needs a look.
    pub fn is_well(&self) -> bool {
        self.unready.is_empty() && self.unwell.is_empty()
    }

    /// A source of truth.
    pub fn source(&mut self, source: &SourceHealth<'_>) {
        let SourceHealth { name, age, error } = *source;
        let cause = error.map(|error| format!(": {error}")).unwrap_or_default();
        match (age, error) {
            (None, _) => self
                .unready
                .push(format!("{name} has not been read yet{cause}")),
            (Some(age), Some(_)) if age > SOURCE_FAILING_LIMIT => self.unready.push(format!(
                "{name} could not be read for {} s; what it said last holds on{cause}",
                age.as_secs()
            )),
            (Some(age), None) if age > SOURCE_SILENCE_LIMIT => self.unready.push(format!(
                "{name} has not answered for {} s; what it said last holds on",
                age.as_secs()
            )),
            (Some(_), Some(_)) => self.unwell.push(format!("{name} can't be read{cause}")),
            (Some(_), None) => {}
        }
    }

    /// The director's last pass. `trouble`: why its state is not on disk.
    pub fn director(&mut self, state: &PassState, trouble: Option<&str>, now: Instant) {
        let unready = &mut self.unready;
        match &state.pass {
            None => unready.push("no pass has been made yet".to_owned()),
            Some(pass) => {
                let age = now.saturating_duration_since(pass.ended.into());
                if age > state.interval.saturating_add(PASS_OVERDUE) {
                    unready.push(format!("no pass for {} s", age.as_secs()));
                }
                if !pass.whole {
                    unready.push(format!(
                        "the last pass is not whole: {} of {} steps failed; see errors",
                        pass.failed, pass.steps
                    ));
                } else if !state.complete {
                    unready.push("no pass has been complete yet".to_owned());
                }
                if pass.refused > 0 {
                    self.unwell.push(format!(
                        "the kernel refuses {} steps; see errors",
                        pass.refused
                    ));
                }
            }
        }
        let unready = &mut self.unready;
        if state.read && !state.outline.complete {
            unready
                .push("the table comes from the disk: the sources have not been read".to_owned());
        }
        if state.unread.list {
            unready.push("the list of services has not been read".to_owned());
        }
        if state.unread.services > 0 {
            unready.push(format!(
                "{} services that are followed have not been read",
                state.unread.services
            ));
        }
        for drift in state.drift.iter() {
            unready.push(format!("the data plane differs: {drift}"));
        }
        self.unwell.extend(
            state
                .services
                .values()
                .filter_map(|service| doubt::sentence(service)),
        );
        for entry in state.unreadable.iter() {
            self.unwell.push(format!(
                "the kernel has an entry that can't be read, and it is left alone: {entry}"
            ));
        }
        if let Some(hold) = &state.hold {
            self.unwell.push(format!(
                "{} real servers that the catalogue lost are held",
                hold.lost
            ));
        }
        self.unwell.extend(trouble.map(str::to_owned));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use syncer_core::desired::Desired;
    use syncer_core::pass::{PassRecord, Reason, Unread};

    use super::*;

    pub(crate) fn after_a_whole_pass() -> PassState {
        let mut outline = Desired::default();
        outline.complete = true;
        let mut state = PassState::default();
        state.pass = Some(PassRecord {
            number: 3,
            reason: Reason::Consul,
            ended: Instant::now().into_std(),
            took: Duration::from_millis(1),
            longest: Duration::from_millis(1),
            total: Duration::from_millis(1),
            steps: 2,
            failed: 0,
            refused: 0,
            whole: true,
        });
        (state.complete, state.read) = (true, true);
        state.outline = Arc::new(outline);
        state.interval = Duration::from_secs(30);
        state
    }

    fn of(change: impl FnOnce(&mut PassState)) -> Health {
        let mut state = after_a_whole_pass();
        change(&mut state);
        let mut health = Health::default();
        health.director(&state, None, Instant::now());
        health
    }

    fn pass(state: &mut PassState) -> &mut PassRecord {
        state.pass.as_mut().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_whole_pass_over_sources_that_answer_all_is_well() {
        let mut health = of(|_| ());
        health.source(&SourceHealth {
            name: "consul",
            age: Some(blocking::LIMIT),
            error: None,
        });
        assert_eq!(health, Health::default());
        assert!(health.is_ready() && health.is_well());
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_operator_may_not_rely_on_is_not_ready_and_says_why() {
        let rows = [
            (of(|state| state.pass = None), "no pass has been made"),
            (
                of(|state| state.complete = false),
                "no pass has been complete",
            ),
            (of(|state| pass(state).whole = false), "is not whole"),
            (of(|state| state.outline = Arc::default()), "from the disk"),
            (
                of(|state| {
                    state.unread = Unread {
                        services: 900,
                        list: false,
                    }
                }),
                "900 services",
            ),
            (
                of(|state| {
                    state.unread = Unread {
                        services: 0,
                        list: true,
                    }
                }),
                "list of services",
            ),
            (
                of(|state| state.drift = ["net.ipv4.vs.conntrack is 0".to_owned()].into()),
                "differs: net.ipv4.vs.conntrack is 0",
            ),
        ];
        for (health, why) in rows {
            assert!(!health.is_ready() && !health.is_well(), "{why}");
            assert_eq!(health.unready.len(), 1, "{health:?}");
            assert!(health.unready[0].contains(why), "{health:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_makes_no_pass_although_one_is_due_is_not_ready() {
        let state = after_a_whole_pass();
        tokio::time::advance(Duration::from_secs(91)).await;
        let mut health = Health::default();
        health.director(&state, None, Instant::now());
        assert_eq!(health.unready, ["no pass for 91 s"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_needs_a_look_is_ready_and_unwell() {
        let refused = of(|state| (pass(state).failed, pass(state).refused) = (2, 2));
        assert!(refused.is_ready() && !refused.is_well());
        assert!(refused.unwell[0].contains("refuses 2 steps"), "{refused:?}");
        let mut full = Health::default();
        full.director(&after_a_whole_pass(), Some("no space"), Instant::now());
        assert!(full.is_ready());
        assert_eq!(full.unwell, ["no space"]);
    }

    #[test]
    fn a_source_is_relied_on_while_it_answers_or_has_not_failed_for_long() {
        let seconds = |n| Some(Duration::from_secs(n));
        // Age and error, and whether it is ready and well.
        let rows = [
            (None, None, false, false),
            (None, Some("refused"), false, false),
            (seconds(0), None, true, true),
            (seconds(80), None, true, true),
            (seconds(91), None, false, false),
            (seconds(3), Some("refused"), true, false),
            (seconds(11), Some("refused"), false, false),
        ];
        for (age, error, ready, well) in rows {
            let mut health = Health::default();
            health.source(&SourceHealth {
                name: "nomad",
                age,
                error,
            });
            assert_eq!(
                (health.is_ready(), health.is_well()),
                (ready, well),
                "{age:?} {error:?}"
            );
        }
    }
}
