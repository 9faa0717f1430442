//! Where a stream of bytes may be cut so that what is before the cut ends with a given tail. Pure.
//!
//! Each place is found, also those that overlap (a program that writes one byte for ever fits everywhere), in time that
//! grows with the stream alone: the automaton of Knuth, Morris and Pratt never looks back.

/// The last bytes of something, prepared for the search.
#[derive(Debug, Clone)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    /// For each length of a match, the next shorter one that is a match too.
    shorter: Vec<usize>,
}

/// How much of a tail the bytes so far end with.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Match(usize);

impl Tail {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut tail = Self {
            bytes: bytes.to_vec(),
            shorter: Vec::with_capacity(bytes.len()),
        };
        let mut progress = Match::default();
        for (index, byte) in bytes.iter().enumerate() {
            // The first byte alone has nothing shorter.
            if index > 0 {
                tail.advance(&mut progress, *byte);
            }
            tail.shorter.push(progress.0);
        }
        tail
    }

    /// The longest match that is shorter than one of this length and ends alike.
    fn shorter(&self, length: usize) -> usize {
        let last = length.checked_sub(1);
        let shorter = last.and_then(|last| self.shorter.get(last));
        shorter.copied().unwrap_or_default()
    }

    /// From one match to the next, of which this byte is the last.
    fn advance(&self, progress: &mut Match, byte: u8) {
        let mut length = progress.0;
        while length > 0 && self.bytes.get(length) != Some(&byte) {
            length = self.shorter(length);
        }
        if self.bytes.get(length) == Some(&byte) {
            length = length.saturating_add(1);
        }
        progress.0 = length;
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the stream, with this byte, ends with the whole tail.
    pub(super) fn step(&self, progress: &mut Match, byte: u8) -> bool {
        if progress.0 == self.bytes.len() {
            progress.0 = self.shorter(progress.0);
        }
        self.advance(progress, byte);
        progress.0 > 0 && progress.0 == self.bytes.len()
    }

    /// The places near the begin of a stream, shortest first, before which there is less than the whole tail: all that
    /// is there fits. `head` is the stream's begin.
    pub(super) fn short_fits(&self, head: &[u8]) -> Vec<usize> {
        let head = Self::new(&head[..head.len().min(self.len().saturating_sub(1))]);
        let mut progress = Match::default();
        for byte in &self.bytes {
            head.step(&mut progress, *byte);
        }
        let mut fits = Vec::new();
        let mut length = progress.0;
        while length > 0 {
            fits.push(length);
            length = head.shorter(length);
        }
        fits.reverse();
        fits
    }

    /// All places in `log`, first to last.
    pub(super) fn fits(&self, log: &[u8]) -> Vec<usize> {
        let mut fits = self.short_fits(log);
        let mut progress = Match::default();
        for (index, byte) in log.iter().enumerate() {
            if self.step(&mut progress, *byte) {
                fits.push(index.saturating_add(1));
            }
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same by plain comparison.
    fn naive(log: &[u8], tail: &[u8]) -> Vec<usize> {
        let fits = |&place: &usize| {
            let length = place.min(tail.len());
            length > 0 && log[place - length..place] == tail[tail.len() - length..]
        };
        (1..=log.len()).filter(fits).collect()
    }

    proptest! {
        #[test]
        fn the_places_are_those_that_a_plain_comparison_finds(
            log in proptest::collection::vec(0..3_u8, 0..60),
            tail in proptest::collection::vec(0..3_u8, 0..12),
        ) {
            prop_assert_eq!(Tail::new(&tail).fits(&log), naive(&log, &tail));
        }

        #[test]
        fn a_tail_that_was_cut_out_of_the_log_is_found_there(
            period in proptest::collection::vec(0..2_u8, 1..5),
            times in 1..30_usize,
            cut in 0..100_usize,
        ) {
            let log = period.repeat(times);
            let cut = cut.min(log.len());
            let tail = &log[cut.saturating_sub(8)..cut];
            prop_assert_eq!(Tail::new(tail).fits(&log).contains(&cut), cut > 0);
        }
    }
}
