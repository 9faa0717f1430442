//! One daemon with everything around it, and waiting for what must come true.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipvs_syncer::admin::{Admin, DirectorView};
use ipvs_syncer::config::{self, Config};
use ipvs_syncer::parts::Parts;
use ipvs_syncer::reconcile::{Inputs, Reconciler};
use ipvs_syncer::source::driver::{Board, Hint, Speaker};
use ipvs_syncer::source::{consul, nomad};
use ipvs_syncer::status::Status;
use ipvs_syncer::store::Store;
use serde_json::{Value, json};
use syncer_core::model::AllocId;
use syncer_core::model::policy::Policy;
use syncer_core::reading::Counts;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::fake::Fake;
use super::kernel::FakeDirector;

/// How long something may take to come true on a machine that is busy.
const IN_TIME: Duration = Duration::from_secs(20);

/// Between two looks.
const POLL: Duration = Duration::from_millis(10);

pub(crate) const ALLOCS: [&str; 4] = [
    "00000000-0000-0000-0000-000000000001",
    "00000000-0000-0000-0000-000000000002",
    "00000000-0000-0000-0000-000000000003",
    "00000000-0000-0000-0000-000000000004",
];

/// The world around daemons; they come and go, it stays.
pub(crate) struct Lab {
    pub(crate) consul: Fake,
    pub(crate) nomad: Fake,
    pub(crate) director: FakeDirector,
    pub(crate) state: tempfile::TempDir,
    pub(crate) board: Board,
    stop: CancellationToken,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        let stop = CancellationToken::new();
        let (consul, nomad) = (
            Fake::start(stop.clone()).await,
            Fake::start(stop.clone()).await,
        );
        let state = tempfile::tempdir().unwrap();
        Self {
            consul,
            nomad,
            director: FakeDirector::default(),
            state,
            board: Board::default(),
            stop,
        }
    }

    /// With `web` behind 198.18.0.29:80 and instances of these allocations running and passing.
    pub(crate) async fn with(allocations: &[usize]) -> Self {
        let lab = Self::new().await;
        lab.nomad
            .change(|world| world.allocations = allocations.iter().map(|n| running(*n)).collect());
        lab.consul.change(|world| {
            world.services.insert(
                "web".into(),
                allocations
                    .iter()
                    .map(|n| instance(*n, "passing"))
                    .collect(),
            );
        });
        lab
    }

    pub(crate) fn config(&self) -> Config {
        config::parse(&self.config_text()).unwrap()
    }

    pub(crate) fn config_text(&self) -> String {
        format!(
            "state_dir = \"{}\"\nconsul {{ address = {:?} }}\nnomad {{ address = {:?} }}\n\
             director {{\n interface = \"eth0\"\n own = [\"198.18.0.0/24\"]\n drain_deadline = \"60s\"\n}}\nregistrar {{}}\n\
             service \"web\" {{\n vip = \"198.18.0.29:80\"\n scheduler = \"rr\"\n snat = true\n}}\n",
            self.state.path().display(),
            self.consul.address,
            self.nomad.address
        )
    }

    /// Starts a daemon as `agent` would.
    pub(crate) fn daemon(&self) -> Daemon {
        let config = self.config();
        let settings = config.director.clone().unwrap();
        let stop = self.stop.child_token();
        let mut parts = Parts::default();
        let (consul_at, nomad_at) = (config.consul.clone(), config.nomad.unwrap());
        let fleet = nomad::start(&nomad_at, &mut parts, stop.clone()).unwrap();
        let names = watch::Sender::new(settings.services.keys().cloned().collect());
        let source =
            consul::start(&config.consul, names.subscribe(), &mut parts, stop.clone()).unwrap();
        let mut admin = Admin {
            started: tokio::time::Instant::now(),
            consul: (
                consul_at.address.to_string(),
                Some(source.published.clone()),
            ),
            nomad: Some((nomad_at.address.to_string(), fleet.clone())),
            director: None,
            registrar: None,
            real_server: None,
            leases: None,
            warnings: watch::channel(Vec::new()).1,
        };
        let inputs = Inputs {
            catalog: source.published,
            fleet: Some(fleet),
            confirm: source.confirm,
            sources: watch::channel(Arc::default()).1,
            board: self.board.clone(),
            offers: ipvs_syncer::offer::Offers::default(),
        };
        let (store, memory) = Store::open(&PathBuf::from(self.state.path())).unwrap();
        let director = self.director.clone();
        let audit = Duration::from_millis(500);
        let policy = watch::Sender::new(settings.policy());
        let reconciler = Reconciler::new(director, settings.policy(), audit, inputs, store, memory)
            .following(policy.subscribe());
        let count = |_| Box::pin(async { Counts::new() }) as _;
        admin.director = Some(DirectorView::of(&reconciler, Arc::new(count)));
        let task = tokio::spawn(reconciler.run(stop.clone()));
        Daemon {
            admin,
            names,
            policy,
            stop,
            task,
            _parts: parts,
        }
    }

    /// Tells something about that allocation's task, as its driver does.
    pub(crate) fn tell(&self, alloc: AllocId, hint: Hint) {
        let speaker = &Speaker::Anybody;
        let status = self.board.tell(speaker, alloc, "www", hint, Duration::ZERO);
        status.unwrap();
    }

    /// Waits until the real servers are these.
    pub(crate) async fn expect(&self, reals: &[&str]) {
        let expected: Vec<String> = reals
            .iter()
            .map(|real| format!("tcp://198.18.0.29:80 -> {real}"))
            .collect();
        self.eventually(|| self.director.rows(), &expected).await;
    }

    /// Polls until it is so; fails with what it was last.
    pub(crate) async fn eventually<T: PartialEq + std::fmt::Debug>(
        &self,
        look: impl Fn() -> T,
        expected: &T,
    ) {
        let end = Instant::now() + IN_TIME;
        while look() != *expected && Instant::now() < end {
            tokio::time::sleep(POLL).await;
        }
        assert_eq!(look(), *expected, "after {IN_TIME:?}");
    }

    /// The real servers stay these for a while.
    pub(crate) async fn stays(&self, reals: &[&str]) {
        let expected: Vec<String> = reals
            .iter()
            .map(|real| format!("tcp://198.18.0.29:80 -> {real}"))
            .collect();
        for _ in 0..80 {
            assert_eq!(self.director.rows(), expected);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// One running daemon.
pub(crate) struct Daemon {
    pub(crate) admin: Admin,
    names: watch::Sender<BTreeSet<Arc<str>>>,
    policy: watch::Sender<Policy>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    _parts: Parts,
}

impl Daemon {
    /// As it is served.
    pub(crate) async fn status(&self) -> Status {
        // Whoever waits for it in a loop lets others go on.
        tokio::task::yield_now().await;
        self.admin.status(&Counts::new())
    }

    /// As SIGHUP does with that config.
    pub(crate) fn reload(&self, text: &str) {
        let director = config::parse(text).unwrap().director.unwrap();
        self.names
            .send_replace(director.services.keys().cloned().collect());
        self.policy.send_replace(director.policy());
    }

    /// Waits until what it tells is so, and returns that; fails with what it told last.
    pub(crate) async fn becomes(&self, what: &str, so: impl Fn(&Status) -> bool) -> Status {
        let end = Instant::now() + IN_TIME;
        loop {
            let status = self.status().await;
            if so(&status) {
                return status;
            }
            assert!(
                Instant::now() < end,
                "not {what} within {IN_TIME:?}: {status:?}"
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits for two more passes that nothing but the audit's timer has set off: what was going to happen has happened.
    pub(crate) async fn is_audited_twice(&self) {
        let audits = |status: &Status| {
            let pass = status.pass.as_ref();
            pass.filter(|pass| pass.reason == "audit")
                .map(|pass| pass.number)
        };
        let mut last = self.status().await.pass.map_or(0, |pass| pass.number);
        for _ in 0..2 {
            let status = self
                .becomes("audited", |status| audits(status).is_some_and(|n| n > last))
                .await;
            last = audits(&status).unwrap();
        }
    }

    /// What is wrong with Consul.
    pub(crate) fn consul_error(&self) -> Option<String> {
        self.admin.status(&Counts::new()).sources[0].error.clone()
    }

    /// How many confirming reads there have been.
    pub(crate) fn confirmations(&self) -> u64 {
        let catalog = self.admin.consul.1.as_ref().unwrap().borrow();
        let view = catalog.view.as_ref();
        view.map_or(0, |view| view.confirmations)
    }

    /// As SIGTERM does.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// As SIGKILL does.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        self.stop.cancel();
    }
}

pub(crate) fn address(n: usize) -> SocketAddr {
    format!("198.18.0.11:{}", 20000 + n).parse().unwrap()
}

/// An allocation as Nomad lists it.
pub(crate) fn allocation(n: usize, client: &str, wanted: &str, task: &str) -> Value {
    json!({
        "ID": ALLOCS[n], "Namespace": "default", "NodeID": "n1", "NodeName": "node1", "JobID": "web", "JobVersion": 0,
        "TaskGroup": "web", "DesiredStatus": wanted, "ClientStatus": client, "CreateIndex": n,
        "AllocatedResources": { "Tasks": {}, "Shared": { "Ports": [
            { "Label": "http", "Value": 20000 + n, "To": 80, "HostIP": "198.18.0.11" } ] } },
        "TaskStates": { "www": { "State": task, "StartedAt": "2026-11-24T20:00:00Z" } },
    })
}

pub(crate) fn running(n: usize) -> Value {
    allocation(n, "running", "run", "running")
}

/// A job whose only task serves the port, registered by Nomad.
pub(crate) fn job(registered: bool) -> Value {
    let services = if registered {
        json!([{ "PortLabel": "http", "Provider": "consul" }])
    } else {
        json!([])
    };
    json!({ "TaskGroups": [{ "Name": "web", "Services": services,
                             "Tasks": [{ "Name": "www", "Config": { "ports": ["http"] } }] }] })
}

/// An instance as Consul lists it, with a check of its own.
pub(crate) fn instance(n: usize, status: &str) -> Value {
    let id = format!("_nomad-task-{}-group-web-web-http", ALLOCS[n]);
    json!({
        "Node": { "Node": "node1", "Address": "198.18.0.11" },
        "Service": { "ID": id, "Address": "198.18.0.11", "Port": 20000 + n, "Tags": [],
                     "Weights": { "Passing": 1, "Warning": 1 } },
        "Checks": [{ "CheckID": "serfHealth", "Status": "passing", "ServiceID": "" },
                   { "CheckID": "c", "Status": status, "ServiceID": id }],
    })
}

/// One that has nothing to do with Nomad.
pub(crate) fn stranger(n: usize) -> Value {
    let mut instance = instance(n, "passing");
    let id = format!("by-hand-{n}");
    instance["Service"]["ID"] = json!(id);
    instance["Checks"][1]["ServiceID"] = json!(id);
    instance
}
