//! How much may be lost at once, how long a loss counts, and what is no loss.

use super::*;

/// A pass before a kernel that did nothing of what it was told.
fn stuck(day: &mut Day, mut desired: Desired) -> Desired {
    let evidence = Evidence {
        table: &day.table,
        last: &SavedTable::default(),
        catalog: None,
        confirmations: day.confirmations,
        restarts: 0,
    };
    day.losses = guard(&mut desired, &evidence, &policy(), &day.losses, day.now);
    desired
}

fn held(desired: &Desired) -> usize {
    let services = desired.services.values();
    let endpoints = services.flat_map(|service| &service.endpoints);
    endpoints.filter(|endpoint| endpoint.held).count()
}

/// Two reads that agree, far enough apart.
fn confirm(day: &mut Day, desired: impl Fn() -> Desired) {
    for _ in 0..CONFIRMING_READS {
        day.later(CONFIRMATION_SPACING.as_millis().try_into().unwrap());
        day.confirmations += 1;
        stuck(day, desired());
    }
}

#[test]
fn a_loss_counts_with_later_ones_until_patience_is_over() {
    let hold = u64::try_from(CONTRADICTION_HOLD.as_millis()).unwrap();
    for (wait, serving) in [(hold - 1, 7), (hold, 4)] {
        let mut day = Day::new();
        day.pass(desired(|service| service >= 3, None));
        assert_eq!(day.serving(), 7);
        day.later(wait);
        day.pass(desired(|service| service >= 6, None));
        assert_eq!(day.serving(), serving, "after {wait} ms");
    }
}

#[test]
fn what_the_kernel_did_not_do_yet_is_counted_once() {
    let mut day = Day::new();
    for _ in 0..3 {
        assert_eq!(held(&stuck(&mut day, desired(|one| one >= 5, None))), 0);
    }
    let more = stuck(&mut day, desired(|one| one >= 6, None));
    assert_eq!(held(&more), 6, "six of ten");
    let hold = day.losses.hold.as_ref().unwrap();
    assert_eq!((hold.lost, hold.serving), (6, 10));
}

#[test]
fn what_was_confirmed_is_not_held_again_although_the_kernel_did_not_do_it_yet() {
    let mut day = Day::new();
    stuck(&mut day, desired(|one| one > 0, None));
    let none = || desired(|_| false, None);
    assert_eq!(held(&stuck(&mut day, none())), 10);
    confirm(&mut day, none);
    day.later(10);
    assert_eq!(held(&stuck(&mut day, none())), 0);
    assert_eq!(day.losses.hold, None);
}

#[test]
fn what_is_confirmed_and_still_there_does_not_stand_in_for_the_last_one_that_runs() {
    let mut day = Day::new();
    let second: SocketAddr = "198.18.0.11:30000".parse().unwrap();
    let mut reals = day.table.get(&id(0)).unwrap().reals().to_vec();
    reals.push(RealServer {
        address: second,
        ..reals[0]
    });
    let settings = ServiceSettings::new(Scheduler::WRR);
    day.table
        .insert(id(0), VirtualService::new(settings, reals));
    let with_second = |mut desired: Desired| {
        let service = Arc::make_mut(desired.services.get_mut(&id(0)).unwrap());
        service.endpoints.push(Endpoint {
            address: second,
            want: Want::Serve(Weight::ONE),
            phase: None,
            health: None,
            alloc: None,
            held: false,
        });
        desired
    };
    let only_second = || with_second(desired(|_| false, None));
    stuck(&mut day, only_second());
    confirm(&mut day, only_second);
    assert_eq!(day.losses.hold, None);
    let runs = Allocation {
        ports: vec![Port {
            address: second,
            ..running().at(address(0)).unwrap().ports[0].clone()
        }],
        ..running().at(address(0)).unwrap().clone()
    };
    let fleet = Arc::new(Fleet::new([runs]));
    let first_gone = desired(|one| one > 0, Some(Arc::clone(&fleet)));
    assert_eq!(held(&stuck(&mut day, first_gone)), 1, "the second");
}

#[test]
fn one_of_two_that_run_may_leave_the_catalogue() {
    let mut day = Day::new();
    let mut reals = day.table.get(&id(0)).unwrap().reals().to_vec();
    reals.push(RealServer {
        address: address(1),
        ..reals[0]
    });
    let settings = ServiceSettings::new(Scheduler::WRR);
    day.table
        .insert(id(0), VirtualService::new(settings, reals));
    let mut one_left = desired(|_| true, Some(running()));
    let other = one_left.services[&id(1)].endpoints.clone();
    Arc::make_mut(one_left.services.get_mut(&id(0)).unwrap()).endpoints = other;
    assert_eq!(held(&stuck(&mut day, one_left)), 0);
}

