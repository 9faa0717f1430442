//! One service's instances by the VIP that each of them asks for. Pure.
//!
//! An instance serves the VIP that it asks for itself, whatever its neighbours ask for; one that asks for none serves
//! none. About the settings of a VIP most of its instances decide, of equally many the first by address. Whoever is left
//! out, or does not get what it asks for, is named.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipvs::ServiceId;

use crate::model::catalog::{CatalogService, Instance};
use crate::model::policy::{Ask, Rejected, ServiceBlock, VipPolicy};

/// How many addresses a sentence names.
const NAMED: usize = 5;

/// Instances of one virtual service, in order of address.
#[derive(Debug, Clone)]
pub(super) enum Members<'a> {
    /// All instances of the service: this is the usual case, and no list is made for it.
    All(&'a [Instance]),
    Some(Vec<&'a Instance>),
}

impl<'a> Members<'a> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &'a Instance> + '_ {
        let (all, some) = match self {
            Self::All(all) => (*all, [].as_slice()),
            Self::Some(some) => ([].as_slice(), some.as_slice()),
        };
        all.iter().chain(some.iter().copied())
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::All(all) => all.len(),
            Self::Some(some) => some.len(),
        }
    }

    /// Adds others, and keeps the order.
    pub(super) fn with(&self, others: Vec<&'a Instance>) -> Self {
        let mut all: Vec<&Instance> = self.iter().chain(others).collect();
        // Stable: of one address, who was granted stays first.
        all.sort_by_key(|instance| instance.address);
        Self::Some(all)
    }
}

/// An instance and why it does not get what it asks for, or anything.
#[derive(Debug, Clone)]
pub(super) struct Refusal<'a> {
    pub(super) instance: &'a Instance,
    pub(super) why: Rejected,
}

/// What a service's instances ask for.
#[derive(Debug, Default)]
pub(super) struct Asks<'a> {
    /// Instances by the VIP that they ask for.
    pub(super) groups: Vec<(VipPolicy, Members<'a>)>,
    /// Instances that ask for something that can't be done.
    pub(super) refused: Vec<Refusal<'a>>,
    /// Instances that are left out, or that get something else than they ask for; nothing is to be done about them.
    pub(super) named: Vec<Refusal<'a>>,
}

impl<'a> Asks<'a> {
    /// Reads what each instance asks for by its tags.
    pub(super) fn of_tags(service: &'a CatalogService) -> Self {
        let instances = service.instances.as_slice();
        let mut asks = Self::default();
        let Some(first) = instances.first() else {
            return asks;
        };
        let alike = |instance: &Instance| Arc::ptr_eq(&instance.tags, &first.tags);
        match &first.tags.ask {
            Some(Ask::Vips(vips)) if instances.iter().all(alike) => {
                let group = |vip: &VipPolicy| (*vip, Members::All(instances));
                asks.groups = vips.iter().map(group).collect();
            }
            None if instances.iter().all(alike) => {}
            _ => asks.sort_out(instances),
        }
        asks
    }

    /// Reads what a block of the config file says of the instances.
    pub(super) fn of_block(block: &ServiceBlock, service: &'a CatalogService) -> Self {
        let mut asks = Self::default();
        let instances = service.instances.as_slice();
        if block.only_tags.is_empty() {
            let group = |vip: &VipPolicy| (*vip, Members::All(instances));
            asks.groups = block.vips.iter().map(group).collect();
            return asks;
        }
        let (members, others): (Vec<&Instance>, Vec<&Instance>) = instances
            .iter()
            .partition(|instance| instance.tags.have_all(&block.only_tags));
        let why = format!(
            "left out, for it has not all tags of only_tags ({})",
            block.only_tags.join(", ")
        );
        asks.named = refuse(others, &why);
        let group = |vip: &VipPolicy| (*vip, Members::Some(members.clone()));
        asks.groups = block.vips.iter().map(group).collect();
        asks
    }

