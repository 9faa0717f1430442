//! Each instance serves the VIP that it asks for itself, and whoever is left out is named.

use super::*;

fn asks_for(port: u16, at: &str) -> Instance {
    Instance {
        tags: asking(Ask::from(vip(at))),
        ..instance(port, Health::Passing, None)
    }
}

fn bad(port: u16, at: Option<&str>) -> Instance {
    let ask = Ask::Unusable {
        vip: at.map(id),
        why: Rejected::because("tag ipvs.scheduler=R R: unusable"),
    };
    Instance {
        tags: asking(ask),
        ..instance(port, Health::Passing, None)
    }
}

fn tagged(words: &[&str], port: u16) -> Instance {
    Instance {
        tags: Arc::new(Tags::of(words.iter().copied())),
        ..instance(port, Health::Passing, None)
    }
}

/// Ports of the real servers of each virtual service.
fn ports(case: &Case) -> Vec<(String, Vec<u16>)> {
    let services = case.desired().services;
    let ports = |service: &DesiredService| {
        let endpoints = service.endpoints.iter();
        endpoints.map(|endpoint| endpoint.address.port()).collect()
    };
    services
        .iter()
        .map(|(id, service)| (id.to_string(), ports(service)))
        .collect()
}

fn reasons(case: &Case) -> Vec<String> {
    let rejected = case.desired().rejected.into_iter();
    rejected
        .map(|(name, why)| format!("{name}: {why}"))
        .collect()
}

#[test]
fn an_instance_serves_the_vip_that_it_asks_for_and_not_its_neighbours() {
    let instances = vec![asks_for(1, VIP), asks_for(2, OTHER), asks_for(3, VIP)];
    let case = Case::new().service("web", None, instances);
    assert_eq!(
        ports(&case),
        [
            ("tcp://198.18.0.29:80".to_owned(), vec![1, 3]),
            ("tcp://198.18.0.30:80".to_owned(), vec![2]),
        ]
    );
    assert!(reasons(&case).is_empty());
}

#[test]
fn a_canary_without_our_tags_and_a_metrics_port_serve_nothing_and_are_named() {
    let instances = vec![
        asks_for(1, VIP),
        tagged(&["canary"], 2),
        tagged(&["metrics"], 9100),
    ];
    let case = Case::new().service("web", None, instances);
    assert_eq!(ports(&case), [("tcp://198.18.0.29:80".to_owned(), vec![1])]);
    let expected = "web: 2 instances (198.18.0.11:2, 198.18.0.11:9100): left out, for it asks for no VIP and others \
                    of its service do";
    assert_eq!(reasons(&case), [expected]);
}

#[test]
fn a_service_of_which_nobody_asks_has_no_vip_and_no_word_is_lost_about_it() {
    let case = Case::new().service("web", None, vec![tagged(&["http"], 1), tagged(&[], 2)]);
    assert!(ports(&case).is_empty() && reasons(&case).is_empty());
}

#[test]
fn about_the_settings_of_a_vip_most_decide_and_the_others_are_named() {
    let other = |port| {
        let mut vip = vip(VIP);
        vip.settings.scheduler = "lc".parse().unwrap();
        Instance {
            tags: asking(Ask::from(vip)),
            ..instance(port, Health::Passing, None)
        }
    };
    let case = |instances| Case::new().service("web", None, instances);
    let scheduler = |case: &Case| {
        let desired = case.desired();
        desired.services[&id(VIP)].settings.scheduler.to_string()
    };
    let most = case(vec![other(1), asks_for(2, VIP), asks_for(3, VIP)]);
    assert_eq!(scheduler(&most), "wrr");
    assert_eq!(ports(&most)[0].1, [1, 2, 3]);
    assert!(reasons(&most)[0].starts_with("web: instance 198.18.0.11:1: asks for"));
    let equal = case(vec![other(1), asks_for(2, VIP)]);
    assert_eq!(scheduler(&equal), "lc", "of equally many the first counts");
    assert!(reasons(&equal)[0].contains("198.18.0.11:2"));
}

