//! A client of an engine: the version of its API, and a limit for every call.
//!
//! The API version is negotiated on first contact and again when the engine says it no longer fits (it was up- or
//! downgraded under us). Nothing is sent before that: connecting only parses the endpoint and reads the files of TLS.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;

use super::transport::Transport;
use super::{READ_TIMEOUT, convert};
use crate::engine::{Address, EngineError};

#[derive(Debug)]
pub struct DockerEngine {
    pub(super) transport: Transport,
    docker: Mutex<Option<Docker>>,
}

impl DockerEngine {
    /// A client for an engine. Reads the files of TLS, sends nothing yet, and the engine may come later.
    pub fn connect(address: &Address) -> Result<Self, EngineError> {
        Ok(Self {
            transport: Transport::new(address)?,
            docker: Mutex::new(None),
        })
    }

    pub(super) async fn api(&self) -> Result<Docker, EngineError> {
        if let Some(docker) = self.docker().clone() {
            return Ok(docker);
        }
        let docker = self.transport.client().map_err(convert::error)?;
        let docker = with_limit("version", READ_TIMEOUT, docker.negotiate_version()).await?;
        *self.docker() = Some(docker.clone());
        Ok(docker)
    }

    /// The lock is never held across a call: a hung engine must not make callers queue.
    fn docker(&self) -> MutexGuard<'_, Option<Docker>> {
        self.docker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one call with a limit; forgets the negotiated version when the engine no longer takes it.
    pub(super) async fn call<T, F>(
        &self,
        operation: &'static str,
        limit: Duration,
        call: impl FnOnce(Docker) -> F,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let answer = with_limit(operation, limit, call(self.api().await?)).await;
        if let Err(EngineError::Refusal(reason)) = &answer
            && reason.contains("client version")
        {
            *self.docker() = None;
        }
        answer
    }
}

async fn with_limit<T>(
    operation: &'static str,
    after: Duration,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, EngineError> {
    match tokio::time::timeout(after, call).await {
        Ok(answer) => answer.map_err(convert::error),
        Err(_) => Err(EngineError::Timeout { operation, after }),
    }
}
