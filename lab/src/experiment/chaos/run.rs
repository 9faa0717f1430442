//! The life of an episode: rest, load, faults and change, healing, agreement, rest again, verdict.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::episode::{COUNT, Episode, Fault, Timed};
use super::keep::{Diary, Positions};
use super::observe::{self, Sampler, Task};
use super::verdict::{self, Agreement, Evidence, Violation};
use super::{fault, foreign, job};
use crate::observe::load::{self, Load, Plan};
use crate::part::nomad::Driver;
use crate::report::ui::{Mode, Step, Ui};
use crate::world::context::Lab;
use crate::world::topology::Node;
use crate::{doctor, up};

/// Requests a second, and how many at once: a cut cable holds each for seconds.
const RATE: u32 = 60;
const WORKERS: u32 = 48;

/// How long all is watched before the first fault.
const CALM: Duration = Duration::from_millis(500);

/// How long mending, agreement and rest are waited for.
const MEND_TIMEOUT: Duration = Duration::from_mins(2);
const AGREEMENT_TIMEOUT: Duration = Duration::from_mins(1);
const REST_TIMEOUT: Duration = Duration::from_secs(90);

/// Between two looks at the views.
const PAUSE: Duration = Duration::from_millis(150);

/// What came of an episode.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) evidence: Evidence,
    pub(super) violations: Vec<Violation>,
    /// From the end of the last fault until all parts were well.
    pub(super) mending: Duration,
    pub(super) diary: Diary,
}

/// Lives through it. An error: the episode could not even begin, or its witnesses failed.
pub(super) fn live(lab: &Arc<Lab>, episode: &Episode, step: &mut Step) -> Result<Account> {
    let mut diary = Diary::new(Positions::of(lab));
    step.note("rest");
    rest_anew(lab, episode)?;
    foreign::put(lab)?;
    let before = observe::tasks(lab)?;
    diary.view("before", &observe::view(lab)?);
    let load = start_load(lab)?;
    let sampler = episode.director_answers().then(|| Sampler::start(lab));
    std::thread::sleep(CALM);

    step.note(&episode.to_string());
    let accepted = suffer(lab, episode, &before, &mut diary);
    let over = Instant::now();
    step.note("mend");
    let unmended = mend(lab).err().map(|error| format!("{error:#}"));
    let mending = over.elapsed();
    step.note("agree");
    let agreement = agree(lab, verdict::goal(episode), &mut diary);
    let agreed_at = load.seconds();
    step.note("come to rest");
    let unrest = accepted
        .and_then(|()| rest(lab, episode.count(), REST_TIMEOUT))
        .err()
        .map(|error| format!("{error:#}"));

    let samples = sampler.map_or(Ok(Vec::new()), Sampler::stop)?;
    let outcome = load.stop()?;
    let guarded = Arc::clone(lab);
    let foreign_missing =
        observe::bounded("look for foreign rules", move || foreign::missing(&guarded))
            .and_then(|found| found)
            .unwrap_or_else(|error| vec![format!("can't be told: {error:#}")]);
    let account = |(at, why): &(f64, String)| format!("at {at:.1} s: {why}");
    let evidence = Evidence {
        before,
        after: observe::tasks(lab).unwrap_or_default(),
        samples,
        unmended,
        agreement,
        unrest,
        foreign_missing,
        asked: outcome.answered + outcome.failed,
        lost: outcome.failed,
        loss: outcome.failures.first().map(account),
        late_loss: outcome
            .last_failure
            .as_ref()
            .filter(|(at, _)| *at > agreed_at)
            .map(account),
    };
    diary.failures(&outcome.failures);
    if let Ok(view) = observe::view(lab) {
        diary.view("after", &view);
    }
    Ok(Account {
        violations: verdict::judge(episode, &evidence),
        evidence,
        mending,
        diary,
    })
}

