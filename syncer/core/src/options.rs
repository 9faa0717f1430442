//! The options of a virtual service, one table for tags and for `service` blocks of the config file. Pure.
//!
//! An option is read from a text as soon as it is met; [`Options::policy`] says what does not go together, and fills in
//! what was not said. Who wrote it, and where, is known to the caller.

mod read;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use ipvs::{
    Family, Forwarding, Persistence, Protocol, Scheduler, ServiceFlags, ServiceId, ServiceSettings,
    Thresholds,
};

use crate::model::policy::VipPolicy;
use crate::model::safeguard::{Percent, Safeguards};

pub use read::{duration, vip};

/// How an option is written in the config file; in a tag all are texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Count,
    /// A number from 0.0 to 1.0.
    Share,
    /// A list of texts; in a tag they stand between commas.
    Texts,
}

/// The key of the VIP itself.
pub const VIP: &str = "vip";

/// Every option beside the VIP.
pub const OPTIONS: [(&str, Kind); 13] = [
    ("scheduler", Kind::Text),
    ("scheduler_flags", Kind::Texts),
    ("one_packet", Kind::Switch),
    ("persistence", Kind::Text),
    ("persistence_prefix", Kind::Count),
    ("forward", Kind::Text),
    ("snat", Kind::Switch),
    ("drain_deadline", Kind::Text),
    ("upper_threshold", Kind::Count),
    ("lower_threshold", Kind::Count),
    ("least_healthy", Kind::Share),
    ("slow_start", Kind::Text),
    ("sorry_server", Kind::Text),
];

/// Schedulers by which a weight that rises is a share that rises. `sh` and `mh` give away whole ranges of clients, of which each step would
/// move some; `ovf` takes a weight for a limit; the others look at none.
const RAMPED: [&str; 4] = ["wrr", "wlc", "sed", "nq"];

/// Persistence without a time, as `ipvsadm -p` has it.
const PERSISTENCE: Duration = Duration::from_mins(6);

/// The options that were read so far.
#[derive(Debug, Clone, Default)]
pub struct Options {
    scheduler: Option<Scheduler>,
    flags: Option<Vec<Flag>>,
    one_packet: Option<bool>,
    persistence: Option<Duration>,
    prefix: Option<NonZeroU32>,
    forwarding: Option<Forwarding>,
    snat: Option<bool>,
    drain: Option<Duration>,
    upper: Option<u32>,
    lower: Option<u32>,
    least_healthy: Option<Percent>,
    slow_start: Option<Duration>,
    sorry_server: Option<SocketAddr>,
}

/// A flag of a scheduler, by the name that `ipvsadm -b` has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flag {
    name: &'static str,
    scheduler: &'static str,
    bit: ServiceFlags,
}

const FLAGS: [Flag; 4] = [
    Flag::of("sh-fallback", "sh", ServiceFlags::FALLBACK),
    Flag::of("sh-port", "sh", ServiceFlags::PORT),
    Flag::of("mh-fallback", "mh", ServiceFlags::FALLBACK),
    Flag::of("mh-port", "mh", ServiceFlags::PORT),
];

impl Flag {
    const fn of(name: &'static str, scheduler: &'static str, bit: ServiceFlags) -> Self {
        Self {
            name,
            scheduler,
            bit,
        }
    }
}

impl Options {
    /// Reads one option; the error says what was expected, or that it is there twice with two values.
    pub fn set(&mut self, key: &str, text: &str) -> Result<(), String> {
        match key {
            "scheduler" => once(&mut self.scheduler, read::scheduler(text)),
            "scheduler_flags" => once(&mut self.flags, flags(text)),
            "one_packet" => once(&mut self.one_packet, read::switch(text)),
            "persistence" => once(&mut self.persistence, read::persistence(text)),
            "persistence_prefix" => once(&mut self.prefix, read::positive(text)),
            "forward" => once(&mut self.forwarding, read::forwarding(text)),
            "snat" => once(&mut self.snat, read::switch(text)),
            "drain_deadline" => once(&mut self.drain, duration(text)),
            "upper_threshold" => once(&mut self.upper, read::count(text)),
            "lower_threshold" => once(&mut self.lower, read::count(text)),
            "least_healthy" => once(&mut self.least_healthy, read::share(text)),
            "slow_start" => once(&mut self.slow_start, read::slow_start(text)),
            "sorry_server" => once(&mut self.sorry_server, read::real_server(text)),
            _ => Err("unknown key".to_owned()),
        }
    }

    /// The policy of that virtual service; the error says what does not go together.
    pub fn policy(self, id: ServiceId) -> Result<VipPolicy, String> {
        let forwarding = self.forwarding.unwrap_or(Forwarding::Masquerade);
        let snat = self.snat.unwrap_or(false);
        match forwarding {
            Forwarding::DirectRouting => self.suits_direct_routing(&id)?,
            _ => self.suits_masquerade()?,
        }
        Ok(VipPolicy {
            id,
            settings: self.settings(&id)?,
            forwarding,
            snat,
            drain: self.drain,
            safeguards: self.safeguards(&id)?,
        })
    }

