//! From the model to attributes, in the order that `ipvsadm` uses.

use std::net::{IpAddr, SocketAddr};

use super::attribute::{nest, put};
use super::constant as c;
use super::message::{Request, put_request};
use crate::model::Command;
use crate::model::{Family, Forwarding, RealServer, ServiceId, ServiceSettings, Tunnel};

/// Appends a command as one request.
pub fn put_command(
    buffer: &mut Vec<u8>,
    family: u16,
    sequence: u32,
    flags: u16,
    command: &Command,
) {
    let number = match command {
        Command::AddService(..) => c::CMD_NEW_SERVICE,
        Command::EditService(..) => c::CMD_SET_SERVICE,
        Command::RemoveService(_) => c::CMD_DEL_SERVICE,
        Command::AddReal(..) => c::CMD_NEW_DEST,
        Command::EditReal(..) => c::CMD_SET_DEST,
        Command::RemoveReal(..) => c::CMD_DEL_DEST,
    };
    put_request(
        buffer,
        family,
        Request {
            flags,
            command: number,
            sequence,
        },
        |buffer| match command {
            Command::AddService(id, settings) | Command::EditService(id, settings) => {
                nest(buffer, c::ATTR_SERVICE, |buffer| {
                    identity(buffer, id);
                    settings_of(buffer, id.family(), settings);
                });
            }
            Command::RemoveService(id) => {
                nest(buffer, c::ATTR_SERVICE, |buffer| identity(buffer, id));
            }
            Command::AddReal(id, real) | Command::EditReal(id, real) => {
                nest(buffer, c::ATTR_SERVICE, |buffer| identity(buffer, id));
                nest(buffer, c::ATTR_DEST, |buffer| real_server(buffer, real));
            }
            Command::RemoveReal(id, address) => {
                nest(buffer, c::ATTR_SERVICE, |buffer| identity(buffer, id));
                nest(buffer, c::ATTR_DEST, |buffer| {
                    real_identity(buffer, *address);
                });
            }
        },
    );
}

/// Appends the question for one service (no flags) or for the real servers of one (`NLM_F_DUMP`).
pub fn put_question(buffer: &mut Vec<u8>, family: u16, request: Request, id: Option<&ServiceId>) {
    put_request(buffer, family, request, |buffer| {
        if let Some(id) = id {
            nest(buffer, c::ATTR_SERVICE, |buffer| identity(buffer, id));
        }
    });
}

fn number(family: Family) -> u16 {
    match family {
        Family::V4 => c::AF_INET,
        Family::V6 => c::AF_INET6,
    }
}

/// `union nf_inet_addr`: always 16 bytes, IPv4 in the first four.
fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
    }
}

fn identity(buffer: &mut Vec<u8>, id: &ServiceId) {
    put(buffer, c::SVC_AF, &number(id.family()).to_ne_bytes());
    match id {
        ServiceId::Address { protocol, address } => {
            put(buffer, c::SVC_PROTOCOL, &protocol.number().to_ne_bytes());
            put(buffer, c::SVC_ADDR, &address_bytes(address.ip()));
            put(buffer, c::SVC_PORT, &address.port().to_be_bytes());
        }
        ServiceId::Mark { mark, .. } => put(buffer, c::SVC_FWMARK, &mark.get().to_ne_bytes()),
    }
}

fn settings_of(buffer: &mut Vec<u8>, family: Family, settings: &ServiceSettings) {
    let mut name = settings.scheduler.as_str().as_bytes().to_vec();
    name.push(0);
    put(buffer, c::SVC_SCHED_NAME, &name);
    let persistent = if settings.persistence.is_some() {
        c::SVC_F_PERSISTENT
    } else {
        0
    };
    let mut flags = [0xff; 8];
    flags[..4].copy_from_slice(&(settings.flags.bits() | persistent).to_ne_bytes());
    put(buffer, c::SVC_FLAGS, &flags);
    let seconds = settings
        .persistence
        .map_or(0, |persistence| persistence.seconds);
    put(buffer, c::SVC_TIMEOUT, &seconds.to_ne_bytes());
    let host = family.host_prefix();
    let prefix = settings
        .persistence
        .map_or(host, |persistence| persistence.prefix.clamp(1, host));
    put(buffer, c::SVC_NETMASK, &netmask(family, prefix));
}

/// IPv4: the mask in network byte order. IPv6: the prefix length in host byte order.
fn netmask(family: Family, prefix: u8) -> [u8; 4] {
    match family {
        Family::V4 => u32::MAX
            .checked_shl(u32::from(32 - prefix))
            .unwrap_or(0)
            .to_be_bytes(),
        Family::V6 => u32::from(prefix).to_ne_bytes(),
    }
}

fn real_identity(buffer: &mut Vec<u8>, address: SocketAddr) {
    put(
        buffer,
        c::DEST_ADDR_FAMILY,
        &number(Family::of(&address.ip())).to_ne_bytes(),
    );
    put(buffer, c::DEST_ADDR, &address_bytes(address.ip()));
    put(buffer, c::DEST_PORT, &address.port().to_be_bytes());
}

fn real_server(buffer: &mut Vec<u8>, real: &RealServer) {
    real_identity(buffer, real.address);
    put(
        buffer,
        c::DEST_FWD_METHOD,
        &method(real.forwarding).to_ne_bytes(),
    );
    put(buffer, c::DEST_WEIGHT, &real.weight.get().to_ne_bytes());
    let (kind, port, flags) = match real.forwarding {
        Forwarding::Tunnel(Tunnel::Gue { port, flags }) => (1, port.get(), flags),
        Forwarding::Tunnel(Tunnel::Gre { flags }) => (2, 0, flags),
        _ => (0_u8, 0, 0),
    };
    put(buffer, c::DEST_TUN_TYPE, &[kind]);
    put(buffer, c::DEST_TUN_PORT, &port.to_be_bytes());
    put(buffer, c::DEST_TUN_FLAGS, &flags.to_ne_bytes());
    put(
        buffer,
        c::DEST_U_THRESH,
        &real.thresholds.upper.to_ne_bytes(),
    );
    put(
        buffer,
        c::DEST_L_THRESH,
        &real.thresholds.lower.to_ne_bytes(),
    );
}

/// `IP_VS_CONN_F_*` of a forwarding method.
fn method(forwarding: Forwarding) -> u32 {
    match forwarding {
        Forwarding::Masquerade => 0,
        Forwarding::Local => 1,
        Forwarding::Tunnel(_) => 2,
        Forwarding::DirectRouting => 3,
        Forwarding::Bypass => 4,
    }
}
