//! Consul's catalogue as snapshots.
//!
//! One task follows the list of services, one task each follows a service that the config file names or that a tag
//! gives a VIP. All write into one view. A service that left the list is followed on until its own query says that it
//! is empty: a list alone takes nothing away.
//!
//! The view is published once all of it has been read, or, where some of it can't be read, after [`PATIENCE`] without
//! that: one service that a token may not see does not keep all others from being followed. What has not been read is
//! named in the view, so that nobody takes it for empty.
//!
//! `confirm` asks for a second, independent read of everything: consistent, over fresh connections.

mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Published;
use super::blocking::{Backoff, Bucket, Cursor, LIMIT};
use super::consul_json::{Entry, ServiceNames, service};
use super::http::{Answer, Http, HttpError, SetupError};
use crate::config::Api;
use crate::model::catalog::{Catalog, CatalogService};
use crate::parts::Parts;
use crate::tags::concern_us;

pub use view::PATIENCE;
use view::{Part, View};

/// The header that carries Consul's token.
pub const TOKEN_HEADER: &str = "X-Consul-Token";

/// How many services a confirming read asks for at once.
const AT_ONCE: usize = 8;

const CONFIRM_LIMIT: Duration = Duration::from_secs(10);

/// The running source.
#[derive(Debug)]
pub struct ConsulSource {
    pub published: watch::Receiver<Published<Catalog>>,
    /// Asks for a confirming read.
    pub confirm: mpsc::Sender<()>,
}

/// Starts to follow `names` and whatever has a VIP by its tags, until `stop`.
pub fn start(
    api: &Api,
    names: BTreeSet<Arc<str>>,
    parts: &mut Parts,
    stop: CancellationToken,
) -> Result<ConsulSource, SetupError> {
    let http = Http::new(api, TOKEN_HEADER)?;
    let (publisher, published) = watch::channel(Published::default());
    let (confirm, confirmations) = mpsc::channel(1);
    let view = View {
        catalog: Catalog {
            unread: names.clone(),
            unlisted: true,
            ..Catalog::default()
        },
        started: Instant::now(),
        errors: BTreeMap::new(),
        publisher,
    };
    let follower = Follower {
        http,
        api: api.clone(),
        view: Arc::new(Mutex::new(view)),
        named: names,
    };
    parts.spawn("what follows Consul", async move {
        stop.run_until_cancelled(follower.run(confirmations)).await;
    });
    Ok(ConsulSource { published, confirm })
}

#[derive(Debug, Clone)]
struct Follower {
    http: Http,
    api: Api,
    view: Arc<Mutex<View>>,
    named: BTreeSet<Arc<str>>,
}

impl Follower {
    async fn run(self, mut confirmations: mpsc::Receiver<()>) {
        let mut tasks = JoinSet::new();
        for name in &self.named {
            tasks.spawn(self.clone().follow(Arc::clone(name)));
        }
        let mut followed = self.named.clone();
        let mut list = Box::pin(self.list(Cursor::default()));
        let mut confirming = JoinSet::new();
        let mut pace = Bucket::new();
        let mut backoff = Backoff::default();
        loop {
            // Cancel-safe: a list that lost to another arm is polled on, a finished task and a request are taken once.
            let listed = tokio::select! {
                listed = &mut list => listed,
                Some(ended) = tasks.join_next() => {
                    if let Some(name) = whole(ended) {
                        followed.remove(&name);
                    }
                    continue;
                }
                Some(confirmed) = confirming.join_next() => {
                    whole(confirmed);
                    continue;
                }
                Some(()) = confirmations.recv(), if confirming.is_empty() => {
                    confirming.spawn(self.clone().confirm(followed.clone()));
                    continue;
                }
            };
            let next = match listed {
                Ok((names, cursor, arrived)) => {
                    backoff.reset();
                    for name in &names {
                        if followed.insert(Arc::clone(name)) {
                            self.lock().catalog.unread.insert(Arc::clone(name));
                            tasks.spawn(self.clone().follow(Arc::clone(name)));
                        }
                    }
                    self.lock().listed(arrived, cursor.0);
                    pace.take().await;
                    cursor
                }
                Err(error) => {
                    self.lock().failed(Part::List, &error);
                    tokio::time::sleep(backoff.failed()).await;
                    Cursor::default()
                }
            };
            list = Box::pin(self.list(next));
        }
    }

    /// Names with a tag that is meant for us.
    async fn list(&self, cursor: Cursor) -> Result<(Vec<Arc<str>>, Cursor, Instant), HttpError> {
        let path = format!("/v1/catalog/services?{}", cursor.query());
        let answer = asked(&self.http, &path, LIMIT).await?;
        Ok((
            tagged_names(&answer, &path)?,
            cursor.after(index(&answer)),
            answer.arrived,
        ))
    }

