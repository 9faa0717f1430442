//! The real director. Steps for the kernel's table that follow each other go in one batch; a command that finds its
//! work done already has done it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipvs::{Client, Command, Kernel, Refused, ServiceId, Table, errno};
use syncer_core::desired::Holder;
use syncer_core::memory::Memory;
use syncer_core::model::policy::Ownership;
use syncer_core::plan::{AddressKeeper, Addresses, Step};
use syncer_core::reading::{Counts, Reading};
use tracing::{debug, warn};

use super::address::{self, Change, Departures, Interface, Outcome, Present};
use super::neighbour::Mac;
use super::rules::Rules;
use super::sysctl::Settings;
use super::thread::SocketThread;
use super::{Counter, DataPlane, DataPlaneError, flow, neighbour, sysctl};
use crate::config;
use crate::error::chain;

/// The thread that owns the conversation with IPVS.
pub(super) type KernelThread = SocketThread<Client>;

/// IPVS, addresses, SNAT and sysctls of this network namespace.
#[derive(Debug)]
pub struct KernelDataPlane {
    thread: KernelThread,
    addresses: Interface,
    departures: Departures,
    interface: String,
    settings: Settings,
    keeper: AddressKeeper,
    rules: Rules,
    /// Addresses that we added; outlives the process by way of the store.
    ours: BTreeSet<IpAddr>,
    ownership: Ownership,
    /// VIPs of which nobody knows whether we have added them, for what the store knew of `ours` is lost, or an answer of the
    /// kernel: to be found again by the next reading.
    lost: Option<BTreeSet<IpAddr>>,
    /// VIPs that were not added, for somebody on the link answers for them.
    taken: BTreeMap<IpAddr, Mac>,
}

impl KernelDataPlane {
    /// Opens the kernel's table, with what an earlier process of ours remembered.
    pub fn open(config: &config::Director, memory: &Memory) -> Result<Self, DataPlaneError> {
        let saved = memory.services.iter();
        let saved = || saved.filter_map(|saved| saved.id.vip()).collect();
        Ok(Self {
            thread: open_kernel()?,
            addresses: Interface::open(&config.interface)?,
            departures: Departures::open()?,
            interface: config.interface.clone(),
            settings: Settings::of(&config.interface),
            keeper: config.addresses,
            rules: Rules::new(config.snat_backend),
            ours: memory.addresses.clone(),
            taken: BTreeMap::new(),
            ownership: config.ownership.clone(),
            lost: memory.addresses_lost.then(saved),
        })
    }

    /// The interface's addresses, and which of them are ours.
    fn addresses(&mut self, listed: &[Present], table: &Table) -> Addresses {
        if let Some(saved) = self.lost.take() {
            let adopted = address::adopted(listed, table, &saved, &self.ownership);
            if !adopted.is_empty() {
                warn!(
                    ?adopted,
                    "what is known of our addresses was lost; these are taken for ours, for they are VIPs of a table"
                );
            }
            self.ours.extend(adopted);
        }
        let here = || listed.iter().filter(|one| one.here);
        let present: BTreeSet<IpAddr> = here().map(|one| one.address).collect();
        self.ours.retain(|vip| present.contains(vip));
        let labelled = here().filter(|one| one.labelled);
        self.ours.extend(labelled.map(|one| one.address));
        let mut occupied = address::occupied(listed);
        occupied.retain(|ip, holder| {
            let own = matches!(holder, Holder::Machine { .. });
            // Where others keep them, a VIP is on this machine by right.
            let by_right = own && self.keeper == AddressKeeper::Others;
            !by_right && !self.ours.contains(ip)
        });
        Addresses {
            keeper: self.keeper,
            present,
            ours: self.ours.clone(),
            occupied,
        }
    }

    /// Counts connections beside whatever the director does.
    pub fn counter(&self) -> Counter {
        Counter::start(self.thread.clone())
    }