#[test]
fn what_nomad_says_is_going_is_not_lost() {
    let stopping = (0..SERVICES).map(|service| Allocation {
        wanted: false,
        ..running().at(address(service)).unwrap().clone()
    });
    let mut day = Day::new();
    let gone = desired(|_| false, Some(Arc::new(Fleet::new(stopping))));
    stuck(&mut day, gone);
    assert_eq!(day.losses, Losses::default());
}

#[test]
fn what_nomad_says_starts_again_is_not_lost() {
    let restarting = (0..SERVICES).map(|service| {
        let mut one = running().at(address(service)).unwrap().clone();
        one.tasks[0].state = TaskState::Pending;
        one
    });
    let mut day = Day::new();
    let gone = desired(|_| false, Some(Arc::new(Fleet::new(restarting))));
    stuck(&mut day, gone);
    assert_eq!(day.losses, Losses::default());
}

#[test]
fn newcomers_before_and_after_it_do_not_hide_one_that_is_present() {
    let mut day = Day::new();
    let mut all = desired(|_| true, None);
    for service in all.services.values_mut() {
        let endpoint = service.endpoints[0];
        let beside = |port| Endpoint {
            address: SocketAddr::new(endpoint.address.ip(), port),
            ..endpoint
        };
        Arc::make_mut(service).endpoints = vec![beside(1), beside(2), endpoint, beside(60_000)];
    }
    stuck(&mut day, all);
    assert_eq!(day.losses, Losses::default());
}

#[test]
fn what_does_not_serve_and_what_is_not_ours_is_neither_lost_nor_counted() {
    let mut day = Day::new();
    let settings = ServiceSettings::new(Scheduler::WRR);
    let serving = *day.table.get(&id(0)).unwrap().reals().first().unwrap();
    let idle = serving.with_weight(Weight::ZERO);
    day.table
        .insert(id(0), VirtualService::new(settings, vec![idle]));
    let foreign = "192.0.2.1:80".parse().unwrap();
    day.table
        .insert(foreign, VirtualService::new(settings, vec![serving]));
    stuck(&mut day, desired(|_| false, None));
    let hold = day.losses.hold.as_ref().unwrap();
    assert_eq!((hold.lost, hold.serving), (9, 9));
}

#[test]
fn before_the_sources_are_read_nothing_is_lost_and_what_was_let_go_is_remembered() {
    let mut day = Day::new();
    day.pass(desired(|one| one > 0, None));
    let before = day.losses.clone();
    let unread = Desired {
        complete: false,
        ..desired(|_| false, None)
    };
    assert_eq!(held(&stuck(&mut day, unread)), 0);
    assert_eq!(day.losses, before);
}

#[test]
fn a_contradiction_is_held_exactly_as_long_as_patience_lasts() {
    let hold = u64::try_from(CONTRADICTION_HOLD.as_millis()).unwrap();
    for (wait, expected) in [(hold - 1, 1), (hold, 0)] {
        let mut day = Day::new();
        let gone = || desired(|one| one > 0, Some(running()));
        stuck(&mut day, gone());
        let start = day.now;
        confirm(&mut day, gone);
        day.now = start.after(Duration::from_millis(wait));
        assert_eq!(held(&stuck(&mut day, gone())), expected, "after {wait} ms");
    }
}

#[test]
fn a_clock_that_was_set_back_prolongs_neither_a_hold_nor_a_loss() {
    let mut day = Day::new();
    let gone = || desired(|_| false, None);
    stuck(&mut day, gone());
    day.confirmations += 1;
    day.later(CONFIRMATION_SPACING.as_millis().try_into().unwrap());
    stuck(&mut day, gone());
    day.now = Moment(0);
    stuck(&mut day, gone());
    assert_eq!(day.losses.hold.as_ref().unwrap().since, Moment(0));
    day.later(CONFIRMATION_SPACING.as_millis().try_into().unwrap());
    day.confirmations += 1;
    assert_eq!(held(&stuck(&mut day, gone())), 0, "confirmed");
    day.now = Moment(0);
    stuck(&mut day, gone());
    day.later(CONTRADICTION_HOLD.as_millis().try_into().unwrap());
    assert_eq!(held(&stuck(&mut day, gone())), 10, "it is forgotten");
}
