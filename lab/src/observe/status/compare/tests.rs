use super::*;

const VIP: &str = "198.18.0.29:80";
const OTHER: &str = "198.18.0.30:80";

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

fn instance(service: &str, health: &str, vips: &[&str]) -> Instance {
    Instance {
        service: service.to_owned(),
        health: health.to_owned(),
        vips: vips.iter().map(|&vip| vip.to_owned()).collect(),
    }
}

fn real(vip: &str, weight: u32) -> RealServer {
    RealServer {
        address: address(),
        vip: format!("tcp://{vip}"),
        forward: "masq".to_owned(),
        weight,
        active: 0,
        inactive: 0,
    }
}

fn words(state: &str) -> Words {
    Words {
        service: "s".to_owned(),
        state: state.to_owned(),
        why: "why".to_owned(),
    }
}

/// All that is known of one address; service `s` has [`VIP`].
fn view(allocations: &[&str], instances: Vec<Instance>, reals: Vec<RealServer>) -> View {
    let allocations = allocations.iter().map(|state| allocation(state)).collect();
    View {
        allocations: Ok(at_address(allocations)),
        instances: Ok(at_address(instances)),
        kernel: Ok(at_address(reals)),
        data_plane: Ok(DataPlane::new()),
        syncer: Some(Syncer {
            of_all: [("s".to_owned(), VIP.to_owned())].into(),
            ..Syncer::default()
        }),
    }
}

fn at_address<T>(all: Vec<T>) -> BTreeMap<SocketAddr, Vec<T>> {
    if all.is_empty() {
        return BTreeMap::new();
    }
    [(address(), all)].into()
}

/// One of each kind at most.
fn plain(state: Option<&str>, health: Option<&str>, weight: Option<u32>) -> View {
    let state: Vec<&str> = state.into_iter().collect();
    let instances = health.map(|health| instance("s", health, &[]));
    let reals = weight.map(|weight| real(VIP, weight));
    view(
        &state,
        instances.into_iter().collect(),
        reals.into_iter().collect(),
    )
}

/// Verdicts in order; `!` and what is to be said stands for a difference, `~` for what moves.
fn verdicts(view: &View) -> Vec<String> {
    let word = |row: &Row| match &row.verdict {
        Verdict::Agree => "agree".to_owned(),
        Verdict::Moving(why) => format!("~{why}"),
        Verdict::Differ(why) => format!("!{why}"),
    };
    rows(view).iter().map(word).collect()
}

#[test]
fn each_way_in_which_one_view_stands_alone_is_named() {
    let cases = [
        (Some("running"), Some("passing"), Some(1), "agree"),
        (Some("running"), Some("warning"), Some(1), "agree"),
        (Some("running"), Some("critical"), Some(0), "agree"),
        (Some("running"), Some("critical"), None, "agree"),
        (Some("pending"), None, None, "agree"),
        (Some("stopping"), None, None, "agree"),
        (
            Some("running"),
            None,
            None,
            "!Nomad runs it, the catalogue doesn't have it",
        ),
        (
            Some("running"),
            None,
            Some(1),
            "!Nomad runs it, the catalogue doesn't have it",
        ),
        (
            None,
            Some("passing"),
            None,
            "!the catalogue has it, Nomad doesn't",
        ),
        (
            None,
            None,
            Some(1),
            "!the kernel sends to it (tcp://198.18.0.29:80), the catalogue doesn't have it",
        ),
        (
            Some("running"),
            Some("passing"),
            None,
            "!passing in Consul, not in the kernel under 198.18.0.29:80",
        ),
        (
            Some("running"),
            Some("passing"),
            Some(0),
            "!passing in Consul, but its weight is 0",
        ),
        (
            Some("running"),
            Some("critical"),
            Some(1),
            "!critical in Consul, but the kernel sends to it",
        ),
    ];
    for (state, health, weight, expected) in cases {
        let found = verdicts(&plain(state, health, weight));
        assert_eq!(found, [expected], "{state:?} {health:?} {weight:?}");
    }
}

