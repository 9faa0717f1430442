//! Who tells a hint, and about whose tasks it may.
//!
//! A node is known by its certificate. Among the certificate's subject alternative names has to be what Nomad calls the
//! node, by name or by id, or the host address of the allocation's ports. The common name counts for nothing.

use std::net::IpAddr;
use std::sync::Arc;

use rustls_pki_types::{CertificateDer, ServerName};
use syncer_core::model::fleet::Allocation;
use webpki::EndEntityCert;

/// Whoever holds the other end of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Speaker {
    /// Streams are plain, as the config asks for in so many words: anybody speaks for all.
    Anybody,
    /// Who has the key of this certificate.
    Node(Arc<CertificateDer<'static>>),
}

impl Speaker {
    /// Whether the allocation is on the node that speaks.
    pub fn speaks_for(&self, alloc: &Allocation) -> bool {
        let Self::Node(certificate) = self else {
            return true;
        };
        let Ok(certificate) = EndEntityCert::try_from(&**certificate) else {
            return false;
        };
        let is_named =
            |name: ServerName<'_>| certificate.verify_is_valid_for_subject_name(&name).is_ok();
        let names = [&alloc.node_name, &alloc.node_id].into_iter();
        let mut names = names.filter_map(|name| ServerName::try_from(&**name).ok());
        let hosts = alloc.ports.iter().map(|port| port.address.ip());
        names.any(is_named) || hosts.map(ServerName::from).any(is_named)
    }

    /// Whether the node that speaks is at that address, where Nomad calls whoever is there by these names.
    pub fn is_at<'a>(&self, address: IpAddr, names: impl Iterator<Item = &'a str>) -> bool {
        let Self::Node(certificate) = self else {
            return true;
        };
        let Ok(certificate) = EndEntityCert::try_from(&**certificate) else {
            return false;
        };
        let names = names.filter_map(|name| ServerName::try_from(name).ok());
        let mut names = names.chain([ServerName::from(address)]);
        names.any(|name| certificate.verify_is_valid_for_subject_name(&name).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use syncer_core::model::AllocId;
    use syncer_core::model::fleet::{ClientStatus, Port};

    use super::*;

    const NODE_ID: &str = "9f2f1e0c-77a2-4b58-8a35-6a5f7c3d2e11";

    fn speaker(names: &[&str]) -> Speaker {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key);
        Speaker::Node(Arc::new(certificate.unwrap().der().clone()))
    }

    fn alloc() -> Allocation {
        Allocation {
            id: AllocId(1),
            namespace: "default".into(),
            job: "web".into(),
            group: "web".into(),
            node_id: NODE_ID.into(),
            node_name: "node1".into(),
            client: ClientStatus::Running,
            wanted: true,
            tasks: Vec::new(),
            ports: vec![Port {
                label: "http".into(),
                address: "198.18.0.11:20000".parse().unwrap(),
                task: None,
                registered_by_nomad: None,
            }],
            created: 1,
        }
    }

    #[test]
    fn a_node_speaks_for_allocations_on_it_and_for_no_others() {
        let rows: [(&[&str], bool); 8] = [
            (&["node1"], true),
            (&["other.example.org", "NODE1"], true),
            (&[NODE_ID], true),
            (&["198.18.0.11"], true),
            (&["node2"], false),
            (&["node1.example.org"], false),
            (&["198.18.0.12"], false),
            (&[], false),
        ];
        for (names, speaks) in rows {
            assert_eq!(speaker(names).speaks_for(&alloc()), speaks, "{names:?}");
        }
        assert!(Speaker::Anybody.speaks_for(&alloc()));
        let address = "198.18.0.11".parse().unwrap();
        for (names, name, is_there) in [
            (&["198.18.0.11"], None, true),
            (&["node1"], Some("node1"), true),
            (&["node1"], None, false),
            (&["node2"], Some("node1"), false),
            (&["198.18.0.12"], Some("node1"), false),
        ] {
            assert_eq!(
                speaker(names).is_at(address, name.into_iter()),
                is_there,
                "{names:?}"
            );
        }
        assert!(Speaker::Anybody.is_at(address, std::iter::empty()));
        let broken = Speaker::Node(Arc::new(CertificateDer::from(vec![1, 2, 3])));
        assert!(!broken.speaks_for(&alloc()));
    }

    #[test]
    fn a_node_whose_name_is_no_host_s_is_known_by_id_or_address_only() {
        let mut odd = alloc();
        odd.node_name = "node 1!".into();
        assert!(speaker(&[NODE_ID]).speaks_for(&odd));
        assert!(!speaker(&["node1"]).speaks_for(&odd));
        odd.node_name = "".into();
        assert!(!speaker(&["node1"]).speaks_for(&odd));
    }
}
