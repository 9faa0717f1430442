//! Every problem is found, with its line, column and what was expected.

mod hints;
mod node;
mod values;
mod warnings;

use super::*;

const GOOD: &str = r#"
log_level = "debug"
consul { address = "http://198.18.0.11:8500" }
nomad { address = "http://198.18.0.11:4646/" }
status { listen = "198.18.0.28:9180" }
director {
  interface = "eth0"
  own = ["198.18.0.0/24"]
}
registrar {}
service "hello-world-servers" {
  vip = "198.18.0.29:80"
  scheduler = "rr"
  forward = "masq"
  snat = true
}
"#;

fn problems(text: &str) -> Vec<String> {
    let found = parse(text).unwrap_err();
    found
        .into_iter()
        .map(|p| format!("{}:{}: {}", p.line, p.column, p.message))
        .collect()
}

#[test]
fn a_good_file_is_read_with_its_defaults() {
    let config = parse(GOOD).unwrap();
    assert_eq!(
        config.nomad.unwrap().address.to_string(),
        "http://198.18.0.11:4646"
    );
    assert_eq!(config.state_dir, PathBuf::from("/var/lib/nomad-ipvs"));
    let director = config.director.unwrap();
    assert_eq!(
        (director.snat_backend, director.shrink_guard),
        (SnatBackend::Auto, 50)
    );
    assert_eq!(director.audit_interval, Duration::from_secs(2));
    let service = &director.services["hello-world-servers"];
    assert_eq!(service.vips[0].id.to_string(), "tcp://198.18.0.29:80");
    assert!(service.vips[0].snat);
}

#[test]
fn a_block_takes_the_options_that_tags_take_each_as_its_kind() {
    let options = r#"scheduler = "sh"
  scheduler_flags = ["sh-port", "sh-fallback"]
  persistence = "5m"
  persistence_prefix = 24
  upper_threshold = 100
  lower_threshold = 80
  least_healthy = 0.5
  sorry_server = "198.18.0.11:8099""#;
    let config = parse(&GOOD.replace("scheduler = \"rr\"", options)).unwrap();
    let block = &config.director.unwrap().services["hello-world-servers"];
    let tags = syncer_core::tags::ask([
        "ipvs.vip=198.18.0.29:80",
        "ipvs.snat=true",
        "ipvs.scheduler=sh",
        "ipvs.scheduler_flags=sh-port,sh-fallback",
        "ipvs.persistence=5m",
        "ipvs.persistence_prefix=24",
        "ipvs.upper_threshold=100",
        "ipvs.lower_threshold=80",
        "ipvs.least_healthy=0.5",
        "ipvs.sorry_server=198.18.0.11:8099",
    ]);
    let asked = syncer_core::model::policy::Ask::Vips(block.vips.clone());
    assert_eq!(tags, Some(asked));
}

#[test]
fn who_keeps_the_addresses_is_said_by_one_of_two_words() {
    let keeper = |line: &str| {
        let text = GOOD.replace(
            "interface = \"eth0\"",
            &format!("interface = \"eth0\"\n{line}"),
        );
        parse(&text).map(|config| config.director.unwrap().addresses)
    };
    assert_eq!(keeper("").unwrap(), AddressKeeper::Syncer);
    assert_eq!(
        keeper("addresses = \"managed\"").unwrap(),
        AddressKeeper::Syncer
    );
    assert_eq!(
        keeper("addresses = \"external\"").unwrap(),
        AddressKeeper::Others
    );
    let wrong = &keeper("addresses = \"vrrp\"").unwrap_err()[0];
    assert!(
        wrong.message.contains("expected managed or external"),
        "{}",
        wrong.message
    );
}

#[test]
fn unknown_keys_and_blocks_are_named_with_their_place_and_what_is_known() {
    let text = GOOD
        .replace("snat = true", "sant = true")
        .replace("registrar {}", "registrar {}\nregistar {}");
    let found = problems(&text);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("11:1: unknown block registar in the file; known are log_level"),
        "{found:?}"
    );
    assert!(
        found[1].starts_with("16:3: unknown key sant in block service; known are vip"),
        "{found:?}"
    );
}

