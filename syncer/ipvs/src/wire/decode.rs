//! From attributes to the model. Attributes that we don't know are skipped; those that we need and miss are errors.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};

use super::Malformed;
use super::attribute::{Attributes, be16_of, u16_of, u32_of};
use super::constant as c;
use crate::model::{
    Connections, Family, Forwarding, Persistence, Protocol, RealServer, Scheduler, ServiceFlags,
    ServiceId, ServiceSettings, Thresholds, Tunnel, Weight,
};

/// The virtual service in the answer to `GET_SERVICE`.
pub fn service(attributes: &[u8]) -> Result<(ServiceId, ServiceSettings), Malformed> {
    let mut raw = RawService::default();
    for attribute in Attributes::new(nested(attributes, c::ATTR_SERVICE, "service")?) {
        let (kind, payload) = attribute?;
        match kind {
            c::SVC_AF => raw.family = Some(family(u16_of(payload, "family")?)?),
            c::SVC_PROTOCOL => raw.protocol = Some(u16_of(payload, "protocol")?),
            c::SVC_ADDR => raw.address = payload,
            c::SVC_PORT => raw.port = be16_of(payload, "port")?,
            c::SVC_FWMARK => raw.mark = NonZeroU32::new(u32_of(payload, "firewall mark")?),
            c::SVC_SCHED_NAME => raw.scheduler = Some(scheduler(payload)?),
            c::SVC_FLAGS => raw.flags = u32_of(payload, "flags")?,
            c::SVC_TIMEOUT => raw.seconds = u32_of(payload, "timeout")?,
            c::SVC_NETMASK => raw.netmask = payload,
            _ => {}
        }
    }
    raw.finish()
}

/// The real server in the answer to `GET_DEST`. `service` gives the family where an old kernel leaves it out.
pub fn real_server(
    attributes: &[u8],
    service: Family,
) -> Result<(RealServer, Connections), Malformed> {
    let mut raw = RawReal {
        family: service,
        ..RawReal::default()
    };
    for attribute in Attributes::new(nested(attributes, c::ATTR_DEST, "real server")?) {
        let (kind, payload) = attribute?;
        match kind {
            c::DEST_ADDR => raw.address = payload,
            c::DEST_PORT => raw.port = Some(be16_of(payload, "port")?),
            c::DEST_FWD_METHOD => raw.method = u32_of(payload, "forwarding method")?,
            c::DEST_WEIGHT => raw.weight = u32_of(payload, "weight")?,
            c::DEST_U_THRESH => raw.thresholds.upper = u32_of(payload, "upper threshold")?,
            c::DEST_L_THRESH => raw.thresholds.lower = u32_of(payload, "lower threshold")?,
            c::DEST_ACTIVE_CONNS => raw.connections.active = u32_of(payload, "active connections")?,
            c::DEST_INACT_CONNS => {
                raw.connections.inactive = u32_of(payload, "inactive connections")?;
            }
            c::DEST_PERSIST_CONNS => {
                raw.connections.persistent = u32_of(payload, "persistent connections")?;
            }
            c::DEST_ADDR_FAMILY => raw.family = family(u16_of(payload, "family")?)?,
            c::DEST_TUN_TYPE => {
                raw.tunnel = *payload.first().ok_or(Malformed::Short {
                    what: "tunnel type",
                })?;
            }
            c::DEST_TUN_PORT => raw.tunnel_port = be16_of(payload, "tunnel port")?,
            c::DEST_TUN_FLAGS => raw.tunnel_flags = u16_of(payload, "tunnel flags")?,
            _ => {}
        }
    }
    raw.finish()
}

#[derive(Default)]
struct RawService<'a> {
    family: Option<Family>,
    protocol: Option<u16>,
    address: &'a [u8],
    port: u16,
    mark: Option<NonZeroU32>,
    scheduler: Option<Scheduler>,
    flags: u32,
    seconds: u32,
    netmask: &'a [u8],
}

impl RawService<'_> {
    fn finish(self) -> Result<(ServiceId, ServiceSettings), Malformed> {
        let family = self.family.ok_or(Malformed::Missing { what: "family" })?;
        let id = match self.mark {
            Some(mark) => ServiceId::Mark { family, mark },
            None => ServiceId::Address {
                protocol: protocol(self.protocol)?,
                address: SocketAddr::new(address(family, self.address)?, self.port),
            },
        };
        let persistence = (self.flags & c::SVC_F_PERSISTENT != 0)
            .then(|| {
                prefix(family, self.netmask).map(|prefix| Persistence {
                    seconds: self.seconds,
                    prefix,
                })
            })
            .transpose()?;
        let scheduler = self
            .scheduler
            .ok_or(Malformed::Missing { what: "scheduler" })?;
        Ok((
            id,
            ServiceSettings {
                scheduler,
                flags: ServiceFlags::from_bits(self.flags),
                persistence,
            },
        ))
    }
}

