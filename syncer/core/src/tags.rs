//! `ipvs.*` tags of an instance, as what it asks for. Pure.
//!
//! `ipvs.vip=198.18.0.29:80` asks for a virtual service; the other keys shape it and are those of a `service` block in
//! the config file ([`crate::options`]). `ipvs.weight=3` is about the instance alone. A tag that is wrong, or that is one of
//! ours but for a slip of the pen, makes the whole unusable, with the reason: what somebody wrote for us is never just
//! another tag.

mod spelling;

use ipvs::{ServiceId, Weight};

use crate::model::catalog::Tags;
use crate::model::policy::{Ask, Rejected, VipPolicy};
use crate::options::{OPTIONS, Options, VIP, once, vip};
use spelling::{Spelling, nearest};

const PREFIX: &str = "ipvs.";

/// The key of an instance's own weight, in place of Consul's.
const WEIGHT: &str = "weight";

/// Whether any of these is meant for us, however it is spelt.
pub fn concern_us<'a>(tags: impl IntoIterator<Item = &'a str>) -> bool {
    tags.into_iter()
        .any(|tag| spelling::of(tag) != Spelling::Foreign)
}

impl Tags {
    /// Reads what these tags are and ask for.
    pub fn of(words: impl IntoIterator<Item = impl Into<Box<str>>>) -> Self {
        let words: Vec<Box<str>> = words.into_iter().map(Into::into).collect();
        let (ask, weight) = read(words.iter().map(|word| &**word));
        Self { words, ask, weight }
    }
}

/// Reads what an instance's tags ask for; `None` where none of them is meant for us.
pub fn ask<'a>(tags: impl IntoIterator<Item = &'a str>) -> Option<Ask> {
    read(tags).0
}

fn read<'a>(tags: impl IntoIterator<Item = &'a str>) -> (Option<Ask>, Option<Weight>) {
    let mut asked = Asked::default();
    let mut wrong = None;
    let mut ours = false;
    for tag in tags {
        let read = match spelling::of(tag) {
            Spelling::Foreign => continue,
            Spelling::Ours(rest) => asked.take(rest),
            Spelling::Slip(meant) => Err(format!("did you mean {meant}")),
        };
        ours = true;
        if let Err(reason) = read
            && wrong.is_none()
        {
            wrong = Some(Rejected::because(format!("tag {tag}: {reason}")));
        }
    }
    let (vip, weight) = (asked.vip, asked.weight);
    let done = match wrong {
        Some(why) => Err(why),
        None => asked.policy(),
    };
    let ask = ours.then(|| done.map_or_else(|why| Ask::Unusable { vip, why }, Ask::from));
    (ask, weight)
}

/// Every key that a tag can have.
fn keys() -> Vec<&'static str> {
    let options = OPTIONS.iter().map(|(key, _)| *key);
    [VIP, WEIGHT].into_iter().chain(options).collect()
}

/// What was read so far.
#[derive(Default)]
struct Asked {
    vip: Option<ServiceId>,
    weight: Option<Weight>,
    options: Options,
}

impl Asked {
    /// Takes one tag of ours without its prefix.
    fn take(&mut self, tag: &str) -> Result<(), String> {
        let (key, value) = tag
            .split_once('=')
            .ok_or_else(|| "expected ipvs.KEY=VALUE".to_owned())?;
        match key {
            VIP => once(&mut self.vip, vip(value)),
            WEIGHT => once(&mut self.weight, weight(value)),
            _ if keys().contains(&key) => self.options.set(key, value),
            _ => {
                let meant = nearest(key, &keys())
                    .map(|key| format!(" did you mean {PREFIX}{key}?"))
                    .unwrap_or_default();
                let known = keys().join(", ");
                Err(format!("unknown key;{meant} known are {known}"))
            }
        }
    }

    fn policy(self) -> Result<VipPolicy, Rejected> {
        let id = self
            .vip
            .ok_or_else(|| Rejected::because("tags ipvs.* without ipvs.vip=IP:PORT"))?;
        self.options.policy(id).map_err(Rejected::because)
    }
}

fn weight(text: &str) -> Result<Weight, String> {
    let number: u32 = text
        .parse()
        .map_err(|_| format!("expected a number from 0 on, not {text:?}"))?;
    Weight::try_from(number).map_err(|error| error.to_string())
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
        assert!(reason(&["ipvs.vip=198.18.0.29:80", "ipvs.weight=-1"]).contains("from 0 on"));
        assert!(reason(&["ipvs.vip"]).contains("KEY=VALUE"));
    }

    #[test]
    fn a_weight_is_the_instances_own_and_no_part_of_what_it_asks_for() {
        let vip = "ipvs.vip=198.18.0.29:80";
        let (plain, weighed) = (Tags::of([vip]), Tags::of([vip, "ipvs.weight=3"]));
        assert_eq!(plain.ask, weighed.ask);
        assert_eq!(plain.weight, None);
        assert_eq!(weighed.weight.map(Weight::get), Some(3));
        assert!(reason(&["ipvs.weight=3"]).contains("without ipvs.vip"));
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
    fn a_tag_that_is_there_twice_and_a_drain_of_its_own_are_taken() {
        let tags = [
            "ipvs.vip=198.18.0.29:80",
            "ipvs.vip=198.18.0.29:80",
            "ipvs.drain_deadline=5s",
        ];
        let Some(Ask::Vips(vips)) = ask(tags) else {
            panic!("{:?}", ask(tags));
        };
        let drains: Vec<_> = vips.iter().map(|vip| vip.drain).collect();
        assert_eq!(drains, [Some(std::time::Duration::from_secs(5))]);
    }
}
