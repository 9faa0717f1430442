//! Rewriting clients' addresses, so that replies return through the director from any topology.
//!
//! Two backends behind one trait: [`nftables`] (one table, a set for each protocol, one rule each) and [`iptables`] (a
//! chain of our own, one rule for each virtual service). Each replaces its own rules at once and leaves all others
//! alone. [`choose`] takes what the kernel accepts.

pub mod iptables;
pub mod nftables;

use std::pin::Pin;
use std::sync::Arc;

use syncer_core::plan::SnatSet;
use tracing::info;

use crate::command::CommandError;
use crate::config::SnatBackend;

/// What came of it, some time.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, CommandError>> + Send + 'a>>;

/// Rules for exactly a set of virtual services.
pub trait Snat: Send + Sync + std::fmt::Debug {
    /// The name that tells the backend from others.
    fn name(&self) -> &'static str;

    /// Whether this kernel takes such rules; nothing is left behind.
    fn probe(&self) -> Later<'_, ()>;

    /// Whether anything of ours is there, of an earlier process maybe.
    fn is_in_use(&self) -> Later<'_, bool>;

    /// The virtual services that have their rules now; `None` where ours are damaged.
    fn read(&self) -> Later<'_, Option<SnatSet>>;

    /// Has rules for exactly these.
    fn set<'a>(&'a self, services: &'a SnatSet) -> Later<'a, ()>;

    /// Has none, and nothing else of ours; that there is nothing already is as good.
    fn remove(&self) -> Later<'_, ()>;
}

/// No backend works.
#[derive(Debug, thiserror::Error)]
#[error("no SNAT backend works here: {}", .tried.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct SnatError {
    tried: Vec<CommandError>,
}

/// The first that works of those that are wanted. One that has rules of ours already comes before all others: rules of two
/// in one kernel are a riddle to whoever looks for them.
pub async fn choose(
    wanted: SnatBackend,
    in_use: &[Arc<dyn Snat>],
) -> Result<Arc<dyn Snat>, SnatError> {
    let mut tried = Vec::new();
    let mut all = candidates(wanted);
    all.sort_by_key(|candidate| !in_use.iter().any(|used| used.name() == candidate.name()));
    for candidate in all {
        match candidate.probe().await {
            Ok(()) => {
                info!(backend = candidate.name(), "SNAT backend chosen");
                return Ok(candidate);
            }
            Err(error) => tried.push(error),
        }
    }
    Err(SnatError { tried })
}

/// The backends that have rules of an earlier process of ours, whichever is wanted now.
pub async fn in_use() -> Vec<Arc<dyn Snat>> {
    let mut all = Vec::new();
    for candidate in candidates(SnatBackend::Auto) {
        // One whose program is missing has nothing that we could see.
        if candidate.is_in_use().await.unwrap_or(false) {
            all.push(candidate);
        }
    }
    all
}

fn candidates(wanted: SnatBackend) -> Vec<Arc<dyn Snat>> {
    let nftables = || Arc::new(nftables::Nftables) as Arc<dyn Snat>;
    let iptables = || {
        let kinds = iptables::Iptables::kinds();
        kinds.map(|kind| Arc::new(kind) as Arc<dyn Snat>)
    };
    match wanted {
        SnatBackend::Auto => std::iter::once(nftables()).chain(iptables()).collect(),
        SnatBackend::Nftables => vec![nftables()],
        SnatBackend::Iptables => iptables().to_vec(),
    }
}
