//! What a virtual service does when not all is well with its real servers. Pure.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use ipvs::Thresholds;
use serde::{Deserialize, Serialize};

/// A share of a whole: 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Percent(u8);

impl Percent {
    /// The nearest whole percentage of a share from 0.0 to 1.0; `None` for any other number.
    pub fn of_share(share: f64) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0.0 to 1.0 becomes 0 to 100"
        )]
        let percent = || Self((share * 100.0).round() as u8);
        (0.0..=1.0).contains(&share).then(percent)
    }

    /// Whether `part` is less than this share of `whole`. Of nothing, nothing is less.
    pub fn exceeds(self, part: usize, whole: usize) -> bool {
        part.saturating_mul(100) < whole.saturating_mul(usize::from(self.0))
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

/// All of a virtual service's safeguards; none by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Safeguards {
    /// How many connections a real server takes.
    pub thresholds: Thresholds,
    /// Where a smaller share of the instances is healthy, checks are not believed.
    pub least_healthy: Percent,
    /// How long a new or recovered real server takes to its full weight.
    pub slow_start: Option<Duration>,
    /// What is sent to while no other real server serves.
    pub sorry_server: Option<SocketAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_number_from_nought_to_one() {
        for (share, percent) in [(0.0, 0), (0.5, 50), (0.334, 33), (1.0, 100)] {
            assert_eq!(Percent::of_share(share).map(Percent::get), Some(percent));
        }
        for wrong in [-0.1, 1.01, f64::NAN, f64::INFINITY] {
            assert_eq!(Percent::of_share(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_part_below_the_share_is_exceeded_and_one_at_it_is_not() {
        let half = Percent::of_share(0.5).unwrap();
        assert!(half.exceeds(0, 1));
        assert!(half.exceeds(1, 3));
        assert!(!half.exceeds(1, 2));
        assert!(!half.exceeds(0, 0));
        assert!(!Percent::default().exceeds(0, 5));
        assert_eq!(half.to_string(), "50 %");
    }
}
