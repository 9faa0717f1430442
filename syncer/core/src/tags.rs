//! `ipvs.*` tags of an instance, as what it asks for. Pure.
//!
//! `ipvs.vip=198.18.0.29:80` asks for a virtual service; `ipvs.scheduler`, `ipvs.forward`, `ipvs.snat` and
//! `ipvs.drain_deadline` shape it. The same words are the keys of a `service` block in the config file, so both are
//! read here. A tag that is wrong, or that is one of ours but for a slip of the pen, makes the whole unusable, with the
//! reason: what somebody wrote for us is never just another tag.

mod spelling;

use std::time::Duration;

use ipvs::{Family, Forwarding, Scheduler, ServiceFlags, ServiceId, ServiceSettings};

use crate::model::catalog::Tags;
use crate::model::policy::{Ask, Rejected, VipPolicy, usable};
use spelling::{Spelling, nearest};

const PREFIX: &str = "ipvs.";
const KEYS: [&str; 5] = ["vip", "scheduler", "forward", "snat", "drain_deadline"];

/// Whether any of these is meant for us, however it is spelt.
pub fn concern_us<'a>(tags: impl IntoIterator<Item = &'a str>) -> bool {
    tags.into_iter()
        .any(|tag| spelling::of(tag) != Spelling::Foreign)
}

impl Tags {
    /// Reads what these tags are and ask for.
    pub fn of(words: impl IntoIterator<Item = impl Into<Box<str>>>) -> Self {
        let words: Vec<Box<str>> = words.into_iter().map(Into::into).collect();
        let ask = ask(words.iter().map(|word| &**word));
        Self { words, ask }
    }
}

/// Reads what an instance's tags ask for; `None` where none of them is meant for us.
pub fn ask<'a>(tags: impl IntoIterator<Item = &'a str>) -> Option<Ask> {
    let mut words = Words::default();
    let mut wrong = None;
    let mut ours = false;
    for tag in tags {
        let read = match spelling::of(tag) {
            Spelling::Foreign => continue,
            Spelling::Ours(rest) => words.take(rest),
            Spelling::Slip(meant) => Err(format!("did you mean {meant}")),
        };
        ours = true;
        if let Err(reason) = read
            && wrong.is_none()
        {
            wrong = Some(Rejected::because(format!("tag {tag}: {reason}")));
        }
    }
    let vip = words.vip;
    let done = match wrong {
        Some(why) => Err(why),
        None => words.policy(),
    };
    ours.then(|| done.map_or_else(|why| Ask::Unusable { vip, why }, Ask::from))
}

/// The values that were read so far.
#[derive(Default)]
struct Words {
    vip: Option<ServiceId>,
    scheduler: Option<Scheduler>,
    forwarding: Option<Forwarding>,
    snat: Option<bool>,
    drain: Option<Duration>,
}

impl Words {
    /// Takes one tag of ours without its prefix.
    fn take(&mut self, tag: &str) -> Result<(), String> {
        let (key, value) = tag
            .split_once('=')
            .ok_or_else(|| "expected ipvs.KEY=VALUE".to_owned())?;
        match key {
            "vip" => once(&mut self.vip, vip(value)),
            "scheduler" => once(&mut self.scheduler, scheduler(value)),
            "forward" => once(&mut self.forwarding, forwarding_of(value)),
            "snat" => once(
                &mut self.snat,
                value
                    .parse()
                    .map_err(|_| "expected true or false".to_owned()),
            ),
            "drain_deadline" => once(&mut self.drain, duration(value)),
            _ => {
                let meant = nearest(key, &KEYS)
                    .map(|key| format!(" did you mean {PREFIX}{key}?"))
                    .unwrap_or_default();
                Err(format!("unknown key;{meant} known are {}", KEYS.join(", ")))
            }
        }
    }

