//! Nomad's allocations as snapshots.
//!
//! One blocking query lists all allocations with their ports and task states. Which task serves a port and which ports
//! Nomad itself registers stands in the job only, so each version of a job that has a live allocation is asked for
//! once, a few at a time, beside the list. What is known is published at once; only the very first view waits for jobs,
//! for half a second at most.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use syncer_core::model::LeftOut;
use syncer_core::model::fleet::Fleet;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::blocking::{Cursor, LIMIT, PACE};
use super::lenient::{self, Field};
use super::nomad_json::{Shape, Stub, shapes};
use super::{Published, whole};
use crate::backoff::Backoff;
use crate::http::{Answer, Api, Http, HttpError, SetupError};
use crate::parts::Parts;
use crate::rate::Bucket;

/// The header that carries Nomad's token.
pub const TOKEN_HEADER: &str = "X-Nomad-Token";

const SHAPE_READ_TIMEOUT: Duration = Duration::from_secs(2);

/// How many jobs are asked for at once.
const SHAPES_AT_ONCE: usize = 4;

/// How long the first view waits for jobs.
const FIRST_SHAPES_WAIT: Duration = Duration::from_millis(500);

/// How long jobs that were read may wait for others, so that a thousand of them do not make a thousand views.
const SHAPES_COLLECTION: Duration = Duration::from_millis(50);

/// How many unusable entries of a list the view names.
const LEFT_OUT_NAMED: usize = 50;

/// Starts to follow all allocations, until `stop`.
pub fn start(
    api: &Api,
    parts: &mut Parts,
    stop: CancellationToken,
) -> Result<watch::Receiver<Published<Fleet>>, SetupError> {
    let http = Http::new(api, TOKEN_HEADER)?;
    let (publisher, published) = watch::channel(Published::default());
    let follower = Follower {
        http,
        publisher,
        list: None,
        shapes: Shapes::default(),
        publish_at: None,
    };
    parts.spawn("what follows Nomad", async move {
        stop.run_until_cancelled(follower.run()).await;
    });
    Ok(published)
}

/// Namespace, job and version.
type JobVersion = (String, String, i64);

/// A job's groups by name.
type Groups = HashMap<String, Shape>;

type Listing = (Result<(Vec<Field<Stub>>, Answer), HttpError>, Cursor);

struct Follower {
    http: Http,
    publisher: watch::Sender<Published<Fleet>>,
    /// The last good list, its index and when it came.
    list: Option<(Vec<Field<Stub>>, u64, Instant)>,
    shapes: Shapes,
    /// When to publish what the source has learnt of jobs meanwhile.
    publish_at: Option<Instant>,
}

/// What is known of jobs.
#[derive(Default)]
struct Shapes {
    known: HashMap<JobVersion, Groups>,
    /// Jobs that are not known and not asked for yet, with an allocation of each.
    missing: BTreeMap<JobVersion, String>,
    reading: BTreeSet<JobVersion>,
    reads: JoinSet<(JobVersion, String, Result<Groups, HttpError>)>,
    /// Asked for in vain; they are missing again at `retry_at`.
    failed: BTreeMap<JobVersion, String>,
    retry_at: Option<Instant>,
    backoff: Backoff,
    /// Why a job can't be read, until it is.
    errors: BTreeMap<JobVersion, String>,
}

