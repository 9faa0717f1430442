//! The engine port: one suite, run against Docker and against the fake that stands for it, and the driver on that fake.
//!
//! The real one needs a socket: `DOCKER_HOST=unix:///… cargo test -p docker-ipvs --test engine -- --ignored`, with the
//! image `busybox:1` present. An engine behind TLS is asked alike, with `DOCKER_CERT_PATH`.

#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "engine/driver.rs"]
mod driver;
#[path = "engine/exec.rs"]
mod exec;
#[path = "engine/fake.rs"]
mod fake;
#[path = "engine/health.rs"]
mod health;
#[path = "engine/hostile.rs"]
mod hostile;
#[path = "engine/images.rs"]
mod images;
#[path = "engine/logs.rs"]
mod logs;
#[path = "engine/mac.rs"]
mod mac;
#[path = "engine/race.rs"]
mod race;
#[path = "engine/reaper.rs"]
mod reaper;
#[path = "engine/registry.rs"]
mod registry;
#[path = "engine/silent.rs"]
mod silent;
#[path = "engine/streams.rs"]
mod streams;
#[path = "engine/suite.rs"]
mod suite;
#[path = "engine/tls.rs"]
mod tls;

use docker_ipvs::config::PluginConfig;
use docker_ipvs::engine::docker::DockerEngine;

use fake::FakeEngine;

/// One test a line, each for both engines.
macro_rules! both {
    ($($suite:ident::$name:ident)*) => {$(
        mod $name {
            #[tokio::test]
            async fn fake() {
                super::$suite::$name(super::FakeEngine::default()).await;
            }

            #[tokio::test]
            #[ignore = "needs a Docker socket"]
            async fn docker() {
                super::$suite::$name(super::docker()).await;
            }
        }
    )*};
}

/// Only for the real one.
macro_rules! real {
    ($($suite:ident::$name:ident)*) => {$(
        mod $name {
            #[tokio::test]
            #[ignore = "needs a Docker socket"]
            async fn docker() {
                super::$suite::$name(super::docker()).await;
            }
        }
    )*};
}

real! {
    suite::the_kernels_counters_are_the_engines
    suite::systemd_is_given_the_agents_slice_by_its_bare_name
    suite::a_commands_input_ends
}

both! {
    suite::output_may_begin_with_any_byte_with_a_terminal_and_without
    suite::a_commands_output_may_begin_with_any_byte
    suite::a_container_runs_and_its_exit_code_is_told
    suite::output_attached_before_the_start_is_whole
    suite::stored_output_has_times_and_ends_with_the_container
    suite::a_taken_name_is_a_conflict
    suite::what_is_not_there_is_not_found
    suite::a_stop_ends_it_and_stopping_again_is_fine
    suite::a_signal_needs_a_running_container
    suite::running_containers_are_listed_by_label
    reaper::only_a_drivers_own_containers_without_a_task_are_removed
}

/// One test a line, for the real engine alone: the fake has no mounts.
macro_rules! real {
    ($($suite:ident::$name:ident)*) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs a Docker socket"]
            async fn docker() {
                super::$suite::$name().await;
            }
        }
    )*};
}

real! {
    race::a_link_that_a_sibling_flips_never_leads_to_the_host
    race::a_task_that_replaces_its_own_local_by_a_link_is_not_started_again
    race::a_task_reaches_what_is_its_own
    mac::a_container_has_the_mac_address_that_its_task_asks_for
    registry::what_a_registry_has_is_fetched_and_what_it_refuses_is_not_tried_again
}

/// Where Docker's own variables say, with TLS if they ask for it.
fn docker() -> DockerEngine {
    let config = PluginConfig::from_msgpack(&[]).unwrap();
    DockerEngine::connect(&config.engine).unwrap()
}
