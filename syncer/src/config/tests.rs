//! Every problem is found, with its line, column and what was expected.

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

const HINTS: &str = r#"
consul { address = "http://198.18.0.11:8500" }
director {
  interface = "eth0"
  own = ["198.18.0.0/24"]
}
hints {
  socket = "/run/s.sock"
  directors = ["198.18.0.28:9181", "[fd00::1]:9181", "lb1.example.org:9181"]
  listen = "198.18.0.28:9181"
  tls {
    ca_file = "/ca.pem"
    cert_file = "/lb1.pem"
    key_file = "/lb1.key"
    server_name = "lb1"
  }
}
nomad { address = "http://198.18.0.11:4646" }
"#;

#[test]
fn a_block_of_hints_is_read() {
    let hints = parse(HINTS).unwrap().hints.unwrap();
    let relay = hints.relay.unwrap();
    let outcome: Vec<String> = relay.directors.iter().map(ToString::to_string).collect();
    assert_eq!(
        outcome,
        ["198.18.0.28:9181", "[fd00::1]:9181", "lb1.example.org:9181"]
    );
    assert_eq!(relay.directors[1].host, "fd00::1");
    assert_eq!(hints.listen, Some("198.18.0.28:9181".parse().unwrap()));
    let tls = hints.tls.unwrap();
    assert_eq!(tls.key_file, PathBuf::from("/lb1.key"));
    assert_eq!(tls.server_name.as_deref(), Some("lb1"));
    let (from, to) = (HINTS.find("  tls {").unwrap(), HINTS.rfind("}\n}").unwrap());
    let plain = format!("{}  insecure = true\n{}", &HINTS[..from], &HINTS[to + 2..]);
    assert_eq!(parse(&plain).unwrap().hints.unwrap().tls, None);
}

#[test]
fn hints_that_do_not_fit_together_are_refused_with_their_place() {
    let socket = "  socket = \"/run/s.sock\"\n";
    let listen = "  listen = \"198.18.0.28:9181\"\n";
    let directors =
        "  directors = [\"198.18.0.28:9181\", \"[fd00::1]:9181\", \"lb1.example.org:9181\"]\n";
    let cases = [
        (
            "  tls {",
            "  insecure = true\n  tls {",
            "12:3: block tls and insecure = true exclude each other",
        ),
        ("  tls {", "  lts {", "7:1: block hints needs a block tls {"),
        (
            "  tls {",
            "  lts {",
            "11:3: unknown block lts in block hints; known are socket, directors, listen, tls",
        ),
        ("  tls {", "  tls {}\n  tls {", "12:3: a second block tls"),
        (
            directors,
            "",
            "7:1: block hints with a socket needs directors",
        ),
        (
            directors,
            "  directors = []\n",
            "7:1: block hints with a socket needs directors",
        ),
        (socket, "", "7:1: block hints with directors needs a socket"),
        (
            "\"198.18.0.28:9181\", ",
            "\"http://198.18.0.28:9181\", ",
            "9:15: directors: expected HOST:PORT, not \"http://198.18.0.28:9181\"",
        ),
        (
            "28:9181\", ",
            "28\", ",
            "9:15: directors: expected HOST:PORT",
        ),
        (
            "28:9181\", ",
            "28:0\", ",
            "9:15: directors: expected HOST:PORT",
        ),
        (
            "[fd00::1]",
            "fd00::1",
            "9:15: directors: expected HOST:PORT",
        ),
        (
            "lb1.example.org",
            "l b",
            "9:15: directors: expected HOST:PORT",
        ),
        (
            listen,
            "  listen = \"lb1:9181\"\n",
            "10:12: listen: expected IP:PORT",
        ),
        (
            "    key_file = \"/lb1.key\"\n",
            "",
            "11:3: block tls needs key_file",
        ),
        (
            "\"lb1\"",
            "\"l b\"",
            "15:19: server_name: expected a host's name or address",
        ),
        (
            "    ca_file",
            "    token = \"s\"\n    ca_file",
            "12:5: unknown key token in block tls",
        ),
    ];
    for (from, to, expected) in cases {
        assert!(HINTS.contains(from), "{from}");
        let found = problems(&HINTS.replacen(from, to, 1));
        assert!(
            found.iter().any(|problem| problem.starts_with(expected)),
            "{expected}: {found:?}"
        );
    }
    let neither = HINTS
        .replace(socket, "")
        .replace(listen, "")
        .replace(directors, "");
    assert!(problems(&neither)[0].starts_with("7:1: block hints needs socket and directors"));
    let (from, to) = (
        HINTS.find("director {").unwrap(),
        HINTS.find("hints {").unwrap(),
    );
    let no_director = format!("{}registrar {{}}\n{}", &HINTS[..from], &HINTS[to..]);
    assert!(problems(&no_director)[0].contains("block hints with listen needs a block director"));
    let no_nomad = &HINTS[..HINTS.find("nomad {").unwrap()];
    assert!(
        problems(no_nomad)[0].starts_with("7:1: block hints with listen needs a block nomad"),
        "{:?}",
        problems(no_nomad)
    );
}

