//! The world: truth, deliveries, the daemon and its machine, and everything that can happen to them.

mod promises;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipvs::{
    Command, Connections, Forwarding, Kernel, ServiceId, ServiceSettings, Table, VirtualService,
    Weight, errno,
};
use syncer_core::guard::CONTRADICTION_HOLD;
use syncer_core::memory::Memory;
use syncer_core::model::Moment;
use syncer_core::model::policy::{Ownership, Policy, VipPolicy};
use syncer_core::model::safeguard::Safeguards;
use syncer_core::pass::Now;

use super::daemon::{Daemon, Machine, PassEnd};
use super::oracle;
use super::random::Random;
use super::truth::{SERVICES, Truth};

/// How many events between two healings, at most.
const STRETCH: usize = 120;

pub(crate) fn vip(service: usize) -> ServiceId {
    format!("198.18.0.{}:80", 29 + service).parse().unwrap()
}

fn foreign() -> ServiceId {
    "192.0.2.1:80".parse().unwrap()
}

pub(crate) struct World {
    random: Random,
    truth: Truth,
    machine: Machine,
    daemon: Daemon,
    policy: Policy,
    now: Now,
    nomad_up: bool,
    consul_up: bool,
    foreign: VirtualService,
    pub(crate) events: u64,
    story: VecDeque<String>,
}

