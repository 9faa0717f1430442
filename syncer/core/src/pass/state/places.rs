//! Which virtual services may have a real server at an address.
//!
//! An address and an identity take eighty bytes together, and there is one such pair for each real server. So hashes of
//! addresses are kept, and small numbers for identities: whoever asks gets candidates, and looks whether they have it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;

use imbl::{OrdMap, OrdSet};
use ipvs::ServiceId;

/// A number that stands for a virtual service as long as it has real servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number(u32);

/// An index of real servers. A copy shares whatever is the same.
#[derive(Debug, Clone, Default)]
pub(in crate::pass) struct Places {
    places: OrdSet<(u32, Number)>,
    ids: OrdMap<Number, ServiceId>,
}

impl Places {
    /// Gives that virtual service a number that no other has.
    pub(super) fn number(&mut self, id: ServiceId) -> Number {
        let next = match self.ids.get_max() {
            None => Some(0),
            Some((Number(last), _)) => last.checked_add(1),
        };
        let gap = || (0..u32::MAX).find(|number| !self.ids.contains_key(&Number(*number)));
        // More than four billion virtual services are no table that a kernel has.
        let number = Number(next.or_else(gap).unwrap_or(u32::MAX));
        self.ids.insert(number, id);
        number
    }

    pub(super) fn free(&mut self, number: Number) {
        self.ids.remove(&number);
    }

    pub(super) fn insert(&mut self, address: SocketAddr, number: Number) {
        self.places.insert((hash(address), number));
    }

    /// Two addresses of one virtual service may have one hash: those that stay are inserted after this.
    pub(super) fn remove(&mut self, address: SocketAddr, number: Number) {
        self.places.remove(&(hash(address), number));
    }

    /// How many real servers, and of how many virtual services.
    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.places.len(), self.ids.len())
    }

    /// Lists all virtual services that have a real server there, and perhaps one that has none there.
    pub(super) fn candidates(&self, address: SocketAddr) -> impl Iterator<Item = ServiceId> {
        let hash = hash(address);
        let range = (hash, Number(0))..=(hash, Number(u32::MAX));
        let numbers = self.places.range(range);
        numbers.filter_map(|(_, number)| self.ids.get(number).copied())
    }
}

fn hash(address: SocketAddr) -> u32 {
    let mut hasher = DefaultHasher::new();
    address.hash(&mut hasher);
    let [a, b, c, d, ..] = hasher.finish().to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn id(number: u16) -> ServiceId {
        format!("198.18.0.29:{number}").parse().unwrap()
    }

    fn address(number: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], number))
    }

    #[test]
    fn whoever_has_a_real_server_somewhere_is_among_the_candidates_and_nobody_else_of_so_few() {
        let mut places = Places::default();
        let numbers: Vec<_> = (0..100).map(|index| places.number(id(index))).collect();
        for (index, number) in (0..100).zip(&numbers) {
            places.insert(address(index), *number);
            places.insert(address(1000), *number);
        }
        for index in 0..100 {
            assert_eq!(
                places.candidates(address(index)).collect::<Vec<_>>(),
                [id(index)]
            );
        }
        let all: BTreeSet<_> = places.candidates(address(1000)).collect();
        assert_eq!(all.len(), 100);
        places.remove(address(7), numbers[7]);
        assert_eq!(places.candidates(address(7)).count(), 0);
    }

    #[test]
    fn a_number_is_given_again_only_when_it_is_free() {
        let mut places = Places::default();
        let (first, second) = (places.number(id(1)), places.number(id(2)));
        places.free(first);
        assert_eq!(places.number(id(3)), Number(2));
        places.ids.insert(Number(u32::MAX), id(4));
        assert_eq!(places.number(id(5)), first);
        assert_ne!(first, second);
    }
}
