//! A loss that is held back: since when, how many reads agree, and until when. Pure.

use super::{CONFIRMATION_SPACING, CONTRADICTION_HOLD, DATA_LOSS_HOLD, Extent};
use crate::model::Moment;

/// How many reads confirm a loss.
pub(super) const CONFIRMING_READS: u32 = 2;

/// A loss that the guard does not believe for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub since: Moment,
    pub lost: usize,
    pub serving: usize,
    /// Whether Nomad says that some of them are running and wanted.
    pub contradicted: bool,
    /// When Consul was found to have lost its data, or to have got other data.
    pub data_lost: Option<Moment>,
    agreement: Agreement,
}

impl Hold {
    /// Whether enough reads agree, so that the hold waits for time, or for Nomad.
    pub fn is_confirmed(&self) -> bool {
        self.agreement.reads >= CONFIRMING_READS
    }

    /// Describes the hold, with what would end it.
    pub fn reason(&self, now: Moment) -> String {
        let Self { lost, serving, .. } = self;
        let lost = format!("the catalogue lost {lost} of {serving} serving real servers at once");
        let nomad = if self.contradicted {
            ", and Nomad says that they run"
        } else {
            ""
        };
        match self.data_lost {
            None => format!("{lost}{nomad}; they are kept until two more reads agree"),
            Some(at) => {
                let left = DATA_LOSS_HOLD.saturating_sub(now.since(at)).as_secs();
                format!(
                    "{lost}{nomad}, and Consul has lost its data or has got other data; they are kept until they are \
                     registered again, Nomad says that they go, or {left} s are over"
                )
            }
        }
    }
}

/// Reads that agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Agreement {
    reads: u32,
    /// Confirming reads that had been made when this was last looked at.
    confirmations: u64,
    /// When the last read that counts was seen.
    at: Moment,
}

impl Agreement {
    /// Notes a read. One that came too soon after another does not count, then or later.
    fn note(&mut self, confirmations: u64, now: Moment) {
        // A clock that was set back must not prolong it.
        self.at = self.at.min(now);
        let another = confirmations > self.confirmations;
        self.confirmations = confirmations;
        if another && (self.reads == 0 || now.since(self.at) >= CONFIRMATION_SPACING) {
            self.reads += 1;
            self.at = now;
        }
    }
}

/// Gives the hold as it goes on; `None` where it is over.
pub(super) fn hold(
    extent: Extent,
    before: Option<&Hold>,
    confirmations: u64,
    now: Moment,
) -> Option<Hold> {
    let (since, mut agreement) = before.map_or_else(
        || {
            let none = Agreement {
                reads: 0,
                confirmations,
                at: now,
            };
            (now, none)
        },
        // A clock that was set back must not prolong it.
        |before| (before.since.min(now), before.agreement),
    );
    agreement.note(confirmations, now);
    let patient = !extent.contradicted || now.since(since) >= CONTRADICTION_HOLD;
    let over = agreement.reads >= CONFIRMING_READS && patient && extent.data_lost.is_none();
    (!over).then_some(Hold {
        since,
        lost: extent.lost,
        serving: extent.serving,
        contradicted: extent.contradicted,
        data_lost: extent.data_lost,
        agreement,
    })
}
