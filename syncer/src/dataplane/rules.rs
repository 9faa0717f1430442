//! The SNAT rules as a director keeps them: backend chosen when first needed, kernel prepared before the first rule,
//! and looked after without making anybody wait.
//!
//! Reading rules back means running a program, which takes long. Nobody waits for it: a reading starts the program and
//! tells what is known; whoever has to know that the program found something else waits by [`Rules::differ`].
//!
//! What an earlier process left is looked for once, in all backends: its rules rewrite on, whoever they were for.

use std::sync::Arc;

use syncer_core::plan::SnatSet;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::snat::{self, Snat};
use super::{CommandError, DataPlaneError, sysctl};
use crate::config::SnatBackend;
use crate::error::chain;

/// Rules for exactly the virtual services that want SNAT.
#[derive(Debug)]
pub struct Rules {
    wanted: SnatBackend,
    /// The backend in use; without SNAT none has to be there.
    backend: Option<Arc<dyn Snat>>,
    set: Option<SnatSet>,
    /// Backends with rules of an earlier process; `None`: not looked for yet.
    left_over: Option<Vec<Arc<dyn Snat>>>,
    check: Option<JoinHandle<Result<Option<SnatSet>, CommandError>>>,
}

impl Rules {
    /// Rules of which nothing is known yet.
    pub fn new(wanted: SnatBackend) -> Self {
        Self {
            wanted,
            backend: None,
            set: None,
            left_over: None,
            check: None,
        }
    }

    /// Reads the rules, as far as is known; `None`: they have to be set.
    pub async fn read(&mut self) -> Option<SnatSet> {
        let finished = self.check.take_if(|check| check.is_finished());
        if let Some(finished) = finished {
            self.take(finished.await);
        }
        // Where there are none, none are kept.
        let kept = self.set.as_ref().is_none_or(|set| !set.is_empty());
        if let Some(backend) = self.backend.as_ref().filter(|_| kept)
            && self.check.is_none()
        {
            let backend = Arc::clone(backend);
            self.check = Some(tokio::spawn(async move { backend.read().await }));
        }
        self.set.clone()
    }

    /// Waits until the check that a reading began has found other rules than that told of. Cancel-safe.
    pub async fn differ(&mut self) {
        if let Some(check) = &mut self.check {
            let before = self.set.clone();
            let found = check.await;
            self.check = None;
            self.take(found);
            if self.set != before {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// Rules that can't be read are set again: that fails in words, and keeps no reading of anything else.
    fn take(
        &mut self,
        found: Result<Result<Option<SnatSet>, CommandError>, tokio::task::JoinError>,
    ) {
        match found {
            Ok(Ok(rules)) => self.set = rules,
            Ok(Err(error)) => {
                warn!(error = chain(&error), "the SNAT rules can't be read");
                self.set = None;
            }
            // It was called off.
            Err(_) => {}
        }
    }

    /// Has rules for exactly these, and no others of ours in any backend.
    pub async fn set(&mut self, services: &SnatSet) -> Result<(), DataPlaneError> {
        // What a check saw before this is of no use after it.
        if let Some(check) = self.check.take() {
            check.abort();
        }
        self.set = None;
        let left_over = match self.left_over.take() {
            Some(left_over) => left_over,
            None => snat::in_use().await,
        };
        let left_over = self.left_over.insert(left_over);
        if services.is_empty() {
            if let Some(backend) = &self.backend {
                backend.remove().await?;
            }
        } else {
            // The order matters: a connection that began before the flag never gets its address rewritten.
            sysctl::ensure(&sysctl::of_snat())?;
            sysctl::track_enough();
            let backend = if let Some(backend) = &self.backend {
                Arc::clone(backend)
            } else {
                let chosen = snat::choose(self.wanted, left_over).await?;
                Arc::clone(self.backend.insert(chosen))
            };
            if let Err(error) = backend.set(services).await {
                // A part may be there, and who has rules waits for nobody else's.
                self.set = backend.read().await.ok().flatten();
                return Err(error.into());
            }
            left_over.retain(|other| other.name() != backend.name());
        }
        // After the new ones: no packet passes that is rewritten by neither.
        while let Some(backend) = left_over.last() {
            let name = backend.name();
            match backend.remove().await {
                Ok(()) => info!(
                    backend = name,
                    "SNAT rules of an earlier process are removed"
                ),
                Err(error) if services.is_empty() => return Err(error.into()),
                // Those that are wanted are there, which is what others wait for.
                Err(error) => {
                    warn!(
                        backend = name,
                        error = chain(&error),
                        "SNAT rules of an earlier process can't be removed"
                    );
                    break;
                }
            }
            left_over.pop();
        }
        self.set = Some(services.clone());
        Ok(())
    }
}