impl Follower {
    async fn run(mut self) {
        let (mut backoff, mut pace) = (Backoff::default(), Bucket::new(PACE));
        let mut list = listing(self.http.clone(), Cursor::default(), Duration::ZERO);
        loop {
            self.shapes.ask(&self.http);
            // Cancel-safe: a list that lost to another arm is polled on, an answer is taken once.
            tokio::select! {
                (listed, cursor) = &mut list => {
                    let (next, wait) = match listed {
                        Ok((stubs, answer)) => {
                            backoff.reset();
                            let next = cursor.after(answer.number("X-Nomad-Index"));
                            self.take(stubs, next.0, answer.arrived);
                            (next, pace.take())
                        }
                        Err(error) => {
                            self.fail(error.chain());
                            (Cursor::default(), backoff.fail())
                        }
                    };
                    list = listing(self.http.clone(), next, wait);
                }
                Some(ended) = self.shapes.reads.join_next() => {
                    if let Some((job, allocation, groups)) = whole(ended) {
                        self.learn(job, allocation, groups);
                    }
                }
                () = super::until(self.shapes.retry_at) => self.shapes.retry(),
                () = super::until(self.publish_at) => self.publish(),
            }
        }
    }

    /// A list: what is known of it is told, what is not is asked for.
    fn take(&mut self, stubs: Vec<Field<Stub>>, index: u64, arrived: Instant) {
        self.shapes.want(&stubs);
        let first = self.list.is_none();
        self.list = Some((stubs, index, arrived));
        if first && !self.shapes.are_complete() {
            self.publish_at = Some(Instant::now() + FIRST_SHAPES_WAIT);
        } else if !self.is_first_awaited() || self.shapes.are_complete() {
            self.publish();
        }
    }

    fn learn(&mut self, job: JobVersion, allocation: String, groups: Result<Groups, HttpError>) {
        self.shapes.reading.remove(&job);
        match groups {
            Ok(groups) => {
                self.shapes.errors.remove(&job);
                self.shapes.known.insert(job, groups);
                let soon = Instant::now() + SHAPES_COLLECTION;
                self.publish_at.get_or_insert(soon);
            }
            Err(error) => {
                if self.shapes.fail(job, allocation, &error) {
                    let soon = Instant::now() + SHAPES_COLLECTION;
                    self.publish_at.get_or_insert(soon);
                }
            }
        }
        if self.shapes.are_complete() {
            self.shapes.backoff.reset();
            self.publish();
        }
    }

    fn is_first_awaited(&self) -> bool {
        self.publisher.borrow().view.is_none()
    }

    fn fail(&self, error: String) {
        self.publisher.send_if_modified(|published| {
            if published.error.is_some() {
                debug!(error, "Nomad");
            } else {
                warn!(error, "Nomad can't be read; what was known holds on");
            }
            published.error = Some(error);
            false
        });
    }

    fn publish(&mut self) {
        self.publish_at = None;
        let Some((stubs, index, arrived)) = &self.list else {
            return;
        };
        let mut left_out = Vec::new();
        let mut allocations = Vec::with_capacity(stubs.len());
        for (position, stub) in stubs.iter().enumerate() {
            let Some(stub) = stub.value() else {
                left_out.push(LeftOut {
                    what: format!(
                        "number {} of Nomad's allocations",
                        position.saturating_add(1)
                    ),
                    reason: "it is not described".to_owned(),
                });
                continue;
            };
            let groups = self.shapes.known.get(&stub.job());
            let shape = groups.and_then(|groups| groups.get(stub.group()));
            allocations.extend(stub.allocation(shape, &mut left_out));
        }
        let mut fleet = Fleet::new(allocations);
        fleet.left_out.append(&mut left_out);
        let jobs = self.shapes.errors.iter();
        fleet
            .left_out
            .extend(jobs.map(|((namespace, job, _), why)| LeftOut {
                what: format!("job {job} of namespace {namespace}"),
                reason: format!("{why}; which of its tasks serve is not known"),
            }));
        fleet.left_out.truncate(LEFT_OUT_NAMED);
        self.publisher.send_modify(|published| {
            let before = published.view.as_ref().map(|view| view.left_out.as_slice());
            for new in &fleet.left_out {
                if !before.is_some_and(|before| before.contains(new)) {
                    warn!(
                        what = new.what,
                        why = new.reason,
                        "of Nomad's answers something can't be used"
                    );
                }
            }
            if published.error.is_some() {
                info!("Nomad is read again");
            }
            *published = Published {
                view: Some(Arc::new(fleet)),
                index: *index,
                read_at: Some(*arrived),
                arrived: Some(*arrived),
                error: None,
            };
        });
    }
}

