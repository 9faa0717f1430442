//! Whose offers count, and until when.

use ipvs::Weight;

use super::*;
use crate::offer::Instance;

fn role(directors: usize) -> RealServer {
    RealServer {
        interface: "eth0".to_owned(),
        own: Vec::new(),
        containers: Containers::default().subscribe(),
        file: PathBuf::new(),
        incoming: mpsc::channel(1).1,
        offers: (0..directors).map(|_| Hearing::Nothing).collect(),
        answers: BTreeMap::new(),
        busy: BTreeSet::new(),
        started: Instant::now(),
        set: None,
        publisher: watch::Sender::new(Standing::default()),
    }
}

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
fn ports(role: &RealServer) -> Option<Vec<u16>> {
    let instances = |offer: &&NodeOffer| -> Vec<u16> {
        let instances = offer.values().flatten();
        instances.map(|instance| instance.address.port()).collect()
    };
    Some(role.current_offers()?.iter().flat_map(instances).collect())
}

#[tokio::test(start_paused = true)]
async fn nothing_is_changed_before_each_director_was_heard_or_had_its_time() {
    let mut role = role(2);
    assert_eq!(ports(&role), None);
    role.hear(offer(1, 2));
    assert_eq!(ports(&role), None, "the other may want what is there");
    assert_eq!(role.unheard(), 1);
    tokio::time::advance(DIRECTORS_WAIT).await;
    assert_eq!(ports(&role), Some(vec![2]));
    role.hear(offer(0, 1));
    assert_eq!(ports(&role), Some(vec![1, 2]));
}

#[tokio::test(start_paused = true)]
async fn where_no_director_is_heard_what_was_wanted_last_stays_for_ever() {
    let mut role = role(1);
    tokio::time::advance(DIRECTORS_WAIT * 100).await;
    assert_eq!(ports(&role), None, "what an earlier process has set stays");
    role.hear(offer(0, 1));
    role.hear(Incoming::Gone { director: 0 });
    tokio::time::advance(DIRECTORS_WAIT * 100).await;
    assert_eq!(ports(&role), Some(vec![1]));
}

#[tokio::test(start_paused = true)]
async fn what_a_director_wanted_that_is_gone_counts_no_more_once_another_speaks_alone() {
    let mut role = role(2);
    role.hear(offer(0, 1));
    role.hear(offer(1, 2));
    role.hear(Incoming::Gone { director: 0 });
    assert_eq!(ports(&role), Some(vec![1, 2]), "it may be back in a moment");
    tokio::time::advance(DIRECTORS_WAIT).await;
    assert_eq!(ports(&role), Some(vec![2]));
    role.hear(offer(0, 3));
    assert_eq!(ports(&role), Some(vec![3, 2]));
}
