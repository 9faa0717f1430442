//! What the driver relies on, engine by engine. Each function makes its own container and removes it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig};
use docker_ipvs::engine::{
    Chunk, Command, CommandIo, CommandState, Container, ContainerEngine, ContainerId,
    ContainerState, EngineError, Source,
};
use docker_ipvs::stats::cgroup::{Cgroup, Clock};
use futures_util::TryStreamExt;
use tokio::io::AsyncWriteExt;

const GRACE: Duration = Duration::from_secs(1);

pub(crate) fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!(
        "nomad-ipvs-suite-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// A shell of busybox; the fake knows some of its words.
pub(crate) fn shell(script: &str) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some("busybox:1".to_owned()),
        cmd: Some(["sh", "-c", script].map(str::to_owned).to_vec()),
        ..ContainerCreateBody::default()
    }
}

async fn created(engine: &impl ContainerEngine, script: &str) -> ContainerId {
    engine.create(&unique(), shell(script)).await.unwrap()
}

fn text(chunks: &[Chunk], source: Source) -> String {
    chunks
        .iter()
        .filter(|chunk| chunk.source == source)
        .map(|chunk| String::from_utf8_lossy(&chunk.bytes))
        .collect()
}

pub(crate) async fn a_container_runs_and_its_exit_code_is_told(engine: impl ContainerEngine) {
    let id = created(&engine, "sleep 0.2; exit 7").await;
    assert_eq!(
        engine.inspect(&id.0).await.unwrap().state,
        ContainerState::Created
    );
    engine.start(&id).await.unwrap();
    let container = engine.inspect(&id.0).await.unwrap();
    assert!(container.is_alive() && container.pid.is_some() && container.started_at.is_some());
    assert_eq!(engine.wait(&id).await.unwrap(), 7);
    let ContainerState::Exited {
        code, oom_killed, ..
    } = engine.inspect(&id.0).await.unwrap().state
    else {
        panic!("not exited")
    };
    assert_eq!((code, oom_killed), (7, false));
    // Asked after the fact, the answer is the same.
    assert_eq!(engine.wait(&id).await.unwrap(), 7);
    engine.remove(&id).await.unwrap();
}

pub(crate) async fn output_attached_before_the_start_is_whole(engine: impl ContainerEngine) {
    let id = created(&engine, "echo one; echo two; echo bad >&2").await;
    let output = engine.attach(&id).await.unwrap();
    engine.start(&id).await.unwrap();
    let chunks: Vec<_> = output.try_collect().await.unwrap();
    assert_eq!(
        (
            text(&chunks, Source::Stdout).as_str(),
            text(&chunks, Source::Stderr).as_str()
        ),
        ("one\ntwo\n", "bad\n")
    );
    engine.remove(&id).await.unwrap();
}

pub(crate) async fn stored_output_has_times_and_ends_with_the_container(
    engine: impl ContainerEngine,
) {
    let id = created(&engine, "echo one; sleep 0.2; echo two").await;
    engine.start(&id).await.unwrap();
    let entries: Vec<_> = engine
        .history(&id, 0, true)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let lines: Vec<_> = entries.iter().map(|entry| entry.bytes.as_ref()).collect();
    assert_eq!(lines, [b"one\n", b"two\n"]);
    assert!(entries[0].at < entries[1].at);
    engine.remove(&id).await.unwrap();
}

pub(crate) async fn a_taken_name_is_a_conflict(engine: impl ContainerEngine) {
    let name = unique();
    let id = engine.create(&name, shell("exit 0")).await.unwrap();
    assert!(matches!(
        engine.create(&name, shell("exit 0")).await,
        Err(EngineError::Conflict(_))
    ));
    assert_eq!(engine.inspect(&name).await.unwrap().id, id);
    engine.remove(&id).await.unwrap();
    let again = engine.create(&name, shell("exit 0")).await.unwrap();
    engine.remove(&again).await.unwrap();
}

pub(crate) async fn what_is_not_there_is_not_found(engine: impl ContainerEngine) {
    let absent_id = ContainerId("0".repeat(64));
    assert!(matches!(
        engine.inspect(&absent_id.0).await,
        Err(EngineError::NotFound(_))
    ));
    assert!(matches!(
        engine.find_image("nomad-ipvs-no-such-image:1").await,
        Err(EngineError::NotFound(_))
    ));
    assert!(matches!(
        engine.start(&absent_id).await,
        Err(EngineError::NotFound(_))
    ));
    assert!(!engine.find_image("busybox:1").await.unwrap().is_empty());
    engine.remove(&absent_id).await.unwrap();
    engine.stop(&absent_id, GRACE).await.unwrap();
}

