//! Certificates and tokens: good, missing, of somebody else, and replaced while we run.

use std::path::{Path, PathBuf};

use axum::response::IntoResponse;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::server::{Requests, TlsListener, answer, serve};
use super::{LIMIT, fixed};
use crate::credential::token::Token;
use crate::http::{Api, Http, HttpsTls, IdentityFiles};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for a name, with its key, both in PEM.
fn issued(by: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, by).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// An agent that asks for certificates of one authority; gives its port.
async fn agent(authority: &Authority, name: &str, requests: Requests) -> u16 {
    let (cert, key) = issued(authority, name);
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
    roots.add(root).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(roots.into(), std::sync::Arc::clone(&provider))
            .build()
            .unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = std::sync::Arc::new(config).into();
    let listener = TlsListener { listener, acceptor };
    answer(listener, requests, |_| "[]".into_response());
    port
}

/// A folder with an authority's certificate, and one of its certificates with its key.
fn files(authority: &Authority, name: &str) -> (TempDir, HttpsTls) {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = issued(authority, name);
    let put = |file: &str, text: &str| put(folder.path(), file, text);
    let tls = HttpsTls {
        ca_file: Some(put("ca.pem", &authority.pem())),
        identity: Some(IdentityFiles {
            cert_file: put("us.pem", &cert),
            key_file: put("us.key", &key),
        }),
        server_name: None,
    };
    (folder, tls)
}

fn put(folder: &Path, file: &str, text: &str) -> PathBuf {
    let path = folder.join(file);
    std::fs::write(&path, text).unwrap();
    path
}

async fn outcome(http: &Http) -> Result<(), String> {
    let answer = http.get("/v1/catalog/services", LIMIT).await;
    answer.map(drop).map_err(|error| error.chain())
}

#[tokio::test]
async fn both_sides_are_verified_and_the_token_arrives() {
    let (own, other) = (authority(), authority());
    let requests = Requests::default();
    let port = agent(&own, "localhost", requests.clone()).await;
    let api = |tls: HttpsTls| Api {
        tls,
        ..fixed(&format!("https://localhost:{port}"), "s3cret")
    };
    let (_folder, good) = files(&own, "syncer");
    let http = Http::new(&api(good.clone()), "X-Consul-Token").unwrap();
    assert_eq!(outcome(&http).await, Ok(()));
    assert_eq!(requests.all(), ["/v1/catalog/services s3cret"]);

    let (_other_folder, foreign) = files(&other, "syncer");
    let strange_ca = HttpsTls {
        ca_file: foreign.ca_file.clone(),
        ..good.clone()
    };
    let strange_identity = HttpsTls {
        identity: foreign.identity,
        ..good.clone()
    };
    let without_client = HttpsTls {
        identity: None,
        ..good.clone()
    };
    let machine = HttpsTls {
        ca_file: None,
        ..good
    };
    for (tls, expected) in [
        (strange_ca, "invalid peer certificate"),
        (machine, "invalid peer certificate"),
        (strange_identity, ""),
        (without_client, ""),
    ] {
        let http = Http::new(&api(tls), "X-Consul-Token").unwrap();
        let error = outcome(&http).await.unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert_eq!(requests.all().len(), 1);
}

#[tokio::test]
async fn the_server_s_name_may_be_another_than_its_host() {
    let own = authority();
    let port = agent(&own, "server.dc1.consul", Requests::default()).await;
    let (_folder, tls) = files(&own, "syncer");
    for host in ["127.0.0.1", "localhost"] {
        let api = |server_name: Option<&str>| Api {
            tls: HttpsTls {
                server_name: server_name.map(str::to_owned),
                ..tls.clone()
            },
            ..Api::at(format!("https://{host}:{port}").parse().unwrap())
        };
        let named = Http::new(&api(Some("server.dc1.consul")), "X-Consul-Token").unwrap();
        assert_eq!(outcome(&named).await, Ok(()), "{host}");
        for wrong in [None, Some("server.dc2.consul")] {
            let http = Http::new(&api(wrong), "X-Consul-Token").unwrap();
            let error = outcome(&http).await.unwrap_err();
            assert!(error.contains("not valid for name"), "{host}: {error}");
        }
    }
}

#[tokio::test]
async fn certificates_that_are_replaced_are_used_from_then_on() {
    let (own, other) = (authority(), authority());
    let port = agent(&own, "localhost", Requests::default()).await;
    let (folder, tls) = files(&other, "syncer");
    let address = format!("https://localhost:{port}");
    let api = Api {
        tls,
        ..Api::at(address.parse().unwrap())
    };
    let http = Http::new(&api, "X-Consul-Token").unwrap();
    outcome(&http).await.unwrap_err();
    let (cert, key) = issued(&own, "syncer");
    put(folder.path(), "us.pem", &cert);
    let error = outcome(&http).await.unwrap_err();
    assert!(error.contains("unusable together"), "{error}");
    put(folder.path(), "us.key", &key);
    put(folder.path(), "ca.pem", &own.pem());
    assert_eq!(outcome(&http).await, Ok(()));
}

#[tokio::test]
async fn a_token_file_that_is_replaced_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let requests = Requests::default();
    let address = serve(requests.clone(), |_| "{}".into_response()).await;
    let path = put(folder.path(), "token", "first\n");
    let api = Api {
        token: Some(Token::File(path.clone())),
        ..Api::at(address.parse().unwrap())
    };
    let http = Http::new(&api, "X-Consul-Token").unwrap();
    assert_eq!(outcome(&http).await, Ok(()));
    put(folder.path(), "new", "second\n");
    std::fs::rename(folder.path().join("new"), &path).unwrap();
    assert_eq!(outcome(&http).await, Ok(()));
    std::fs::remove_file(&path).unwrap();
    let error = outcome(&http).await.unwrap_err();
    assert!(
        error.contains("token: cannot be read: No such file") && !error.contains("second"),
        "{error}"
    );
    put(folder.path(), "token", "third");
    assert_eq!(outcome(&http).await, Ok(()));
    let tokens = ["first", "second", "third"];
    assert_eq!(
        requests.all(),
        tokens.map(|token| format!("/v1/catalog/services {token}"))
    );
}
