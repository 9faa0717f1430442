use super::*;

fn address() -> SocketAddr {
    "198.18.0.11:25000".parse().unwrap()
}

fn allocation(state: &str) -> Allocation {
    Allocation {
        id: "a".to_owned(),
        job: "j".to_owned(),
        group: "g".to_owned(),
        label: "www".to_owned(),
        state: state.to_owned(),
    }
}

fn view(state: Option<&str>, health: Option<&str>, weight: Option<u32>) -> View {
    let one = |present: bool| present.then(address).into_iter();
    View {
        allocations: Ok(one(state.is_some())
            .map(|a| (a, allocation(state.unwrap_or(""))))
            .collect()),
        instances: Ok(one(health.is_some())
            .map(|a| {
                (
                    a,
                    Instance {
                        service: "s".to_owned(),
                        health: health.unwrap_or("").to_owned(),
                    },
                )
            })
            .collect()),
        kernel: Ok(one(weight.is_some())
            .map(|a| {
                (
                    a,
                    RealServer {
                        vip: "v:80".to_owned(),
                        weight: weight.unwrap_or(0),
                        active: 0,
                        inactive: 0,
                    },
                )
            })
            .collect()),
        syncer: Some(Syncer {
            services: ["s".to_owned()].into(),
            words: BTreeMap::new(),
        }),
    }
}

fn verdict(view: &View) -> Verdict {
    rows(view)[0].verdict.clone()
}

#[test]
fn three_views_of_a_healthy_instance_agree() {
    assert_eq!(
        verdict(&view(Some("running"), Some("passing"), Some(1))),
        Verdict::Agree
    );
}

#[test]
fn each_way_in_which_one_view_stands_alone_is_named() {
    for (view, expected) in [
        (
            view(Some("running"), None, None),
            "the catalogue doesn't have it",
        ),
        (view(None, Some("passing"), None), "Nomad doesn't"),
        (view(None, None, Some(1)), "the kernel sends to it"),
        (
            view(Some("running"), Some("passing"), None),
            "not in the kernel",
        ),
        (
            view(Some("running"), Some("passing"), Some(0)),
            "its weight is 0",
        ),
        (
            view(Some("running"), Some("critical"), Some(1)),
            "critical in Consul",
        ),
    ] {
        let Verdict::Differ(why) = verdict(&view) else {
            panic!("{view:?} agreed")
        };
        assert!(why.contains(expected), "{why:?} doesn't say {expected:?}");
    }
}

#[test]
fn a_service_without_a_vip_needs_no_real_server() {
    let mut view = view(Some("running"), Some("passing"), None);
    view.syncer = Some(Syncer::default());
    assert_eq!(verdict(&view), Verdict::Agree);
}

#[test]
fn a_real_server_that_drains_is_moving_in_the_syncers_words() {
    let mut view = view(Some("stopping"), None, Some(0));
    let words = Words {
        service: "s".to_owned(),
        state: "draining".to_owned(),
        why: "stopping".to_owned(),
    };
    view.syncer = Some(Syncer {
        services: BTreeSet::new(),
        words: [(address(), words)].into(),
    });
    assert_eq!(
        verdict(&view),
        Verdict::Moving("draining: stopping".to_owned())
    );
}

#[test]
fn a_view_that_could_not_be_read_never_passes_for_agreement() {
    let mut view = view(Some("running"), Some("passing"), Some(1));
    view.kernel = Err("the director is down".to_owned());
    let Verdict::Differ(why) = verdict(&view) else {
        panic!("agreed")
    };
    assert!(why.contains("the director is down"));
    assert!(!view.is_whole());
}