struct RawReal<'a> {
    family: Family,
    address: &'a [u8],
    port: Option<u16>,
    method: u32,
    weight: u32,
    thresholds: Thresholds,
    connections: Connections,
    tunnel: u8,
    tunnel_port: u16,
    tunnel_flags: u16,
}

impl Default for RawReal<'_> {
    fn default() -> Self {
        Self {
            family: Family::V4,
            address: &[],
            port: None,
            method: 0,
            weight: 0,
            thresholds: Thresholds::default(),
            connections: Connections::default(),
            tunnel: 0,
            tunnel_port: 0,
            tunnel_flags: 0,
        }
    }
}

impl RawReal<'_> {
    fn finish(self) -> Result<(RealServer, Connections), Malformed> {
        let port = self.port.ok_or(Malformed::Missing { what: "port" })?;
        let forwarding = match self.method & c::FWD_MASK {
            0 => Forwarding::Masquerade,
            1 => Forwarding::Local,
            2 => Forwarding::Tunnel(self.tunnel()?),
            3 => Forwarding::DirectRouting,
            4 => Forwarding::Bypass,
            other => {
                return Err(Malformed::Value {
                    what: "forwarding method",
                    value: other.into(),
                });
            }
        };
        let real = RealServer {
            address: SocketAddr::new(address(self.family, self.address)?, port),
            weight: Weight::saturating(self.weight),
            forwarding,
            thresholds: self.thresholds,
        };
        Ok((real, self.connections))
    }

    fn tunnel(&self) -> Result<Tunnel, Malformed> {
        match self.tunnel {
            0 => Ok(Tunnel::Ipip),
            1 => NonZeroU16::new(self.tunnel_port)
                .map(|port| Tunnel::Gue {
                    port,
                    flags: self.tunnel_flags,
                })
                .ok_or(Malformed::Value {
                    what: "tunnel port",
                    value: 0,
                }),
            2 => Ok(Tunnel::Gre {
                flags: self.tunnel_flags,
            }),
            other => Err(Malformed::Value {
                what: "tunnel type",
                value: other.into(),
            }),
        }
    }
}

fn nested<'a>(
    attributes: &'a [u8],
    wanted: u16,
    what: &'static str,
) -> Result<&'a [u8], Malformed> {
    for attribute in Attributes::new(attributes) {
        let (kind, payload) = attribute?;
        if kind == wanted {
            return Ok(payload);
        }
    }
    Err(Malformed::Missing { what })
}

fn family(number: u16) -> Result<Family, Malformed> {
    match number {
        c::AF_INET => Ok(Family::V4),
        c::AF_INET6 => Ok(Family::V6),
        other => Err(Malformed::Value {
            what: "family",
            value: other.into(),
        }),
    }
}

fn protocol(number: Option<u16>) -> Result<Protocol, Malformed> {
    let number = number.ok_or(Malformed::Missing { what: "protocol" })?;
    Protocol::from_number(number).ok_or(Malformed::Value {
        what: "protocol",
        value: number.into(),
    })
}

fn address(family: Family, payload: &[u8]) -> Result<IpAddr, Malformed> {
    let short = Malformed::Short { what: "address" };
    match family {
        Family::V4 => payload
            .first_chunk::<4>()
            .map(|b| Ipv4Addr::from(*b).into())
            .ok_or(short),
        Family::V6 => payload
            .first_chunk::<16>()
            .map(|b| Ipv6Addr::from(*b).into())
            .ok_or(short),
    }
}

fn prefix(family: Family, payload: &[u8]) -> Result<u8, Malformed> {
    let short = Malformed::Short { what: "netmask" };
    let bytes: [u8; 4] = *payload.first_chunk().ok_or(short)?;
    let length = match family {
        Family::V4 => u32::from_be_bytes(bytes).leading_ones(),
        Family::V6 => u32::from_ne_bytes(bytes),
    };
    u8::try_from(length)
        .ok()
        .filter(|length| *length <= family.host_prefix())
        .ok_or(Malformed::Value {
            what: "netmask",
            value: length.into(),
        })
}

fn scheduler(payload: &[u8]) -> Result<Scheduler, Malformed> {
    let name = payload.split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(name)
        .ok()
        .and_then(|name| name.parse().ok())
        .ok_or(Malformed::Scheduler)
}
