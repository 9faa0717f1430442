//! What all reads of Consul share: the client, the view that they fill, and what is done with a service that was read.
//!
//! Not for when something is read: see `agenda`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use syncer_core::model::catalog::CatalogService;
use tokio::sync::watch;
use tokio::time::Instant;

use super::read::{self, Read};
use super::view::{Interest, Subject, View};
use crate::http::{Answer, Http, HttpError};

/// What all reads share.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub(super) http: Http,
    pub(super) view: Arc<Mutex<View>>,
    /// Services of the config file: followed even without an instance.
    pub(super) named: watch::Receiver<BTreeSet<Arc<str>>>,
}

impl Reader {
    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, View> {
        self.view
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Why a service is followed now.
    pub(super) fn interest(&self, name: &str) -> Interest {
        if self.named.borrow().contains(name) {
            Interest::Config
        } else {
            Interest::Tags
        }
    }

    pub(super) fn known(&self, name: &str) -> Option<Arc<CatalogService>> {
        self.lock().catalog.services.get(name).map(Arc::clone)
    }

    pub(super) fn fail(&self, name: &Arc<str>, error: &HttpError) {
        self.lock().fail(Subject::Service(Arc::clone(name)), error);
    }

    /// An error instead, where ACLs hide what was there before: a token that lost its rights takes nothing away.
    pub(super) fn unless_hidden(&self, name: &str, read: CatalogService, answer: Answer) -> Read {
        let has = |address| {
            read.instances
                .iter()
                .any(|instance| instance.address == address)
        };
        let hides = |known: &CatalogService| {
            known
                .instances
                .iter()
                .any(|instance| !has(instance.address))
        };
        if read::is_filtered(&answer) && self.known(name).is_some_and(|known| hides(&known)) {
            return Err(HttpError::Unusable {
                path: format!("/v1/health/service/{name}"),
                why: "instances that were there are filtered out by ACLs: does the token still have node:read?"
                    .to_owned(),
            });
        }
        Ok((read, answer))
    }

    /// Takes a service as just read; says whether it is gone. An index below `mark` is another history's.
    pub(super) fn take(
        &self,
        name: &Arc<str>,
        service: CatalogService,
        answer: &Answer,
        mark: Option<u64>,
        named_at: Instant,
    ) -> bool {
        let index = read::index(answer);
        let interest = self.interest(name);
        let gone = service.is_empty() && interest == Interest::Tags;
        let mut view = self.lock();
        if mark.is_some_and(|mark| index < mark) {
            view.restart();
        }
        view.read(name, service, interest, named_at, (answer.arrived, index));
        gone
    }
}