    fn policy(self) -> Result<VipPolicy, Rejected> {
        let id = self
            .vip
            .ok_or_else(|| Rejected::because("tags ipvs.* without ipvs.vip=IP:PORT"))?;
        assemble(
            id,
            self.scheduler,
            self.forwarding,
            self.snat.unwrap_or(false),
            self.drain,
        )
        .map_err(Rejected::because)
    }
}

/// Reads a VIP that a virtual service can have.
pub fn vip(text: &str) -> Result<ServiceId, String> {
    let id = text
        .parse::<ServiceId>()
        .map_err(|error| error.to_string())?;
    usable(&id).map(|()| id)
}

/// Reads a scheduler that schedules.
pub fn scheduler(word: &str) -> Result<Scheduler, String> {
    match word {
        "none" => Err("none is no scheduler: every connection would be dropped".to_owned()),
        _ => word.parse::<Scheduler>().map_err(|error| error.to_string()),
    }
}

fn once<T: PartialEq>(slot: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    let value = value?;
    match slot {
        Some(earlier) if *earlier != value => Err("contradicts another tag".into()),
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

/// Makes a policy, with the defaults for what was not said; the error says what does not go together.
pub fn assemble(
    id: ServiceId,
    scheduler: Option<Scheduler>,
    forwarding: Option<Forwarding>,
    snat: bool,
    drain: Option<Duration>,
) -> Result<VipPolicy, String> {
    let forwarding = forwarding.unwrap_or(Forwarding::Masquerade);
    if forwarding == Forwarding::DirectRouting {
        if snat {
            return Err(
                "dr and snat exclude each other: answers by-pass the director, which could not rewrite them back".into(),
            );
        }
        if id.vip().is_none() {
            return Err(
                "dr needs a VIP: a firewall mark is no address that packets come to".into(),
            );
        }
        if id.family() == Family::V6 {
            return Err("dr is for IPv4 VIPs; masq is there for IPv6".into());
        }
    }
    let settings = ServiceSettings {
        scheduler: scheduler.unwrap_or(Scheduler::WRR),
        flags: ServiceFlags::default(),
        persistence: None,
    };
    Ok(VipPolicy {
        id,
        settings,
        forwarding,
        snat,
        drain,
    })
}

/// Reads a forwarding method by its word.
pub fn forwarding_of(word: &str) -> Result<Forwarding, String> {
    match word {
        "masq" => Ok(Forwarding::Masquerade),
        "dr" => Ok(Forwarding::DirectRouting),
        "tun" => Err("forwarding method tun is not available yet; masq and dr are".into()),
        _ => Err("expected masq or dr".into()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(tags: &[&str]) -> String {
        match ask(tags.iter().copied()) {
            Some(Ask::Unusable { why, .. }) => why.reason,
            other => panic!("{tags:?} are {other:?}"),
        }
    }

    #[test]
    fn tags_make_a_policy_and_other_tags_do_not_disturb_it() {
        let tags = [
            "http",
            "ipvs.vip=198.18.0.29:80",
            "ipvs.scheduler=rr",
            "ipvs.snat=true",
            "ipvs.forward=masq",
        ];
        let Some(Ask::Vips(vips)) = ask(tags) else {
            panic!("{:?}", ask(tags));
        };
        let [policy] = vips[..] else {
            panic!("{vips:?}");
        };
        assert_eq!(policy.id.to_string(), "tcp://198.18.0.29:80");
        assert_eq!(policy.settings.scheduler.as_str(), "rr");
        assert!(policy.snat);
        let foreign = [
            "http",
            "ipvsish",
            "ipvsadm.vip=1",
            "ipv6.vip=x",
            "vip=198.18.0.29:80",
        ];
        assert_eq!(ask(foreign), None);
        assert!(!concern_us(foreign));
    }

    #[test]
    fn a_wrong_tag_is_unusable_with_the_tag_and_the_reason() {
        assert!(reason(&["ipvs.vip=nowhere"]).contains("ipvs.vip=nowhere: expected IP:PORT"));
        assert!(reason(&["ipvs.vip=198.18.0.29:80", "ipvs.colour=red"]).contains("unknown key"));
        assert!(
            reason(&["ipvs.vip=198.18.0.29:80", "ipvs.vip=198.18.0.30:80"]).contains("contradicts")
        );
        assert!(reason(&["ipvs.scheduler=rr"]).contains("without ipvs.vip"));
        assert!(reason(&["ipvs.vip=198.18.0.29:80", "ipvs.forward=tun"]).contains("not available"));
        let snat = "ipvs.snat=true";
        assert!(reason(&["ipvs.vip=198.18.0.29:80", "ipvs.forward=dr", snat]).contains("exclude"));
        assert!(reason(&["ipvs.vip=[2001:db8::5]:80", "ipvs.forward=dr"]).contains("IPv4"));
        assert!(reason(&["ipvs.vip"]).contains("KEY=VALUE"));
    }

    #[test]
    fn a_wrong_tag_beside_a_vip_leaves_the_vip_readable() {
        let tags = ["ipvs.scheduler=R R", "ipvs.vip=198.18.0.29:80"];
        let Some(Ask::Unusable { vip: Some(vip), .. }) = ask(tags) else {
            panic!("{:?}", ask(tags));
        };
        assert_eq!(vip.to_string(), "tcp://198.18.0.29:80");
    }

    #[test]
    fn what_nobody_can_have_is_refused_with_what_it_is() {
        for (wrong, why) in [
            ("198.18.0.29:0", "port 0"),
            ("udp://198.18.0.29:0", "port 0"),
            ("0.0.0.0:80", "unspecified"),
            ("0.1.2.3:80", "this network"),
            ("255.255.255.255:80", "the broadcast address"),
            ("224.0.0.1:80", "multicast"),
            ("127.0.0.1:80", "loopback"),
            ("[::]:80", "unspecified"),
            ("[::1]:80", "loopback"),
            ("[ff02::1]:80", "multicast"),
            ("[fe80::1]:80", "one link only"),
        ] {
            let reason = reason(&[&format!("ipvs.vip={wrong}")]);
            assert!(reason.contains(why), "{wrong}: {reason}");
        }
        let none = reason(&["ipvs.vip=198.18.0.29:80", "ipvs.scheduler=none"]);
        assert!(none.contains("no scheduler"), "{none}");
    }

    #[test]
    fn a_slip_of_the_pen_is_seen_and_what_was_meant_is_said() {
        for (slip, meant) in [
            ("IPVS.VIP=198.18.0.29:80", "ipvs.vip=198.18.0.29:80"),
            ("Ipvs.vip=198.18.0.29:80", "ipvs.vip=198.18.0.29:80"),
            (" ipvs.vip=198.18.0.29:80", "ipvs.vip=198.18.0.29:80"),
            ("ivps.vip=198.18.0.29:80", "ipvs.vip=198.18.0.29:80"),
            ("ipvs-vip=198.18.0.29:80", "ipvs.vip=198.18.0.29:80"),
            ("ipvs/vip=198.18.0.29:80", "ipvs.vip=198.18.0.29:80"),
            ("ipvs.vpi=198.18.0.29:80", "ipvs.vip?"),
            ("ipvs.Vip=198.18.0.29:80", "ipvs.vip?"),
            ("ipvs.shceduler=rr", "ipvs.scheduler?"),
            ("ipvs.drain=3s", "ipvs.drain_deadline?"),
        ] {
            assert!(concern_us([slip]), "{slip}");
            let text = reason(&[slip]);
            let expected = format!("did you mean {meant}");
            assert!(text.contains(&expected), "{slip}: {text}");
            assert!(text.contains(slip), "{text}");
        }
        assert!(!reason(&["ipvs.colour=red"]).contains("did you mean"));
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
