//! The `agent` command: start what the config asks for, wait for the end, let go.

mod reload;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ipvs_syncer::admin::{self, Admin, Count, DirectorView};
use ipvs_syncer::config::{Config, DirectorConfig as Settings, Hints};
use ipvs_syncer::dataplane::KernelDataPlane;
use ipvs_syncer::files;
use ipvs_syncer::hints::{self, Barrier};
use ipvs_syncer::lock;
use ipvs_syncer::offer::Offers;
use ipvs_syncer::parts::Parts;
use ipvs_syncer::real_server::{self, Containers, ports};
use ipvs_syncer::reconcile::{Inputs, Reconciler};
use ipvs_syncer::registrar;
use ipvs_syncer::source::driver::Board;
use ipvs_syncer::source::{Published, consul, nomad, place};
use ipvs_syncer::store::Store;
use ipvs_syncer::terminal::EscapedFields;
use syncer_core::model::fleet::Fleet;
use syncer_core::reading::Counts;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use reload::{Channels, LogLevel, Reload};

/// The part that writes the last state.
const DIRECTOR: &str = "the director";

/// How long the end may take; what is not written by then is lost, the data plane is not.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs until a signal.
pub(crate) async fn run(path: PathBuf, config: Config) -> anyhow::Result<()> {
    let signals = Signals::listen()?;
    let log = start_log(&config.log_level);
    if let Err(error) = files::raise_limit() {
        warn!(%error, "the limit of open files stays as it is");
    }
    let warnings = watch::Sender::new(config.warnings.clone());
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let stop = CancellationToken::new();
    let mut parts = Parts::default();
    let listener = match config.status {
        Some(address) => Some(admin::listen(address).await?),
        None => None,
    };
    let nodes = match &config.hints {
        Some(Hints {
            listen: Some(address),
            tls,
            ..
        }) => Some(hints::listen(*address, tls.as_ref()).await?),
        _ => None,
    };
    let fleet = match &config.nomad {
        Some(api) => {
            Some(nomad::start(api, &mut parts, stop.clone()).context("start to follow Nomad")?)
        }
        None => None,
    };
    let mut admin = Admin {
        started: Instant::now(),
        consul: (config.consul.address.to_string(), None),
        nomad: config
            .nomad
            .as_ref()
            .map(|api| api.address.to_string())
            .zip(fleet.clone()),
        director: None,
        registrar: None,
        real_server: None,
        leases: None,
        warnings: warnings.subscribe(),
    };
    let channels = config.director.as_ref().map(Channels::new);
    if let (Some(settings), Some(channels)) = (&config.director, &channels) {
        let fleet = fleet.clone();
        let barrier = direct(
            &config,
            (settings, channels),
            fleet,
            &mut admin,
            &mut parts,
            &stop,
        )?;
        if let (Some(nodes), Some(barrier)) = (nodes, barrier) {
            let served = nodes.serve(barrier, stop.clone());
            parts.spawn("what takes nodes' hints", async move {
                if let Err(error) = served.await {
                    error!(%error, "nodes' hints are no longer taken");
                }
            });
        }
    }
    if let (Some(settings), Some(api), Some(fleet)) = (&config.registrar, &config.nomad, fleet) {
        let status = registrar::start(&config, settings, api, fleet, &mut parts, stop.clone());
        admin.registrar = Some(status.context("start the registrar")?);
    }
    if let Some(hints) = &config.hints
        && let Some(relay) = &hints.relay
    {
        let tls = hints.tls.as_ref();
        let containers = Containers::default();
        if let Some(settings) = &config.real_server {
            let folder = relay.socket.parent().unwrap_or("/".as_ref());
            let (directors, known) = ((relay.directors.as_slice(), tls), (&containers, folder));
            let role = real_server::start(settings, directors, known, &mut parts, &stop);
            admin.real_server = Some(role.await?);
            if settings.host_ports {
                let leases = ports::start(&settings.interface, &containers, &mut parts, &stop);
                admin.leases = Some(leases.await.context("real_server.host_ports")?);
            } else {
                ports::clear().await;
            }
        } else {
            real_server::clear().await;
            ports::clear().await;
        }
        hints::serve(relay, tls, containers, &mut parts, &stop)?;
    }
    if let Some(listener) = listener {
        let served = admin::serve(listener, admin, stop.clone());
        parts.spawn("what serves the status", served);
    }
    info!(version = env!("CARGO_PKG_VERSION"), "running");
    let mut reload = Reload {
        path,
        warnings,
        current: config,
        log,
        director: channels,
    };
    let ended = tokio::select! {
        signal = signals.ending(&mut reload) => {
            info!(signal, "ending; virtual services stay as they are");
            Ok(())
        }
        ended = parts.ended() => {
            error!(%ended, "ending, for half a syncer is worse than none; virtual services stay as they are");
            Err(ended)
        }
    };
    stop.cancel();
    if tokio::time::timeout(EXIT_TIMEOUT, parts.finish(DIRECTOR))
        .await
        .is_err()
    {
        warn!("the last state was not written in time");
    }
    Ok(ended?)
}

