use std::collections::BTreeMap;

use rmpv::Value;
use serde::Deserialize;

use super::{CtyError, from_slice};

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Options {
    image: String,
    tty: bool,
    shm_size: i64,
    pids: Option<u32>,
    ratio: f64,
    args: Vec<String>,
    labels: BTreeMap<String, String>,
    ports: BTreeMap<String, u16>,
    mounts: Vec<Mount>,
    gc: Option<Mount>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Mount {
    target: String,
    size: i64,
}

fn map(pairs: &[(&str, Value)]) -> Value {
    Value::Map(
        pairs
            .iter()
            .map(|(key, value)| ((*key).into(), value.clone()))
            .collect(),
    )
}

fn decode(value: &Value) -> Result<Options, CtyError> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    from_slice(&bytes)
}

#[test]
fn nil_means_default_for_every_kind_of_option() {
    let keys = [
        "image", "tty", "shm_size", "pids", "ratio", "args", "labels", "ports", "mounts", "gc",
        "unknown",
    ];
    let nils: Vec<_> = keys.iter().map(|key| (*key, Value::Nil)).collect();
    assert_eq!(decode(&map(&nils)), Ok(Options::default()));
}

#[test]
fn no_bytes_are_an_empty_configuration() {
    assert_eq!(from_slice(&[]), Ok(Options::default()));
}

#[test]
fn a_number_is_read_from_any_encoding() {
    for value in [
        Value::from(64),
        Value::from(64u64),
        Value::F64(64.0),
        Value::F32(64.0),
        Value::from("64"),
        Value::Binary(b"64".to_vec()),
    ] {
        assert_eq!(
            decode(&map(&[("shm_size", value.clone())]))
                .unwrap()
                .shm_size,
            64,
            "{value}"
        );
        assert_eq!(
            decode(&map(&[("pids", value.clone())])).unwrap().pids,
            Some(64),
            "{value}"
        );
    }
    assert!(
        (decode(&map(&[("ratio", Value::from("0.5"))]))
            .unwrap()
            .ratio
            - 0.5)
            .abs()
            < f64::EPSILON
    );
}

#[test]
fn strings_of_the_bin_family_are_strings() {
    assert_eq!(
        decode(&map(&[("image", Value::Binary(b"busybox".to_vec()))]))
            .unwrap()
            .image,
        "busybox"
    );
}

#[test]
fn lists_of_maps_are_merged_and_the_later_value_wins() {
    let list = Value::Array(vec![
        map(&[("a", "1".into()), ("b", "1".into())]),
        Value::Nil,
        map(&[("b", "2".into())]),
    ]);
    let labels = decode(&map(&[("labels", list)])).unwrap().labels;
    assert_eq!(
        labels,
        BTreeMap::from([("a".into(), "1".into()), ("b".into(), "2".into())])
    );
    let ports = Value::Array(vec![map(&[("www", Value::F64(8080.0))])]);
    assert_eq!(
        decode(&map(&[("ports", ports)])).unwrap().ports,
        BTreeMap::from([("www".into(), 8080)])
    );
}

#[test]
fn an_error_names_the_option_and_what_was_found() {
    let mounts = Value::Array(vec![map(&[("size", "much".into())])]);
    assert_eq!(
        decode(&map(&[("mounts", mounts)])).unwrap_err().to_string(),
        "mounts.size: a whole number is wanted, got \"much\""
    );
    let refusal = decode(&map(&[("pids", Value::from(-1))]))
        .unwrap_err()
        .to_string();
    assert!(refusal.starts_with("pids: "), "{refusal}");
}

#[test]
fn garbage_is_an_error_and_never_a_panic() {
    for bytes in [
        &[0xdf, 0xff, 0xff, 0xff, 0xff][..],
        &[0x81, 0xa1],
        &[0x93, 0x01],
    ] {
        assert!(from_slice::<Options>(bytes).is_err(), "{bytes:?}");
    }
    let nested = [0x91; 10_000];
    assert!(from_slice::<Options>(&nested).is_err());
}

#[test]
fn a_map_of_a_hundred_thousand_entries_is_read_whole() {
    let pairs = (0..100_000).map(|number| (format!("label{number}").into(), "v".into()));
    let options = decode(&map(&[("labels", Value::Map(pairs.collect()))])).unwrap();
    assert_eq!(options.labels.len(), 100_000);
}
