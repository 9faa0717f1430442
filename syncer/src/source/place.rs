//! Where the sources themselves are: a VIP there would cut this process off from what it lives on.
//!
//! An address in the config is known at once. A name is resolved in the background, again and again, for what it stands
//! for may change; while it can't be, what it stood for last counts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use syncer_core::desired::{Holder, Holders};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::parts::Parts;

const RESOLVE_INTERVAL: Duration = Duration::from_mins(1);
const RESOLVE_LIMIT: Duration = Duration::from_secs(10);

/// Follows where these hosts are, each with its source's name.
pub fn follow(
    hosts: &[(&'static str, Option<&str>)],
    parts: &mut Parts,
    stop: CancellationToken,
) -> watch::Receiver<Arc<Holders>> {
    let mut places = BTreeMap::new();
    let mut names = Vec::new();
    for (name, host) in hosts {
        let Some(host) = host else { continue };
        match host.parse::<IpAddr>() {
            Ok(ip) => drop(places.insert(ip, *name)),
            Err(_) => names.push((*name, (*host).to_owned())),
        }
    }
    let (known, follows) = watch::channel(Arc::new(occupied(&places, &BTreeMap::new())));
    if !names.is_empty() {
        let resolved = async move {
            let mut resolved = BTreeMap::new();
            loop {
                for (name, host) in &names {
                    match resolve(host).await {
                        Some(ips) => drop(resolved.insert(*name, ips)),
                        None => {
                            warn!(
                                host,
                                source = name,
                                "cannot be resolved; a VIP at its address would not be noticed"
                            );
                        }
                    }
                }
                known.send_replace(Arc::new(occupied(&places, &resolved)));
                tokio::time::sleep(RESOLVE_INTERVAL).await;
            }
        };
        parts.spawn("what resolves the sources' names", async move {
            stop.run_until_cancelled(resolved).await;
        });
    }
    follows
}

async fn resolve(host: &str) -> Option<Vec<IpAddr>> {
    let answer = tokio::net::lookup_host((host, 0));
    let found = tokio::time::timeout(RESOLVE_LIMIT, answer)
        .await
        .ok()?
        .ok()?;
    Some(found.map(|address| address.ip()).collect())
}

fn occupied(
    places: &BTreeMap<IpAddr, &'static str>,
    resolved: &BTreeMap<&'static str, Vec<IpAddr>>,
) -> Holders {
    let places = places.iter().map(|(ip, name)| (*ip, *name));
    let of_names = resolved
        .iter()
        .flat_map(|(name, ips)| ips.iter().map(|ip| (*ip, *name)));
    places
        .chain(of_names)
        .map(|(ip, name)| (ip, Holder::Source { name }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_known_at_once_and_a_name_once_it_is_resolved() {
        let mut parts = Parts::default();
        let stop = CancellationToken::new();
        let hosts = [
            ("Consul", Some("198.18.0.11")),
            ("Nomad", Some("localhost")),
            ("a socket", None),
        ];
        let mut known = follow(&hosts, &mut parts, stop.clone());
        let consul: IpAddr = "198.18.0.11".parse().unwrap();
        assert_eq!(known.borrow()[&consul], Holder::Source { name: "Consul" });
        let nomad = |known: &Arc<Holders>| known.keys().any(IpAddr::is_loopback);
        let limit = Duration::from_secs(20);
        let resolved = tokio::time::timeout(limit, known.wait_for(nomad)).await;
        assert!(resolved.unwrap().unwrap().contains_key(&consul));
        stop.cancel();
    }
}
