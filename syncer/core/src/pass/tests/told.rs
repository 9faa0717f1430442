//! What a director is told beside its views, and what it tells.

use super::decisions::{empty, serving};
use super::*;
use crate::desired::Holder;

fn key() -> Key {
    (id(), "198.18.0.11:20000".parse().unwrap())
}

/// The catalogue as that changes it.
fn view_with(of: View, change: impl FnOnce(&mut Catalog)) -> View {
    let mut catalog = of.catalog.unwrap();
    change(Arc::make_mut(&mut catalog));
    View {
        catalog: Some(catalog),
        ..view()
    }
}

#[test]
fn what_a_new_policy_does_not_have_goes_although_the_catalogue_has_lost_it_too() {
    let (mut director, table, now) = serving();
    let none = Policy {
        services: [].into(),
        ..policy()
    };
    director.adopt(none, now);
    let (_, pass) = decide(&mut director, reading(&table), empty(), after(now, 1));
    assert!(!pass.plan().steps.is_empty());
    assert_eq!(pass.confirmation(), Confirmation::NotDue);
}

#[test]
fn whoever_is_not_checked_is_on_trial_until_the_director_is_told_that_it_has_passed() {
    let unchecked = || {
        view_with(view(), |catalog| {
            let service = catalog.services.get_mut("web").unwrap();
            Arc::make_mut(service).instances[0].checked = false;
        })
    };
    let now = start();
    let mut director = Director::new(policy(), Duration::from_secs(30), Memory::default(), now);
    let none = || reading(&Table::default());
    let (_, pass) = decide(&mut director, none(), unchecked(), now);
    assert!(!adds_a_real(&pass.plan().steps));
    let trials = director.finish(pass, now).trials.unwrap();
    assert_eq!(trials.probes, [key()].into());
    director.warm([key()]);
    let (_, pass) = decide(&mut director, none(), unchecked(), now);
    assert!(adds_a_real(&pass.plan().steps));
    let trials = director.finish(pass, now).trials.unwrap();
    assert!(trials.probes.is_empty());
}

#[test]
fn a_vip_that_is_in_the_table_is_not_another_address_of_this_machine() {
    let (mut director, table, now) = serving();
    let holder = Holder::Machine {
        interface: "eth1".into(),
    };
    let mut held = reading(&table);
    let vip = "198.18.0.29".parse().unwrap();
    held.addresses.occupied.insert(vip, holder);
    assert!(director.read(Ok(held), now.steady, now));
    let (_, pass) = decide(&mut director, reading(&table), view(), now);
    assert!(pass.desired.services.contains_key(&id()));
}

#[test]
fn a_loss_that_is_confirmed_and_held_on_is_read_again_more_seldom() {
    let (mut director, table, now) = serving();
    let mut asks = |seconds, confirmations| {
        let lost = view_with(empty(), |catalog| {
            catalog.restarts = 1;
            catalog.confirmations = confirmations;
        });
        let now = after(now, seconds);
        let (_, pass) = decide(&mut director, reading(&table), lost, now);
        let confirmation = pass.confirmation();
        director.finish(pass, now);
        confirmation
    };
    assert_eq!(asks(1, 0), Confirmation::Due);
    assert_eq!(asks(7, 1), Confirmation::Due);
    assert_eq!(asks(13, 2), Confirmation::NotDue, "two reads agree");
    assert_eq!(asks(66, 2), Confirmation::NotDue);
    assert_eq!(asks(67, 2), Confirmation::Due);
}

#[test]
fn why_a_step_failed_is_among_the_errors() {
    let failures = |reason: &str| {
        let reason = reason.to_owned();
        let (command, errno) = (Command::RemoveService(id()), errno::EINVAL);
        let holder = Holder::Source { name: "Consul" };
        [
            Failure::Refused {
                refused: KernelRefusal { command, errno },
                reason: reason.clone(),
            },
            Failure::Taken {
                holder,
                reason: reason.clone(),
            },
            Failure::Other { reason },
        ]
    };
    for failure in failures("the moon is full") {
        let (mut director, now) = warmed();
        let fails = |_: &Step| Err(failure.clone());
        let (_, sent, finish) = pass(&mut director, &mut Table::default(), now, fails);
        let expected = format!("{}: the moon is full", sent[0]);
        assert_eq!(finish.state.errors[0].1, expected);
    }
}

#[test]
fn the_state_is_as_the_last_pass_has_left_it_and_says_when_another_is_due_before_the_first() {
    let (mut director, now) = warmed();
    let before = director.state();
    assert!(before.pass.is_none() && before.interval == Duration::from_secs(30));
    let (_, _, finish) = pass(&mut director, &mut Table::default(), now, |_| Ok(()));
    let after = director.state();
    assert_eq!(after.pass, finish.state.pass);
    assert_eq!(after.services, finish.state.services);
}

#[test]
fn each_reason_for_a_pass_has_its_word() {
    let words = [
        (Reason::Startup, "startup"),
        (Reason::Consul, "consul"),
        (Reason::Nomad, "nomad"),
        (Reason::Driver, "driver"),
        (Reason::Warmed, "warmed"),
        (Reason::Timer, "timer"),
        (Reason::Audit, "audit"),
        (Reason::Config, "config"),
    ];
    for (reason, word) in words {
        assert_eq!(reason.word(), word);
    }
}
