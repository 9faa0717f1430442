use std::time::Duration;

use rmpv::Value;

use super::raw::Raw;
use super::*;

fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    bytes
}

fn map(pairs: &[(&str, Value)]) -> Value {
    Value::Map(
        pairs
            .iter()
            .map(|(key, value)| ((*key).into(), value.clone()))
            .collect(),
    )
}

/// What the agent sends for a block in which nothing is set: every option, nil.
fn empty_block() -> Vec<u8> {
    let pairs: Vec<_> = schema()
        .options()
        .iter()
        .map(|option| (Value::from(option.name()), Value::Nil))
        .collect();
    encode(&Value::Map(pairs))
}

#[test]
fn an_empty_block_and_no_block_are_the_defaults() {
    let config = PluginConfig::from_raw(Raw::default(), Environment::default()).unwrap();
    assert_eq!(config.engine.endpoint, "unix:///var/run/docker.sock");
    assert_eq!(config.image_pull_timeout, Duration::from_mins(5));
    assert!(config.without_effect.is_empty());
    assert_eq!(
        cty::from_slice::<Raw>(&empty_block()).unwrap(),
        Raw::default()
    );
    assert_eq!(cty::from_slice::<Raw>(&[]).unwrap(), Raw::default());
}

#[test]
fn every_option_of_the_schema_is_known_to_the_decoder() {
    // An option the struct lacks would be ignored: give each a value of a wrong type and expect to hear about it.
    for option in schema().options() {
        let block = map(&[(option.name(), Value::Ext(1, vec![1]))]);
        let refusal = cty::from_slice::<Raw>(&encode(&block));
        assert!(refusal.is_err(), "{}", option.name());
    }
}

fn host(endpoint: &str) -> Environment {
    Environment {
        host: Some(endpoint.to_owned()),
        ..Environment::default()
    }
}

#[test]
fn the_configured_endpoint_beats_the_environment() {
    let raw = Raw {
        endpoint: "unix:///run/a.sock".into(),
        ..Raw::default()
    };
    assert_eq!(
        PluginConfig::from_raw(raw, host("unix:///run/b.sock"))
            .unwrap()
            .engine
            .endpoint,
        "unix:///run/a.sock"
    );
    assert_eq!(
        PluginConfig::from_raw(Raw::default(), host("unix:///run/b.sock"))
            .unwrap()
            .engine
            .endpoint,
        "unix:///run/b.sock"
    );
}

#[test]
fn options_without_effect_are_listed_by_name() {
    let raw: Raw = cty::from_slice(&encode(&map(&[
        ("infra_image", "pause:1".into()),
        (
            "gc",
            map(&[("image_delay", "10s".into()), ("container", false.into())]),
        ),
    ])))
    .unwrap();
    let config = PluginConfig::from_raw(raw, Environment::default()).unwrap();
    assert_eq!(config.without_effect, ["gc.image_delay", "infra_image"]);
    assert!(!config.remove_containers);
}

#[test]
fn durations_are_gos() {
    for (text, expected) in [
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        ("0", 0.0),
    ] {
        assert_eq!(
            parse_duration(text),
            Some(Duration::from_secs_f64(expected)),
            "{text}"
        );
    }
    for text in [
        "",
        "5",
        "m",
        "5 m",
        "-5m",
        "5x",
        "9999999999999999999h",
        "999999999h",
        "87601h",
        ".",
    ] {
        assert_eq!(parse_duration(text), None, "{text}");
    }
}

#[test]
fn a_bad_value_is_refused_with_what_was_expected() {
    let refuse = |raw| {
        PluginConfig::from_raw(raw, Environment::default())
            .unwrap_err()
            .to_string()
    };
    let text = refuse(Raw {
        image_pull_timeout: "soon".into(),
        ..Raw::default()
    });
    assert!(
        text.contains("image_pull_timeout") && text.contains("\"5m\""),
        "{text}"
    );
    let text = refuse(Raw {
        pull_activity_timeout: "10s".into(),
        ..Raw::default()
    });
    assert!(text.contains("at least 60s"), "{text}");
    let modes = AllowedModes {
        uts: vec!["container:x".into()],
        ..AllowedModes::default()
    };
    let text = refuse(Raw {
        allowed_modes: modes,
        ..Raw::default()
    });
    assert!(
        text.contains("allowed_modes.uts") && text.contains("host"),
        "{text}"
    );
}

#[test]
fn tls_is_part_of_where_the_engine_is_and_an_empty_block_asks_for_nothing() {
    let with = |tls: &[(&str, Value)]| {
        let block = [("endpoint", "tcp://e:2376".into()), ("tls", map(tls))];
        let raw: Raw = cty::from_slice(&encode(&map(&block))).unwrap();
        PluginConfig::from_raw(raw, Environment::default())
    };
    let tls = with(&[("ca", "/ca.pem".into())])
        .unwrap()
        .engine
        .tls
        .unwrap();
    assert_eq!(tls.ca, Some("/ca.pem".into()));
    let refusal = with(&[("key", "/k.pem".into())]).unwrap_err().to_string();
    assert!(refusal.contains("tls.cert"), "{refusal}");
    assert_eq!(with(&[("ca", "".into())]).unwrap().engine.tls, None);
}

#[test]
fn a_default_drain_beyond_the_longest_is_refused() {
    let raw: Raw = cty::from_slice(&encode(&map(&[(
        "syncer",
        map(&[("drain", "11m".into())]),
    )])))
    .unwrap();
    let refusal = PluginConfig::from_raw(raw, Environment::default())
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("syncer.drain_max"), "{refusal}");
}
