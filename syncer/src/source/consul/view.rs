//! The one view that all followers of Consul write into, and when it is published.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use syncer_core::model::LeftOut;
use syncer_core::model::catalog::{Catalog, CatalogService};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::feed::{Feed, Tagged};
use super::nodes::Nodes;
use crate::http::HttpError;
use crate::source::Published;

/// How long the first view waits for what can't be read.
pub const FIRST_VIEW_TIMEOUT: Duration = Duration::from_secs(10);

/// What all tasks write into.
#[derive(Debug)]
pub(super) struct View {
    pub(super) catalog: Catalog,
    nodes: Nodes,
    pub(super) started: Instant,
    /// What can't be read now, and why.
    pub(super) errors: BTreeMap<Subject, String>,
    pub(super) publisher: watch::Sender<Published<Catalog>>,
}

/// Why a service is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interest {
    /// The config file names it: it stays, also without an instance.
    Config,
    /// Its tags ask for something: without an instance it is forgotten.
    Tags,
}

/// What a read is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Feed(Feed),
    Service(Arc<str>),
    Confirmation,
}

/// How many services that can't be read the log names; all of them are in the status.
const WARNINGS_LIMIT: usize = 3;

impl View {
    /// A view before anything is read.
    pub(super) fn new(publisher: watch::Sender<Published<Catalog>>) -> Self {
        Self {
            catalog: Catalog {
                unlisted: true,
                ..Catalog::default()
            },
            nodes: Nodes::default(),
            started: Instant::now(),
            errors: BTreeMap::new(),
            publisher,
        }
    }

    /// The list of services has been read; `tagged` are those that ask for a VIP.
    pub(super) fn list(&mut self, arrived: Instant, index: u64, tagged: &Tagged) {
        let first = std::mem::take(&mut self.catalog.unlisted);
        let refused = self.catalog.refused.len();
        self.catalog
            .refused
            .retain(|name, _| tagged.contains_key(name));
        let fewer = self.catalog.refused.len() != refused;
        self.well(&Subject::Feed(Feed::Names));
        self.publish(first || fewer, Some((arrived, index)));
    }

    /// A service that can't even be asked for. One of the config file has its VIP and nobody behind it.
    pub(super) fn refuse(&mut self, name: &Arc<str>, why: &'static str, interest: Interest) {
        let refused = LeftOut {
            what: format!("service {name:?}"),
            reason: why.to_owned(),
        };
        if self.catalog.refused.get(name) == Some(&refused) {
            return;
        }
        warn!(service = ?name, why, "a service is left out");
        if interest == Interest::Config {
            let service = CatalogService {
                left_out: vec![refused],
                ..CatalogService::default()
            };
            self.take(Arc::clone(name), service, Interest::Config);
        } else {
            self.catalog.refused.insert(Arc::clone(name), refused);
        }
        self.publish(true, None);
    }

    /// Notes that Consul goes on with another history: it has lost its data, or has got other data.
    pub(super) fn restart(&mut self) {
        warn!(
            "Consul's index went back, or it lists nothing at all: it has lost its data, or has got other data"
        );
        self.catalog.restarts = self.catalog.restarts.saturating_add(1);
    }

    /// A service as just read, because of an answer that came at `named_at`. One that is empty and not named in the
    /// config file is forgotten.
    pub(super) fn read(
        &mut self,
        name: &Arc<str>,
        read: CatalogService,
        interest: Interest,
        named_at: Instant,
        at: (Instant, u64),
    ) {
        let changed = self.take(Arc::clone(name), read, interest);
        self.well(&Subject::Service(Arc::clone(name)));
        self.publish_since(changed, Some(at), Some(named_at));
    }

    /// Takes a service as just read; says whether anything is different now.
    pub(super) fn take(
        &mut self,
        name: Arc<str>,
        mut read: CatalogService,
        interest: Interest,
    ) -> bool {
        let first = self.catalog.unread.remove(&name);
        let services = &mut self.catalog.services;
        if interest == Interest::Tags && read.is_empty() {
            return services.remove(&name).is_some() || first;
        }
        let before = services.get(&name);
        let changed = before.is_none_or(|current| **current != read);
        if changed {
            let known = before.map_or(&[][..], |before| &before.left_out);
            for new in read.left_out.iter().filter(|entry| !known.contains(entry)) {
                warn!(
                    service = &*name,
                    instance = new.what,
                    why = new.reason,
                    "an instance is left out"
                );
            }
            self.nodes.share(&mut read);
            services.insert(name, Arc::new(read));
        }
        changed || first
    }

    pub(super) fn is_failing(&self, name: &Arc<str>) -> bool {
        self.errors
            .contains_key(&Subject::Service(Arc::clone(name)))
    }

    /// A view that does not differ wakes nobody.
    pub(super) fn publish(&mut self, changed: bool, answered: Option<(Instant, u64)>) {
        self.publish_since(changed, answered, None);
    }

    /// The same, for a change that an answer named at `told_at`.
    fn publish_since(
        &mut self,
        changed: bool,
        answered: Option<(Instant, u64)>,
        told_at: Option<Instant>,
    ) {
        let ready = self.ready();
        let error = self.error();
        let catalog = &self.catalog;
        self.publisher.send_if_modified(|published| {
            published.error = error;
            if let Some((arrived, index)) = answered {
                published.read_at = Some(arrived);
                published.index = published.index.max(index);
            }
            let first = published.view.is_none();
            if first && !ready || !first && !changed {
                return false;
            }
            published.arrived = told_at.or(published.read_at);
            published.view = Some(Arc::new(catalog.clone()));
            true
        });
    }

    /// Describes what is wrong now: the first thing, and how many more there are.
    fn error(&self) -> Option<String> {
        let first = self.errors.values().next()?;
        Some(match self.errors.len() {
            1 => first.clone(),
            more => format!("{first} (and {} more)", more.saturating_sub(1)),
        })
    }

    /// Whether this can be the first view: all of it has been read, or the rest has had its time.
    fn ready(&self) -> bool {
        let Catalog {
            unread, unlisted, ..
        } = &self.catalog;
        if !unlisted && unread.is_empty() {
            return true;
        }
        let anything = !unlisted || !self.catalog.services.is_empty();
        let list = !unlisted || self.errors.contains_key(&Subject::Feed(Feed::Names));
        anything
            && list
            && self.started.elapsed() >= FIRST_VIEW_TIMEOUT
            && unread.iter().all(|name| self.is_failing(name))
    }

    pub(super) fn fail(&mut self, subject: Subject, error: &HttpError) {
        let text = error.chain();
        // A server that is down fails for ten thousand services, and is one thing to be told of.
        if self.errors.contains_key(&subject) || self.errors.len() >= WARNINGS_LIMIT {
            debug!(error = text, "Consul");
        } else {
            warn!(
                error = text,
                "Consul can't be read; what was known holds on"
            );
        }
        self.errors.insert(subject, text);
        self.publish(false, None);
    }

    pub(super) fn well(&mut self, subject: &Subject) {
        if self.errors.remove(subject).is_some() && self.errors.len() < WARNINGS_LIMIT {
            match subject {
                Subject::Service(name) => info!(service = &**name, "Consul is read again"),
                Subject::Feed(_) | Subject::Confirmation => info!("Consul is read again"),
            }
        }
    }
}
