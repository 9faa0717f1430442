use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const KERNELS: [Choice; 2] = [Choice::Host, Choice::Uml];

proptest! {
    #[test]
    fn the_same_seed_gives_the_same_episode(seed: u64) {
        for kernel in KERNELS {
            prop_assert_eq!(Episode::of(seed, kernel), Episode::of(seed, kernel));
        }
    }

    #[test]
    fn an_episodes_own_seed_replays_it_alone(seed: u64, number in 0_usize..50) {
        let its = seeds(seed).nth(number).unwrap();
        let alone = seeds(its).next().unwrap();
        prop_assert_eq!(Episode::of(alone, Choice::Uml), Episode::of(its, Choice::Uml));
    }

    #[test]
    fn no_episode_asks_for_what_makes_no_sense(seed: u64) {
        for kernel in KERNELS {
            let episode = Episode::of(seed, kernel);
            prop_assert!(matches!(episode.faults.len(), 1 | 2));
            for fault in &episode.faults {
                prop_assert!(possible(kernel).contains(&(fault.kind, fault.part)));
                prop_assert!(fault.lasts <= Duration::from_secs(8));
            }
            if let [first, second] = episode.faults[..] {
                prop_assert!(first.part != second.part);
                prop_assert!(second.after <= first.lasts);
            }
            if let Some(timed) = episode.change {
                prop_assert!(timed.after <= episode.ends());
            }
        }
    }
}

#[test]
fn a_few_hundred_episodes_hold_every_fault_alone_and_in_pairs_and_every_change() {
    for kernel in KERNELS {
        let episodes: Vec<Episode> = seeds(1)
            .take(600)
            .map(|seed| Episode::of(seed, kernel))
            .collect();
        let evidence = |alone: bool| -> BTreeSet<(Kind, Part)> {
            let some = episodes
                .iter()
                .filter(|episode| (episode.faults.len() == 1) == alone);
            some.flat_map(|episode| &episode.faults)
                .map(|fault| (fault.kind, fault.part))
                .collect()
        };
        let all: BTreeSet<(Kind, Part)> = possible(kernel).into_iter().collect();
        assert_eq!(evidence(true), all);
        assert_eq!(evidence(false), all);
        let changes: BTreeSet<Option<Change>> = episodes
            .iter()
            .map(|episode| episode.change.map(|timed| timed.change))
            .collect();
        assert_eq!(changes.len(), CHANGES.len() + 1);
    }
}

#[test]
fn an_episode_is_told_in_one_line() {
    let episode = Episode {
        seed: 1,
        faults: vec![
            Fault {
                kind: Kind::Kill,
                part: Part::Consul,
                after: Duration::ZERO,
                lasts: Duration::from_millis(3200),
            },
            Fault {
                kind: Kind::Restart,
                part: Part::Nomad,
                after: Duration::from_millis(400),
                lasts: Duration::ZERO,
            },
        ],
        change: Some(Timed {
            change: Change::ScaleUp,
            after: Duration::from_secs(2),
        }),
    };
    assert_eq!(
        episode.to_string(),
        "kill consul 3.2 s + restart nomad at 0.4 s; scale up at 2.0 s"
    );
    assert!(!episode.hits_data_path() && episode.director_answers());
    assert_eq!((episode.count(), episode.replaced()), (4, 0));
}
