//! Waiting for a condition, with a bound and the last reason why not.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks: short, since the whole of `up` is a few seconds.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until it gets a value. `Err` in `look` is a reason to look again and is what the person reads at the end;
/// `dead` tells why waiting longer is useless.
pub fn until<T>(
    what: &str,
    timeout: Duration,
    mut look: impl FnMut() -> Result<T>,
    mut dead: impl FnMut() -> Option<String>,
) -> Result<T> {
    let end = Instant::now() + timeout;
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(reason) => {
                if let Some(why) = dead() {
                    bail!("{what}: {why}");
                }
                if Instant::now() >= end {
                    return Err(
                        reason.context(format!("{what}: not within {} s", timeout.as_secs()))
                    );
                }
            }
        }
        std::thread::sleep(PAUSE);
    }
}
