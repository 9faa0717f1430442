//! How many files this process may have open. A task holds about a dozen (its log, its wait, its counters) and a command two,
//! so the usual soft limit of 1024 ends with a hundred tasks. The hard limit, which is the operator's, stays.

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::{debug, warn};

/// Raises the soft limit to the hard one.
pub fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => debug!(?limit, "the limit of open files is raised"),
        Err(error) => warn!(%error, ?limit, "the limit of open files can't be raised"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        raise_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