    /// Waits until one of the netlink threads is no more.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let (kernel, addresses) = (self.thread.ended(), self.addresses.ended());
        async move {
            tokio::select! {
                () = kernel => {}
                () = addresses => {}
            }
        }
    }

    async fn batch(&self, commands: Vec<Command>, outcomes: &mut Vec<Result<(), DataPlaneError>>) {
        let count = commands.len();
        let answer = self
            .thread
            .ask(move |client| do_all(client, &commands))
            .await;
        match answer {
            Ok(Ok(results)) => {
                outcomes.extend(results.into_iter().map(|result| result.map_err(Into::into)));
            }
            Ok(Err(error)) => {
                // The whole conversation failed: nothing is known of any of them.
                let told: Arc<str> = chain(&error).into();
                debug!(error = &*told, lost = count, "a batch of commands failed");
                outcomes.push(Err(error.into()));
                let unanswered = || DataPlaneError::Unanswered(Arc::clone(&told));
                outcomes.extend((1..count).map(|_| Err(unanswered())));
            }
            Err(error) => outcomes.extend((0..count).map(|_| Err(error.clone().into()))),
        }
    }

    /// VIPs that nobody has; then everybody is told.
    async fn add(&mut self, vips: Vec<IpAddr>, outcomes: &mut Vec<Result<(), DataPlaneError>>) {
        self.look_for(vips.clone()).await;
        let may: Vec<Result<IpAddr, DataPlaneError>> =
            vips.into_iter().map(|vip| self.may_add(vip)).collect();
        let free = may.iter().flatten().copied();
        let mut changed = self
            .change(free.map(Change::Add).collect())
            .await
            .into_iter();
        let mut added = Vec::with_capacity(may.len());
        for vip in may {
            let outcome = vip.and_then(|vip| {
                let outcome = changed.next().ok_or(super::ThreadError)??;
                // One that is there by somebody else's doing is not ours.
                if outcome == Outcome::Done {
                    self.ours.insert(vip);
                }
                added.push(vip);
                Ok(())
            });
            outcomes.push(outcome);
        }
        if !added.is_empty()
            && let Err(error) = neighbour::announce(&self.interface, added).await
        {
            warn!(
                error = chain(&error),
                "neighbours are not told where a VIP is now; theirs have to forget it by themselves"
            );
        }
    }

    fn may_add(&self, vip: IpAddr) -> Result<IpAddr, DataPlaneError> {
        if let Some(mac) = self.taken.get(&vip) {
            let holder = neighbour(*mac);
            return Err(DataPlaneError::Taken { vip, holder });
        }
        if vip.is_ipv6() {
            sysctl::ensure(&sysctl::of_ipv6())?;
        }
        Ok(vip)
    }

    async fn remove(&mut self, vips: Vec<IpAddr>, outcomes: &mut Vec<Result<(), DataPlaneError>>) {
        let changes = vips.iter().copied().map(Change::Remove).collect();
        for (vip, changed) in vips.iter().zip(self.change(changes).await) {
            if changed.is_ok() {
                self.ours.remove(vip);
            }
            outcomes.push(changed.map(drop));
        }
    }

    /// One outcome a change, also where the whole conversation failed.
    async fn change(&mut self, changes: Vec<Change>) -> Vec<Result<Outcome, DataPlaneError>> {
        if changes.is_empty() {
            return Vec::new();
        }
        match self.addresses.change(changes.clone()).await {
            Ok(outcomes) => {
                let outcomes = outcomes.into_iter();
                outcomes
                    .map(|outcome| outcome.map_err(Into::into))
                    .collect()
            }
            Err(error) => {
                // Those that did come are ours, and only the next reading can tell.
                let maybe = changes.iter().filter_map(|change| match change {
                    Change::Add(vip) => Some(*vip),
                    Change::Remove(_) => None,
                });
                self.lost.get_or_insert_default().extend(maybe);
                let told: Arc<str> = chain(&error).into();
                debug!(
                    error = &*told,
                    lost = changes.len(),
                    "addresses are not changed"
                );
                let unanswered = || DataPlaneError::Unanswered(Arc::clone(&told));
                let rest = (1..changes.len()).map(|_| Err(unanswered()));
                std::iter::once(Err(error.into())).chain(rest).collect()
            }
        }
    }

    /// Asks neighbours for these and remembers who has them.
    async fn look_for(&mut self, vips: Vec<IpAddr>) {
        if vips.is_empty() {
            return;
        }
        match neighbour::holders(&self.interface, vips.clone()).await {
            Ok(holders) => {
                self.taken.retain(|vip, _| !vips.contains(vip));
                self.taken.extend(holders);
            }
            Err(error) => {
                warn!(
                    error = chain(&error),
                    "neighbours cannot be asked whether they have a VIP; it is taken unasked"
                );
            }
        }
    }

    async fn one(&mut self, step: &Step) -> Result<(), DataPlaneError> {
        match step {
            Step::SetSysctl(sysctl) => Ok(sysctl::ensure(sysctl)?),
            Step::SetSnat(services) => self.rules.set(services).await,
            Step::ForgetFlows(id, real) => flow::forget_of(id, *real).await,
            Step::AddVip(_) | Step::RemoveVip(_) | Step::Ipvs(_) | Step::ForgetUnanswered(_) => {
                Ok(())
            }
        }
    }
}

