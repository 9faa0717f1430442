//! Containers that try to be quicker than the driver and the engine, against the real engine.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bollard::models::{HostConfig, Mount, MountType};
use docker_ipvs::driver::DockerDriver;
use docker_ipvs::engine::docker::DockerEngine;
use docker_ipvs::engine::{Address, ContainerEngine};
use nomad_driver_sdk::TaskDriver;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tokio::time::timeout;

use crate::docker;
use crate::driver::alloc_dir;
use crate::hostile::{MARK, WAIT_MAX, driver_over, host, list, task_of};
use crate::suite::{shell, unique};

/// Starts under a link that flips; before sources were held, one in eight got the host.
const RACES: usize = 40;
/// Between two flips; an engine's start takes a thousand times longer.
const FLIP: Duration = Duration::from_micros(300);

/// Where a link to the host lies while the engine binds it, 40 starts in a row never see the host.
pub(crate) async fn a_link_that_a_sibling_flips_never_leads_to_the_host() {
    let (alloc, host) = (alloc_dir("web"), host());
    let over = AtomicBool::new(false);
    let counts = std::thread::scope(|scope| {
        let (over, host) = (&over, &host);
        let data = alloc.join("alloc/data/x");
        scope.spawn(move || {
            // As a container does that has the shared folder: there is always something, now its own and now the host's.
            let (link, flags) = (data.with_extension("link"), RenameFlags::EXCHANGE);
            fs::create_dir(&data).unwrap();
            symlink(host, &link).unwrap();
            while !over.load(Ordering::Relaxed) {
                renameat_with(CWD, &link, CWD, &data, flags).unwrap();
                std::thread::sleep(FLIP);
            }
        });
        let runtime = tokio::runtime::Handle::current();
        let races = scope.spawn({
            let alloc = &alloc;
            move || {
                let counts =
                    runtime.block_on(race(&driver_over(|_: &Address| Ok(docker())), alloc));
                over.store(true, Ordering::Relaxed);
                counts
            }
        });
        races.join().unwrap()
    });
    assert_eq!(counts.1, 0, "{counts:?}");
    assert!(counts.0 > 0, "no start came through: {counts:?}");
}

/// How many containers ran, and how many of them found the mark.
async fn race(driver: &DockerDriver<DockerEngine>, alloc: &Path) -> (usize, usize) {
    let (mut ran, mut count) = (0, 0);
    for number in 0..RACES {
        let id = format!("t{number}");
        let volumes = list(&["../alloc/data/x:/x"]);
        let task = task_of(
            &id,
            alloc,
            &format!("test -e /x/{MARK}"),
            &[("volumes", volumes)],
        );
        if driver.start_task(task).await.is_err() {
            continue;
        }
        let exit = timeout(WAIT_MAX, driver.wait_task(&id))
            .await
            .unwrap()
            .unwrap();
        ran += 1;
        count += usize::from(exit.code == 0);
        driver.destroy_task(&id, true).await.unwrap();
    }
    (ran, count)
}

/// A container of an earlier version of this driver, or of the agent's own, still has the allocation's directory.
pub(crate) async fn a_task_that_replaces_its_own_local_by_a_link_is_not_started_again() {
    let alloc = alloc_dir("web");
    let engine = docker();
    let mut body = shell("rm -rf /a/web/local && ln -s / /a/web/local");
    body.host_config = Some(HostConfig {
        network_mode: Some("none".to_owned()),
        mounts: Some(vec![Mount {
            typ: Some(MountType::BIND),
            source: Some(alloc.display().to_string()),
            target: Some("/a".to_owned()),
            ..Mount::default()
        }]),
        ..HostConfig::default()
    });
    let old = engine.create(&unique(), body).await.unwrap();
    engine.start(&old).await.unwrap();
    assert_eq!(engine.wait(&old).await.unwrap(), 0);
    engine.remove(&old).await.unwrap();
    assert!(
        fs::symlink_metadata(alloc.join("web/local"))
            .unwrap()
            .is_symlink()
    );
    let refusal = driver_over(|_: &Address| Ok(docker()))
        .start_task(task_of("t1", &alloc, "test -e /local/etc/shadow", &[]))
        .await
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("symbolic link"), "{refusal}");
}

/// The ordinary case, so that the others are not refused for a wrong reason.
pub(crate) async fn a_task_reaches_what_is_its_own() {
    let alloc = alloc_dir("web");
    fs::write(alloc.join("web/local/site.conf"), "mine").unwrap();
    fs::write(alloc.join("web/secrets/token"), "secret").unwrap();
    symlink("data", alloc.join("alloc/current")).unwrap();
    let script = "test $(cat /etc/site.conf) = mine && test $(cat /secrets/token) = secret \
        && touch /local/a /alloc/b /x/c /new/d && ! touch /etc/site.conf";
    let volumes = list(&[
        "local/site.conf:/etc/site.conf:ro",
        "../alloc/current:/x",
        "made/here:/new",
    ]);
    let task = task_of("t1", &alloc, script, &[("volumes", volumes)]);
    let driver = driver_over(|_: &Address| Ok(docker()));
    driver.start_task(task).await.unwrap();
    let exit = timeout(WAIT_MAX, driver.wait_task("t1"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(exit.code, 0, "{exit:?}");
    driver.destroy_task("t1", true).await.unwrap();
    for file in ["web/local/a", "alloc/b", "alloc/data/c", "web/made/here/d"] {
        assert!(alloc.join(file).exists(), "{file}");
    }
    let left = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!left.contains("/run/docker-ipvs/"), "{left}");
}
