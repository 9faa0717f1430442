//! `ipvs.*` tags of a Consul service, as a policy. Pure.
//!
//! `ipvs.vip=198.18.0.29:80` asks for a virtual service; `ipvs.scheduler`, `ipvs.forward`, `ipvs.snat` and
//! `ipvs.drain_deadline` shape it. The same words are the keys of a `service` block in the config file, so both are
//! read here. A tag that is wrong rejects the service, with the reason.

use std::time::Duration;

use ipvs::{Forwarding, Scheduler, ServiceFlags, ServiceId, ServiceSettings};

use crate::model::policy::{Rejected, VipPolicy};

const PREFIX: &str = "ipvs.";

/// Whether any of these asks for a virtual service.
pub fn ask_for_vip<'a>(tags: impl IntoIterator<Item = &'a str>) -> bool {
    tags.into_iter().any(|tag| tag.starts_with("ipvs.vip="))
}

/// The policy in a service's tags; `None` where none of them is ours.
pub fn policy<'a>(tags: impl IntoIterator<Item = &'a str>) -> Option<Result<VipPolicy, Rejected>> {
    let mut ours = tags
        .into_iter()
        .filter_map(|tag| tag.strip_prefix(PREFIX))
        .peekable();
    ours.peek()?;
    Some(read(ours))
}

fn read<'a>(tags: impl Iterator<Item = &'a str>) -> Result<VipPolicy, Rejected> {
    let (mut vip, mut scheduler, mut forwarding, mut snat, mut drain) =
        (None, None, None, None, None);
    for tag in tags {
        let wrong = |reason: String| Rejected::because(format!("tag ipvs.{tag}: {reason}"));
        let (key, value) = tag
            .split_once('=')
            .ok_or_else(|| wrong("expected ipvs.KEY=VALUE".into()))?;
        match key {
            "vip" => once(
                &mut vip,
                value.parse::<ServiceId>().map_err(|e| e.to_string()),
            ),
            "scheduler" => once(
                &mut scheduler,
                value.parse::<Scheduler>().map_err(|e| e.to_string()),
            ),
            "forward" => once(&mut forwarding, forwarding_of(value)),
            "snat" => once(
                &mut snat,
                value
                    .parse::<bool>()
                    .map_err(|_| "expected true or false".into()),
            ),
            "drain_deadline" => once(&mut drain, duration(value)),
            _ => Err("unknown key; known are vip, scheduler, forward, snat, drain_deadline".into()),
        }
        .map_err(wrong)?;
    }
    let id = vip.ok_or_else(|| Rejected::because("tags ipvs.* without ipvs.vip=IP:PORT"))?;
    Ok(assemble(
        id,
        scheduler,
        forwarding,
        snat.unwrap_or(false),
        drain,
    ))
}

fn once<T: PartialEq>(slot: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    let value = value?;
    match slot {
        Some(there) if *there != value => Err("contradicts another tag".into()),
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

/// A policy with the defaults for what was not said.
pub fn assemble(
    id: ServiceId,
    scheduler: Option<Scheduler>,
    forwarding: Option<Forwarding>,
    snat: bool,
    drain: Option<Duration>,
) -> VipPolicy {
    let settings = ServiceSettings {
        scheduler: scheduler.unwrap_or(Scheduler::WRR),
        flags: ServiceFlags::default(),
        persistence: None,
    };
    VipPolicy {
        id,
        settings,
        forwarding: forwarding.unwrap_or(Forwarding::Masquerade),
        snat,
        drain,
    }
}

/// A forwarding method by its word.
pub fn forwarding_of(word: &str) -> Result<Forwarding, String> {
    match word {
        "masq" => Ok(Forwarding::Masquerade),
        "dr" | "tun" => Err(format!(
            "forwarding method {word} is not available yet; masq is"
        )),
        _ => Err("expected masq".into()),
    }
}

/// `250ms`, `60s`, `5m`, `1h`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_make_a_policy_and_other_tags_do_not_disturb_it() {
        let tags = [
            "http",
            "ipvs.vip=198.18.0.29:80",
            "ipvs.scheduler=rr",
            "ipvs.snat=true",
            "ipvs.forward=masq",
        ];
        let policy = policy(tags).unwrap().unwrap();
        assert_eq!(policy.id.to_string(), "tcp://198.18.0.29:80");
        assert_eq!(policy.settings.scheduler.as_str(), "rr");
        assert!(policy.snat);
        assert!(super::policy(["http", "ipvsish"]).is_none());
    }

    #[test]
    fn a_wrong_tag_rejects_with_the_tag_and_the_reason() {
        let reason = |tags: &[&str]| policy(tags.iter().copied()).unwrap().unwrap_err().reason;
        assert!(reason(&["ipvs.vip=nowhere"]).contains("ipvs.vip=nowhere: expected IP:PORT"));
        assert!(reason(&["ipvs.vip=198.18.0.29:80", "ipvs.colour=red"]).contains("unknown key"));
        assert!(
            reason(&["ipvs.vip=198.18.0.29:80", "ipvs.vip=198.18.0.30:80"]).contains("contradicts")
        );
        assert!(reason(&["ipvs.scheduler=rr"]).contains("without ipvs.vip"));
        assert!(reason(&["ipvs.vip=198.18.0.29:80", "ipvs.forward=dr"]).contains("not available"));
        assert!(reason(&["ipvs.vip"]).contains("KEY=VALUE"));
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("5m"), Ok(Duration::from_mins(5)));
        for wrong in ["", "5", "s", "-1s", "1d", "99999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
