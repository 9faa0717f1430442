//! Values that are evaluated: `env` and `file`, and that nothing of what they give is shown.

use super::*;
use crate::credential::token::Token;
use crate::http::Address;

fn with_consul(attributes: &str) -> String {
    GOOD.replace("address = \"http://198.18.0.11:8500\"", attributes)
}

fn consul(attributes: &str) -> Api {
    parse(&with_consul(attributes)).unwrap().consul
}

const ADDRESS: &str = "\n  address = \"http://127.0.0.1:8500\"\n";

#[test]
fn a_token_comes_from_the_environment_from_a_file_or_from_the_config() {
    // Cargo sets it for whatever it runs.
    let package = consul(&format!("{ADDRESS}  token = env(\"CARGO_PKG_NAME\")\n"));
    assert_eq!(
        package.token,
        Some(Token::Resolved("ipvs-syncer".to_owned()))
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "s3cret \n\n").unwrap();
    let from_file = consul(&format!("{ADDRESS}  token = file({path:?})\n"));
    assert_eq!(from_file.token, Some(Token::Resolved("s3cret".to_owned())));
    let inline = consul(&format!("{ADDRESS}  token = \"s3cret\"\n"));
    assert_eq!(inline.token, Some(Token::Inline("s3cret".to_owned())));
    let later = consul(&format!("{ADDRESS}  token_file = {path:?}\n"));
    assert_eq!(later.token, Some(Token::File(path)));
}

#[test]
fn a_text_may_be_put_together() {
    let address = "\n  address = \"http://${env(\"CARGO_PKG_NAME\")}:8500\"\n";
    assert_eq!(
        consul(address).address.to_string(),
        "http://ipvs-syncer:8500"
    );
}

#[test]
fn what_can_not_be_evaluated_is_named_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("binary"), [0xff, 0xfe]).unwrap();
    std::fs::write(path("large"), vec![b'x'; 1024 * 1024 + 1]).unwrap();
    let missing = path("missing");
    let (binary, large) = (path("binary"), path("large"));
    let cases = [
        (
            "env(\"NO_SUCH_VARIABLE\")".to_owned(),
            "env: the environment has no variable NO_SUCH_VARIABLE".to_owned(),
        ),
        (
            "env(\"a=b\")".to_owned(),
            "env: \"a=b\" is no name of a variable".to_owned(),
        ),
        (
            format!("file({missing:?})"),
            format!("file: {missing}: No such file"),
        ),
        (
            format!("file({binary:?})"),
            format!("file: {binary}: not UTF-8"),
        ),
        (
            format!("file({large:?})"),
            format!("file: {large}: longer than"),
        ),
        (
            "file(\"/dev/zero\")".to_owned(),
            "file: /dev/zero: not a regular file".to_owned(),
        ),
        (
            "file(\"token\")".to_owned(),
            "file: expected an absolute path, not \"token\"".to_owned(),
        ),
        (
            "flie(\"/x\")".to_owned(),
            "unknown function flie; known are env, file".to_owned(),
        ),
        (
            "\"${x}\"".to_owned(),
            "expected a text in quotes, env(\"NAME\")".to_owned(),
        ),
        ("1 + \"s3cret\"".to_owned(), "can't be evaluated".to_owned()),
        ("env()".to_owned(), "env: ".to_owned()),
        ("7".to_owned(), "expected a text in quotes".to_owned()),
    ];
    for (value, expected) in cases {
        let found = problems(&with_consul(&format!("{ADDRESS}  token = {value}\n")));
        let expected = format!("5:11: token: {expected}");
        assert!(found[0].starts_with(&expected), "{expected}: {found:?}");
        assert!(!found[0].contains("s3cret"), "{found:?}");
    }
}

#[test]
fn what_comes_from_elsewhere_is_not_shown_and_what_was_expected_is() {
    let name = "env(\"CARGO_PKG_NAME\")";
    let cases = [
        (
            "\"http://198.18.0.11:8500\"",
            "3:20: address: expected http://HOST:PORT",
        ),
        ("\"debug\"", "2:13: log_level: expected trace, debug"),
        ("\"eth0\"", ""),
        (
            "\"198.18.0.29:80\"",
            "12:9: vip: its value, which is not shown, can't be used here",
        ),
        ("\"masq\"", "14:13: forward: its value, which is not shown"),
    ];
    for (from, expected) in cases {
        let text = GOOD.replacen(from, name, 1);
        let Err(_) = parse(&text) else {
            assert_eq!(expected, "");
            continue;
        };
        let found = problems(&text);
        assert!(found[0].starts_with(expected), "{expected}: {found:?}");
        assert!(!found[0].contains("ipvs-syncer"), "{found:?}");
    }
    let found = problems(&with_consul(
        "\n  address = \"https://me:s3cret@consul:8501\"\n",
    ));
    assert!(
        found[0].starts_with("4:13: address: an address takes no user and no password")
            && !found[0].contains("s3cret"),
        "{found:?}"
    );
    let found = problems(&with_consul(&format!(
        "{ADDRESS}  token = \"s3cret token\"\n"
    )));
    assert!(
        found[0].contains("5:11: token: expected a token") && !found[0].contains("s3cret"),
        "{found:?}"
    );
}

#[test]
fn addresses_are_http_https_or_a_socket() {
    let socket = consul("\n  address = \"unix:///run/consul.sock\"\n");
    assert_eq!(socket.address, Address::Unix("/run/consul.sock".into()));
    let tls = "\n  address = \"https://consul:8501/\"\n  tls {\n  ca_file = \"/ca.pem\"\n  cert_file = \"/us.pem\"\n  \
               key_file = \"/us.key\"\n  server_name = \"server.dc1.consul\"\n}\n";
    let api = consul(tls);
    assert_eq!(api.address.to_string(), "https://consul:8501");
    assert_eq!(api.tls.files().count(), 3);
    assert_eq!(api.tls.server_name.as_deref(), Some("server.dc1.consul"));
    let cases = [
        (
            "unix://run/consul.sock",
            "address: expected http://HOST:PORT, https",
        ),
        ("ftp://consul", "address: expected http://HOST:PORT, https"),
        (
            "http://consul:8500/v1",
            "address: expected http://HOST:PORT, https",
        ),
        (
            "http://consul:8500/?token=x",
            "address: expected http://HOST:PORT, https",
        ),
    ];
    for (address, expected) in cases {
        let found = problems(&with_consul(&format!("\n  address = {address:?}\n")));
        assert!(found[0].contains(expected), "{expected}: {found:?}");
    }
    let unfit = [
        (
            "https://consul:8501",
            "http://consul:8500",
            "block tls needs an https:// address",
        ),
        (
            "  cert_file = \"/us.pem\"\n",
            "",
            "cert_file and key_file belong together",
        ),
        (
            "server.dc1.consul",
            "192.0.2.1",
            "server_name: expected a host's name, not an address",
        ),
        (
            "  tls {",
            "  token = \"a\"\n  token_file = \"/t\"\n  tls {",
            "token and token_file exclude",
        ),
        (
            "  ca_file",
            "  verify = false\n  ca_file",
            "unknown key verify in block tls",
        ),
    ];
    for (from, to, expected) in unfit {
        let found = problems(&with_consul(&tls.replacen(from, to, 1)));
        assert!(found[0].contains(expected), "{expected}: {found:?}");
    }
}
