//! The director's VIPs: added where nobody has them, announced, and removed where they are ours.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipvs::Table;
use syncer_core::desired::Holder;
use syncer_core::memory::Memory;
use syncer_core::model::policy::Ownership;
use syncer_core::plan::{AddressKeeper, Addresses};
use tracing::warn;

use super::address::{self, Change, Departures, Interface, Outcome, Present};
use super::neighbour::{self, Mac};
use super::{DataPlaneError, ThreadError, lost, sysctl};
use crate::config;
use crate::error::chain;

/// The addresses of the director's interface.
#[derive(Debug)]
pub(super) struct Vips {
    addresses: Interface,
    departures: Departures,
    interface: String,
    keeper: AddressKeeper,
    ownership: Ownership,
    /// Addresses that we added; they outlive the process by way of the store.
    ours: BTreeSet<IpAddr>,
    /// VIPs that may be ours: the store has lost what it knew, or the kernel's answer was lost. The next reading tells.
    unsure: Option<BTreeSet<IpAddr>>,
    /// VIPs that were not added because somebody on the link answers for them.
    taken: BTreeMap<IpAddr, Mac>,
}

impl Vips {
    /// Opens the interface in the calling thread's network namespace, with what an earlier process of ours remembered.
    pub(super) fn open(
        config: &config::DirectorConfig,
        memory: &Memory,
    ) -> Result<Self, DataPlaneError> {
        let saved = || {
            let saved = memory.services.iter();
            saved.filter_map(|saved| saved.id.vip()).collect()
        };
        Ok(Self {
            addresses: Interface::open(&config.interface)?,
            departures: Departures::open()?,
            interface: config.interface.clone(),
            keeper: config.addresses,
            ownership: config.ownership.clone(),
            ours: memory.addresses.clone(),
            unsure: memory.addresses_lost.then(saved),
            taken: BTreeMap::new(),
        })
    }

    /// Reads the interface's addresses, which of them are ours, and where no VIP may be.
    pub(super) async fn read(&mut self, table: &Table) -> Result<Addresses, DataPlaneError> {
        let listed = self.addresses.addresses().await?;
        let mut addresses = self.sort(&listed, table);
        self.look_for(self.taken.keys().copied().collect()).await;
        let taken = self.taken.iter();
        let taken = taken.map(|(vip, mac)| (*vip, neighbour(*mac)));
        addresses.occupied.extend(taken);
        Ok(addresses)
    }

    /// Waits until one of ours leaves the interface. Cancel-safe.
    pub(super) async fn depart(&mut self) {
        self.departures.of(&self.ours).await;
    }

    /// Waits until the thread of the socket is no more.
    pub(super) fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        self.addresses.ended()
    }

    /// Adds those that nobody has, and announces them; one outcome a VIP.
    pub(super) async fn add(&mut self, vips: Vec<IpAddr>) -> Vec<Result<(), DataPlaneError>> {
        self.look_for(vips.clone()).await;
        let checked: Vec<Result<IpAddr, DataPlaneError>> =
            vips.into_iter().map(|vip| self.check(vip)).collect();
        let free = checked.iter().flatten().copied();
        let changed = self.change(free.map(Change::Add).collect()).await;
        let mut changed = changed.into_iter();
        let mut added = Vec::with_capacity(checked.len());
        let mut outcomes = Vec::with_capacity(checked.len());
        for vip in checked {
            outcomes.push(vip.and_then(|vip| {
                let outcome = changed.next().ok_or(ThreadError)??;
                // One that is there by somebody else's doing is not ours.
                if outcome == Outcome::Done {
                    self.ours.insert(vip);
                }
                added.push(vip);
                Ok(())
            }));
        }
        if !added.is_empty()
            && let Err(error) = neighbour::announce(&self.interface, added).await
        {
            warn!(
                error = chain(&error),
                "neighbours are not told where a VIP is now; theirs have to forget it by themselves"
            );
        }
        outcomes
    }

    /// Removes these; one outcome a VIP.
    pub(super) async fn remove(&mut self, vips: Vec<IpAddr>) -> Vec<Result<(), DataPlaneError>> {
        let changes = vips.iter().copied().map(Change::Remove).collect();
        let changed = self.change(changes).await;
        for (vip, changed) in vips.iter().zip(&changed) {
            if changed.is_ok() {
                self.ours.remove(vip);
            }
        }
        changed
            .into_iter()
            .map(|changed| changed.map(drop))
            .collect()
    }

    /// Checks that the VIP may be added.
    fn check(&self, vip: IpAddr) -> Result<IpAddr, DataPlaneError> {
        if let Some(mac) = self.taken.get(&vip) {
            let holder = neighbour(*mac);
            return Err(DataPlaneError::Taken { vip, holder });
        }
        if vip.is_ipv6() {
            sysctl::ensure(&sysctl::of_ipv6())?;
        }
        Ok(vip)
    }

    /// Tells ours from others.
    fn sort(&mut self, listed: &[Present], table: &Table) -> Addresses {
        if let Some(saved) = self.unsure.take() {
            let adopted = address::adopted(listed, table, &saved, &self.ownership);
            if !adopted.is_empty() {
                warn!(
                    ?adopted,
                    "what is known of our addresses was lost; these are taken for ours, for they are VIPs of a table"
                );
            }
            self.ours.extend(adopted);
        }
        let here = || listed.iter().filter(|present| present.here);
        let present: BTreeSet<IpAddr> = here().map(|present| present.address).collect();
        self.ours.retain(|vip| present.contains(vip));
        let labelled = here().filter(|present| present.labelled);
        self.ours.extend(labelled.map(|present| present.address));
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

    /// Gives one outcome for each change, also where the whole conversation failed.
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
                self.unsure.get_or_insert_default().extend(maybe);
                lost(error, changes.len())
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
}

fn neighbour(mac: Mac) -> Holder {
    let link = mac.to_string().into();
    Holder::Neighbour { link }
}
