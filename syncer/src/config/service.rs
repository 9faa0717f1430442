//! Blocks `service`: a VIP, its options, and which instances it takes. The options are those of tags.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use hcl::Value;
use ipvs::ServiceId;
use syncer_core::model::policy::{Ownership, ServiceBlock};
use syncer_core::options::{Kind, OPTIONS, Options, VIP, vip};

use super::read::Section;
use super::value::{Unfit, boolean, number, parsed, text, texts};

/// Reads all of them, by Consul service name.
pub(super) fn services_of(
    sections: Vec<Section>,
    ownership: &Ownership,
) -> BTreeMap<Arc<str>, ServiceBlock> {
    let mut services: BTreeMap<Arc<str>, ServiceBlock> = BTreeMap::new();
    for section in sections {
        let Some((name, _)) = section.label.clone() else {
            continue;
        };
        if services.contains_key(name.as_str()) {
            section.problem(format!("a second block service {name:?}"));
        }
        let taken = |id: &ServiceId| {
            services
                .iter()
                .find(|(_, other)| other.ids().any(|other| other == *id))
                .map(|(name, _)| Arc::clone(name))
        };
        if let Some(policy) = service(section, ownership, taken) {
            services.insert(name.into(), policy);
        }
    }
    services
}

fn service(
    mut section: Section,
    ownership: &Ownership,
    taken: impl Fn(&ServiceId) -> Option<Arc<str>>,
) -> Option<ServiceBlock> {
    let free_vip = |text: &str| {
        let id = vip(text)?;
        if !ownership.owns(&id) {
            return Err(format!("{id} is outside the ranges in director.own"));
        }
        match taken(&id) {
            Some(other) => Err(format!("{id} is taken by service {other:?}")),
            None => Ok(id),
        }
    };
    let id = section.required(VIP, parsed(free_vip));
    let options = RefCell::new(Options::default());
    for (key, kind) in OPTIONS {
        section.value(key, |value| {
            let text = words_of(kind, value)?;
            Ok(options.borrow_mut().set(key, &text)?)
        });
    }
    let only_tags = section.value("only_tags", tags).unwrap_or_default();
    let vip = id.and_then(|id| {
        let vip = options.take().policy(id);
        vip.map_err(|why| section.problem(why)).ok()
    });
    section.end();
    Some(ServiceBlock {
        vips: vec![vip?],
        only_tags,
    })
}

/// Writes a value as tags have it, where it is of the kind that the option takes.
fn words_of(kind: Kind, value: &Value) -> Result<String, Unfit> {
    match kind {
        Kind::Text => text(value),
        Kind::Switch => Ok(boolean(value)?.to_string()),
        Kind::Count | Kind::Share => Ok(number(value)?.to_string()),
        Kind::Texts => Ok(texts(value)?.join(",")),
    }
}

fn tags(value: &Value) -> Result<Vec<Box<str>>, Unfit> {
    let word = |text: String| {
        if text.is_empty() {
            Err("expected Consul tags, not an empty text".into())
        } else {
            Ok(text.into_boxed_str())
        }
    };
    texts(value)?.into_iter().map(word).collect()
}
