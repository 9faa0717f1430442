//! How long the end of the log files is searched for in the engine's stored log, when a plugin starts again under tasks
//! that wrote forty megabytes of one byte: the worst that a search by comparison can meet. And how long others on the
//! same runtime wait for their turn meanwhile.
//!
//! `cargo bench -p docker-ipvs --bench recovery`
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark talks to its terminal and knows its input"
)]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bollard::models::ContainerCreateBody;
use bytes::Bytes;
use docker_ipvs::engine::{
    Command, CommandId, CommandIo, CommandState, Container, ContainerEngine, ContainerId,
    Credentials, EngineError, EngineFacts, History, Layer, ListEntry, LogEntry, Output, Sample,
    Source,
};
use docker_ipvs::logs::{Paths, Pump};
use futures_util::{StreamExt, stream};
use nomad_driver_sdk::TaskConfig;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const TASKS: usize = 2;
const STORED_SIZE: usize = 40 * 1024 * 1024;
const ENTRY: usize = 16 * 1024;
const ROUNDS: usize = 5;

/// An engine that has the stored log of one task and nothing else.
#[derive(Default)]
struct StoredLog {
    begin: Mutex<Option<Instant>>,
    search_time: Mutex<Option<Duration>>,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    println!("{:>12} {:>12}", "search", "others wait");
    for _ in 0..ROUNDS {
        let (search, wait) = runtime.block_on(round());
        println!("{search:>12.2?} {wait:>12.2?}");
    }
}

/// The longest search, and the longest that a timer of a millisecond was late.
async fn round() -> (Duration, Duration) {
    let late = tokio::spawn(async {
        let mut late = Duration::ZERO;
        for _ in 0..400 {
            let begin = Instant::now();
            tokio::time::sleep(Duration::from_millis(1)).await;
            late = late.max(begin.elapsed());
        }
        late
    });
    let searches = (0..TASKS).map(|_| tokio::spawn(search()));
    let searches = futures_util::future::join_all(searches).await;
    let longest = searches.into_iter().map(Result::unwrap).max();
    (longest.unwrap(), late.await.unwrap())
}

async fn search() -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let _readers = ["web.stdout", "web.stderr"].map(|name| fifo(folder.path(), name));
    let file = folder.path().join("web.stdout.0");
    std::fs::write(&file, vec![b'x'; 1024 * 1024]).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let task = TaskConfig {
        stdout_path: path(".web.stdout.fifo"),
        stderr_path: path(".web.stderr.fifo"),
        ..TaskConfig::default()
    };
    let engine = Arc::new(StoredLog::default());
    let pump = Pump {
        engine: Arc::clone(&engine),
        container: ContainerId("c".repeat(64)),
        place: Paths::of(&task, false).unwrap().open().await.unwrap(),
        report: Arc::new(|text| println!("{text}")),
    };
    let cancel = CancellationToken::new();
    let pump = tokio::spawn(pump.run(None, cancel.clone()));
    loop {
        let search_time = *engine.search_time.lock().unwrap();
        if let Some(took) = search_time {
            cancel.cancel();
            pump.await.unwrap();
            return took;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A FIFO with its reader.
fn fifo(folder: &Path, name: &str) -> File {
    let path = folder.join(format!(".{name}.fifo"));
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits());
    options.open(path).unwrap()
}

impl ContainerEngine for StoredLog {
    async fn inspect(&self, id: &str) -> Result<Container, EngineError> {
        let base = Container::of_id(ContainerId(id.to_owned()));
        Ok(Container {
            started_at: Some(SystemTime::UNIX_EPOCH),
            ..base
        })
    }

    /// The first look begins the search, and what follows the log has ended it.
    async fn history(&self, _: &ContainerId, _: i32, follow: bool) -> Result<History, EngineError> {
        let begin = *self.begin.lock().unwrap().get_or_insert_with(Instant::now);
        if follow {
            self.search_time
                .lock()
                .unwrap()
                .get_or_insert(begin.elapsed());
            return Ok(stream::pending().boxed());
        }
        let bytes = Bytes::from(vec![b'x'; ENTRY]);
        let at = SystemTime::now().try_into().unwrap();
        let entry = move |_| {
            Ok(LogEntry {
                source: Source::Stdout,
                at,
                bytes: bytes.clone(),
            })
        };
        Ok(stream::iter((0..STORED_SIZE / ENTRY).map(entry)).boxed())
    }

    async fn facts(&self) -> Result<EngineFacts, EngineError> {
        unreachable!()
    }

    async fn find_image(&self, _: &str) -> Result<String, EngineError> {
        unreachable!()
    }

    async fn pull(
        &self,
        _: &str,
        _: Option<Credentials>,
        _: mpsc::Sender<Option<Layer>>,
    ) -> Result<(), EngineError> {
        unreachable!()
    }

    async fn create(&self, _: &str, _: ContainerCreateBody) -> Result<ContainerId, EngineError> {
        unreachable!()
    }

    async fn start(&self, _: &ContainerId) -> Result<(), EngineError> {
        unreachable!()
    }

    async fn wait(&self, _: &ContainerId) -> Result<i64, EngineError> {
        unreachable!()
    }

    async fn stop(&self, _: &ContainerId, _: Duration) -> Result<(), EngineError> {
        unreachable!()
    }

    async fn kill(&self, _: &ContainerId, _: &str) -> Result<(), EngineError> {
        unreachable!()
    }

    async fn remove(&self, _: &ContainerId) -> Result<(), EngineError> {
        unreachable!()
    }

    async fn attach(&self, _: &ContainerId) -> Result<Output, EngineError> {
        unreachable!()
    }

    async fn exec(&self, _: &ContainerId, _: Command) -> Result<CommandIo, EngineError> {
        unreachable!()
    }

    async fn exec_state(&self, _: &CommandId) -> Result<CommandState, EngineError> {
        unreachable!()
    }

    async fn resize(&self, _: &CommandId, _: u16, _: u16) -> Result<(), EngineError> {
        unreachable!()
    }

    async fn sample(&self, _: &ContainerId) -> Result<Sample, EngineError> {
        unreachable!()
    }

    async fn list_running(&self, _: &str, _: &str) -> Result<Vec<ListEntry>, EngineError> {
        unreachable!()
    }
}