pub(crate) async fn a_stop_ends_it_and_stopping_again_is_fine(engine: impl ContainerEngine) {
    let id = created(&engine, "sleep 600").await;
    engine.start(&id).await.unwrap();
    engine.stop(&id, GRACE).await.unwrap();
    assert!(!engine.inspect(&id.0).await.unwrap().is_alive());
    engine.stop(&id, GRACE).await.unwrap();
    engine.remove(&id).await.unwrap();
}

pub(crate) async fn a_signal_needs_a_running_container(engine: impl ContainerEngine) {
    let id = created(&engine, "sleep 600").await;
    engine.start(&id).await.unwrap();
    engine.kill(&id, "SIGKILL").await.unwrap();
    assert_eq!(engine.wait(&id).await.unwrap(), 137);
    assert!(matches!(
        engine.kill(&id, "SIGKILL").await,
        Err(EngineError::Conflict(_))
    ));
    engine.remove(&id).await.unwrap();
}

pub(crate) async fn running_containers_are_listed_by_label(engine: impl ContainerEngine) {
    let label = unique();
    let labels = HashMap::from([("nomad-ipvs-suite".to_owned(), label.clone())]);
    let body = ContainerCreateBody {
        labels: Some(labels),
        ..shell("sleep 600")
    };
    let id = engine.create(&unique(), body).await.unwrap();
    assert!(
        engine
            .list_running("nomad-ipvs-suite", &label)
            .await
            .unwrap()
            .is_empty()
    );
    engine.start(&id).await.unwrap();
    let entries = engine
        .list_running("nomad-ipvs-suite", &label)
        .await
        .unwrap();
    assert_eq!(
        entries.iter().map(|entry| &entry.id).collect::<Vec<_>>(),
        [&id]
    );
    engine.remove(&id).await.unwrap();
}

/// What a container with a terminal, or without one, writes: by its attachment and by its stored log.
async fn run_script(engine: &impl ContainerEngine, tty: bool, script: &str) -> (String, String) {
    let body = ContainerCreateBody {
        tty: Some(tty),
        ..shell(script)
    };
    let id = engine.create(&unique(), body).await.unwrap();
    let output = engine.attach(&id).await.unwrap();
    engine.start(&id).await.unwrap();
    let chunks: Vec<_> = output.try_collect().await.unwrap();
    engine.wait(&id).await.unwrap();
    let log = engine.history(&id, 0, false).await.unwrap();
    let entries: Vec<_> = log.try_collect().await.unwrap();
    engine.remove(&id).await.unwrap();
    let log = entries
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.bytes));
    (text(&chunks, Source::Stdout), log.collect())
}

pub(crate) async fn output_may_begin_with_any_byte_with_a_terminal_and_without(
    engine: impl ContainerEngine,
) {
    let script = "printf '\\001abcdefgh\\n'; echo two; sleep 0.2; printf '\\001\\001no end'";
    for (tty, expected) in [
        (true, "\u{1}abcdefgh\r\ntwo\r\n\u{1}\u{1}no end"),
        (false, "\u{1}abcdefgh\ntwo\n\u{1}\u{1}no end"),
    ] {
        let (live, log) = run_script(&engine, tty, script).await;
        assert_eq!((live.as_str(), log.as_str()), (expected, expected), "{tty}");
    }
}

pub(crate) async fn a_commands_output_may_begin_with_any_byte(engine: impl ContainerEngine) {
    let id = created(&engine, "sleep 600").await;
    engine.start(&id).await.unwrap();
    for (tty, expected) in [(true, "\u{1}abcdefgh\r\n"), (false, "\u{1}abcdefgh\n")] {
        let words = ["sh", "-c", "printf '\\001abcdefgh\\n'; exit 3"].map(str::to_owned);
        let command = Command {
            words: words.to_vec(),
            tty,
            stdin: false,
        };
        let CommandIo { id, output, input } = engine.exec(&id, command).await.unwrap();
        let chunks: Vec<_> = output.try_collect().await.unwrap();
        assert_eq!(text(&chunks, Source::Stdout), expected, "{tty}");
        drop(input);
        let end = async {
            while engine.exec_state(&id).await.unwrap() != (CommandState::Exit { code: 3 }) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), end)
            .await
            .unwrap();
    }
    engine.remove(&id).await.unwrap();
}