/// Starts the director role; nodes' hints go to what it returns, if Nomad is followed. All that can be wrong with this
/// machine is found before anything is changed.
fn direct(
    config: &Config,
    (settings, channels): (&Settings, &Channels),
    fleet: Option<watch::Receiver<Published<Fleet>>>,
    admin: &mut Admin,
    parts: &mut Parts,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Barrier>> {
    let lock = lock::lock(lock::RUN_DIR.as_ref(), lock::NAME)?;
    let (store, memory) = Store::open(&config.state_dir)?;
    let director = KernelDataPlane::open(settings, &memory)?;
    let names = channels.names.subscribe();
    let source = consul::start(&config.consul, names, parts, stop.clone())
        .context("start to follow Consul")?;
    let counter = director.counter();
    parts.spawn("the netlink thread", director.ended());
    let count: Count = Arc::new(move |ids| {
        let counter = counter.clone();
        Box::pin(async move { counter.count(ids).await })
            as Pin<Box<dyn Future<Output = Counts> + Send>>
    });
    let board = Board::default();
    let offers = Offers::default();
    admin.consul.1 = Some(source.published.clone());
    let nomad = config.nomad.as_ref();
    let sources = [
        ("Consul", config.consul.address.host()),
        ("Nomad", nomad.and_then(|api| api.address.host())),
    ];
    let inputs = Inputs {
        catalog: source.published,
        fleet: fleet.clone(),
        confirm: source.confirm,
        sources: place::follow(&sources, parts, stop.clone()),
        board: board.clone(),
        offers: offers.clone(),
    };
    let reconciler = Reconciler::new(
        director,
        settings.policy(),
        settings.audit_interval,
        inputs,
        store,
        memory,
    )
    .following(channels.policy.subscribe());
    admin.director = Some(DirectorView::of(&reconciler, Arc::clone(&count)));
    let passes = reconciler.passes();
    parts.spawn(
        "what offers VIPs to nodes",
        offers.clone().follow(passes.clone()),
    );
    let barrier = fleet.map(|fleet| Barrier {
        board,
        fleet,
        passes,
        count,
        offers,
    });
    let stop = stop.clone();
    parts.spawn(DIRECTOR, async move {
        reconciler.run(stop).await;
        drop(lock);
    });
    Ok(barrier)
}

/// Sets the log up, and gives what can change its level.
fn start_log(level: &str) -> LogLevel {
    let environment = EnvFilter::try_from_default_env();
    let configured = environment.is_err();
    let builder = tracing_subscriber::fmt()
        .fmt_fields(EscapedFields::new())
        .with_env_filter(environment.unwrap_or_else(|_| reload::filter(level)))
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_filter_reloading();
    let handle = builder.reload_handle();
    builder.init();
    if configured {
        LogLevel::Config(Box::new(move |filter| handle.reload(filter)))
    } else {
        LogLevel::Environment
    }
}

/// The signals that the process gets.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Listens for signals: from now on none of them ends the process by itself.
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
            hangup: signal(SignalKind::hangup()).context("listen for SIGHUP")?,
        })
    }

    /// Waits for one that ends the process; each SIGHUP before has the config read again.
    async fn ending(mut self, reload: &mut Reload) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => reload.reload().await,
            }
        }
    }
}
