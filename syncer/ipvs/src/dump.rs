//! What came of a dump: the entries that could be read, and a word on those that could not.
//!
//! Others write into the same table, with kinds of entries that we may not know. One of theirs hides none of ours.

use std::fmt;

use crate::model::ServiceId;
use crate::wire::Malformed;

/// How many unreadable entries are told of one by one.
const ENTRIES_LIMIT: usize = 16;

/// The entries of one dump, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump<T> {
    pub entries: Vec<T>,
    /// Why entries could not be read; the first few.
    pub unreadable: Vec<Malformed>,
}

impl<T> Dump<T> {
    /// Takes the next entry, whether it could be read or not.
    pub fn add(&mut self, entry: Result<T, Malformed>) {
        match entry {
            Ok(entry) => self.entries.push(entry),
            Err(_) if self.unreadable.len() >= ENTRIES_LIMIT => {}
            Err(why) => self.unreadable.push(why),
        }
    }
}

impl<T> Default for Dump<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            unreadable: Vec::new(),
        }
    }
}

/// Over the entries that could be read.
impl<T> IntoIterator for Dump<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

/// An entry of the kernel's table that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The virtual service whose real server it is; `None`: it is a virtual service itself.
    pub of: Option<ServiceId>,
    pub why: Malformed,
}

impl Unreadable {
    /// Adds those of a dump to the ones before, as far as they are told one by one.
    pub(crate) fn note(all: &mut Vec<Self>, of: Option<ServiceId>, dump: &[Malformed]) {
        let room = ENTRIES_LIMIT.saturating_sub(all.len());
        let more = dump.iter().take(room).cloned();
        all.extend(more.map(|why| Self { of, why }));
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.of {
            Some(service) => write!(f, "a real server of {service}: {}", self.why),
            None => write!(f, "a virtual service: {}", self.why),
        }
    }
}