#[test]
fn a_bad_tag_is_named_with_its_instance_whatever_its_neighbours_say() {
    let case = Case::new().service("web", None, vec![asks_for(1, VIP), bad(2, Some(VIP))]);
    // Which VIP it means can be read, and how that is set its neighbour says.
    assert_eq!(ports(&case)[0].1, [1, 2]);
    assert!(
        reasons(&case)[0].starts_with("web: instance 198.18.0.11:2: tag ipvs.scheduler=R R"),
        "{:?}",
        reasons(&case)
    );
    let case = Case::new().service("web", None, vec![asks_for(1, VIP), bad(2, None)]);
    assert_eq!(ports(&case)[0].1, [1]);
    assert_eq!(reasons(&case).len(), 1);
}

#[test]
fn a_real_server_that_serves_and_whose_tags_went_bad_goes_on_where_it_is() {
    for refused in [bad(2, None), asks_for(2, OUTSIDE)] {
        let case = Case::new()
            .service("web", None, vec![asks_for(1, VIP), refused])
            .last(saved("web", VIP, &[1, 1]));
        assert_eq!(
            ports(&case),
            [("tcp://198.18.0.29:80".to_owned(), vec![1, 2])]
        );
        assert_eq!(reasons(&case).len(), 1, "{:?}", reasons(&case));
    }
    // One that did not serve there does not begin to.
    let case = Case::new()
        .service("web", None, vec![asks_for(1, VIP), bad(2, None)])
        .last(saved("web", VIP, &[1]));
    assert_eq!(ports(&case)[0].1, [1]);
}

#[test]
fn where_all_are_refused_all_stand_behind_the_vip_that_the_service_had() {
    let case = Case::new()
        .service("web", None, vec![bad(7, None), asks_for(8, OUTSIDE)])
        .last(saved("web", VIP, &[1]));
    assert_eq!(
        ports(&case),
        [("tcp://198.18.0.29:80".to_owned(), vec![7, 8])]
    );
    assert_eq!(case.desired().services[&id(VIP)].declared, Declared::Disk);
    assert_eq!(reasons(&case).len(), 2);
}

#[test]
fn a_block_of_the_config_file_takes_all_instances_or_those_with_its_tags() {
    let mut case = Case::new().configured("web", VIP).service(
        "web",
        None,
        vec![
            tagged(&["v1", "a"], 1),
            tagged(&["v2"], 2),
            tagged(&["v1"], 3),
        ],
    );
    assert_eq!(ports(&case)[0].1, [1, 2, 3]);
    assert!(reasons(&case).is_empty());
    let block = case.policy.services.get_mut("web").unwrap();
    block.only_tags = vec!["v1".into()];
    assert_eq!(ports(&case)[0].1, [1, 3]);
    assert_eq!(
        reasons(&case),
        ["web: instance 198.18.0.11:2: left out, for it has not all tags of only_tags (v1)"]
    );
    let block = case.policy.services.get_mut("web").unwrap();
    block.only_tags.push("a".into());
    assert_eq!(ports(&case)[0].1, [1]);
}

#[test]
fn of_very_many_instances_a_sentence_names_a_few() {
    let many = (1..40).map(|port| bad(port, None)).collect();
    let mut instances: Vec<Instance> = many;
    instances.push(asks_for(99, VIP));
    let case = Case::new().service("web", None, instances);
    let text = &reasons(&case)[0];
    assert!(
        text.contains("39 instances") && text.contains('…'),
        "{text}"
    );
    assert!(text.len() < 300, "{text}");
}