impl DataPlane for KernelDataPlane {
    async fn read(&mut self, expected: &Table) -> Result<Reading, DataPlaneError> {
        let expected = expected.clone();
        let live = self
            .thread
            .ask(move |client| client.read(&expected))
            .await??;
        let listed = self.addresses.addresses().await?;
        let mut addresses = self.addresses(&listed, &live.table);
        self.look_for(self.taken.keys().copied().collect()).await;
        let taken = self.taken.iter();
        let taken = taken.map(|(vip, mac)| (*vip, neighbour(*mac)));
        addresses.occupied.extend(taken);
        let snat = self.rules.read().await;
        Ok(Reading {
            unreadable: live.unreadable,
            sysctls: self.settings.read(),
            table: live.table,
            counts: live.connections,
            addresses,
            snat,
        })
    }

    async fn differs(&mut self) {
        tokio::select! {
            () = self.rules.differ() => {}
            () = self.settings.differ() => {}
            () = self.departures.of(&self.ours) => {}
        }
    }

    async fn count(&mut self, services: &[ServiceId]) -> Result<Counts, DataPlaneError> {
        let services = services.to_vec();
        let counted = self.thread.ask(move |client| {
            let mut counts = Counts::new();
            for id in services {
                for (real, connections) in client.reals(&id)? {
                    counts.insert((id, real.address), connections);
                }
            }
            Ok::<_, ipvs::Error>(counts)
        });
        Ok(counted.await??)
    }

    async fn apply(&mut self, steps: &[Step]) -> Vec<Result<(), DataPlaneError>> {
        let mut outcomes = Vec::with_capacity(steps.len());
        let mut rest = steps;
        while let Some(first) = rest.first() {
            let before = outcomes.len();
            match first {
                Step::Ipvs(_) => {
                    let commands = rest.iter().map_while(command_of).collect();
                    self.batch(commands, &mut outcomes).await;
                }
                Step::AddVip(_) => {
                    let vips = rest.iter().map_while(added_of).collect();
                    self.add(vips, &mut outcomes).await;
                }
                Step::RemoveVip(_) => {
                    let vips = rest.iter().map_while(removed_of).collect();
                    self.remove(vips, &mut outcomes).await;
                }
                Step::ForgetUnanswered(_) => {
                    let vips: Vec<IpAddr> = rest.iter().map_while(unanswered_of).collect();
                    outcomes.extend(flow::forget_unanswered(&vips).await);
                }
                other => outcomes.push(self.one(other).await),
            }
            let done = outcomes.len().saturating_sub(before).max(1);
            rest = rest.get(done..).unwrap_or_default();
        }
        outcomes
    }
}

fn open_kernel() -> Result<KernelThread, ipvs::Error> {
    SocketThread::start("netlink", Client::open()?).map_err(|source| ipvs::Error::Socket {
        operation: "start a thread",
        source,
    })
}

fn added_of(step: &Step) -> Option<IpAddr> {
    match step {
        Step::AddVip(vip) => Some(*vip),
        _ => None,
    }
}

fn removed_of(step: &Step) -> Option<IpAddr> {
    match step {
        Step::RemoveVip(vip) => Some(*vip),
        _ => None,
    }
}

fn unanswered_of(step: &Step) -> Option<IpAddr> {
    match step {
        Step::ForgetUnanswered(vip) => Some(*vip),
        _ => None,
    }
}

fn neighbour(mac: Mac) -> Holder {
    let link = mac.to_string().into();
    Holder::Neighbour { link }
}

fn command_of(step: &Step) -> Option<Command> {
    match step {
        Step::Ipvs(command) => Some(*command),
        _ => None,
    }
}

/// Does all commands; where the table is already, or is no more, what a command supposes, its nearest kin is done.
fn do_all(
    kernel: &mut impl Kernel,
    commands: &[Command],
) -> Result<Vec<Result<(), Refused>>, ipvs::Error> {
    let mut results = kernel.apply(commands)?;
    for (result, command) in results.iter_mut().zip(commands) {
        let Err(refused) = result else { continue };
        let instead = match (command, refused.errno) {
            (Command::AddService(id, settings), errno::EEXIST) => {
                Command::EditService(*id, *settings)
            }
            (Command::AddReal(id, real), errno::EEXIST) => Command::EditReal(*id, *real),
            (Command::EditReal(id, real), errno::ENOENT) if real.weight.serves() => {
                Command::AddReal(*id, *real)
            }
            (Command::RemoveService(_) | Command::RemoveReal(..), errno::ESRCH | errno::ENOENT)
            | (Command::EditReal(..), errno::ENOENT) => {
                *result = Ok(());
                continue;
            }
            _ => continue,
        };
        if let Some(second) = kernel.apply(&[instead])?.pop() {
            *result = second;
        }
    }
    Ok(results)
}
