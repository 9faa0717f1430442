//! What the agent hears of a plugin whose work on files hangs.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use docker_ipvs::config::PluginConfig;
use docker_ipvs::file_work::FileWork;
use docker_ipvs::fingerprint::{self, CurrentEngine};
use docker_ipvs::name::DriverName;
use futures_util::{Stream, StreamExt};
use nomad_driver_sdk::value::{Fingerprint, Health};
use tokio::task::yield_now;
use tokio::time::advance;

use crate::fake::FakeEngine;

#[tokio::test(start_paused = true)]
async fn a_driver_whose_file_work_hangs_is_unhealthy_and_says_which_until_it_goes_on() {
    let engine = Arc::new(FakeEngine::default());
    let config = Arc::new(PluginConfig::default());
    let current: CurrentEngine<_> =
        Arc::new(move || Ok((Arc::clone(&engine), Arc::clone(&config))));
    let files = FileWork::default();
    let name = DriverName::from_path(Path::new("docker")).unwrap();
    let mut health = Box::pin(fingerprint::stream(name, current, files.clone()));
    assert_eq!(next(&mut health).await.health, Health::Healthy);

    let (end, wait) = mpsc::channel::<()>();
    let hang = files.clone();
    tokio::spawn(async move { hang.run("a read", move || wait.recv().is_err()).await });
    let ill = next(&mut health).await;
    assert_eq!(ill.health, Health::Unhealthy);
    assert!(ill.description.contains("a read"), "{}", ill.description);

    drop(end);
    while files.hang().is_some() {
        yield_now().await;
    }
    // Whatever was on its way.
    while next(&mut health).await.health != Health::Healthy {}
}

/// The clock is put on by hand: it does not go by itself while a thread blocks.
async fn next(health: &mut (impl Stream<Item = Fingerprint> + Unpin)) -> Fingerprint {
    let clock = async {
        loop {
            yield_now().await;
            advance(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        fresh = health.next() => fresh.unwrap(),
        () = clock => unreachable!(),
    }
}
