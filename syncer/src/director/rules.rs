//! The SNAT rules as a director keeps them: backend chosen when first needed, kernel prepared before the first rule,
//! and looked after without making anybody wait.
//!
//! Reading rules back means running a program, which takes long. Nobody waits for it: before the first rule is set there
//! is nothing to read, and later a reading starts the program and takes the answer of the one before.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tracing::info;

use super::snat::{self, Snat};
use super::{CommandError, DirectorError, sysctl};
use crate::config::SnatBackend;
use crate::plan::SnatSet;

#[derive(Debug)]
pub(super) struct Rules {
    wanted: SnatBackend,
    /// Without SNAT no backend has to be there.
    backend: Option<Arc<dyn Snat>>,
    set: Option<SnatSet>,
    /// What an earlier process left was looked for.
    swept: bool,
    check: Option<JoinHandle<Result<Option<SnatSet>, CommandError>>>,
}

impl Rules {
    pub(super) fn new(wanted: SnatBackend) -> Self {
        Self {
            wanted,
            backend: None,
            set: None,
            swept: false,
            check: None,
        }
    }

    /// What there is, as far as is known; `None`: has to be set.
    pub(super) async fn read(&mut self) -> Result<Option<SnatSet>, DirectorError> {
        let Some(backend) = &self.backend else {
            return Ok(self.set.clone());
        };
        let finished = self.check.take_if(|check| check.is_finished());
        if let Some(finished) = finished
            && let Ok(answer) = finished.await
        {
            self.set = answer?;
        }
        if self.check.is_none() {
            let backend = Arc::clone(backend);
            self.check = Some(tokio::spawn(async move { backend.read().await }));
        }
        Ok(self.set.clone())
    }

    pub(super) async fn set(&mut self, services: &SnatSet) -> Result<(), DirectorError> {
        // What a check saw before this is of no use after it.
        if let Some(check) = self.check.take() {
            check.abort();
        }
        self.set = None;
        if services.is_empty() && self.backend.is_none() && !self.swept {
            // Rules of an earlier process rewrite on, whoever they were for.
            if let Some(backend) = snat::in_use().await {
                info!(
                    backend = backend.name(),
                    "SNAT rules of an earlier process are removed"
                );
                backend.set(services).await?;
            }
        }
        self.swept = true;
        if !services.is_empty() || self.backend.is_some() {
            // The order matters: a connection that began before the flag never gets its address rewritten.
            sysctl::ensure(&sysctl::of_snat())?;
            sysctl::track_enough();
            let backend = match &self.backend {
                Some(backend) => Arc::clone(backend),
                None => Arc::clone(self.backend.insert(snat::choose(self.wanted).await?)),
            };
            backend.set(services).await?;
        }
        self.set = Some(services.clone());
        Ok(())
    }
}
