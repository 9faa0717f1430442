//! The plugin process: handshake, log, driver, serve. Exit code 1 when it can't be a plugin, with a sentence on stderr.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use docker_ipvs::driver::DockerDriver;
use docker_ipvs::engine::docker::DockerEngine;
use docker_ipvs::name::DriverName;
use docker_ipvs::open_files;
use docker_ipvs::watchdog;
use nomad_driver_sdk::{Handshake, Identity, hclog, serve};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever started us may be gone, and then so is stderr.
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let handshake = Handshake::from_env()?;
    let name = DriverName::from_executable()?;
    hclog::install("docker-ipvs", &["docker_ipvs"]);
    open_files::raise_limit();
    let identity = Identity {
        name: name.as_str().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    watchdog::guard(runtime.handle().clone()).context("cannot start the watchdog")?;
    let driver = Arc::new(DockerDriver::new(name, DockerEngine::connect));
    runtime
        .block_on(serve(&handshake, identity, driver))
        .context("the plugin failed")
}
