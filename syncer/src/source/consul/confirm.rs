//! A second, independent read of everything: consistent, over fresh connections. The shrink guard asks for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use syncer_core::model::catalog::CatalogService;
use tokio::time::Instant;

use super::read::{self, Consistency};
use super::view::Subject;
use super::{Reader, TOKEN_HEADER};
use crate::http::{Api, Http, HttpError};

/// A service's name, what was known of it before it was read, and what it is.
type ServiceRead = (Arc<str>, Option<Arc<CatalogService>>, CatalogService);

/// Reads all that is followed. What a follower read meanwhile is newer and stays.
pub(super) async fn confirm(reader: Reader, api: Api, followed: BTreeSet<Arc<str>>) {
    let read = read_all(&reader, &api, &followed).await;
    let mut view = reader.lock();
    match read {
        Ok(services) => {
            for (name, before, service) in services {
                let same = match (view.catalog.services.get(&name), &before) {
                    (Some(now), Some(before)) => Arc::ptr_eq(now, before),
                    (now, before) => now.is_none() && before.is_none(),
                };
                if same {
                    let interest = reader.interest(&name);
                    view.take(name, service, interest);
                }
            }
            view.catalog.confirmations = view.catalog.confirmations.saturating_add(1);
            view.well(&Subject::Confirmation);
            view.publish(true, Some((Instant::now(), 0)));
        }
        Err(error) => view.fail(Subject::Confirmation, &error),
    }
}

/// Reads all services that are known by name. One that can't be read anyway confirms nothing and hinders nothing.
async fn read_all(
    reader: &Reader,
    api: &Api,
    followed: &BTreeSet<Arc<str>>,
) -> Result<Vec<ServiceRead>, HttpError> {
    let fresh = Http::new(api, TOKEN_HEADER).map_err(|source| HttpError::Setup {
        path: "/".to_owned(),
        source,
    })?;
    let mut names = followed.clone();
    names.extend(reader.lock().catalog.services.keys().map(Arc::clone));
    let mut services = Vec::with_capacity(names.len());
    // One after the other, on one connection: it is in no hurry.
    for name in names {
        let before = reader.known(&name);
        match read::health(&fresh, &name, Consistency::Consistent).await {
            Ok((read, _)) => services.push((name, before, read)),
            Err(_) if reader.lock().is_failing(&name) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(services)
}
