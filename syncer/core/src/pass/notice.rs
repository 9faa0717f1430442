//! What a person should read of a pass, as values: whoever drives it puts them into a log.

use std::fmt;

use crate::plan::Step;

/// One message to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Something is not as it was left.
    Drift(String),
    /// An entry of somebody else can't be read.
    Unreadable(String),
    /// The shrink guard holds a loss back.
    Held { lost: usize, serving: usize },
    /// The shrink guard holds nothing back any more.
    Released,
    /// A step was not tried, for what it rests on failed.
    Withheld(Step),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drift(what) => write!(f, "{what}, by somebody else's hand; it is put right"),
            Self::Unreadable(entry) => write!(
                f,
                "the kernel has an entry that can't be read, and it is left alone: {entry}"
            ),
            Self::Held { lost, serving } => write!(
                f,
                "the catalogue suddenly lost {lost} real servers of {serving} that serve; they are held until two more reads agree"
            ),
            Self::Released => f.write_str("nothing is held back any more"),
            Self::Withheld(step) => write!(f, "not done, for what it rests on failed: {step}"),
        }
    }
}
