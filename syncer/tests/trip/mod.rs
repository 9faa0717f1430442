//! What every backend for SNAT does to a kernel: a trip through all of its life.

use ipvs_syncer::dataplane::snat::Snat;
use syncer_core::plan::SnatSet;

pub(crate) fn set(services: &[&str]) -> SnatSet {
    services.iter().map(|text| text.parse().unwrap()).collect()
}

/// `foreign` lists all that is not ours: nobody touches it.
pub(crate) async fn takes(backend: &dyn Snat, foreign: impl Fn() -> String) {
    let before = foreign();
    backend.probe().await.unwrap();
    assert_eq!(foreign(), before, "a probe leaves nothing behind");
    assert!(!backend.is_in_use().await.unwrap());
    let first = set(&[
        "198.18.0.29:80",
        "198.18.0.30:80",
        "udp://198.18.0.29:53",
        "[2001:db8::29]:80",
        "udp://[2001:db8::29]:53",
    ]);
    backend.set(&first).await.unwrap();
    assert_eq!(backend.read().await.unwrap(), Some(first));
    let second = set(&["198.18.0.29:80", "198.18.0.29:443", "[2001:db8::29]:443"]);
    backend.set(&second).await.unwrap();
    backend.set(&second).await.unwrap();
    assert_eq!(backend.read().await.unwrap(), Some(second));
    assert!(backend.is_in_use().await.unwrap());
    backend.set(&SnatSet::new()).await.unwrap();
    assert_eq!(backend.read().await.unwrap(), Some(SnatSet::new()));
    backend.remove().await.unwrap();
    assert!(!backend.is_in_use().await.unwrap());
    assert_eq!(backend.read().await.unwrap(), None, "to be set anew");
    backend.remove().await.unwrap();
    assert_eq!(foreign(), before);
}
