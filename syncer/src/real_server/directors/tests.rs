//! Whose offers count, and until when.

use std::net::SocketAddr;

use ipvs::Weight;

use super::*;
use crate::offer::Instance;

fn offer(director: usize, port: u16) -> Incoming {
    let instance = Instance {
        address: SocketAddr::from(([198, 18, 0, 11], port)),
        weight: Weight::ONE,
    };
    Incoming::Offer {
        director,
        number: 1,
        offer: [("198.18.0.31:80".parse().unwrap(), vec![instance])].into(),
        answer: mpsc::channel(1).0,
    }
}

/// The ports of the instances that count.
fn ports(directors: &Directors) -> Option<Vec<u16>> {
    let instances = |offer: &&NodeOffer| -> Vec<u16> {
        let instances = offer.values().flatten();
        instances.map(|instance| instance.address.port()).collect()
    };
    Some(
        directors
            .current_offers()?
            .iter()
            .flat_map(instances)
            .collect(),
    )
}

#[tokio::test(start_paused = true)]
async fn nothing_is_changed_before_each_director_was_heard_or_had_its_time() {
    let mut directors = Directors::new(2);
    assert_eq!(ports(&directors), None);
    directors.hear(offer(1, 2));
    assert_eq!(ports(&directors), None, "the other may want what is there");
    assert_eq!(directors.unheard(), 1);
    tokio::time::advance(DIRECTORS_WAIT).await;
    assert_eq!(ports(&directors), Some(vec![2]));
    directors.hear(offer(0, 1));
    assert_eq!(ports(&directors), Some(vec![1, 2]));
}

#[tokio::test(start_paused = true)]
async fn where_no_director_is_heard_what_was_wanted_last_stays_for_ever() {
    let mut directors = Directors::new(1);
    tokio::time::advance(DIRECTORS_WAIT * 100).await;
    assert_eq!(
        ports(&directors),
        None,
        "what an earlier process has set stays"
    );
    directors.hear(offer(0, 1));
    directors.hear(Incoming::Gone { director: 0 });
    tokio::time::advance(DIRECTORS_WAIT * 100).await;
    assert_eq!(ports(&directors), Some(vec![1]));
}

#[tokio::test(start_paused = true)]
async fn what_a_director_wanted_that_is_gone_counts_no_more_once_another_speaks_alone() {
    let mut directors = Directors::new(2);
    directors.hear(offer(0, 1));
    directors.hear(offer(1, 2));
    directors.hear(Incoming::Gone { director: 0 });
    assert_eq!(
        ports(&directors),
        Some(vec![1, 2]),
        "it may be back in a moment"
    );
    tokio::time::advance(DIRECTORS_WAIT).await;
    assert_eq!(ports(&directors), Some(vec![2]));
    directors.hear(offer(0, 3));
    assert_eq!(ports(&directors), Some(vec![3, 2]));
}