    fn suits_direct_routing(&self, id: &ServiceId) -> Result<(), String> {
        let why = if self.snat == Some(true) {
            "dr and snat exclude each other: answers by-pass the director, which could not rewrite them back"
        } else if id.vip().is_none() {
            "dr needs a VIP: a firewall mark is no address that packets come to"
        } else if id.family() == Family::V6 {
            "dr is for IPv4 VIPs; masq is there for IPv6"
        } else if self.sorry_server.is_some() {
            "sorry_server needs masq: nothing would take packets to the VIP there"
        } else if self.slow_start.is_some() {
            "slow_start needs masq: a node shares out by full weights what comes to it"
        } else {
            return Ok(());
        };
        Err(why.to_owned())
    }

    /// Of a one-packet connection the kernel keeps nothing by which an answer's addresses could be rewritten
    /// (`ip_vs_conn_hash`, `ip_vs_update_conntrack`).
    fn suits_masquerade(&self) -> Result<(), String> {
        if self.one_packet == Some(true) {
            return Err(
                "one_packet needs dr: by masq no answer would find its way back".to_owned(),
            );
        }
        Ok(())
    }

    fn settings(&self, id: &ServiceId) -> Result<ServiceSettings, String> {
        let scheduler = self.scheduler.unwrap_or(Scheduler::WRR);
        let mut bits = ServiceFlags::default();
        for flag in self.flags.iter().flatten() {
            if flag.scheduler != scheduler.as_str() {
                return Err(format!(
                    "{} is a flag of scheduler {}, not of {scheduler}",
                    flag.name, flag.scheduler
                ));
            }
            bits = bits.with(flag.bit);
        }
        if self.one_packet == Some(true) {
            if id.protocol() != Some(Protocol::Udp) {
                return Err(
                    "one_packet is for UDP: elsewhere packets belong to connections".to_owned(),
                );
            }
            bits = bits.with(ServiceFlags::ONE_PACKET);
        }
        Ok(ServiceSettings {
            scheduler,
            flags: bits,
            persistence: self.persistence_of(id)?,
        })
    }

    fn persistence_of(&self, id: &ServiceId) -> Result<Option<Persistence>, String> {
        let host = id.family().host_prefix();
        let prefix = match self.prefix.map(|prefix| u8::try_from(prefix.get())) {
            None => host,
            Some(Ok(prefix)) if prefix <= host => prefix,
            Some(_) => return Err(format!("persistence_prefix is from 1 to {host} here")),
        };
        if self.persistence.is_none() && self.prefix.is_none() {
            return Ok(None);
        }
        if self.one_packet == Some(true) {
            return Err("persistence and one_packet exclude each other".to_owned());
        }
        let time = self.persistence.unwrap_or(PERSISTENCE);
        let seconds = u32::try_from(time.as_secs()).map_err(|_| "persistence is too long")?;
        Ok(Some(Persistence { seconds, prefix }))
    }

    fn safeguards(&self, id: &ServiceId) -> Result<Safeguards, String> {
        let scheduler = self.scheduler.unwrap_or(Scheduler::WRR);
        if self.slow_start.is_some() && !RAMPED.contains(&scheduler.as_str()) {
            let known = RAMPED.join(", ");
            return Err(format!(
                "slow_start is for schedulers that share out by weight ({known}), not for {scheduler}"
            ));
        }
        let thresholds = Thresholds {
            upper: self.upper.unwrap_or(0),
            lower: self.lower.unwrap_or(0),
        };
        if thresholds.lower > thresholds.upper {
            return Err("lower_threshold needs an upper_threshold that is not below it".to_owned());
        }
        if let Some(sorry) = self.sorry_server
            && Family::of(&sorry.ip()) != id.family()
        {
            return Err("sorry_server is not of the VIP's address family".to_owned());
        }
        Ok(Safeguards {
            thresholds,
            least_healthy: self.least_healthy.unwrap_or_default(),
            slow_start: self.slow_start,
            sorry_server: self.sorry_server,
        })
    }
}

/// Reads names of flags between commas.
fn flags(text: &str) -> Result<Vec<Flag>, String> {
    let flag = |name: &str| {
        let found = FLAGS.iter().find(|flag| flag.name == name.trim());
        found.copied().ok_or_else(|| {
            let names = FLAGS.map(|flag| flag.name).join(", ");
            format!("unknown flag {name:?}; known are {names}")
        })
    };
    text.split(',').map(flag).collect()
}

/// Fills a slot; a second value has to be the same.
pub(crate) fn once<T: PartialEq>(
    slot: &mut Option<T>,
    value: Result<T, String>,
) -> Result<(), String> {
    let value = value?;
    match slot {
        Some(earlier) if *earlier != value => Err("contradicts another tag".into()),
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