/// With systemd as its cgroup driver the engine wants a slice, and its runtime wants no path of it.
pub(crate) async fn systemd_is_given_the_agents_slice_by_its_bare_name(
    engine: impl ContainerEngine,
) {
    // As an agent that sends no topology says it on cgroup v2.
    let scope = "/sys/fs/cgroup/nomad.slice/share.slice/a1.web.scope";
    let own = docker_ipvs::spec::cgroup_parent(scope).unwrap();
    let below = async |parent: &str| {
        let host = HostConfig {
            cgroup_parent: Some(parent.to_owned()),
            ..HostConfig::default()
        };
        let body = ContainerCreateBody {
            host_config: Some(host),
            ..shell("exit 0")
        };
        let id = engine.create(&unique(), body).await?;
        let answer = engine.start(&id).await;
        engine.remove(&id).await.unwrap();
        answer
    };
    for (parent, words) in [
        ("/nomad.slice", "invalid slice name: /nomad.slice"),
        ("nomad.slice/share.slice", "invalid slice name"),
        ("/nomad", "should be a valid slice"),
    ] {
        let refusal = below(parent).await.unwrap_err().to_string();
        assert!(refusal.contains(words), "{parent}: {refusal}");
    }
    // The name is fine. Where there is no systemd behind the driver, that is what is missing.
    if let Err(error) = below(&own).await {
        let text = error.to_string();
        assert!(text.contains("failed to connect to dbus"), "{own}: {text}");
    }
}

/// What a command reads ends where its input does.
pub(crate) async fn a_commands_input_ends(engine: impl ContainerEngine) {
    let id = created(&engine, "sleep 600").await;
    engine.start(&id).await.unwrap();
    let command = Command {
        words: vec!["cat".to_owned()],
        tty: false,
        stdin: true,
    };
    let CommandIo {
        output, mut input, ..
    } = engine.exec(&id, command).await.unwrap();
    input.write_all(b"to the end\n").await.unwrap();
    input.shutdown().await.unwrap();
    let chunks: Vec<_> = tokio::time::timeout(Duration::from_secs(10), output.try_collect())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(text(&chunks, Source::Stdout), "to the end\n");
    engine.remove(&id).await.unwrap();
}

/// Only a real engine has a kernel below.
pub(crate) async fn the_kernels_counters_are_the_engines(engine: impl ContainerEngine) {
    let id = created(
        &engine,
        "head -c 20000000 /dev/zero >/dev/shm/f; while :; do :; done",
    )
    .await;
    engine.start(&id).await.unwrap();
    let Container { pid, .. } = engine.inspect(&id.0).await.unwrap();
    let (cgroup, clock) = (Cgroup::open(pid.unwrap(), &id).unwrap(), Clock::start());
    let begun = cgroup.sample(clock).unwrap();
    let busy = async {
        while cgroup.sample(clock).unwrap().cpu_total < begun.cpu_total + 200_000_000 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), busy)
        .await
        .unwrap();
    // The engine's look is between two of ours, so its counters must be, too.
    let before = cgroup.sample(clock).unwrap();
    let sample = engine.sample(&id).await.unwrap();
    let after = cgroup.sample(clock).unwrap();
    engine.remove(&id).await.unwrap();
    assert!(sample.cpu_total > 100_000_000, "{sample:?}");
    let tick = 10_000_000;
    for (name, low, value, high) in [
        ("total", before.cpu_total, sample.cpu_total, after.cpu_total),
        ("user", before.cpu_user, sample.cpu_user, after.cpu_user),
        (
            "kernel",
            before.cpu_kernel,
            sample.cpu_kernel,
            after.cpu_kernel,
        ),
        (
            "throttled",
            before.throttled_periods,
            sample.throttled_periods,
            after.throttled_periods,
        ),
    ] {
        let fits = value + tick >= low && value <= high + tick;
        assert!(fits, "{name}: {low} <= {value} <= {high}");
    }
    let near = |own: Option<u64>, engine_value: Option<u64>| {
        let (own, engine_value) = (own.unwrap_or_default(), engine_value.unwrap_or_default());
        own.abs_diff(engine_value) <= 4 * 1024 * 1024
    };
    let (own, engine_value) = (after.memory, sample.memory);
    assert!(engine_value.usage.unwrap() > 20_000_000, "{engine_value:?}");
    assert!(
        near(own.usage, engine_value.usage),
        "{own:?} {engine_value:?}"
    );
    assert!(
        near(own.rss, engine_value.rss) && near(own.cache, engine_value.cache),
        "{own:?} {engine_value:?}"
    );
    assert!(
        near(own.max_usage, engine_value.max_usage),
        "{own:?} {engine_value:?}"
    );
    // No container has more time than the machine.
    let usage = after.cpu_total - begun.cpu_total;
    assert!(
        usage <= after.system_total - begun.system_total,
        "{begun:?} {after:?}"
    );
    assert!(cgroup.sample(clock).is_err(), "the container has gone");
}