#[test]
fn wrong_values_say_what_was_expected() {
    let cases = [
        (
            "\"rr\"",
            "\"R R\"",
            "13:15: scheduler: a scheduler's name is",
        ),
        (
            "snat = true",
            "snat = 1",
            "15:10: snat: expected true or false",
        ),
        (
            "snat = true",
            "scheduler_flags = \"sh-port\"",
            "15:21: scheduler_flags: expected a list of texts",
        ),
        (
            "snat = true",
            "scheduler_flags = [\"sh-port\"]",
            "11:1: sh-port is a flag of scheduler sh, not of rr",
        ),
        (
            "snat = true",
            "least_healthy = 50",
            "15:19: least_healthy: expected a share from 0.0 to 1.0",
        ),
        (
            "snat = true",
            "upper_threshold = 1.5",
            "15:21: upper_threshold: expected a number of connections",
        ),
        (
            "snat = true",
            "upper_threshold = \"9\"",
            "15:21: upper_threshold: expected a number",
        ),
        (
            "snat = true",
            "sorry_server = \"198.18.0.11\"",
            "15:18: sorry_server: expected IP:PORT",
        ),
        (
            "198.18.0.29:80",
            "198.18.0.29",
            "12:9: vip: expected IP:PORT",
        ),
        (
            "\"198.18.0.29:80",
            "\"192.0.2.1:80",
            "12:9: vip: tcp://192.0.2.1:80 is outside the ranges",
        ),
        (
            "\"debug\"",
            "\"loud\"",
            "2:13: log_level: expected trace, debug",
        ),
        (
            "http://198.18.0.11:8500",
            "198.18.0.11",
            "3:20: address: expected http://HOST:PORT",
        ),
        (
            "[\"198.18.0.0/24\"]",
            "\"198.18.0.0/24\"",
            "8:9: own: expected a list of texts",
        ),
        (
            "interface = \"eth0\"",
            "",
            "6:1: block director needs interface",
        ),
        (
            "forward = \"masq\"",
            "forward = \"tun\"",
            "14:13: forward: forwarding method tun is not available yet",
        ),
        (
            "vip = \"198",
            "vip = \"${x}198",
            "12:9: vip: expected a text in quotes",
        ),
    ];
    for (from, to, expected) in cases {
        let found = problems(&GOOD.replacen(from, to, 1));
        assert!(
            found.iter().any(|problem| problem.starts_with(expected)),
            "{expected}: {found:?}"
        );
    }
}

#[test]
fn what_does_not_fit_together_is_said() {
    assert!(problems("")[0].contains("needs a block consul"));
    let without = |block: &str| problems(&GOOD.replacen(block, "", 1)).join("\n");
    assert!(
        without("nomad { address = \"http://198.18.0.11:4646/\" }")
            .contains("registrar needs a block nomad")
    );
    let twice = GOOD.to_owned() + "service \"other\" { vip = \"198.18.0.29:80\" }\n";
    assert!(problems(&twice)[0].contains("is taken by service \"hello-world-servers\""));
    let unlabelled = GOOD.replace("service \"hello-world-servers\"", "service");
    assert!(problems(&unlabelled)[0].contains("block service takes one label"));
}

#[test]
fn a_syntax_error_has_its_place() {
    let found = parse("consul {\n  address = \n}\n").unwrap_err();
    assert_eq!((found.len(), found[0].line), (1, 2), "{found:?}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_damage_makes_it_panic(at in 0_usize..GOOD.len(), with in "\\PC{0,3}") {
        let mut text = GOOD.to_owned();
        text.replace_range(at..=at, &with);
        let _ = parse(&text);
    }

    #[test]
    fn no_damaged_hints_make_it_panic(at in 0_usize..hints::HINTS.len(), with in "\\PC{0,3}") {
        let mut text = hints::HINTS.to_owned();
        text.replace_range(at..=at, &with);
        let _ = parse(&text);
    }
}