    fn sort_out(&mut self, instances: &'a [Instance]) {
        let mut by_vip: BTreeMap<ServiceId, Vec<&Instance>> = BTreeMap::new();
        let mut silent = Vec::new();
        for instance in instances {
            match &instance.tags.ask {
                Some(Ask::Vips(vips)) => {
                    for vip in vips {
                        by_vip.entry(vip.id).or_default().push(instance);
                    }
                }
                Some(Ask::Unusable { vip: Some(vip), .. }) => {
                    by_vip.entry(*vip).or_default().push(instance);
                }
                Some(Ask::Unusable { vip: None, why }) => {
                    let why = why.clone();
                    self.refused.push(Refusal { instance, why });
                }
                None => silent.push(instance),
            }
        }
        if silent.len() < instances.len() {
            let why = "left out, for it asks for no VIP and others of its service do";
            self.named = refuse(silent, why);
        }
        for (id, members) in by_vip {
            self.group(id, members);
        }
    }

    /// Groups instances that ask for that VIP, as far as it can be read.
    fn group(&mut self, id: ServiceId, members: Vec<&'a Instance>) {
        let mut votes: Vec<(VipPolicy, usize)> = Vec::new();
        for instance in &members {
            let Some(vip) = vip_of(instance, id) else {
                continue;
            };
            match votes.iter_mut().find(|(candidate, _)| candidate == vip) {
                Some((_, count)) => *count = count.saturating_add(1),
                None => votes.push((*vip, 1)),
            }
        }
        let most = votes.iter().rev().max_by_key(|(_, count)| *count);
        let most = most.map(|(vip, _)| *vip);
        for instance in &members {
            match (&instance.tags.ask, most) {
                (Some(Ask::Vips(_)), Some(most)) if vip_of(instance, id) != Some(&most) => {
                    let why = Rejected::because(format!(
                        "asks for {id} with other settings than most do; it serves with theirs"
                    ));
                    self.named.push(Refusal { instance, why });
                }
                (Some(Ask::Unusable { why, .. }), Some(_)) => {
                    let why = Rejected::because(format!(
                        "{why}; it serves {id} with the settings of the others"
                    ));
                    self.named.push(Refusal { instance, why });
                }
                (Some(Ask::Unusable { why, .. }), None) => {
                    let why = why.clone();
                    self.refused.push(Refusal { instance, why });
                }
                _ => {}
            }
        }
        if let Some(most) = most {
            self.groups.push((most, Members::Some(members)));
        }
    }
}

/// Gives the settings of that VIP that the instance asks for.
fn vip_of(instance: &Instance, id: ServiceId) -> Option<&VipPolicy> {
    match &instance.tags.ask {
        Some(Ask::Vips(vips)) => vips.iter().find(|vip| vip.id == id),
        Some(Ask::Unusable { .. }) | None => None,
    }
}

/// Refuses all of them, for one reason.
pub(super) fn refuse<'a>(
    instances: impl IntoIterator<Item = &'a Instance>,
    why: &str,
) -> Vec<Refusal<'a>> {
    let refusal = |instance| Refusal {
        instance,
        why: Rejected::because(why),
    };
    instances.into_iter().map(refusal).collect()
}

/// Writes one sentence for each reason; it names the instances unless it is about `all` of them.
pub(super) fn sentences(refused: &[Refusal<'_>], all: usize) -> Vec<Rejected> {
    let mut by_reason: BTreeMap<&str, Vec<&Instance>> = BTreeMap::new();
    for Refusal { instance, why } in refused {
        by_reason.entry(&why.reason).or_default().push(instance);
    }
    let sentence = |(why, instances): (&str, Vec<&Instance>)| {
        let mut names: Vec<String> = instances
            .iter()
            .take(NAMED)
            .map(|instance| instance.address.to_string())
            .collect();
        if instances.len() > NAMED {
            names.push("…".to_owned());
        }
        let names = names.join(", ");
        match instances.len() {
            count if count == all => Rejected::because(why),
            1 => Rejected::because(format!("instance {names}: {why}")),
            count => Rejected::because(format!("{count} instances ({names}): {why}")),
        }
    };
    by_reason.into_iter().map(sentence).collect()
}
