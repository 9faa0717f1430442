//! The rules of blocking queries, which Nomad and Consul share.
//!
//! An answer is no proof of a change, an index may go back (restored snapshot, new cluster) and then starts anew, one
//! below 1 would not block at all. A server that answers at once all the time is asked at a bounded rate.

use std::time::Duration;

use crate::rate::Rate;

/// How long the server may hold a query.
pub const WAIT: Duration = Duration::from_mins(1);

/// When the client gives up: the server adds up to a sixteenth of jitter.
pub const LIMIT: Duration = Duration::from_secs(60 + 4 + 10);

/// How often a client asks a server that answers at once all the time.
pub const PACE: Rate = Rate {
    burst: 20,
    interval: Duration::from_millis(20),
};

/// The index to ask for next; 0 asks for an answer at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor(pub u64);

impl Cursor {
    /// Takes the index of an answer.
    #[must_use]
    pub fn after(self, index: Option<u64>) -> Self {
        match index {
            Some(index) if index < self.0 => Self(0),
            Some(index) => Self(index.max(1)),
            None => Self(0),
        }
    }

    /// Whether an answer under that index is older than the one before.
    pub fn is_after(self, index: u64) -> bool {
        index < self.0
    }

    /// The query part of a path.
    pub fn query(self) -> String {
        if self.0 == 0 {
            String::new()
        } else {
            format!("index={}&wait={}s", self.0, WAIT.as_secs())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_goes_back_starts_anew_and_zero_becomes_one() {
        assert_eq!(Cursor(7).after(Some(9)), Cursor(9));
        assert_eq!(Cursor(7).after(Some(7)), Cursor(7));
        assert_eq!(Cursor(7).after(Some(6)), Cursor(0));
        assert_eq!(Cursor(0).after(Some(0)), Cursor(1));
        assert_eq!(Cursor(7).after(None), Cursor(0));
        assert_eq!(Cursor(0).query(), "");
        assert_eq!(Cursor(7).query(), "index=7&wait=60s");
    }
}
