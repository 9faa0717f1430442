//! Nomad's allocations as snapshots.
//!
//! One blocking query lists all allocations with their ports and task states. Which task serves a port and which ports
//! Nomad itself registers stands in the job only, so each version of a job that has a live allocation is asked for
//! once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Published;
use super::blocking::{Backoff, Bucket, Cursor, LIMIT};
use super::http::{Answer, Http, HttpError, SetupError};
use super::nomad_json::{Shape, Stub, shapes};
use crate::config::Api;
use crate::model::fleet::Fleet;
use crate::parts::Parts;

/// The header that carries Nomad's token.
pub const TOKEN_HEADER: &str = "X-Nomad-Token";

const SHAPE_LIMIT: Duration = Duration::from_secs(2);

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
        jobs: HashMap::new(),
    };
    parts.spawn("what follows Nomad", async move {
        stop.run_until_cancelled(follower.run()).await;
    });
    Ok(published)
}

type JobVersion = (String, String, u64);

struct Follower {
    http: Http,
    publisher: watch::Sender<Published<Fleet>>,
    jobs: HashMap<JobVersion, HashMap<String, Shape>>,
}

impl Follower {
    async fn run(mut self) {
        let (mut cursor, mut backoff, mut pace) =
            (Cursor::default(), Backoff::default(), Bucket::new());
        loop {
            match self.list(cursor).await {
                Ok((stubs, answer)) => {
                    backoff.reset();
                    cursor = cursor.after(answer.number("X-Nomad-Index"));
                    let complete = self.learn(&stubs).await;
                    self.publish(&stubs, &answer, cursor.0);
                    if !complete {
                        // A shape is missing: read again soon instead of after the next change.
                        cursor = Cursor::default();
                        tokio::time::sleep(backoff.failed()).await;
                    }
                    pace.take().await;
                }
                Err(error) => {
                    let told = error.told();
                    self.publisher.send_if_modified(|published| {
                        if published.error.is_some() {
                            debug!(error = told, "Nomad");
                        } else {
                            warn!(error = told, "Nomad can't be read; what was known holds on");
                        }
                        published.error = Some(told);
                        false
                    });
                    cursor = Cursor::default();
                    tokio::time::sleep(backoff.failed()).await;
                }
            }
        }
    }

    async fn list(&self, cursor: Cursor) -> Result<(Vec<Stub>, Answer), HttpError> {
        let path = format!(
            "/v1/allocations?namespace=*&resources=true&task_states=true&{}",
            cursor.query()
        );
        let answer = self.http.get(&path, LIMIT).await?;
        if answer.flag("X-Nomad-KnownLeader") == Some(false) {
            return Err(HttpError::Unusable {
                path,
                why: "the cluster has no leader".to_owned(),
            });
        }
        let stubs = answer.json(&path)?;
        Ok((stubs, answer))
    }

    /// Asks for jobs that were not seen yet and forgets those without a live allocation; says whether all are known.
    async fn learn(&mut self, stubs: &[Stub]) -> bool {
        let mut known = HashMap::new();
        let mut complete = true;
        for stub in stubs.iter().filter(|stub| stub.alive()) {
            let key = key(stub);
            if known.contains_key(&key) {
                continue;
            }
            let shape = match self.jobs.remove(&key) {
                Some(shape) => Some(shape),
                None => self.shape(&stub.id).await,
            };
            match shape {
                Some(shape) => {
                    known.insert(key, shape);
                }
                None => complete = false,
            }
        }
        self.jobs = known;
        complete
    }

    async fn shape(&self, id: &str) -> Option<HashMap<String, Shape>> {
        let path = format!("/v1/allocation/{id}");
        let answer = self
            .http
            .get(&path, SHAPE_LIMIT)
            .await
            .and_then(|answer| answer.json::<Value>(&path));
        match answer {
            Ok(allocation) => Some(shapes(&allocation)),
            Err(HttpError::Status { status, .. }) if status == 404 => Some(HashMap::new()),
            Err(error) => {
                warn!(error = error.told(), "an allocation's job");
                None
            }
        }
    }

    fn publish(&self, stubs: &[Stub], answer: &Answer, index: u64) {
        let allocation = |stub: &Stub| {
            let shape = self
                .jobs
                .get(&key(stub))
                .and_then(|groups| groups.get(stub.group()));
            stub.allocation(shape)
        };
        let fleet = Arc::new(Fleet::new(stubs.iter().filter_map(allocation)));
        self.publisher.send_modify(|published| {
            if published.error.is_some() {
                info!("Nomad is read again");
            }
            *published = Published {
                view: Some(fleet),
                index,
                read_at: Some(answer.arrived),
                arrived: Some(answer.arrived),
                error: None,
            };
        });
    }
}

fn key(stub: &Stub) -> JobVersion {
    (stub.namespace.clone(), stub.job.clone(), stub.job_version)
}
