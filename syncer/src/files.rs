//! The process's files: as many as the machine lets us have.

use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one.
pub fn raise_limit() -> Result<(), Errno> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft == hard {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}

/// The soft limit; `None`: there is none, or it is not known.
pub fn limit() -> Option<usize> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let limited = (soft != RLIM_INFINITY).then_some(soft)?;
    usize::try_from(limited).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        raise_limit().unwrap();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(soft, hard);
        assert_eq!(
            limit(),
            usize::try_from(hard).ok().filter(|_| hard != RLIM_INFINITY)
        );
    }
}