impl Shapes {
    /// Forgets jobs without a live allocation; those that are not known are missing.
    fn want(&mut self, stubs: &[Field<Stub>]) {
        let mut known = HashMap::new();
        let (mut missing, mut failed) = (BTreeMap::new(), BTreeMap::new());
        for stub in stubs.iter().filter_map(Field::value) {
            if !stub.is_alive() || stub.id().is_empty() {
                continue;
            }
            let job = stub.job();
            if known.contains_key(&job) || missing.contains_key(&job) || failed.contains_key(&job) {
                continue;
            }
            if let Some(groups) = self.known.remove(&job) {
                known.insert(job, groups);
            } else if let Some(allocation) = self.failed.remove(&job) {
                failed.insert(job, allocation);
            } else if !self.reading.contains(&job) {
                missing.insert(job, stub.id().to_owned());
            }
        }
        (self.known, self.missing, self.failed) = (known, missing, failed);
        let (failed, missing, reading) = (&self.failed, &self.missing, &self.reading);
        self.errors.retain(|job, _| {
            failed.contains_key(job) || missing.contains_key(job) || reading.contains(job)
        });
    }

    /// Asks for what is missing, a few at once.
    fn ask(&mut self, http: &Http) {
        while self.reads.len() < SHAPES_AT_ONCE {
            let Some((job, allocation)) = self.missing.pop_first() else {
                return;
            };
            let http = http.clone();
            self.reading.insert(job.clone());
            self.reads.spawn(async move {
                let groups = groups(&http, &allocation).await;
                (job, allocation, groups)
            });
        }
    }

    /// Takes a failure; says whether it is new.
    fn fail(&mut self, job: JobVersion, allocation: String, error: &HttpError) -> bool {
        let known = self.errors.contains_key(&job);
        self.errors
            .entry(job.clone())
            .or_insert_with(|| error.chain());
        self.failed.insert(job, allocation);
        // One wait for all that fail together.
        if self.retry_at.is_none() {
            self.retry_at = Some(Instant::now() + self.backoff.fail());
        }
        !known
    }

    fn retry(&mut self) {
        self.retry_at = None;
        self.missing.append(&mut self.failed);
    }

    fn are_complete(&self) -> bool {
        self.missing.is_empty() && self.failed.is_empty() && self.reads.is_empty()
    }
}

/// The next list, after a wait.
fn listing(
    http: Http,
    cursor: Cursor,
    wait: Duration,
) -> Pin<Box<dyn Future<Output = Listing> + Send>> {
    Box::pin(async move {
        tokio::time::sleep(wait).await;
        (allocations(&http, cursor).await, cursor)
    })
}

async fn allocations(http: &Http, cursor: Cursor) -> Result<(Vec<Field<Stub>>, Answer), HttpError> {
    let path = format!(
        "/v1/allocations?namespace=*&resources=true&task_states=true&{}",
        cursor.query()
    );
    let answer = http.get(&path, LIMIT).await?;
    if answer.flag("X-Nomad-KnownLeader") == Some(false) {
        return Err(HttpError::Unusable {
            path,
            why: "the cluster has no leader".to_owned(),
        });
    }
    let stubs = lenient::read(&answer, &path)?;
    Ok((stubs, answer))
}

async fn groups(http: &Http, allocation: &str) -> Result<Groups, HttpError> {
    let path = format!("/v1/allocation/{}", super::consul::encoded(allocation));
    let answer = match http.get(&path, SHAPE_READ_TIMEOUT).await {
        // It is over and forgotten.
        Err(HttpError::Status { status, .. }) if status == 404 => return Ok(HashMap::new()),
        answer => answer?,
    };
    let allocation: Value = lenient::read(&answer, &path)?;
    Ok(shapes(&allocation))
}
