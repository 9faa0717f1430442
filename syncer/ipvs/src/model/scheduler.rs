//! The name of a scheduler, as the kernel spells it (`rr`, `wrr`, `lc`, `wlc`, `sh`, `mh`, …).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A scheduler's name: 1 to 15 bytes of `a-z0-9_-`. Whether the kernel has it is known only when it is asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scheduler {
    length: u8,
    name: [u8; Self::MAX],
}

/// Why a text is no scheduler's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a scheduler's name is 1 to 15 characters of a-z, 0-9, - and _, not {0:?}")]
pub struct UnusableScheduler(pub String);

impl Scheduler {
    /// `IP_VS_SCHEDNAME_MAXLEN` without its NUL.
    pub const MAX: usize = 15;

    /// Weighted round robin, the kernel tools' default for weights that differ.
    pub const WRR: Self = Self {
        length: 3,
        name: *b"wrr\0\0\0\0\0\0\0\0\0\0\0\0",
    };

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.name
            .get(..usize::from(self.length))
            .and_then(|name| std::str::from_utf8(name).ok())
            .unwrap_or_default()
    }
}

impl FromStr for Scheduler {
    type Err = UnusableScheduler;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=Self::MAX).contains(&text.len());
        let plain = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
        if !fits || !plain {
            return Err(UnusableScheduler(text.to_owned()));
        }
        let mut name = [0; Self::MAX];
        for (to, from) in name.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        let length = u8::try_from(text.len()).map_err(|_| UnusableScheduler(text.to_owned()))?;
        Ok(Self { length, name })
    }
}

impl TryFrom<String> for Scheduler {
    type Error = UnusableScheduler;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Scheduler> for String {
    fn from(scheduler: Scheduler) -> Self {
        scheduler.as_str().to_owned()
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_and_a_wrong_one_is_refused_with_its_text() {
        assert_eq!("rr".parse::<Scheduler>().unwrap().as_str(), "rr");
        assert_eq!(Scheduler::WRR.as_str(), "wrr");
        for wrong in ["", "RR", "sixteen_letters_", "r r", "r\0"] {
            assert_eq!(
                wrong.parse::<Scheduler>(),
                Err(UnusableScheduler(wrong.to_owned()))
            );
        }
    }
}
