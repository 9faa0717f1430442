//! An engine behind TLS that wants to know its clients: who is believed, and what is said where somebody is not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use docker_ipvs::engine::docker::DockerEngine;
use docker_ipvs::engine::{
    Address, ContainerEngine, ContainerId, EngineError, TlsFiles, TlsIdentity,
};
use futures_util::TryStreamExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::streams::{Script, serve};

const WAIT_MAX: Duration = Duration::from_secs(10);

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for a name, with its key, both in PEM.
fn issue(by: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, by).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// An engine with a certificate for `name` that takes clients of the same authority. Returns its endpoint.
async fn engine(authority: &Authority, name: &str) -> String {
    let (cert, key) = issue(authority, name);
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let accepted = acceptor.accept(connection);
            tokio::spawn(async move { serve(accepted.await?, Script::of(b"\x01abc\r\n")).await });
        }
    });
    endpoint
}

/// Whom the driver believes, and what it shows.
fn files(folder: &Path, believed: &Authority, shown: Option<&Authority>) -> TlsFiles {
    let ca = put(folder, "ca.pem", &believed.pem());
    let identity = shown.map(|authority| {
        let (cert, key) = issue(authority, "node");
        TlsIdentity {
            cert: put(folder, "cert.pem", &cert),
            key: put(folder, "key.pem", &key),
        }
    });
    TlsFiles {
        ca: Some(ca),
        identity,
    }
}

fn put(folder: &Path, file: &str, text: &str) -> PathBuf {
    let path = folder.join(file);
    std::fs::write(&path, text).unwrap();
    path
}

fn client(endpoint: &str, tls: TlsFiles) -> Result<DockerEngine, EngineError> {
    DockerEngine::connect(&Address {
        endpoint: endpoint.to_owned(),
        tls: Some(tls),
    })
}

fn id() -> ContainerId {
    ContainerId("c".repeat(64))
}

async fn refusal(engine: &DockerEngine) -> String {
    let id = id();
    let answer = timeout(WAIT_MAX, engine.inspect(&id.0)).await.unwrap();
    answer.unwrap_err().to_string()
}

#[tokio::test]
async fn calls_and_streams_go_through_tls_with_both_sides_known() {
    let (folder, authority) = (TempDir::new().unwrap(), authority("one"));
    let endpoint = engine(&authority, "127.0.0.1").await;
    let tls = files(folder.path(), &authority, Some(&authority));
    for endpoint in [endpoint.clone(), endpoint.replace("tcp://", "https://")] {
        let engine = client(&endpoint, tls.clone()).unwrap();
        assert!(engine.inspect(&id().0).await.unwrap().is_alive());
        let output = engine.attach(&id()).await.unwrap();
        let output: Vec<_> = timeout(WAIT_MAX, output.try_collect())
            .await
            .unwrap()
            .unwrap();
        let bytes: Vec<u8> = output
            .iter()
            .flat_map(|chunk| chunk.bytes.to_vec())
            .collect();
        assert_eq!(bytes, b"\x01abc\r\n", "{endpoint}");
    }
}

#[tokio::test]
async fn an_engine_that_nobody_vouches_for_is_not_spoken_to() {
    let (folder, own_authority, other) =
        (TempDir::new().unwrap(), authority("one"), authority("two"));
    let files = files(folder.path(), &own_authority, Some(&own_authority));
    let ca = folder.path().join("ca.pem").display().to_string();
    let stranger = engine(&other, "127.0.0.1").await;
    let text = refusal(&client(&stranger, files.clone()).unwrap()).await;
    assert!(
        text.contains("UnknownIssuer") && text.contains(&ca),
        "{text}"
    );
    let namesake = engine(&own_authority, "another.example").await;
    let text = refusal(&client(&namesake, files.clone()).unwrap()).await;
    assert!(text.contains("not valid for name"), "{text}");
    // Without a CA of its own it is this machine's that count, and they know neither.
    let machine = TlsFiles { ca: None, ..files };
    let engine = client(&engine(&own_authority, "127.0.0.1").await, machine).unwrap();
    let text = refusal(&engine).await;
    assert!(text.contains("this machine's authorities"), "{text}");
}