    /// Follows one service; ends when it is gone and not named in the config file.
    async fn follow(self, name: Arc<str>) -> Arc<str> {
        let (mut cursor, mut backoff, mut pace) =
            (Cursor::default(), Backoff::default(), Bucket::new());
        loop {
            match self.health(&self.http, &name, &cursor.query(), LIMIT).await {
                Ok((read, answer)) => {
                    backoff.reset();
                    cursor = cursor.after(index(&answer));
                    let named = self.named.contains(&name);
                    let gone = read.instances.is_empty() && !named;
                    self.lock()
                        .read(&name, read, named, (answer.arrived, cursor.0));
                    if gone {
                        return name;
                    }
                    pace.take().await;
                }
                Err(error) => {
                    self.lock().failed(Part::Service(Arc::clone(&name)), &error);
                    cursor = Cursor::default();
                    tokio::time::sleep(backoff.failed()).await;
                }
            }
        }
    }

    async fn health(
        &self,
        http: &Http,
        name: &str,
        query: &str,
        limit: Duration,
    ) -> Result<(CatalogService, Answer), HttpError> {
        let path = format!("/v1/health/service/{}?{query}", encoded(name));
        let answer = asked(http, &path, limit).await?;
        let entries: Vec<Entry> = answer.json(&path)?;
        let filtered = answer.flag("X-Consul-Results-Filtered-By-ACLs") == Some(true);
        if filtered && entries.is_empty() {
            let why = "everything was filtered out by ACLs: does the token have service:read and node:read?".into();
            return Err(HttpError::Unusable { path, why });
        }
        let (read, unusable) = service(&entries);
        for instance in unusable {
            warn!(
                service = name,
                instance, "instance has no usable IP address and port; it is left out"
            );
        }
        Ok((read, answer))
    }

    /// One whole, consistent read over connections of its own. What a follower read meanwhile is newer and stays.
    async fn confirm(self, followed: BTreeSet<Arc<str>>) {
        let read = self.read_all(&followed).await;
        let mut view = self.lock();
        match read {
            Ok(services) => {
                for (name, before, service) in services {
                    let there = view.catalog.services.get(&name);
                    let same = match (there, &before) {
                        (Some(there), Some(before)) => Arc::ptr_eq(there, before),
                        (there, before) => there.is_none() && before.is_none(),
                    };
                    if same {
                        let keep = self.named.contains(&name);
                        view.take(name, service, keep);
                    }
                }
                view.catalog.confirmations += 1;
                view.well(&Part::Confirmation);
                view.publish(true, Some((Instant::now(), 0)));
            }
            Err(error) => view.failed(Part::Confirmation, &error),
        }
    }

    /// All that is known by name. What can't be read anyway confirms nothing and hinders nothing.
    async fn read_all(&self, followed: &BTreeSet<Arc<str>>) -> Result<Vec<Confirmed>, HttpError> {
        let fresh = Http::new(&self.api, TOKEN_HEADER).map_err(|source| HttpError::Setup {
            path: "/".to_owned(),
            source,
        })?;
        let mut names = followed.clone();
        names.extend(self.lock().catalog.services.keys().map(Arc::clone));
        let one = |name: Arc<str>| {
            let fresh = &fresh;
            async move {
                let before = self.lock().catalog.services.get(&name).map(Arc::clone);
                match self.health(fresh, &name, "consistent", CONFIRM_LIMIT).await {
                    Ok((read, _)) => Ok(Some((name, before, read))),
                    Err(_) if self.lock().is_failing(&name) => Ok(None),
                    Err(error) => Err(error),
                }
            }
        };
        let mut reads =
            futures_util::stream::iter(names.into_iter().map(one)).buffer_unordered(AT_ONCE);
        let mut services = Vec::new();
        while let Some(read) = reads.next().await {
            services.extend(read?);
        }
        Ok(services)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, View> {
        self.view
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A service's name, what was known of it before it was read, and what it is.
type Confirmed = (Arc<str>, Option<Arc<CatalogService>>, CatalogService);

/// What a task ended with; one that panicked takes the whole source with it, for nobody would follow in its place.
fn whole<T>(ended: Result<T, JoinError>) -> Option<T> {
    match ended {
        Ok(value) => Some(value),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => None,
        },
    }
}

fn tagged_names(answer: &Answer, path: &str) -> Result<Vec<Arc<str>>, HttpError> {
    let names: ServiceNames = answer.json(path)?;
    let asks = |tags: &Option<Vec<String>>| concern_us(tags.iter().flatten().map(String::as_str));
    Ok(names
        .into_iter()
        .filter(|(_, tags)| asks(tags))
        .map(|(name, _)| Arc::from(name))
        .collect())
}

/// An answer of a cluster that has a leader.
async fn asked(http: &Http, path: &str, limit: Duration) -> Result<Answer, HttpError> {
    let answer = http.get(path, limit).await?;
    if answer.flag("X-Consul-KnownLeader") == Some(false) {
        return Err(HttpError::Unusable {
            path: path.to_owned(),
            why: "the cluster has no leader".to_owned(),
        });
    }
    Ok(answer)
}

fn index(answer: &Answer) -> Option<u64> {
    answer.number("X-Consul-Index")
}

/// A service's name in a path.
pub fn encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing into a String does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
