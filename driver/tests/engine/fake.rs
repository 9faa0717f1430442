//! Containers in memory. They run a shell that knows a few words, which is enough for the suite.

#[path = "fake/commands.rs"]
mod commands;
#[path = "fake/registry.rs"]
mod registry;
#[path = "fake/shell.rs"]
mod shell;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use bollard::models::ContainerCreateBody;
use bytes::Bytes;
use docker_ipvs::engine::{
    ApiVersion, Chunk, Command, CommandId, CommandIo, CommandState, Container, ContainerEngine,
    ContainerId, ContainerState, Credentials, EngineError, EngineFacts, History, Layer, ListEntry,
    LogEntry, Output, Sample, Source,
};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use commands::Commands;
pub(crate) use registry::Pull;
use registry::Registry;
use shell::{Step, steps};

/// Clones share their containers.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeEngine {
    world: Arc<Mutex<World>>,
}

#[derive(Debug, Default)]
struct World {
    containers: HashMap<ContainerId, Record>,
    commands: Commands,
    registry: Registry,
    count: u32,
    down: bool,
    deaf: bool,
    create_delay: Duration,
    /// How often a container was started.
    runs: u32,
    /// What becomes of the next starts.
    start_faults: Vec<StartFault>,
}

/// The engine is away when it should answer a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartFault {
    NotDone,
    /// The container was started, and the answer is lost.
    Unanswered,
}

#[derive(Debug)]
struct Record {
    container: Container,
    script: String,
    created: SystemTime,
    /// Everything said so far and whether it is over, for who listens.
    log: watch::Sender<(Vec<LogEntry>, bool)>,
}

impl FakeEngine {
    /// The engine stops answering, or answers again; containers live on.
    pub(crate) fn set_down(&self, down: bool) {
        self.lock().down = down;
    }

    /// Containers that were ever made.
    pub(crate) fn creations(&self) -> u32 {
        self.lock().count
    }

    /// How often a container was started.
    pub(crate) fn runs(&self) -> u32 {
        self.lock().runs
    }

    pub(crate) fn set_create_delay(&self, delay: Duration) {
        self.lock().create_delay = delay;
    }

    /// The next starts meet these, the last one first.
    pub(crate) fn set_start_faults(&self, faults: &[StartFault]) {
        self.lock().start_faults = faults.to_vec();
    }

    /// Waits are never answered any more, as by a peer that has died.
    pub(crate) fn set_deaf(&self) {
        self.lock().deaf = true;
    }

    /// How many lines all containers have stored together.
    pub(crate) fn log_length(&self) -> usize {
        let world = self.lock();
        let lines = |record: &Record| record.log.borrow().0.len();
        world.containers.values().map(lines).sum()
    }

    /// Of what a container said only the last `length` lines are stored any more.
    pub(crate) fn rotate(&self, length: usize) {
        for record in self.lock().containers.values() {
            record.log.send_modify(|(entries, _)| {
                entries.drain(..entries.len().saturating_sub(length));
            });
        }
    }

    pub(crate) fn containers(&self) -> Vec<Container> {
        self.lock()
            .containers
            .values()
            .map(|record| record.container.clone())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn up(&self) -> Result<MutexGuard<'_, World>, EngineError> {
        let world = self.lock();
        if world.down {
            Err(EngineError::Unreachable("it is down".to_owned()))
        } else {
            Ok(world)
        }
    }

    fn with<T>(
        &self,
        id: &ContainerId,
        act: impl FnOnce(&mut Record) -> T,
    ) -> Result<T, EngineError> {
        let mut world = self.up()?;
        world
            .containers
            .get_mut(id)
            .map(act)
            .ok_or_else(|| EngineError::NotFound(id.0.clone()))
    }

    fn end(&self, id: &ContainerId, code: i64) {
        if let Some(record) = self.lock().containers.get_mut(id)
            && record.container.is_alive()
        {
            record.container.state = ContainerState::Exited {
                code,
                oom_killed: false,
                error: String::new(),
            };
            record.container.pid = None;
            record.container.finished_at = Some(SystemTime::now());
            record.log.send_modify(|(_, over)| *over = true);
        }
    }

