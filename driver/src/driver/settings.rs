//! The outcome of SetConfig: the checked configuration, the agent's facts, and the client made for both.
//!
//! SetConfig comes several times, also in processes that are thrown away, so nothing is sent to the engine here.

use std::sync::{Arc, Mutex, PoisonError};

use nomad_driver_sdk::{DriverError, NomadDriverConfig};

use crate::agent::Agent;
use crate::config::PluginConfig;
use crate::engine::{Address, EngineError};

/// Makes a client for an engine at an address.
pub trait Connect<E>: Fn(&Address) -> Result<E, EngineError> + Send + Sync + 'static {}

impl<E, F: Fn(&Address) -> Result<E, EngineError> + Send + Sync + 'static> Connect<E> for F {}

pub(super) struct Settings<E> {
    connect: Box<dyn Connect<E>>,
    current: Mutex<Current<E>>,
}

struct Current<E> {
    config: Arc<PluginConfig>,
    agent: Arc<Agent>,
    /// Absent before the first SetConfig.
    engine: Option<Arc<E>>,
}

impl<E> Settings<E> {
    pub(super) fn new(connect: impl Connect<E>) -> Self {
        let config = Arc::new(PluginConfig::default());
        let current = Current {
            config,
            agent: Arc::new(Agent::new(None)),
            engine: None,
        };
        Self {
            connect: Box::new(connect),
            current: Mutex::new(current),
        }
    }

    /// Takes effect for everything that begins after it; a refused configuration changes nothing.
    pub(super) fn replace(
        &self,
        config: PluginConfig,
        agent: Option<NomadDriverConfig>,
    ) -> Result<(), EngineError> {
        let mut current = self.lock();
        if current.engine.is_none() || current.config.engine != config.engine {
            current.engine = Some(Arc::new((self.connect)(&config.engine)?));
        }
        current.config = Arc::new(config);
        if agent.is_some() {
            current.agent = Arc::new(Agent::new(agent));
        }
        Ok(())
    }

    pub(super) fn config(&self) -> Arc<PluginConfig> {
        Arc::clone(&self.lock().config)
    }

    pub(super) fn agent(&self) -> Arc<Agent> {
        Arc::clone(&self.lock().agent)
    }

    pub(super) fn engine(&self) -> Result<Arc<E>, String> {
        self.lock()
            .engine
            .clone()
            .ok_or_else(|| "the agent has not sent the plugin's configuration yet".to_owned())
    }

    pub(super) fn client(&self) -> Result<Arc<E>, DriverError> {
        self.engine().map_err(DriverError::new)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current<E>> {
        // Three assignments are made under it, none of which panics.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
