//! The bytes that the agent's log collector got and that are not yet known to be in the files.
//!
//! The collector may end with bytes that it has read and not written, or before it has read them. It holds at most a
//! pipe, a copy buffer and a write buffer, 160 KiB together, so the outbox need not be larger to hold all that can
//! still be lost.

use super::files::TAIL_SIZE;
use super::tail::Tail;

/// More than a collector can hold.
const CAPACITY: usize = 256 * 1024;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// The number of bytes at the front that are in the files: they tell where the rest belongs.
    in_files: usize,
    /// The number of bytes that had not arrived and had to make room.
    overflow: usize,
}

impl Outbox {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        // Not at each push: what is moved then is worth it.
        let excess = self.bytes.len().saturating_sub(CAPACITY);
        if excess > CAPACITY {
            drop(self.bytes.drain(..excess));
            let beyond = excess.saturating_sub(self.in_files);
            self.overflow = self.overflow.saturating_add(beyond);
            self.in_files = self.in_files.saturating_sub(excess);
        }
    }

    /// How many bytes are on their way.
    pub(super) fn pending(&self) -> usize {
        self.bytes.len().saturating_sub(self.in_files)
    }

    /// All of it is in the files.
    pub(super) fn settle(&mut self) {
        let excess = self.bytes.len().saturating_sub(TAIL_SIZE);
        drop(self.bytes.drain(..excess));
        self.bytes.shrink_to(TAIL_SIZE);
        self.in_files = self.bytes.len();
        self.overflow = 0;
    }

    /// Whether the files, which end with `tail`, hold all of it.
    pub(super) fn agrees_with(&self, tail: &[u8]) -> bool {
        let agree = self.bytes.ends_with(tail) || tail.ends_with(&self.bytes);
        self.pending() == 0 || !self.bytes.is_empty() && !tail.is_empty() && agree
    }

    /// Takes the last `count` bytes back: they are known not to have been read by anybody.
    pub(super) fn take_back(&mut self, count: usize) -> Vec<u8> {
        let length = self.bytes.len().saturating_sub(count).max(self.in_files);
        self.bytes.split_off(length)
    }

    /// Takes back what the files do not have, which end with `tail` and have grown by `growth` since all was there.
    /// Where several places fit, the one that agrees best with the growth counts. `None`: the files end with something else.
    pub(super) fn take_gap(&mut self, tail: &[u8], growth: Option<usize>) -> Option<Vec<u8>> {
        let expected = growth.map(|growth| {
            self.in_files
                .saturating_add(growth)
                .saturating_sub(self.overflow)
        });
        let fits = Tail::new(tail).fits(&self.bytes);
        let mut places = fits.into_iter().filter(|place| *place >= self.in_files);
        let place = match expected {
            // Nothing before it to compare with.
            Some(0) => Some(0),
            Some(expected) => places.min_by_key(|place| place.abs_diff(expected)),
            None => places.next_back(),
        }?;
        let gap = self.bytes.split_off(place);
        self.settle();
        Some(gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(in_files: &[u8], pending: &[u8]) -> Outbox {
        let mut outbox = Outbox::default();
        outbox.push(in_files);
        outbox.settle();
        outbox.push(pending);
        outbox
    }

    #[test]
    fn what_is_not_in_the_files_is_missing() {
        let mut outbox = outbox(b"one\n", b"two\nthree\nfour\n");
        assert!(!outbox.agrees_with(b"one\ntwo\n"));
        let gap = outbox.take_gap(b"one\ntwo\n", Some(4)).unwrap();
        assert_eq!(gap, b"three\nfour\n");
        assert_eq!(outbox.pending(), 0);
    }

    #[test]
    fn of_equal_lines_as_many_are_missing_as_the_files_have_not_grown_by() {
        let ticks = b"tick\n".repeat(40);
        let tail = |lines: usize| b"tick\n".repeat(lines);
        let gap = |in_files: usize| {
            let mut outbox = outbox(&tail(10), &ticks);
            outbox.take_gap(&tail(10 + in_files), Some(in_files * 5))
        };
        for in_files in [0, 7, 40] {
            assert_eq!(gap(in_files), Some(tail(40 - in_files)));
        }
    }

    #[test]
    fn nothing_has_arrived_in_files_that_did_not_grow() {
        let mut outbox = outbox(b"", b"one\n");
        assert_eq!(outbox.take_gap(b"", Some(0)).unwrap(), b"one\n");
    }

    #[test]
    fn files_that_end_with_something_else_say_nothing() {
        let mut outbox = outbox(b"", b"one\ntwo\n");
        assert_eq!(outbox.take_gap(b"forged", Some(6)), None);
        assert_eq!(outbox.take_back(4), b"two\n");
    }

    #[test]
    fn it_stays_small_whatever_goes_through() {
        let mut outbox = Outbox::default();
        for _ in 0..100 {
            outbox.push(&vec![b'x'; 64 * 1024]);
            assert!(outbox.bytes.len() <= 2 * CAPACITY);
        }
        assert!(outbox.pending() >= CAPACITY);
        outbox.settle();
        assert!(outbox.bytes.capacity() <= TAIL_SIZE);
    }
}
