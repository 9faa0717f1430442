//! What is remembered of refusals.

use std::time::{Duration, Instant};

use ipvs::{Command, KernelRefusal, Scheduler, ServiceId, ServiceSettings, errno};

use super::{Refusals, contradicts};

fn id() -> ServiceId {
    "198.18.0.29:80".parse().unwrap()
}

fn add(scheduler: Scheduler) -> Command {
    Command::AddService(id(), ServiceSettings::new(scheduler))
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "any moment will do to begin with"
)]
fn a_refused_step_waits_longer_each_time_and_another_step_does_not_wait() {
    let (mut refusals, start) = (Refusals::default(), Instant::now());
    let (odd, sound) = (add("xyz".parse().unwrap()), add(Scheduler::WRR));
    let after = |seconds| start + Duration::from_secs(seconds);
    refusals.note(&odd, start);
    assert!(refusals.forbid(&odd, start) && !refusals.forbid(&sound, start));
    assert!(!refusals.forbid(&odd, after(1)));
    refusals.note(&odd, after(1));
    assert!(refusals.forbid(&odd, after(2)) && !refusals.forbid(&odd, after(3)));
    for _ in 0..20 {
        refusals.note(&odd, after(3));
    }
    assert_eq!(refusals.next(start), Some(after(63)));
    assert_eq!(refusals.next(after(63)), None, "its time has come");
    refusals.keep(|_| false);
    assert!(refusals.is_empty());
    refusals.note(&odd, start);
    refusals.forget(&odd);
    assert!(refusals.is_empty());
}

#[test]
fn only_a_refusal_that_contradicts_what_we_think_raises_doubt() {
    let real = Command::RemoveReal(id(), "198.18.0.11:1".parse().unwrap());
    let service = add(Scheduler::WRR);
    let of = |command, errno| contradicts(&KernelRefusal { command, errno });
    assert!(of(service, errno::EEXIST) && of(real, errno::ESRCH) && of(real, errno::ENOENT));
    assert!(!of(service, errno::ENOENT), "no such scheduler");
    assert!(!of(real, errno::EINVAL) && !of(service, errno::EPERM));
}