    async fn run(self, id: ContainerId, script: String, tty: bool) {
        for step in steps(&script, tty) {
            match step {
                Step::Write(source, bytes) => self.say(&id, source, bytes),
                Step::Sleep(time) => tokio::time::sleep(time).await,
                Step::Exit(code) => return self.end(&id, code),
                Step::Hold => {}
            }
        }
        self.end(&id, 0);
    }

    fn say(&self, id: &ContainerId, source: Source, bytes: Bytes) {
        if let Some(record) = self.lock().containers.get_mut(id) {
            record.log.send_modify(|(entries, _)| {
                entries.push(LogEntry {
                    source,
                    at: Timestamp::now(),
                    bytes,
                });
            });
        }
    }
}

/// Entries from number `from` on, to the end of the container.
fn follow(log: watch::Receiver<(Vec<LogEntry>, bool)>, from: usize) -> History {
    let next = |(mut log, at): (watch::Receiver<(Vec<LogEntry>, bool)>, usize)| async move {
        let entry = {
            let state = log
                .wait_for(|(entries, over)| entries.len() > at || *over)
                .await
                .ok()?;
            state.0.get(at).cloned()?
        };
        Some((Ok(entry), (log, at + 1)))
    };
    stream::unfold((log, from), next).boxed()
}

impl ContainerEngine for FakeEngine {
    async fn facts(&self) -> Result<EngineFacts, EngineError> {
        drop(self.up()?);
        let api_version = ApiVersion {
            major: 1,
            minor: 41,
        };
        Ok(EngineFacts {
            version: "fake".into(),
            api_version,
            os_type: "linux".into(),
            ..EngineFacts::default()
        })
    }

    async fn find_image(&self, reference: &str) -> Result<String, EngineError> {
        drop(self.up()?);
        if reference == "busybox:1" || self.has_pull() {
            Ok("sha256:1".to_owned())
        } else {
            Err(EngineError::NotFound(reference.to_owned()))
        }
    }

    async fn pull(
        &self,
        reference: &str,
        _: Option<Credentials>,
        lines: mpsc::Sender<Option<Layer>>,
    ) -> Result<(), EngineError> {
        self.fetch(reference, lines).await
    }

    async fn create(
        &self,
        name: &str,
        body: ContainerCreateBody,
    ) -> Result<ContainerId, EngineError> {
        let delay = self.up()?.create_delay;
        tokio::time::sleep(delay).await;
        let mut world = self.up()?;
        if world
            .containers
            .values()
            .any(|record| record.container.name == name)
        {
            return Err(EngineError::Conflict(format!("the name {name} is taken")));
        }
        world.count += 1;
        let id = ContainerId(format!("{:064x}", world.count));
        let container = Container {
            id: id.clone(),
            name: name.to_owned(),
            labels: body.labels.unwrap_or_default(),
            image_id: "sha256:1".to_owned(),
            tty: body.tty.unwrap_or_default(),
            state: ContainerState::Created,
            started_at: None,
            finished_at: None,
            pid: None,
            networks: Vec::new(),
            log_limits: None,
        };
        let script = body
            .cmd
            .and_then(|words| words.last().cloned())
            .unwrap_or_default();
        let log = watch::channel((Vec::new(), false)).0;
        world.containers.insert(
            id.clone(),
            Record {
                container,
                script,
                created: SystemTime::now(),
                log,
            },
        );
        Ok(id)
    }

    async fn start(&self, id: &ContainerId) -> Result<(), EngineError> {
        let fault = self.lock().start_faults.pop();
        let away = EngineError::Unreachable("containerd.sock: connection refused".to_owned());
        if fault == Some(StartFault::NotDone) {
            return Err(away);
        }
        let (script, tty) = self.with(id, |record| {
            record.container.state = ContainerState::Running;
            record.container.started_at = Some(SystemTime::now());
            // No process has this number: nothing real is watched.
            record.container.pid = Some(i32::MAX);
            (record.script.clone(), record.container.tty)
        })?;
        self.lock().runs += 1;
        tokio::spawn(self.clone().run(id.clone(), script, tty));
        match fault {
            Some(_) => Err(away),
            None => Ok(()),
        }
    }

