//! Consul's catalogue as snapshots.
//!
//! One task follows the list of services, one task each follows a service that the config file names or that a tag
//! gives a VIP. All write into one view. A service that left the list is followed on until its own query says that it
//! is empty: a list alone takes nothing away.
//!
//! `confirm` asks for a second, independent read of everything: consistent, over fresh connections.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Published;
use super::blocking::{Backoff, Bucket, Cursor, LIMIT};
use super::consul_json::{Entry, ServiceNames, service};
use super::http::{Answer, Http, HttpError};
use crate::config::Api;
use crate::model::catalog::{Catalog, CatalogService};
use crate::tags::ask_for_vip;

/// The header that carries Consul's token.
pub const TOKEN_HEADER: &str = "X-Consul-Token";

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
    stop: CancellationToken,
) -> Result<ConsulSource, reqwest::Error> {
    let http = Http::new(api, TOKEN_HEADER)?;
    let (publisher, published) = watch::channel(Published::default());
    let (confirm, confirmations) = mpsc::channel(1);
    let view = View {
        catalog: Catalog::default(),
        unread: names.clone(),
        listed: false,
        publisher,
    };
    let follower = Follower {
        http,
        api: api.clone(),
        view: Arc::new(Mutex::new(view)),
        named: names,
    };
    tokio::spawn(async move { stop.run_until_cancelled(follower.run(confirmations)).await });
    Ok(ConsulSource { published, confirm })
}

/// What all tasks write into. It is published once everything has been read once.
#[derive(Debug)]
struct View {
    catalog: Catalog,
    unread: BTreeSet<Arc<str>>,
    listed: bool,
    publisher: watch::Sender<Published<Catalog>>,
}

impl View {
    /// The list of services has been read.
    fn listed(&mut self, arrived: Instant, index: u64) {
        self.listed = true;
        self.publish(false, arrived, index);
    }

    /// A service as just read.
    fn read(&mut self, name: &Arc<str>, read: CatalogService, answer: &Answer, index: u64) {
        let first = self.unread.remove(name);
        let changed = self
            .catalog
            .services
            .get(name)
            .is_none_or(|there| **there != read);
        if changed {
            self.catalog
                .services
                .insert(Arc::clone(name), Arc::new(read));
        }
        self.publish(changed || first, answer.arrived, index);
    }

    /// Whatever has been read is shown, once all has been; a view that does not differ wakes nobody.
    fn publish(&mut self, changed: bool, arrived: Instant, index: u64) {
        let ready = self.listed && self.unread.is_empty();
        self.publisher.send_if_modified(|published| {
            published.read_at = Some(arrived);
            published.index = published.index.max(index);
            published.error = None;
            if !ready || !(changed || published.view.is_none()) {
                return false;
            }
            published.arrived = Some(arrived);
            published.view = Some(Arc::new(self.catalog.clone()));
            true
        });
    }

    fn failed(&self, error: &HttpError) {
        let told = error.told();
        self.publisher.send_if_modified(|published| {
            published.error = Some(told);
            false
        });
    }
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
        let mut pace = Bucket::new();
        let mut backoff = Backoff::default();
        loop {
            // Cancel-safe: a list that lost to another arm is polled on, a finished task and a request are taken once.
            let listed = tokio::select! {
                listed = &mut list => listed,
                Some(ended) = tasks.join_next() => {
                    if let Ok(name) = ended {
                        followed.remove(&name);
                    }
                    continue;
                }
                Some(()) = confirmations.recv() => {
                    self.confirm(&followed).await;
                    continue;
                }
            };
            let next = match listed {
                Ok((names, cursor, arrived)) => {
                    backoff.reset();
                    for name in &names {
                        if followed.insert(Arc::clone(name)) {
                            self.lock().unread.insert(Arc::clone(name));
                            tasks.spawn(self.clone().follow(Arc::clone(name)));
                        }
                    }
                    self.lock().listed(arrived, cursor.0);
                    pace.take().await;
                    cursor
                }
                Err(error) => {
                    debug!(error = error.told(), "consul's list of services");
                    self.lock().failed(&error);
                    tokio::time::sleep(backoff.failed()).await;
                    Cursor::default()
                }
            };
            list = Box::pin(self.list(next));
        }
    }

    /// Names with a VIP tag.
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
                    let gone = read.instances.is_empty() && !self.named.contains(&name);
                    self.lock().read(&name, read, &answer, cursor.0);
                    if gone {
                        return name;
                    }
                    pace.take().await;
                }
                Err(error) => {
                    debug!(
                        service = &*name,
                        error = error.told(),
                        "consul's health query"
                    );
                    self.lock().failed(&error);
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

    /// One whole, consistent read over connections of its own.
    async fn confirm(&self, followed: &BTreeSet<Arc<str>>) {
        let read = self.read_all(followed).await;
        let mut view = self.lock();
        match read {
            Ok((services, arrived)) => {
                for (name, service) in services {
                    view.unread.remove(&name);
                    view.catalog.services.insert(name, Arc::new(service));
                }
                view.catalog.confirmations += 1;
                view.publish(true, arrived, 0);
            }
            Err(error) => {
                warn!(
                    error = error.told(),
                    "a second read of the catalogue failed; what it lost is held on"
                );
                view.failed(&error);
            }
        }
    }

    async fn read_all(
        &self,
        followed: &BTreeSet<Arc<str>>,
    ) -> Result<(Vec<(Arc<str>, CatalogService)>, Instant), HttpError> {
        let fresh =
            Http::new(&self.api, TOKEN_HEADER).map_err(|source| HttpError::Unreachable {
                path: "/".to_owned(),
                source,
            })?;
        let path = "/v1/catalog/services?consistent";
        let answer = asked(&fresh, path, CONFIRM_LIMIT).await?;
        let mut names = followed.clone();
        names.extend(tagged_names(&answer, path)?);
        let known: Vec<Arc<str>> = self
            .lock()
            .catalog
            .services
            .keys()
            .map(Arc::clone)
            .collect();
        names.extend(known);
        let mut services = Vec::new();
        for name in names {
            let (read, _) = self
                .health(&fresh, &name, "consistent", CONFIRM_LIMIT)
                .await?;
            services.push((name, read));
        }
        Ok((services, Instant::now()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, View> {
        self.view
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn tagged_names(answer: &Answer, path: &str) -> Result<Vec<Arc<str>>, HttpError> {
    let names: ServiceNames = answer.json(path)?;
    let asks = |tags: &Option<Vec<String>>| ask_for_vip(tags.iter().flatten().map(String::as_str));
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
