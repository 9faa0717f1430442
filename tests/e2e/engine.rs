//! The driver's engine suite, which the fake passes on any machine, passes against the lab's real Docker.

use std::path::Path;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::own_engine::OwnEngine;
use crate::own_registry::{ALICE, Registry};
use crate::story;

/// In the names of tests that need an engine with systemd as its cgroup driver.
const SYSTEMD: &str = "systemd";
/// In the names of those that need registries.
const REGISTRY: &str = "registry";

#[test]
fn the_engine_suite_passes_against_the_labs_docker() {
    let lab = story::up();
    let mut command = Command::new(story::suite("engine"));
    command
        .args(["--skip", SYSTEMD, "--skip", REGISTRY])
        .env("DOCKER_HOST", lab.docker_host());
    passes(command);
}

#[test]
fn images_come_from_real_registries_and_a_refusal_is_taken_by_its_kind() {
    let lab = story::up();
    let engine = OwnEngine::start(&lab, &[], ":", &[]);
    let open = Registry::start(&engine, 5000, None);
    let closed = Registry::start(&engine, 5001, Some(ALICE));
    // Not in the person's own file of logins.
    let logins = engine.folder().join("logins").display().to_string();
    let docker = |args: &[&str]| {
        engine
            .docker(&[&["--config", &logins], args].concat())
            .unwrap()
    };
    docker(&["login", "-u", "alice", "-p", "sesame", &closed.address]);
    for registry in [&open, &closed] {
        let image = format!("{}/busybox:1", registry.address);
        docker(&["tag", "busybox:1", &image]);
        docker(&["push", &image]);
        docker(&["rmi", &image]);
    }
    let mut command = engine.beside(&story::suite("engine"));
    command
        .arg(REGISTRY)
        .env("DOCKER_HOST", engine.socket())
        .env("OPEN_REGISTRY", &open.address)
        .env("CLOSED_REGISTRY", &closed.address);
    passes(command);
}

/// As [`passes`], with the engine's own words: what systemd itself would say there is none to ask.
#[test]
fn an_engine_with_systemd_as_its_cgroup_driver_takes_the_slice_that_the_driver_names() {
    let lab = story::up();
    // The runtime takes a machine with this folder for one of systemd's.
    let surroundings = "mount -t tmpfs none /run/systemd && mkdir /run/systemd/system";
    let args = ["--exec-opt", "native.cgroupdriver=systemd"];
    let engine = OwnEngine::start(&lab, &["--mount"], surroundings, &args);
    let driver = engine.docker(&["info", "--format", "{{.CgroupDriver}}"]);
    assert_eq!(driver.unwrap().trim(), "systemd");
    let mut command = engine.beside(&story::suite("engine"));
    command.arg(SYSTEMD).env("DOCKER_HOST", engine.socket());
    passes(command);
}

#[test]
fn the_engine_suite_passes_over_tls_and_nobody_unknown_is_let_in() {
    let lab = story::up();
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path());
    let at = |name: &str| folder.path().join(name).display().to_string();
    let args = [
        "--tlsverify",
        &format!("--tlscacert={}", at("ca.pem")),
        &format!("--tlscert={}", at("cert.pem")),
        &format!("--tlskey={}", at("key.pem")),
        "--host=tcp://127.0.0.1:2376",
    ];
    let engine = OwnEngine::start(&lab, &[], ":", &args);
    let over_tls = |certificates: &Path| {
        let mut command = engine.beside(&story::suite("engine"));
        command
            .args(["--skip", SYSTEMD, "--skip", REGISTRY])
            .args(["--skip", "a_link_that_a_sibling_flips"])
            .env("DOCKER_HOST", "tcp://127.0.0.1:2376")
            .env("DOCKER_TLS_VERIFY", "1")
            .env("DOCKER_CERT_PATH", certificates);
        command
    };
    passes(over_tls(folder.path()));
    // The engine is believed, and does not believe us.
    let stranger = tempfile::tempdir().unwrap();
    certify(stranger.path());
    std::fs::copy(folder.path().join("ca.pem"), stranger.path().join("ca.pem")).unwrap();
    let mut command = over_tls(stranger.path());
    let output = command
        .args(["--ignored", "a_taken_name_is_a_conflict::docker"])
        .output()
        .unwrap();
    let text = story::text(&output);
    let cert = stranger.path().join("cert.pem").display().to_string();
    assert!(!output.status.success(), "{text}");
    assert!(
        text.contains("does not take tls.cert") && text.contains(&cert),
        "{text}"
    );
}

/// A CA of its own, and one certificate for both sides, by the names of Docker's clients.
fn certify(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let name = folder.display().to_string();
    params.distinguished_name.push(DnType::CommonName, name);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let cert = params.signed_by(&key, &ca).unwrap();
    for (file, pem) in [
        ("ca.pem", ca.pem()),
        ("cert.pem", cert.pem()),
        ("key.pem", key.serialize_pem()),
    ] {
        std::fs::write(folder.join(file), pem).unwrap();
    }
}

/// Runs the ignored tests that `command` asks for.
fn passes(mut command: Command) {
    let output = command
        .args(["--ignored", "--test-threads=1"])
        .output()
        .unwrap();
    let text = story::text(&output);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("running 0 tests"), "{text}");
}
