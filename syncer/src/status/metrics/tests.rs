//! What Prometheus would say of the text: a reader of the format, as strict as its own linter about names and units.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::status::AckLatency;
use crate::status::{Pass, RealServerView, Service, Source};

/// A sample: labels in order of their names, and the value.
type Samples = BTreeMap<Vec<(String, String)>, f64>;

/// A family's type and its samples by the sample's name.
type Families = BTreeMap<String, (String, BTreeMap<String, Samples>)>;

/// Reads the text format 0.0.4; panics at what Prometheus refuses or its linter complains of.
fn read(text: &str) -> Families {
    assert!(text.ends_with('\n'), "the last line has an end");
    let mut families = Families::new();
    let mut helped = BTreeSet::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(!help.trim().is_empty(), "{line}");
            assert!(helped.insert(name.to_owned()), "helped twice: {line}");
            current = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, current, "the type follows the help");
            assert!(
                ["gauge", "counter", "summary", "histogram"].contains(&kind),
                "{line}"
            );
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            let odd_unit = ["_ms", "_us", "milli", "micro", "_percent", "_minutes"];
            assert!(!odd_unit.iter().any(|unit| name.contains(unit)), "{line}");
            let known = families.insert(name.to_owned(), (kind.to_owned(), BTreeMap::new()));
            assert!(known.is_none(), "{line}");
        } else {
            let (name, labels, value) = sample(line);
            let suffix = name
                .strip_prefix(&current)
                .unwrap_or_else(|| panic!("out of its family: {line}"));
            let (kind, samples) = families.get_mut(&current).expect("a type before samples");
            let suffixes: &[&str] = if kind == "summary" {
                &["", "_sum", "_count"]
            } else {
                &[""]
            };
            assert!(suffixes.contains(&suffix), "{line}");
            let doubled = samples.entry(name).or_default().insert(labels, value);
            assert!(doubled.is_none(), "twice: {line}");
        }
    }
    families
}

fn sample(line: &str) -> (String, Vec<(String, String)>, f64) {
    let name: String = line
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    assert!(!name.is_empty(), "{line}");
    let mut rest = &line[name.len()..];
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap();
            let mut value = String::new();
            let mut characters = after.char_indices();
            let end = loop {
                match characters.next().expect("a quote that closes") {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match characters.next().unwrap().1 {
                        'n' => '\n',
                        escaped @ ('"' | '\\') => escaped,
                        other => panic!("no such escape: \\{other}"),
                    }),
                    (_, other) => value.push(other),
                }
            };
            labels.push((label.to_owned(), value));
            rest = &after[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect("a brace that closes");
    }
    let value = rest.strip_prefix(' ').expect("one space before the value");
    labels.sort();
    (name, labels, value.parse().unwrap())
}

fn real(state: &str) -> RealServerView {
    RealServerView {
        address: "198.18.0.11:20000".into(),
        alloc: None,
        job: None,
        group: None,
        task: None,
        node: None,
        nomad: None,
        consul: "passing".into(),
        weight: Some(1),
        active: None,
        inactive: None,
        state: state.into(),
        why: String::new(),
        deadline_ms: None,
    }
}

fn status() -> Status {
    let ack = AckLatency {
        count: 2,
        p50_us: 1500,
        p99_us: 2500,
        max_us: 2500,
        sum_us: 4000,
    };
    Status {
        ready: true,
        pass: Some(Pass {
            number: 7,
            reason: "consul".into(),
            age_ms: 1250,
            duration_us: 950,
            longest_us: 1_500_000,
            total_us: 2_250_000,
            steps: 1,
            failed: 0,
        }),
        sources: vec![
            Source {
                name: "consul".into(),
                address: "http://127.0.0.1:8500".into(),
                synced: true,
                index: 9,
                age_ms: Some(61_001),
                error: None,
            },
            Source {
                name: "odd \"\\\n".into(),
                address: String::new(),
                synced: false,
                index: 0,
                age_ms: None,
                error: Some("refused".into()),
            },
        ],
        services: vec![Service {
            name: "web".into(),
            vip: "[fd00::29]:80".into(),
            protocol: "tcp".into(),
            scheduler: ipvs::Scheduler::WRR,
            forward: "masq".into(),
            snat: false,
            options: Vec::new(),
            declared: "tags".into(),
            real_servers: vec![real("active"), real("active"), real("draining")],
        }],
        services_unread: 3,
        drift: vec!["something".into()],
        kernel_ack: ack,
        ..Status::default()
    }
}

fn value(families: &Families, name: &str, labels: &[(&str, &str)]) -> f64 {
    let name = format!("ipvs_syncer_{name}");
    let family = families
        .iter()
        .find(|(family, (_, samples))| name.starts_with(*family) && samples.contains_key(&name))
        .unwrap_or_else(|| panic!("no {name}"));
    let mut labels: Vec<(String, String)> = labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    labels.sort();
    family.1.1[&name][&labels]
}

#[test]
#[expect(clippy::float_cmp, reason = "they are written with as many digits")]
fn every_family_has_help_and_type_and_base_units_and_reads_back_as_what_it_was() {
    let families = read(&metrics(&status()));
    let of = |name, labels: &[(&str, &str)]| value(&families, name, labels);
    assert_eq!(of("ready", &[]), 1.0);
    assert_eq!(of("healthy", &[]), 0.0);
    assert_eq!(of("passes_total", &[]), 7.0);
    assert_eq!(of("pass_duration_seconds", &[]), 0.000_95);
    assert_eq!(of("pass_longest_seconds", &[]), 1.5);
    assert_eq!(of("passes_seconds_total", &[]), 2.25);
    assert_eq!(of("pass_age_seconds", &[]), 1.25);
    assert_eq!(of("services_unread", &[]), 3.0);
    assert_eq!(of("drift", &[]), 1.0);
    assert_eq!(of("source_age_seconds", &[("source", "consul")]), 61.001);
    assert_eq!(of("source_failing", &[("source", "odd \"\\\n")]), 1.0);
    assert_eq!(of("kernel_ack_seconds_count", &[]), 2.0);
    assert_eq!(of("kernel_ack_seconds_sum", &[]), 0.004);
    let vip = ("vip", "[fd00::29]:80");
    let state = |state| {
        of(
            "real_servers",
            &[vip, ("protocol", "tcp"), ("state", state)],
        )
    };
    assert_eq!(
        (state("active"), state("draining"), state("held")),
        (2.0, 1.0, 0.0)
    );
    assert_eq!(families["ipvs_syncer_passes_total"].0, "counter");
    assert_eq!(families["ipvs_syncer_kernel_ack_seconds"].0, "summary");
}

#[test]
fn a_node_without_a_director_has_no_figures_of_one() {
    let families = read(&metrics(&Status::default()));
    assert!(
        !families.keys().any(|name| name.contains("pass")),
        "{families:?}"
    );
}
