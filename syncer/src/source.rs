//! Where snapshots come from: whole views of Nomad and Consul on `watch` channels.
//!
//! ```text
//! consul ──▶ watch<Published<Catalog>> ──▶ reconcile
//! nomad  ──▶ watch<Published<Fleet>>   ──▶ reconcile, registrar
//! ```
//!
//! A source never decides anything: it keeps the last good view, its index and age, and what is wrong now. Consul's
//! wakes whoever reads only with a view that differs, Nomad's with each answer.

pub mod blocking;
pub mod consul;
mod consul_json;
pub mod driver;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod lenient;
pub mod nomad;
mod nomad_json;
pub mod place;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use syncer_core::model::Moment;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::Instant;

/// A view and what is known about it.
#[derive(Debug, Clone)]
pub struct Published<T> {
    /// The last good view; `None` until there was one.
    pub view: Option<Arc<T>>,
    /// The server's index of the last answer.
    pub index: u64,
    /// When the server last answered well.
    pub read_at: Option<Instant>,
    /// When the answer that made this view arrived.
    pub arrived: Option<Instant>,
    /// What is wrong now; `None` while the server answers.
    pub error: Option<String>,
}

impl<T> Default for Published<T> {
    fn default() -> Self {
        Self {
            view: None,
            index: 0,
            read_at: None,
            arrived: None,
            error: None,
        }
    }
}

/// The wall clock, for what has to survive a restart.
pub fn now() -> Moment {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Moment(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Gives what a task ended with. One that panicked takes the whole source with it, for nobody would follow in its place.
pub(crate) fn whole<T>(ended: Result<T, JoinError>) -> Option<T> {
    match ended {
        Ok(value) => Some(value),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => None,
        },
    }
}

/// Waits until there is a value that was not seen yet; for ever if nobody can send one.
pub(crate) async fn changed<T>(watch: Option<&mut watch::Receiver<T>>) {
    if let Some(watch) = watch
        && watch.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Waits until that moment; for ever where there is none.
pub(crate) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
