//! What was heard of the directors: whose offers count and until when, and how each is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nomad_ipvs_proto::real_server::{Answer, Busy, Refusal as RefusalMessage};
use syncer_core::pass::Key;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::link::Incoming;
use super::rules::Refusal;
use crate::offer::NodeOffer;

/// What a director wanted stays for so long while it can't be heard: after the start of this process, and after its stream is gone. For
/// ever if no other is heard.
const DIRECTORS_WAIT: Duration = Duration::from_secs(15);

/// All configured directors.
pub(super) struct Directors {
    /// Of each.
    offers: Vec<Hearing>,
    /// How each one's last offer is answered.
    answers: BTreeMap<usize, Reply>,
    /// Instances that get nothing new and still have connections open, as the last answers say.
    busy: BTreeSet<Key>,
    started: Instant,
}

/// The way back for answers to an offer.
struct Reply {
    number: u64,
    stream: mpsc::Sender<Answer>,
    is_due: bool,
}

/// What was heard of a director.
enum Hearing {
    Nothing,
    /// Its stream is open, and this is its last offer.
    Offer(NodeOffer),
    /// Its stream is gone since then; this was its last offer.
    Gone(NodeOffer, Instant),
}

impl Directors {
    /// So many, of which nothing was heard yet.
    pub(super) fn new(count: usize) -> Self {
        Self {
            offers: (0..count).map(|_| Hearing::Nothing).collect(),
            answers: BTreeMap::new(),
            busy: BTreeSet::new(),
            started: Instant::now(),
        }
    }

    /// Takes in what a link has heard.
    pub(super) fn hear(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Offer {
                director,
                number,
                offer,
                answer,
            } => {
                let reply = Reply {
                    number,
                    stream: answer,
                    is_due: true,
                };
                self.answers.insert(director, reply);
                if let Some(heard) = self.offers.get_mut(director) {
                    *heard = Hearing::Offer(offer);
                }
            }
            Incoming::Gone { director } => {
                self.answers.remove(&director);
                if let Some(heard) = self.offers.get_mut(director)
                    && let Hearing::Offer(offer) = heard
                {
                    *heard = Hearing::Gone(std::mem::take(offer), Instant::now());
                }
            }
        }
    }

    /// The offers that count; `None` while a director may still want what another does not know of.
    pub(super) fn current_offers(&self) -> Option<Vec<&NodeOffer>> {
        let is_late = |since: Instant| since.elapsed() >= DIRECTORS_WAIT;
        let unheard = |heard: &&Hearing| matches!(heard, Hearing::Nothing);
        let some_are_unheard = self.offers.iter().any(|heard| unheard(&heard));
        if some_are_unheard && !is_late(self.started) {
            return None;
        }
        let is_offered = self
            .offers
            .iter()
            .any(|heard| matches!(heard, Hearing::Offer(_)));
        let counts = |heard| match heard {
            &Hearing::Nothing => None,
            Hearing::Offer(offer) => Some(offer),
            Hearing::Gone(offer, since) => (!is_offered || !is_late(*since)).then_some(offer),
        };
        let offers: Vec<&NodeOffer> = self.offers.iter().filter_map(counts).collect();
        (!offers.is_empty()).then_some(offers)
    }

    /// How many can't be heard.
    pub(super) fn unheard(&self) -> usize {
        let offers = self.offers.iter();
        offers
            .filter(|heard| !matches!(heard, Hearing::Offer(_)))
            .count()
    }

    /// Whether an instance that gets nothing new has connections open.
    pub(super) fn has_busy(&self) -> bool {
        !self.busy.is_empty()
    }

    /// Answers offers that were not answered yet; all of them, if other instances are busy than before.
    pub(super) fn answer(&mut self, refused: &[Refusal], busy: BTreeSet<Key>) {
        let is_news = self.busy != busy;
        self.busy = busy;
        for reply in self.answers.values_mut() {
            if !reply.is_due && !is_news {
                continue;
            }
            reply.is_due = false;
            let refused = refused.iter().map(|refusal| RefusalMessage {
                id: refusal.id.to_string(),
                reason: refusal.reason.clone(),
            });
            let busy = self.busy.iter().map(|(id, address)| Busy {
                id: id.to_string(),
                address: address.to_string(),
            });
            // A stream that is full or gone ends, and the next begins with an offer.
            let _ = reply.stream.try_send(Answer {
                number: reply.number,
                addresses: Vec::new(),
                refusals: refused.collect(),
                busy: busy.collect(),
            });
        }
    }
}

/// Instances that get nothing new.
pub(super) fn leaving(offers: &[&NodeOffer]) -> Vec<Key> {
    let instances = offers.iter().flat_map(|offer| offer.iter());
    let leaving = instances.flat_map(|(id, instances)| {
        let leaving = instances
            .iter()
            .filter(|instance| !instance.weight.serves());
        leaving.map(|instance| (*id, instance.address))
    });
    leaving.collect()
}

#[cfg(test)]
mod tests;
