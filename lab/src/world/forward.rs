//! How the lab's director passes packets on to the articles' job.

use serde::{Deserialize, Serialize};

/// A forwarding method, with what belongs to it in the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Forward {
    /// NAT, with the source translated as well: answers come back through the director.
    #[default]
    Masq,
    /// Direct routing: answers by-pass the director.
    Dr,
}

impl Forward {
    /// The lines of the service's block in the director's configuration.
    pub fn settings(self) -> &'static str {
        match self {
            Self::Masq => "  forward   = \"masq\"\n  snat      = true",
            Self::Dr => "  forward   = \"dr\"",
        }
    }

    /// As the kernel's view calls it.
    pub fn method(self) -> &'static str {
        match self {
            Self::Masq => "masq",
            Self::Dr => "dr",
        }
    }

    /// As `lab up` writes it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Masq => "masq+snat",
            Self::Dr => "dr",
        }
    }
}
