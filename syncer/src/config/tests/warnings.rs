//! What a config allows and an operator should know of.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

/// Of a config that is written to a file of that mode.
fn warnings(folder: &Path, text: &str, mode: u32) -> Vec<String> {
    let path = folder.join("syncer.hcl");
    put(&path, text, mode);
    load(&path).unwrap().warnings
}

fn put(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn config(consul: &str, rest: &str) -> String {
    format!(
        "consul {{\n{consul}\n}}\ndirector {{\n  interface = \"eth0\"\n  own = [\"198.18.0.0/24\"]\n}}\n{rest}"
    )
}

#[test]
fn a_config_without_secrets_or_open_doors_gives_none() {
    let folder = tempfile::tempdir().unwrap();
    let plain = config(
        "address = \"http://198.18.0.11:8500\"",
        "status { listen = \"127.0.0.1:9180\" }\n",
    );
    assert_eq!(warnings(folder.path(), &plain, 0o644), [""; 0]);
}

#[test]
fn a_token_that_others_may_read_is_named_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    let inline = config("address = \"unix:///c.sock\"\ntoken = \"s3cret\"", "");
    assert_eq!(warnings(folder.path(), &inline, 0o600), [""; 0]);
    let found = warnings(folder.path(), &inline, 0o640);
    let expected = format!(
        "consul.token stands in {}: others than its owner may read it (mode 0640)",
        folder.path().join("syncer.hcl").display()
    );
    assert!(found[0].starts_with(&expected), "{found:?}");

    let in_file = config(
        &format!("address = \"unix:///c.sock\"\ntoken_file = {token:?}"),
        "",
    );
    put(&token, "s3cret\n", 0o600);
    assert_eq!(warnings(folder.path(), &in_file, 0o644), [""; 0]);
    put(&token, "s3cret\n", 0o604);
    let found = warnings(folder.path(), &in_file, 0o644);
    let expected = format!("consul.token_file {}: others", token.display());
    assert!(found[0].starts_with(&expected), "{found:?}");
    assert!(!found[0].contains("s3cret"), "{found:?}");
}

#[test]
fn a_token_in_clear_on_a_network_is_named_with_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let sent = |address: &str| {
        let text = config(&format!("address = {address:?}\ntoken = \"s3cret\""), "");
        warnings(folder.path(), &text, 0o600)
    };
    for address in [
        "http://198.18.0.11:8500",
        "http://consul.example:8500",
        "http://[fd00::1]:8500",
    ] {
        let found = sent(address);
        let expected = format!("consul: the token goes to {address} in clear");
        assert!(found[0].starts_with(&expected), "{found:?}");
    }
    for address in [
        "http://127.0.0.1:8500",
        "http://localhost:8500",
        "http://[::1]:8500",
        "https://198.18.0.11:8501",
        "unix:///run/consul.sock",
    ] {
        assert_eq!(sent(address), [""; 0], "{address}");
    }
}

#[test]
fn a_status_for_everybody_and_hints_without_certificates_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let rest = "status { listen = \"0.0.0.0:9180\" }\nhints {\n  listen = \"198.18.0.28:9181\"\n  insecure = true\n}\n";
    let text = config("address = \"http://127.0.0.1:8500\"", rest)
        + "nomad { address = \"http://127.0.0.1:4646\" }\n";
    let found = warnings(folder.path(), &text, 0o644);
    assert!(
        found[0].starts_with("status.listen 0.0.0.0:9180 is not on loopback"),
        "{found:?}"
    );
    assert!(
        found[1].starts_with("hints.insecure = true: whoever reaches"),
        "{found:?}"
    );
}

#[test]
fn a_token_file_that_can_not_be_read_is_named_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("syncer.hcl");
    let token = folder.path().join("token");
    let text = config(
        &format!("address = \"http://127.0.0.1:8500\"\ntoken_file = {token:?}"),
        "",
    );
    put(&path, &text, 0o600);
    let error = crate::error::chain(&load(&path).unwrap_err());
    let expected = format!(
        "{}: consul: token_file {}: cannot be read: No such file",
        path.display(),
        token.display()
    );
    assert!(error.starts_with(&expected), "{error}");
}