/// Makes everything that `lab up` makes, until it succeeds.
pub(super) fn mend(lab: &Lab) -> Result<()> {
    let ui = Ui::new(Mode::Silent);
    let wish = up::Wish {
        install: doctor::Installing::Forbidden,
        job: false,
        driver: Driver::Ours,
    };
    let end = Instant::now() + MEND_TIMEOUT;
    loop {
        match up::run(lab, &ui, wish) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// Every fault on a thread of its own, and the change beside them. Returns whether the change was accepted.
fn suffer(lab: &Lab, episode: &Episode, before: &[Task], diary: &mut Diary) -> Result<()> {
    let started = Instant::now();
    let wait_until = |after: Duration| {
        std::thread::sleep((started + after).saturating_duration_since(Instant::now()));
    };
    std::thread::scope(|scope| {
        let faults: Vec<_> = episode
            .faults
            .iter()
            .map(|fault| {
                scope.spawn(move || {
                    wait_until(fault.after);
                    let said = hit(lab, fault);
                    format!(
                        "{:.1} s: {} {}: {said}",
                        started.elapsed().as_secs_f64(),
                        fault.kind,
                        fault.part
                    )
                })
            })
            .collect();
        let change = episode.change.map(|timed| {
            scope.spawn(move || {
                wait_until(timed.after);
                ask(lab, episode, timed, before)
            })
        });
        for fault in faults {
            let line = fault
                .join()
                .unwrap_or_else(|_| "a fault's thread panicked".to_owned());
            diary.line(&line);
        }
        let accepted = change.map_or(Ok(()), |change| {
            change
                .join()
                .unwrap_or_else(|_| Err(anyhow!("the change's thread panicked")))
        });
        if let Some(timed) = &episode.change {
            let words = accepted
                .as_ref()
                .err()
                .map_or("accepted".to_owned(), |error| format!("{error:#}"));
            diary.line(&format!(
                "{:.1} s: {}: {words}",
                started.elapsed().as_secs_f64(),
                timed.change
            ));
        }
        accepted
    })
}

/// Says how it went: what can't be hit (the other fault may have taken it along) is no failure of the lab's.
fn hit(lab: &Lab, fault: &Fault) -> String {
    match fault::inject(lab, fault) {
        Ok(injected) => {
            std::thread::sleep(fault.lasts);
            match fault::heal(lab, &injected) {
                Ok(()) => "done and healed".to_owned(),
                // What `lab up` can't mend either is told by the mending.
                Err(error) => format!("done; healing: {error:#}"),
            }
        }
        Err(error) => format!("not done: {error:#}"),
    }
}

/// Asks until Nomad accepts: it may be what was hit.
fn ask(lab: &Lab, episode: &Episode, timed: Timed, before: &[Task]) -> Result<()> {
    let instance = before
        .iter()
        .find(|task| task.is_running())
        .map(|task| task.alloc.clone())
        .unwrap_or_default();
    let mark = format!("{}-{}", episode.seed, instance);
    let end = Instant::now() + MEND_TIMEOUT;
    loop {
        match job::change(lab, timed.change, &mark, &instance) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > end => {
                return Err(error.context(format!("{} was not accepted", timed.change)));
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// Looks until all views agree twice in a row.
fn agree(lab: &Arc<Lab>, goal: Duration, diary: &mut Diary) -> Agreement {
    let started = Instant::now();
    let mut agreement = Agreement::default();
    let mut since = None;
    while started.elapsed() < AGREEMENT_TIMEOUT {
        let looked = started.elapsed();
        let open = differences(lab);
        if open.is_empty() {
            let first = *since.get_or_insert(looked);
            if first < looked {
                agreement.took = Some(first);
                return agreement;
            }
        } else {
            since = None;
            diary.line(&format!(
                "{:.1} s after mending: {}",
                looked.as_secs_f64(),
                open.join(", ")
            ));
            if looked <= goal || agreement.open.is_empty() {
                agreement.open = open;
            }
        }
        std::thread::sleep(PAUSE);
    }
    agreement
}

/// Where the views differ now, in words.
fn differences(lab: &Arc<Lab>) -> Vec<String> {
    let view = observe::view(lab).map_err(|error| format!("{error:#}"));
    match view.and_then(|view| verdict::differences(&view)) {
        Ok(found) => found.iter().map(ToString::to_string).collect(),
        Err(why) => vec![why],
    }
}

/// The beginning of every episode: the same job, the same number of allocations, nothing under way.
fn rest_anew(lab: &Arc<Lab>, episode: &Episode) -> Result<()> {
    job::want(lab, COUNT, None)?;
    if rest(lab, COUNT, REST_TIMEOUT).is_ok() {
        return Ok(());
    }
    // A deployment that failed keeps Nomad from going on with this version of the job.
    job::want(lab, COUNT, Some(&format!("before-{}", episode.seed)))?;
    rest(lab, COUNT, REST_TIMEOUT)
}

/// Waits until exactly so many allocations run, all views agree and nothing more is to come.
fn rest(lab: &Arc<Lab>, count: u32, timeout: Duration) -> Result<()> {
    crate::host::wait::until(
        "wait for rest",
        timeout,
        || {
            let tasks = observe::tasks(lab)?;
            let living: Vec<&Task> = tasks.iter().filter(|task| !task.is_over()).collect();
            let running = living.iter().filter(|task| task.is_running()).count();
            if living.len() != count as usize || running != living.len() {
                bail!("{running} of {count} run, {} live", living.len());
            }
            job::settled(lab)?;
            let open = differences(lab);
            anyhow::ensure!(open.is_empty(), "{}", open.join(", "));
            Ok(())
        },
        || None,
    )
}

fn start_load(lab: &Lab) -> Result<Load> {
    load::start(&Plan {
        target: lab.topology.vip().into(),
        rate: RATE,
        workers: WORKERS,
        netns: lab.topology.netns(Node::Client.name()),
    })
    .context("start the load")
}