#[tokio::test]
async fn a_client_that_the_engine_does_not_know_is_told_which_file_to_look_at() {
    let (folder, own_authority, other) =
        (TempDir::new().unwrap(), authority("one"), authority("two"));
    let endpoint = engine(&own_authority, "127.0.0.1").await;
    let without_identity = files(folder.path(), &own_authority, None);
    let text = refusal(&client(&endpoint, without_identity).unwrap()).await;
    assert!(
        text.contains("want a certificate (tls.cert, tls.key)"),
        "{text}"
    );
    let stranger = files(folder.path(), &own_authority, Some(&other));
    let text = refusal(&client(&endpoint, stranger).unwrap()).await;
    let cert = folder.path().join("cert.pem").display().to_string();
    assert!(
        text.contains("does not take tls.cert") && text.contains(&cert),
        "{text}"
    );
}

#[tokio::test]
async fn nothing_is_sent_in_clear_to_an_engine_without_tls() {
    let (folder, authority) = (TempDir::new().unwrap(), authority("one"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let first = tokio::spawn(async move {
        let mut connection = listener.accept().await.unwrap().0;
        let first = connection.read_u8().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut connection, b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        first
    });
    let engine = client(&endpoint, files(folder.path(), &authority, None)).unwrap();
    let text = refusal(&engine).await;
    assert!(text.contains("is there TLS at that port?"), "{text}");
    // A handshake, and not the G of a request.
    assert_eq!(first.await.unwrap(), 22);
}

#[tokio::test]
async fn certificates_that_are_replaced_are_used_from_then_on() {
    let (folder, before, after) = (TempDir::new().unwrap(), authority("one"), authority("two"));
    let endpoint = engine(&after, "127.0.0.1").await;
    let engine = client(&endpoint, files(folder.path(), &before, Some(&before))).unwrap();
    assert!(refusal(&engine).await.contains("UnknownIssuer"));
    files(folder.path(), &after, Some(&after));
    assert!(engine.inspect(&id().0).await.unwrap().is_alive());
    std::fs::remove_file(folder.path().join("key.pem")).unwrap();
    let text = refusal(&engine).await;
    assert!(text.contains("key.pem: cannot be read"), "{text}");
}

#[test]
fn files_that_can_not_be_used_are_refused_by_name_before_anything_is_sent() {
    let (folder, authority) = (TempDir::new().unwrap(), authority("one"));
    let good = files(folder.path(), &authority, Some(&authority));
    let refuse = |change: &dyn Fn(&mut TlsFiles)| {
        let mut files = good.clone();
        change(&mut files);
        client("tcp://127.0.0.1:1", files).unwrap_err().to_string()
    };
    let absent_path = folder.path().join("missing.pem");
    let garbage = put(folder.path(), "garbage.pem", "hello");
    let (_, foreign) = issue(&authority, "somebody");
    let foreign = put(folder.path(), "foreign.pem", &foreign);
    let key = |files: &mut TlsFiles, key: &Path| files.identity.as_mut().unwrap().key = key.into();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
    for (text, words) in [
        (
            refuse(&|files| files.ca = Some(absent_path.clone())),
            "missing.pem: cannot be read: No such file",
        ),
        (
            refuse(&|files| files.ca = Some(garbage.clone())),
            "garbage.pem: certificates in PEM",
        ),
        (
            refuse(&|files| files.ca = Some(pipe.clone())),
            "pipe: cannot be read: it is not a regular file",
        ),
        (refuse(&|files| key(files, &garbage)), "tls.key"),
        (
            refuse(&|files| key(files, &foreign)),
            "foreign.pem: unusable together",
        ),
    ] {
        assert!(text.contains(words), "{text}");
    }
    let socket = client("unix:///run/docker.sock", good.clone()).unwrap_err();
    assert!(socket.to_string().contains("TLS is for tcp://"), "{socket}");
}
