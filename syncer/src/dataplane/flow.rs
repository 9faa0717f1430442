//! What the connection tracker knows of flows, forgotten where it would lead packets astray.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use ipvs::ServiceId;

use super::DataPlaneError;
use crate::command::{CommandError, run};
use crate::error::chain;

/// Only flows of this virtual service to this real server; never more.
pub(crate) async fn forget_of(id: &ServiceId, real: SocketAddr) -> Result<(), DataPlaneError> {
    let ServiceId::Address { protocol, address } = id else {
        return Ok(());
    };
    let (vip, port) = (address.ip().to_string(), address.port().to_string());
    let (real, real_port) = (real.ip().to_string(), real.port().to_string());
    let arguments = [
        "-D",
        "--proto",
        protocol.as_str(),
        "--orig-dst",
        &vip,
        "--orig-port-dst",
        &port,
        "--reply-src",
        &real,
        // A live one beside it, on the same node, keeps its flows.
        "--reply-port-src",
        &real_port,
    ];
    forget(&arguments).await
}

/// Only connections to these VIPs of which nobody has answered the first packet; one outcome a VIP.
///
/// Each question goes through all that is tracked, so neighbours are asked for together.
pub async fn forget_unanswered(vips: &[IpAddr]) -> Vec<Result<(), DataPlaneError>> {
    let mut failed: Vec<(IpNet, Arc<str>)> = Vec::new();
    for network in networks(vips) {
        let text = network.to_string();
        let arguments = [
            "-D",
            "--proto",
            "tcp",
            "--orig-dst",
            &text,
            "--state",
            "SYN_SENT",
        ];
        if let Err(error) = forget(&arguments).await {
            failed.push((network, chain(&error).into()));
        }
    }
    let outcome = |vip: &IpAddr| match failed.iter().find(|(network, _)| network.contains(vip)) {
        Some((_, why)) => Err(DataPlaneError::Unforgotten(Arc::clone(why))),
        None => Ok(()),
    };
    vips.iter().map(outcome).collect()
}

/// The fewest networks that have exactly these addresses.
fn networks(vips: &[IpAddr]) -> Vec<IpNet> {
    let hosts: Vec<IpNet> = vips.iter().copied().map(IpNet::from).collect();
    IpNet::aggregate(&hosts)
}

async fn forget(arguments: &[&str]) -> Result<(), DataPlaneError> {
    match run("conntrack", arguments, None).await {
        // It says so, and fails, when there was none.
        Err(CommandError::Failed { complaint, .. }) if complaint.contains(" 0 flow entries") => {
            Ok(())
        }
        other => Ok(other.map(drop)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_asked_for_together_and_nobody_else_is() {
        let vips = |texts: &[&str]| -> Vec<IpAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let texts_of = |texts: &[&str]| -> Vec<String> {
            networks(&vips(texts))
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(texts_of(&["198.18.0.29"]), ["198.18.0.29/32"]);
        assert_eq!(
            texts_of(&[
                "198.18.0.29",
                "198.18.0.30",
                "198.18.0.31",
                "2001:db8::2",
                "2001:db8::3"
            ]),
            ["198.18.0.29/32", "198.18.0.30/31", "2001:db8::2/127"]
        );
        let many: Vec<IpAddr> = (0..=255)
            .map(|last| IpAddr::from([198, 18, 7, last]))
            .collect();
        assert_eq!(networks(&many).len(), 1);
    }
}