#[test]
fn certificates_that_can_not_be_used_are_named_before_anything_starts() {
    let folder = tempfile::TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let put = |name: &str, text: &str| std::fs::write(at(name), text).unwrap();
    let signed = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["lb1".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    };
    let ((cert, key), (_, other)) = (signed(), signed());
    let text = ["/ca.pem", "/lb1.pem", "/lb1.key"]
        .iter()
        .fold(HINTS.to_owned(), |text, name| {
            text.replace(&format!("\"{name}\""), &format!("{:?}", at(&name[1..])))
        });
    put("syncer.hcl", &text);
    let outcome = || {
        let error = load(&at("syncer.hcl"))
            .map(drop)
            .map_err(anyhow::Error::from);
        error.map_err(|error| format!("{error:#}"))
    };
    let named = |name: &str, what: &str| {
        let expected = format!(
            "{}: hints.tls: {name} {}",
            at("syncer.hcl").display(),
            at(what).display()
        );
        let outcome = outcome().unwrap_err();
        assert!(outcome.starts_with(&expected), "{expected}: {outcome}");
        outcome
    };
    assert!(named("ca_file", "ca.pem").contains("cannot be read: No such file"));
    put("ca.pem", "a certificate, believe me\n");
    assert!(named("ca_file", "ca.pem").contains("expected certificates in PEM"));
    put("ca.pem", &cert);
    put("lb1.pem", &key);
    named("cert_file", "lb1.pem");
    put("lb1.pem", &cert);
    put("lb1.key", &cert);
    assert!(named("key_file", "lb1.key").contains("expected a private key in PEM"));
    put("lb1.key", &other);
    assert!(
        outcome().unwrap_err().contains("unusable together"),
        "{:?}",
        outcome()
    );
    put("lb1.key", &key);
    assert_eq!(outcome(), Ok(()));
    put(
        "ca.pem",
        "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n",
    );
    assert!(
        outcome().unwrap_err().contains("unusable together"),
        "{:?}",
        outcome()
    );
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
    fn no_damaged_hints_make_it_panic(at in 0_usize..HINTS.len(), with in "\\PC{0,3}") {
        let mut text = HINTS.to_owned();
        text.replace_range(at..=at, &with);
        let _ = parse(&text);
    }
}

#[test]
fn direct_routing_needs_nodes_that_can_say_what_they_take() {
    let direct = "service \"web\" {\n  vip = \"198.18.0.40:80\"\n  forward = \"dr\"\n}\n";
    assert!(parse(&(HINTS.to_owned() + direct)).is_ok());
    let unheard = HINTS.replacen("  listen = \"198.18.0.28:9181\"\n", "", 1) + direct;
    let found = problems(&unheard).join("\n");
    assert!(
        found.contains("forward = \"dr\" needs a block hints with listen"),
        "{found}"
    );
}