    async fn inspect(&self, id: &str) -> Result<Container, EngineError> {
        let world = self.up()?;
        let container = world
            .containers
            .values()
            .find(|record| record.container.id.0 == id || record.container.name == id);
        container
            .map(|record| record.container.clone())
            .ok_or_else(|| EngineError::NotFound(id.to_owned()))
    }

    async fn wait(&self, id: &ContainerId) -> Result<i64, EngineError> {
        let mut log = self.with(id, |record| record.log.subscribe())?;
        if self.lock().deaf {
            std::future::pending::<()>().await;
        }
        log.wait_for(|(_, over)| *over)
            .await
            .map_err(|_| EngineError::NotFound(id.0.clone()))?;
        match self.inspect(&id.0).await?.state {
            ContainerState::Exited { code, .. } => Ok(code),
            state => Err(EngineError::Refusal(format!("{state:?}"))),
        }
    }

    async fn stop(&self, id: &ContainerId, _: Duration) -> Result<(), EngineError> {
        drop(self.up()?);
        self.end(id, 137);
        Ok(())
    }

    async fn kill(&self, id: &ContainerId, signal: &str) -> Result<(), EngineError> {
        if !self.with(id, |record| record.container.is_alive())? {
            return Err(EngineError::Conflict("it is not running".to_owned()));
        }
        if signal == "SIGKILL" {
            self.end(id, 137);
        }
        Ok(())
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), EngineError> {
        drop(self.up()?);
        self.end(id, 137);
        self.lock().containers.remove(id);
        Ok(())
    }

    async fn attach(&self, id: &ContainerId) -> Result<Output, EngineError> {
        let log = self.with(id, |record| record.log.subscribe())?;
        let entries = log.borrow().0.len();
        let entries = follow(log, entries);
        Ok(entries
            .map(|entry| {
                entry.map(|entry| Chunk {
                    source: entry.source,
                    bytes: entry.bytes,
                })
            })
            .boxed())
    }

    async fn history(
        &self,
        id: &ContainerId,
        since: i32,
        follow_on: bool,
    ) -> Result<History, EngineError> {
        let log = self.with(id, |record| record.log.subscribe())?;
        if follow_on {
            let since = i64::from(since);
            return Ok(follow(log, 0)
                .filter(move |entry| {
                    std::future::ready(
                        entry
                            .as_ref()
                            .is_ok_and(|entry| entry.at.as_second() >= since),
                    )
                })
                .boxed());
        }
        let entries: Vec<_> = log
            .borrow()
            .0
            .iter()
            .filter(|entry| entry.at.as_second() >= i64::from(since))
            .cloned()
            .map(Ok)
            .collect();
        Ok(stream::iter(entries).boxed())
    }

    async fn exec(&self, _: &ContainerId, command: Command) -> Result<CommandIo, EngineError> {
        self.begin(command).await
    }

    async fn exec_state(&self, id: &CommandId) -> Result<CommandState, EngineError> {
        self.question(id).await
    }

    async fn resize(&self, _: &CommandId, _: u16, _: u16) -> Result<(), EngineError> {
        Ok(())
    }

    async fn sample(&self, _: &ContainerId) -> Result<Sample, EngineError> {
        Err(EngineError::Refusal("the fake measures nothing".to_owned()))
    }

    async fn list_running(&self, label: &str, value: &str) -> Result<Vec<ListEntry>, EngineError> {
        let world = self.up()?;
        let carries = |record: &&Record| {
            record.container.is_alive()
                && record
                    .container
                    .labels
                    .get(label)
                    .is_some_and(|label| label == value)
        };
        let entry = |record: &Record| ListEntry {
            id: record.container.id.clone(),
            created: record.created,
            labels: record.container.labels.clone(),
        };
        Ok(world
            .containers
            .values()
            .filter(carries)
            .map(entry)
            .collect())
    }
}
