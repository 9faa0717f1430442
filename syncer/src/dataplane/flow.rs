//! What the connection tracker knows of flows, forgotten where it would lead packets astray.

use std::net::{IpAddr, SocketAddr};

use ipvs::ServiceId;

use super::DataPlaneError;
use super::command::{CommandError, run};

/// Only flows of this virtual service to this real server; never more.
pub(super) async fn forget_of(id: &ServiceId, real: SocketAddr) -> Result<(), DataPlaneError> {
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

/// Only connections to this VIP of which nobody has answered the first packet.
pub(super) async fn forget_unanswered(vip: IpAddr) -> Result<(), DataPlaneError> {
    let vip = vip.to_string();
    forget(&[
        "-D",
        "--proto",
        "tcp",
        "--orig-dst",
        &vip,
        "--state",
        "SYN_SENT",
    ])
    .await
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