#[test]
fn five_are_named_and_of_six_the_last_is_not() {
    for (count, is_cut) in [(5, false), (6, true)] {
        let mut instances: Vec<Instance> = (1..=count).map(|port| bad(port, None)).collect();
        instances.push(asks_for(99, VIP));
        let text = &reasons(&Case::new().service("web", None, instances))[0];
        assert!(text.contains("198.18.0.11:5"), "{text}");
        assert_eq!(text.contains('…'), is_cut, "{text}");
        assert!(!text.contains("198.18.0.11:6"), "{text}");
    }
}

#[test]
fn a_first_one_that_asks_for_nothing_does_not_speak_for_the_others() {
    let case = Case::new().service("web", None, vec![tagged(&["canary"], 1), asks_for(2, VIP)]);
    assert_eq!(ports(&case), [("tcp://198.18.0.29:80".to_owned(), vec![2])]);
    assert!(reasons(&case)[0].contains("198.18.0.11:1"));
}

#[test]
fn a_vip_that_only_bad_tags_ask_for_is_nobodys_unless_the_service_had_it() {
    let case = || Case::new().service("web", None, vec![bad(1, Some(VIP))]);
    assert!(ports(&case()).is_empty());
    let expected = ["web: tag ipvs.scheduler=R R: unusable"];
    assert_eq!(reasons(&case()), expected);
    let case = case().last(saved("web", VIP, &[0]));
    assert_eq!(ports(&case), [("tcp://198.18.0.29:80".to_owned(), vec![1])]);
    assert_eq!(reasons(&case), expected);
}

#[test]
fn one_service_may_have_several_virtual_services_by_its_block_or_by_its_tags() {
    let vips = || {
        vec![
            vip(VIP),
            vip("udp://198.18.0.29:80"),
            vip("[2001:db8::29]:80"),
        ]
    };
    let tags = asking(Ask::Vips(vips()));
    let both = |port| Instance {
        tags: Arc::clone(&tags),
        ..instance(port, Health::Passing, None)
    };
    let expected = [
        ("tcp://198.18.0.29:80".to_owned(), vec![1, 2]),
        ("tcp://[2001:db8::29]:80".to_owned(), Vec::new()),
        ("udp://198.18.0.29:80".to_owned(), vec![1, 2]),
    ];
    let by_tags = Case::new().service("web", None, vec![both(1), both(2)]);
    assert_eq!(ports(&by_tags), expected);
    let beside = vec![both(1), both(2), asks_for(3, VIP)];
    let beside = ports(&Case::new().service("web", None, beside));
    assert_eq!(beside[0].1, [1, 2, 3]);
    assert_eq!(beside[1..], expected[1..]);
    let plain = [1, 2].map(|port| instance(port, Health::Passing, None));
    let mut by_block = Case::new().service("web", None, plain.into());
    let block = ServiceBlock {
        vips: vips(),
        only_tags: Vec::new(),
    };
    by_block.policy.services.insert("web".into(), block);
    assert_eq!(ports(&by_block), expected);
    by_block.catalog.services.clear();
    assert_eq!(
        by_block.desired().services.len(),
        3,
        "and without an instance"
    );
}

#[test]
fn a_firewall_mark_is_a_virtual_service_where_it_is_ours_and_wants_no_snat() {
    let mark = |snat| VipPolicy {
        snat,
        ..vip("fwmark:7")
    };
    let plain = || vec![instance(1, Health::Passing, None)];
    let with = |snat, marks: &[u32]| {
        let mut case = Case::new().service("web", Ask::from(mark(snat)), plain());
        let marks = marks.iter().map(|mark| (*mark).try_into().unwrap());
        case.policy.ownership.marks = marks.map(|mark| mark..=mark).collect();
        case
    };
    assert_eq!(
        ports(&with(false, &[7])),
        [("fwmark4:7".to_owned(), vec![1])]
    );
    for (case, phrase) in [(with(false, &[8]), "outside"), (with(true, &[7]), "SNAT")] {
        assert!(ports(&case).is_empty());
        let reasons = reasons(&case);
        assert!(reasons[0].contains(phrase), "{reasons:?}");
    }
}
