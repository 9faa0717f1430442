//! What a pass decides beside its plan: where no VIP may be, whether the catalogue is asked again, when it ends early, and
//! what it has learnt of the way from an answer to the kernel.

use super::*;
use crate::desired::Holder;
use crate::reading::Addresses;

/// The instance serves.
pub(super) fn serving() -> (Director, Table, Now) {
    let (mut director, now) = warmed();
    let mut table = Table::default();
    let (_, sent, _) = pass(&mut director, &mut table, now, |_| Ok(()));
    assert!(adds_a_real(&sent), "{sent:?}");
    (director, table, now)
}

/// The catalogue lists nothing more, and Nomad has no opinion.
pub(super) fn empty() -> View {
    let catalog = Catalog {
        services: [("web".into(), Arc::default())].into(),
        ..Catalog::default()
    };
    View {
        catalog: Some(Arc::new(catalog)),
        ..view()
    }
}

#[test]
fn no_vip_is_put_where_this_machine_has_another_address() {
    let (mut director, now) = warmed();
    let holder = Holder::Machine {
        interface: "eth1".into(),
    };
    let mut held = reading(&Table::default());
    held.addresses = Addresses {
        occupied: [("198.18.0.29".parse().unwrap(), holder)].into(),
        ..Addresses::default()
    };
    let (_, pass) = decide(&mut director, held, view(), now);
    assert!(pass.plan().steps.is_empty(), "{:?}", pass.plan().steps);
    let (mut director, now) = warmed();
    let (_, pass) = decide(&mut director, reading(&Table::default()), view(), now);
    assert!(!pass.plan().steps.is_empty());
}

#[test]
fn a_pass_that_has_gone_on_for_long_ends_where_something_newer_is_known() {
    let (mut director, now) = warmed();
    let (_, mut long) = decide(&mut director, reading(&Table::default()), view(), now);
    assert!(director.batch(&mut long, after(now, 60), || true).is_none());
    assert!(!is_whole(&director.finish(long, now)));
    for (seconds, is_known) in [(60, false), (0, true)] {
        let (mut director, now) = warmed();
        let (_, mut pass) = decide(&mut director, reading(&Table::default()), view(), now);
        let steps = director.batch(&mut pass, after(now, seconds), || is_known);
        assert!(steps.is_some_and(|steps| !steps.is_empty()));
    }
}

#[test]
fn a_sudden_loss_asks_the_catalogue_again_at_once_and_then_in_its_time() {
    let (mut director, table, now) = serving();
    let mut asks = |seconds| {
        let (_, pass) = decide(&mut director, reading(&table), empty(), after(now, seconds));
        assert!(pass.plan().steps.is_empty(), "{:?}", pass.plan().steps);
        let confirmation = pass.confirmation();
        director.finish(pass, after(now, seconds));
        confirmation
    };
    assert_eq!(asks(1), Confirmation::Due);
    assert_eq!(asks(1), Confirmation::NotDue);
    // The confirming reads stand five seconds apart, and an answer may take one.
    assert_eq!(asks(6), Confirmation::NotDue);
    assert_eq!(asks(7), Confirmation::Due);
}

#[test]
fn what_a_new_policy_keeps_is_held_as_before_when_the_catalogue_loses_it() {
    let (mut director, table, now) = serving();
    director.adopt(policy(), now);
    let (_, pass) = decide(&mut director, reading(&table), empty(), after(now, 1));
    assert!(pass.plan().steps.is_empty(), "{:?}", pass.plan().steps);
    assert_eq!(pass.confirmation(), Confirmation::Due);
}

#[test]
fn the_way_from_an_answer_to_the_kernel_counts_once_and_only_where_something_was_done() {
    let (mut director, now) = warmed();
    let mut table = Table::default();
    let mut samples = |arrived: Now, now: Now| {
        let arrival = View {
            arrived: Some(arrived.steady),
            ..view()
        };
        let (_, mut pass) = decide(&mut director, reading(&table), arrival, now);
        while let Some(steps) = director.batch(&mut pass, now, || false) {
            for step in steps {
                if let Step::Ipvs(command) = step {
                    table.apply(command).unwrap();
                }
            }
            let outcomes: Vec<Result<(), Failure>> = steps.iter().map(|_| Ok(())).collect();
            director.outcomes(&mut pass, outcomes, now);
        }
        director.finish(pass, now).state.kernel_ack
    };
    let first = samples(now, after(now, 1));
    assert_eq!(samples(now, after(now, 2)), first, "the same answer");
    assert_eq!(
        samples(after(now, 3), after(now, 4)),
        first,
        "nothing to do"
    );
    assert_ne!(first, crate::pass::PassState::default().kernel_ack);
}

#[test]
fn one_that_serves_by_another_method_than_its_services_has_to_prove_itself_anew() {
    let (mut director, mut table, now) = serving();
    let block = director.policy.services.get_mut("web").unwrap();
    block.vips[0].forwarding = ipvs::Forwarding::DirectRouting;
    director.warm([(id(), "198.18.0.11:20000".parse().unwrap())]);
    let (_, sent, _) = pass(&mut director, &mut table, now, |_| Ok(()));
    assert!(sent.is_empty(), "{sent:?}");
    assert!(director.warmed.is_empty());
}
