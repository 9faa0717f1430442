//! The block between nodes and directors.

use super::*;

pub(super) const HINTS: &str = r#"
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
