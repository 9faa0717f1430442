//! What is offered follows what passes leave behind.

use std::time::Duration;

use ipvs::{Forwarding, RealServer, ServiceSettings, Table, Thresholds, VirtualService, Weight};
use syncer_core::desired::{Declared, Desired, DesiredService, Endpoint, Want};
use syncer_core::model::safeguard::Safeguards;

use super::*;

const SOON: Duration = Duration::from_secs(5);

fn key() -> Key {
    (
        "198.18.0.31:80".parse().unwrap(),
        "198.18.0.11:20000".parse().unwrap(),
    )
}

fn state(want: Want, real: Option<u32>) -> Arc<PassState> {
    state_by(want, real.map(|weight| (weight, Forwarding::DirectRouting)))
}

/// The same, with the kernel's real server by that method.
fn state_by(want: Want, real: Option<(u32, Forwarding)>) -> Arc<PassState> {
    let settings = ServiceSettings::new("rr".parse().unwrap());
    let forwarding = Forwarding::DirectRouting;
    let service = DesiredService {
        name: "web".into(),
        settings,
        forwarding,
        snat: false,
        drain: Duration::ZERO,
        safeguards: Safeguards::default(),
        declared: Declared::Tags,
        complete: true,
        endpoints: vec![Endpoint {
            address: key().1,
            want,
            phase: None,
            health: None,
            alloc: None,
            held: false,
        }],
    };
    let mut desired = Desired::default();
    desired.services.insert(key().0, Arc::new(service));
    desired.complete = true;
    let reals = real.map(|(weight, forwarding)| RealServer {
        address: key().1,
        weight: Weight::saturating(weight),
        forwarding,
        thresholds: Thresholds::default(),
    });
    let service = VirtualService::new(settings, reals.into_iter().collect());
    let table: Table = [(key().0, service)].into_iter().collect();
    let mut state = PassState::default();
    state.complete = true;
    state.follow_whole(&desired, &table);
    Arc::new(state)
}

/// The weights that the instance's node is offered, once that differs from `before`.
async fn next(offered: &mut watch::Receiver<Option<Arc<NodeOffers>>>) -> Option<Vec<u32>> {
    tokio::time::timeout(SOON, offered.changed())
        .await
        .unwrap()
        .unwrap();
    let offered = offered.borrow_and_update().clone().unwrap();
    let node = offered.get(&key().1.ip())?;
    Some(
        node.values()
            .flatten()
            .map(|instance| instance.weight.get())
            .collect(),
    )
}

#[tokio::test]
async fn an_instance_is_offered_from_its_trial_on_until_the_kernel_has_let_go_of_it() {
    let offers = Offers::default();
    let weight = Weight::ONE;
    let (passes, following) = watch::channel(Arc::new(PassState::default()));
    let mut offered = offers.subscribe();
    tokio::spawn(offers.clone().follow(following));
    passes.send_replace(state(Want::Warm(weight), None));
    assert_eq!(next(&mut offered).await, None, "it is not known to listen");
    let trial = tokio::spawn({
        let offers = offers.clone();
        async move { offers.trial(key()).await }
    });
    assert_eq!(next(&mut offered).await, Some(vec![1]));
    offers.take(key().1.ip(), [(key(), weight)].into(), BTreeSet::new());
    let offering = tokio::time::timeout(SOON, trial).await.unwrap().unwrap();
    passes.send_replace(state(Want::Serve(weight), Some(1)));
    drop(offering);
    passes.send_replace(state(Want::Drain, Some(0)));
    loop {
        if next(&mut offered).await == Some(vec![0]) {
            break;
        }
    }
    passes.send_replace(state(Want::Drain, None));
    assert_eq!(next(&mut offered).await, None);
}

#[tokio::test]
async fn an_instance_that_still_goes_by_another_method_is_offered_once_it_goes_by_this() {
    let offers = Offers::default();
    let serve = Want::Serve(Weight::ONE);
    let (passes, following) = watch::channel(Arc::new(PassState::default()));
    let mut offered = offers.subscribe();
    tokio::spawn(offers.clone().follow(following));
    let by = |method| state_by(serve, Some((1, method)));
    passes.send_replace(by(Forwarding::Masquerade));
    assert_eq!(next(&mut offered).await, None);
    passes.send_replace(by(Forwarding::DirectRouting));
    assert_eq!(next(&mut offered).await, Some(vec![1]));
}

#[test]
fn an_instance_that_is_offered_no_more_is_held_until_its_node_lets_go() {
    let (offers, node) = (Offers::default(), key().1.ip());
    let instance = |weight| Instance {
        address: key().1,
        weight: Weight::saturating(weight),
    };
    let offered =
        |weight| -> NodeOffers { [(node, [(key().0, vec![instance(weight)])].into())].into() };
    let taken = |weight| -> Shares { [(key(), Weight::saturating(weight))].into() };
    assert!(!offers.is_held(key().1), "nobody has it");
    offers.offer(offered(1));
    offers.take(node, taken(1), BTreeSet::new());
    assert!(offers.is_held(key().1));
    offers.offer(NodeOffers::new());
    assert!(offers.is_held(key().1), "its node has not said anything");
    offers.take(node, taken(1), BTreeSet::new());
    assert!(
        offers.is_held(key().1),
        "what it said was of an earlier offer"
    );
    offers.offer(NodeOffers::new());
    offers.take(node, Shares::new(), BTreeSet::new());
    assert!(!offers.is_held(key().1));
    offers.offer(offered(0));
    offers.take(node, taken(0), BTreeSet::new());
    offers.offer(NodeOffers::new());
    assert!(!offers.is_held(key().1), "it took nothing before");
}
