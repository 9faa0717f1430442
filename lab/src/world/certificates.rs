//! By what the lab's parts know each other: two CAs of the profile's own, and certificates of them, made once.
//!
//! One CA is for hints and signs for nothing else; the other is for the agents' own traffic, Nomad's and Consul's. A CA's
//! key is never written down: the certificates of all nodes that a fabric can have are made together, and nobody can
//! make one more. Where one file is missing, all of that CA are made anew.

use std::path::PathBuf;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::world::context::Lab;
use crate::world::topology::Node;

/// Those that run a syncer.
const SYNCERS: [Node; 3] = [Node::Node1, Node::Node2, Node::Director];

/// Those that run agents.
const AGENTS: [Node; 2] = [Node::Node1, Node::Node2];

/// What a CA signs for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Hints, from the nodes' syncers to the director's.
    Hints,
    /// What Nomad's agents say to each other, and Consul's.
    Agents,
}

/// What one side of a connection needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Purpose {
    fn folder(self, lab: &Lab) -> PathBuf {
        lab.paths.state.join(match self {
            Self::Hints => "certificates",
            Self::Agents => "certificates-agents",
        })
    }

    fn nodes(self) -> &'static [Node] {
        match self {
            Self::Hints => &SYNCERS,
            Self::Agents => &AGENTS,
        }
    }

    /// The names in a node's certificate: of a syncer also what Nomad calls the node, for it may speak of its allocations.
    /// Agents know each other by role: the first node's are servers, others are not.
    fn names(self, lab: &Lab, node: Node) -> Vec<String> {
        let mut names = vec![lab.topology.node_address(node).to_string()];
        if self == Self::Hints {
            names.push(node.name().to_owned());
        }
        if self == Self::Agents {
            names.push("client.global.nomad".to_owned());
            names.push("client.dc1.consul".to_owned());
            if node == Node::Node1 {
                names.push("server.global.nomad".to_owned());
                names.push("server.dc1.consul".to_owned());
            }
        }
        names
    }

    fn paths(self, lab: &Lab, node: Node) -> Files {
        let file = |name: &str, kind: &str| self.folder(lab).join(format!("{name}.{kind}"));
        Files {
            ca: file("ca", "pem"),
            cert: file(node.name(), "pem"),
            key: file(node.name(), "key"),
        }
    }
}

/// A node's files, which are made where they are missing.
pub fn files(lab: &Lab, purpose: Purpose, node: Node) -> Result<Files> {
    ensure(lab, purpose)?;
    Ok(purpose.paths(lab, node))
}

/// Makes all that is missing.
pub fn ensure(lab: &Lab, purpose: Purpose) -> Result<()> {
    let nodes = purpose.nodes();
    let whole = nodes.iter().all(|node| {
        let Files { ca, cert, key } = purpose.paths(lab, *node);
        [ca, cert, key].iter().all(|file| file.exists())
    });
    if whole {
        return Ok(());
    }
    lab.person.make_dir(&purpose.folder(lab))?;
    let (ca, issuer) = authority(lab.topology.profile()).context("make the lab's CA")?;
    for node in nodes {
        let (cert, key) = certificate(node.name(), purpose.names(lab, *node), &issuer)
            .with_context(|| format!("make the certificate of {}", node.name()))?;
        let files = purpose.paths(lab, *node);
        lab.person.write(&files.ca, &ca)?;
        lab.person.write(&files.cert, &cert)?;
        lab.person.write_secret(&files.key, &key)?;
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

/// For a node of these names, as either side of a connection.
fn certificate(
    name: &str,
    names: Vec<String>,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
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
