//! By what the lab's syncers know each other: a CA of the profile's own, and a certificate each, made once.
//!
//! The CA's key is never written down: the certificates of all nodes that a fabric can have are made together, and
//! nobody can make one more. Where one file is missing, all are made anew.

use std::path::PathBuf;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::context::Lab;
use crate::topology::Node;

/// Those that run a syncer.
const NODES: [Node; 3] = [Node::Node1, Node::Node2, Node::Director];

/// A node's block `tls` of its syncer's config.
pub(super) fn block(lab: &Lab, node: Node) -> Result<String> {
    make(lab)?;
    let [ca, cert, key] = files(lab, node).map(|file| file.display().to_string());
    Ok(format!(
        r#"  tls {{
    ca_file   = "{ca}"
    cert_file = "{cert}"
    key_file  = "{key}"
  }}"#
    ))
}

fn folder(lab: &Lab) -> PathBuf {
    lab.paths.state.join("certificates")
}

/// CA, certificate and key.
fn files(lab: &Lab, node: Node) -> [PathBuf; 3] {
    let file = |name: &str, kind: &str| folder(lab).join(format!("{name}.{kind}"));
    [
        file("ca", "pem"),
        file(node.name(), "pem"),
        file(node.name(), "key"),
    ]
}

fn make(lab: &Lab) -> Result<()> {
    let mut all = NODES.iter().flat_map(|node| files(lab, *node));
    if all.all(|file| file.exists()) {
        return Ok(());
    }
    lab.person.make_dir(&folder(lab))?;
    let (ca, issuer) = authority(lab.topology.profile()).context("make the lab's CA")?;
    for node in NODES {
        let address = lab.topology.node_address(node).to_string();
        let (cert, key) = certificate(node.name(), &address, &issuer)
            .with_context(|| format!("make the certificate of {}", node.name()))?;
        let [ca_file, cert_file, key_file] = files(lab, node);
        lab.person.write(&ca_file, &ca)?;
        lab.person.write(&cert_file, &cert)?;
        lab.person.write_secret(&key_file, &key)?;
    }
    Ok(())
}

fn authority(profile: &str) -> Result<(String, Issuer<'static, KeyPair>), rcgen::Error> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let name = format!("nomad-ipvs lab {profile}");
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate()?;
    let ca = params.self_signed(&key)?.pem();
    Ok((ca, Issuer::new(params, key)))
}

/// For a node at that address, as either side of a connection.
fn certificate(
    name: &str,
    address: &str,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(vec![address.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate()?;
    let cert = params.signed_by(&key, issuer)?.pem();
    Ok((cert, key.serialize_pem()))
}
