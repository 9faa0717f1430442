//! How the value of an option is read from its text. Pure.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use ipvs::{Forwarding, Scheduler, ServiceId};

use crate::model::policy::usable;
use crate::model::safeguard::Percent;

/// A ramp longer than this is a mistake in the unit.
const SLOW_START_LIMIT: Duration = Duration::from_hours(1);

/// The kernel counts the time in ticks of 32 bits: what is longer than some weeks is read back as another time.
const PERSISTENCE_LIMIT: Duration = Duration::from_hours(24);

/// The largest number of connections that every kernel takes.
const COUNT_LIMIT: u32 = i32::MAX.unsigned_abs();

/// Reads a VIP that a virtual service can have.
pub fn vip(text: &str) -> Result<ServiceId, String> {
    let id = text
        .parse::<ServiceId>()
        .map_err(|error| error.to_string())?;
    usable(&id).map(|()| id)
}

/// Reads a duration such as `250ms`, `60s`, `5m` or `1h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("expected a duration such as 250ms, 60s, 5m or 1h, not {text:?}");
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .ok_or_else(expected)?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| expected())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(expected()),
    };
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .ok_or_else(expected)
}

/// Reads a scheduler that schedules.
pub(super) fn scheduler(word: &str) -> Result<Scheduler, String> {
    match word {
        "none" => Err("none is no scheduler: every connection would be dropped".to_owned()),
        _ => word.parse::<Scheduler>().map_err(|error| error.to_string()),
    }
}

/// Reads a forwarding method by its word.
pub(super) fn forwarding(word: &str) -> Result<Forwarding, String> {
    match word {
        "masq" => Ok(Forwarding::Masquerade),
        "dr" => Ok(Forwarding::DirectRouting),
        "tun" => Err("forwarding method tun is not available yet; masq and dr are".into()),
        _ => Err("expected masq or dr".into()),
    }
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    text.parse()
        .map_err(|_| "expected true or false".to_owned())
}

pub(super) fn persistence(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    let is_whole = time.subsec_nanos() == 0;
    if is_whole && (Duration::from_secs(1)..=PERSISTENCE_LIMIT).contains(&time) {
        Ok(time)
    } else {
        Err("expected whole seconds from 1s to 24h".to_owned())
    }
}

pub(super) fn slow_start(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if (Duration::from_secs(1)..=SLOW_START_LIMIT).contains(&time) {
        Ok(time)
    } else {
        Err("expected a time from 1s to 1h".to_owned())
    }
}

pub(super) fn count(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| *number <= COUNT_LIMIT);
    number.ok_or_else(|| format!("expected a number of connections, not {text:?}"))
}

pub(super) fn positive(text: &str) -> Result<NonZeroU32, String> {
    text.parse()
        .map_err(|_| format!("expected a number from 1 on, not {text:?}"))
}

pub(super) fn share(text: &str) -> Result<Percent, String> {
    let share = text.parse().ok().and_then(Percent::of_share);
    share.ok_or_else(|| format!("expected a share from 0.0 to 1.0, not {text:?}"))
}

pub(super) fn real_server(text: &str) -> Result<SocketAddr, String> {
    let address: Option<SocketAddr> = text.parse().ok();
    let usable = |address: &SocketAddr| {
        let ip = address.ip();
        address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback()
    };
    address
        .filter(usable)
        .ok_or_else(|| format!("expected IP:PORT of another machine, not {text:?}"))
}