/// The service whose weights rise in steps, of which a weight of 1 has ten.
pub(crate) const RISING: usize = 2;

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let settings = ServiceSettings::new("rr".parse().unwrap());
        let one = |(number, name): (usize, &&str)| {
            let forwarding = match number {
                1 => Forwarding::DirectRouting,
                _ => Forwarding::Masquerade,
            };
            let snat = number == 0;
            let mut safeguards = Safeguards::default();
            if number == RISING {
                safeguards.slow_start = Some(Duration::from_secs(20));
            }
            (
                Arc::from(*name),
                VipPolicy {
                    settings,
                    forwarding,
                    snat,
                    safeguards,
                    ..VipPolicy::new(vip(number))
                }
                .into(),
            )
        };
        let policy = Policy {
            services: SERVICES
                .iter()
                .enumerate()
                .map(one)
                .collect::<BTreeMap<_, _>>(),
            ownership: Ownership::of(vec!["198.18.0.0/24".parse().unwrap()]),
            drain: Duration::from_mins(1),
            shrink_percent: 50,
        };
        let mut machine = Machine::default();
        let foreign_service = VirtualService::new(settings, Vec::new());
        machine
            .kernel
            .table
            .insert(foreign(), foreign_service.clone());
        // What a clock shows at first means nothing: it is only ever compared with itself.
        let now = Now {
            wall: Moment(1_000_000_000),
            steady: Instant::now(),
        };
        let daemon = Daemon::start(&machine, &policy, now);
        Self {
            random: Random::new(seed),
            truth: Truth::default(),
            machine,
            daemon,
            policy,
            now,
            nomad_up: true,
            consul_up: true,
            foreign: foreign_service,
            events: 0,
            story: VecDeque::new(),
        }
    }

    pub(crate) fn run(&mut self, events: u64) {
        while self.events < events {
            for _ in 0..=self.random.below(STRETCH) {
                self.events += 1;
                self.event();
                self.promises();
            }
            self.heal();
        }
    }

    /// The last events.
    pub(crate) fn story(&self) -> String {
        let lines: Vec<String> = self.story.iter().map(|line| format!("  {line}")).collect();
        lines.join("\n")
    }

    fn tell(&mut self, line: String) {
        if !line.is_empty() {
            self.story.push_back(line);
            if self.story.len() > 60 {
                self.story.pop_front();
            }
        }
    }

    fn event(&mut self) {
        match self.random.below(40) {
            0..=13 => {
                let told = self.truth.happen(&mut self.random);
                self.tell(told);
            }
            14..=17 => self.deliver_nomad(),
            18..=21 => self.deliver_consul(),
            22..=28 => self.pass(None),
            29 => self.nomad_up = !self.random.one_in(2),
            30 => self.consul_up = !self.random.one_in(2),
            31 => {
                let milliseconds = u64::try_from(self.random.below(20_000)).unwrap();
                self.elapse(Duration::from_millis(milliseconds));
            }
            32 if self.random.one_in(10) => self.jump(),
            33 => self.warm(),
            34 => self.connections(),
            35 => self.meddle(),
            36 => {
                let errno = *self
                    .random
                    .pick(&[0, errno::EINVAL, errno::ENOENT])
                    .unwrap();
                self.machine.kernel.faults.push_back(errno);
            }
            37 if self.random.one_in(4) => {
                let life = self.random.below(6);
                self.pass(Some(life));
            }
            38 if self.random.one_in(20) => {
                self.truth.wipe();
                self.tell("Consul is started again, empty".into());
            }
            39 if self.truth.wiped => {
                self.truth.register_anew(&mut self.random);
                self.tell("Nomad registers anew".into());
            }
            _ => self.daemon.audit(),
        }
    }

    fn deliver_nomad(&mut self) {
        if self.nomad_up {
            self.daemon.fleet = Some(Arc::new(self.truth.fleet()));
            self.tell("Nomad's view arrives".into());
        }
    }

    fn deliver_consul(&mut self) {
        if self.consul_up {
            let whole = self.truth.catalog();
            let name = *self.random.pick(&SERVICES).unwrap();
            match &mut self.daemon.catalog {
                // Services are followed one by one, and so are their answers.
                Some(catalog) if self.random.one_in(2) => {
                    let one = Arc::clone(&whole.services[name]);
                    Arc::make_mut(catalog).services.insert(name.into(), one);
                    self.tell(format!("Consul's view of {name} arrives"));
                }
                catalog => {
                    *catalog = Some(Arc::new(whole));
                    self.tell("Consul's view arrives".into());
                }
            }
        }
    }

    /// A pass, in which the process may be killed; then it starts again, sometimes on a machine that was rebooted.
    fn pass(&mut self, life: Option<usize>) {
        let before = self.machine.kernel.table.clone();
        let hold = self.daemon.hold();
        let since = hold.map(|hold| self.now.wall.since(hold.since));
        let trusted =
            !self.daemon.is_failing() && since.is_none_or(|since| since < CONTRADICTION_HOLD);
        let chance = Some(&mut self.random);
        match self.daemon.pass(&mut self.machine, self.now, life, chance) {
            PassEnd::Alive(plan) => {
                self.judge(&before, &plan);
                if trusted {
                    self.judge_losses(&before);
                }
                self.tell(format!(
                    "pass: {:?}",
                    plan.steps
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                ));
            }
            PassEnd::Killed(plan, done) => {
                self.tell(format!("killed after {done} of {} steps", plan.steps.len()));
                if self.random.one_in(4) {
                    self.machine.kernel.table = Table::default();
                    self.machine
                        .kernel
                        .table
                        .insert(foreign(), self.foreign.clone());
                    self.machine.addresses = syncer_core::plan::Addresses::default();
                    self.machine.snat = None;
                    self.tell("and the machine was rebooted".into());
                }
                if self.random.one_in(6) {
                    self.machine.disk = Memory::default();
                    self.tell("and its disk was lost".into());
                }
                self.daemon = Daemon::start(&self.machine, &self.policy, self.now);
            }
        }
    }

    fn elapse(&mut self, time: Duration) {
        self.now.wall = self.now.wall.after(time);
        self.now.steady += time;
    }

    /// Somebody sets the wall clock.
    fn jump(&mut self) {
        let hour = Duration::from_hours(1);
        let wall = &mut self.now.wall;
        *wall = if self.random.one_in(2) {
            wall.after(hour)
        } else {
            let millis = u64::try_from(hour.as_millis()).unwrap();
            Moment(wall.0.saturating_sub(millis))
        };
        let jumped = wall.0;
        self.tell(format!("the clock jumps to {jumped}"));
    }

    fn warm(&mut self) {
        let trials: Vec<(ServiceId, SocketAddr)> = self.daemon.trials.iter().copied().collect();
        if let Some(key) = self.random.pick(&trials) {
            self.daemon.warm(*key);
        }
    }

    fn connections(&mut self) {
        let keys: Vec<(ServiceId, SocketAddr)> = self.reals();
        if let Some(key) = self.random.pick(&keys).copied() {
            let active = u32::try_from(self.random.below(3)).unwrap();
            self.machine.kernel.connections.insert(
                key,
                Connections {
                    active,
                    ..Connections::default()
                },
            );
        }
    }

    fn reals(&self) -> Vec<(ServiceId, SocketAddr)> {
        let table = self.machine.kernel.table.iter();
        table
            .flat_map(|(id, service)| service.reals().iter().map(|real| (*id, real.address)))
            .collect()
    }

    /// Somebody else changes the table: theirs, or ours.
    fn meddle(&mut self) {
        let faults = std::mem::take(&mut self.machine.kernel.faults);
        let ours = self.reals();
        if self.random.one_in(4) {
            self.machine.snat = None;
            self.tell("somebody else flushes the SNAT rules".into());
        }
        let command = match self.random.below(3) {
            0 => self
                .random
                .pick(&ours)
                .map(|(id, real)| Command::RemoveReal(*id, *real)),
            1 => self.random.pick(&ours).and_then(|(id, address)| {
                let real = self.machine.kernel.table.get(id)?.real(*address)?;
                Some(Command::EditReal(
                    *id,
                    real.with_weight(Weight::saturating(7)),
                ))
            }),
            _ => {
                let schedulers = ["rr", "lc", "sh"];
                let scheduler = self.random.pick(&schedulers).unwrap().parse().unwrap();
                Some(Command::EditService(
                    foreign(),
                    ServiceSettings::new(scheduler),
                ))
            }
        };
        if let Some(command) = command {
            self.machine.kernel.apply(&[command]).unwrap();
            self.foreign = self.machine.kernel.table.get(&foreign()).unwrap().clone();
            self.tell(format!("somebody else: {command}"));
        }
        self.machine.kernel.faults = faults;
        self.daemon.audit();
    }

    /// Everything works and all time passes; then the table is right.
    fn heal(&mut self) {
        self.tell("everything heals".into());
        (self.nomad_up, self.consul_up) = (true, true);
        self.machine.kernel.faults.clear();
        if self.truth.wiped {
            self.truth.register_anew(&mut self.random);
        }
        self.daemon.audit();
        for _ in 0..12 {
            self.truth.confirm();
            self.deliver_nomad();
            self.daemon.catalog = Some(Arc::new(self.truth.catalog()));
            for key in std::mem::take(&mut self.daemon.trials) {
                self.daemon.warm(key);
            }
            self.pass(None);
            self.elapse(Duration::from_secs(70));
        }
        let plan = match self.daemon.pass(&mut self.machine, self.now, None, None) {
            PassEnd::Alive(plan) => plan,
            PassEnd::Killed(..) => unreachable!("it had no limit"),
        };
        assert!(self.daemon.quiet(&plan), "never quiet: {:?}", plan.steps);
        let hold = self.daemon.hold();
        assert!(hold.is_none(), "still held: {hold:?}");
        oracle::check(&self.truth, &self.machine.kernel.table);
        self.promises();
    }
}
