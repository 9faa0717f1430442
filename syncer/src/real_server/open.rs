//! Which instances that get nothing new still have connections open: the tracker of this node alone knows.
//!
//! With direct routing the director can't tell two instances of a node apart, and counts a connection for either of them.

use std::net::SocketAddr;

use ipvs::{Protocol, ServiceId};
use tracing::warn;

use crate::command::run;
use crate::error::chain;

/// What the tracker calls a TCP connection that may still carry a request or an answer.
const OPEN: [&str; 3] = ["SYN_SENT", "SYN_RECV", "ESTABLISHED"];

/// Whether a connection to the VIP is open that the instance at `place` has. UDP has none: its flows are forgotten.
pub(super) async fn has_open(id: &ServiceId, place: SocketAddr) -> bool {
    let ServiceId::Address { protocol, address } = id else {
        return false;
    };
    if *protocol != Protocol::Tcp {
        return false;
    }
    let texts = [address.ip(), place.ip()].map(|ip| ip.to_string());
    let ports = [address.port(), place.port()].map(|port| port.to_string());
    let arguments = [
        "-L",
        "--proto",
        "tcp",
        "--orig-dst",
        &texts[0],
        "--orig-port-dst",
        &ports[0],
        "--reply-src",
        &texts[1],
        "--reply-port-src",
        &ports[1],
    ];
    match run("conntrack", &arguments, None).await {
        Ok(listed) => listed.lines().any(is_open),
        // Nobody knows then; what the director counts has to do, and offers are answered.
        Err(error) => {
            warn!(%id, %place, error = chain(&error), "open connections are not counted");
            false
        }
    }
}

fn is_open(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    words.nth(3).is_some_and(|state| OPEN.contains(&state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_open_and_what_both_have_closed_is_not() {
        let line = |state: &str| {
            format!(
                "tcp      6 117 {state} src=198.18.0.100 dst=198.18.0.32 sport=4 dport=80 src=172.17.0.2 dst=198.18.0.100 sport=8001 dport=4 [ASSURED] mark=0 use=1"
            )
        };
        for state in OPEN {
            assert!(is_open(&line(state)), "{state}");
        }
        for state in ["FIN_WAIT", "TIME_WAIT", "CLOSE", "LAST_ACK"] {
            assert!(!is_open(&line(state)), "{state}");
        }
        assert!(!is_open(""));
    }
}