#[test]
fn a_real_server_behind_two_vips_has_a_row_and_a_verdict_for_each() {
    let mut view = view(
        &["running"],
        vec![
            instance("s", "passing", &[]),
            instance("t", "passing", &[OTHER]),
        ],
        vec![real(VIP, 1), real(OTHER, 0)],
    );
    let syncer = view.syncer.as_mut().unwrap();
    syncer.of_tagged.insert(("t".to_owned(), OTHER.to_owned()));
    assert_eq!(
        verdicts(&view),
        ["agree", "!passing in Consul, but its weight is 0"]
    );
    let rows = rows(&view);
    let services: Vec<&str> = rows
        .iter()
        .map(|row| row.instance.as_ref().unwrap().service.as_str())
        .collect();
    assert_eq!(services, ["s", "t"]);
    // The other way round, whichever is read last.
    view.kernel = Ok(at_address(vec![real(OTHER, 1), real(VIP, 0)]));
    assert_eq!(
        verdicts(&view),
        ["agree", "!passing in Consul, but its weight is 0"]
    );
}

#[test]
fn an_instance_that_is_missing_under_one_of_its_vips_is_named_with_it() {
    let mut view = view(
        &["running"],
        vec![instance("s", "passing", &[OTHER])],
        vec![real(VIP, 1)],
    );
    assert_eq!(verdicts(&view), ["agree"]);
    let syncer = view.syncer.as_mut().unwrap();
    syncer.of_tagged.insert(("s".to_owned(), OTHER.to_owned()));
    assert_eq!(
        verdicts(&view),
        [
            "agree",
            "!passing in Consul, not in the kernel under 198.18.0.30:80"
        ]
    );
}

#[test]
fn an_instance_that_does_not_ask_for_a_vip_is_not_missed_there() {
    let mut view = view(&["running"], vec![instance("t", "passing", &[])], vec![]);
    let syncer = view.syncer.as_mut().unwrap();
    syncer.of_tagged.insert(("t".to_owned(), OTHER.to_owned()));
    assert_eq!(verdicts(&view), ["agree"]);
}

#[test]
fn an_instance_registered_under_two_names_is_judged_under_both() {
    let passing_and_not = |first: &str, second: &str| {
        let instances = vec![instance("s", first, &[]), instance("metrics", second, &[])];
        verdicts(&view(&["running"], instances, vec![real(VIP, 1)]))
    };
    assert_eq!(passing_and_not("passing", "critical"), ["agree", "agree"]);
    assert_eq!(
        passing_and_not("critical", "passing"),
        ["!critical in Consul, but the kernel sends to it", "agree"]
    );
}

#[test]
fn a_port_that_is_given_on_belongs_to_who_runs_on_it() {
    let both = |first, second| {
        let view = view(&[first, second], vec![], vec![]);
        rows(&view)[0].allocation.clone().unwrap().state
    };
    assert_eq!(both("stopping", "running"), "running");
    assert_eq!(both("running", "stopping"), "running");
    assert_eq!(both("pending", "stopping"), "stopping");
}

#[test]
fn a_service_without_a_vip_needs_no_real_server() {
    let mut view = plain(Some("running"), Some("passing"), None);
    view.syncer = Some(Syncer::default());
    assert_eq!(verdicts(&view), ["agree"]);
}

#[test]
fn what_moves_is_told_in_the_syncers_words_for_that_vip_alone() {
    let mut view = view(&["stopping"], vec![], vec![real(VIP, 0), real(OTHER, 1)]);
    let syncer = view.syncer.as_mut().unwrap();
    let at = |vip: &str| (address(), vip.to_owned());
    syncer.words.insert(at(VIP), words("draining"));
    syncer.words.insert(at(OTHER), words("serving"));
    assert_eq!(
        verdicts(&view),
        [
            "~draining: why",
            "!the kernel sends to it (tcp://198.18.0.30:80), the catalogue doesn't have it"
        ]
    );
}

#[test]
fn a_view_that_could_not_be_read_never_passes_for_agreement() {
    let mut view = plain(Some("running"), Some("passing"), Some(1));
    view.kernel = Err("the director is down".to_owned());
    assert_eq!(verdicts(&view), ["!can't be told: the director is down"]);
    assert!(!view.is_whole());
    let mut view = plain(Some("running"), Some("passing"), Some(1));
    view.data_plane = Err("no client".to_owned());
    assert!(!view.is_whole());
}

#[test]
fn a_vip_through_which_nothing_comes_is_silent() {
    let mut view = plain(Some("running"), Some("passing"), Some(1));
    assert_eq!(view.silent(), []);
    let fails = Reach::Fails {
        why: "timed out".to_owned(),
    };
    view.data_plane = Ok([
        ("tcp://198.18.0.29:80".to_owned(), fails),
        (
            "tcp://198.18.0.30:80".to_owned(),
            Reach::Connects { millis: 0.8 },
        ),
    ]
    .into());
    assert_eq!(view.silent(), [("tcp://198.18.0.29:80", "timed out")]);
}
