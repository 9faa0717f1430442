//! What is remembered of a virtual service is what was applied, and what did not change is shared.

use super::*;
use ipvs::{Table, VirtualService};

fn real(port: u16, forwarding: Forwarding) -> RealServer {
    RealServer {
        forwarding,
        ..saved("web", VIP, &[1; 9]).reals[usize::from(port - 1)]
    }
}

fn table(reals: &[RealServer]) -> Table {
    let service = VirtualService::new(vip(VIP).settings, reals.to_vec());
    [(id(VIP), service)].into_iter().collect()
}

fn web() -> DesiredService {
    let case = Case::new().configured("web", VIP);
    DesiredService::clone(&case.desired().services[&id(VIP)])
}

fn wanting(service: Option<DesiredService>) -> Desired {
    let service = service.map(|service| (id(VIP), Arc::new(service)));
    Desired {
        services: service.into_iter().collect(),
        ..Desired::default()
    }
}

/// What is remembered after `table` was applied for `service`.
fn renewed(
    before: &SavedTable,
    service: Option<&DesiredService>,
    table: &Table,
) -> Option<SavedService> {
    let mut last = before.clone();
    last.renew(
        &Scope::Only([id(VIP)].into()),
        &wanting(service.cloned()),
        table,
    );
    last.get(&id(VIP)).cloned()
}

const MASQUERADE: Forwarding = Forwarding::Masquerade;
const DIRECT: Forwarding = Forwarding::DirectRouting;

/// `web` with one real server, as it was applied.
fn applied() -> SavedTable {
    let mut last = SavedTable::default();
    last.renew(
        &Scope::Whole,
        &wanting(Some(web())),
        &table(&[real(1, MASQUERADE)]),
    );
    last
}

#[test]
fn whatever_changes_is_remembered_anew() {
    let before = applied();
    let changes: [fn(&mut DesiredService); 6] = [
        |web| web.name = "api".into(),
        |web| web.settings.scheduler = "lc".parse().unwrap(),
        |web| web.forwarding = DIRECT,
        |web| web.snat = true,
        |web| web.drain = Duration::from_secs(7),
        |web| web.safeguards.slow_start = Some(Duration::from_secs(7)),
    ];
    for change in changes {
        let mut web = web();
        change(&mut web);
        let expected = SavedService {
            name: Arc::clone(&web.name),
            id: id(VIP),
            settings: web.settings,
            forwarding: web.forwarding,
            snat: web.snat,
            drain: Some(web.drain),
            safeguards: web.safeguards,
            leaving: false,
            reals: Arc::new(vec![real(1, MASQUERADE)]),
        };
        let after = renewed(&before, Some(&web), &table(&[real(1, MASQUERADE)]));
        assert_eq!(after, Some(expected));
    }
    let two = [real(1, MASQUERADE), real(2, MASQUERADE)];
    let after = renewed(&before, Some(&web()), &table(&two)).unwrap();
    assert_eq!(*after.reals, two);
}

#[test]
fn what_did_not_change_is_shared_with_the_copy_before() {
    let one = table(&[real(1, MASQUERADE)]);
    for service in [Some(web()), None] {
        let mut last = applied();
        last.renew(&Scope::Whole, &wanting(service.clone()), &one);
        let before = last.clone();
        last.renew(&Scope::Whole, &wanting(service), &one);
        let is_same = std::ptr::eq(before.get(&id(VIP)).unwrap(), last.get(&id(VIP)).unwrap());
        assert!(is_same);
    }
}

#[test]
fn one_that_leaves_is_remembered_with_the_real_servers_that_are_left_and_comes_back() {
    let two = [real(1, MASQUERADE), real(2, MASQUERADE)];
    let mut last = applied();
    for reals in [&two[..], &two[1..]] {
        last.renew(&Scope::Whole, &wanting(None), &table(reals));
        let leaving = last.get(&id(VIP)).unwrap();
        assert!(leaving.leaving);
        assert_eq!(*leaving.reals, reals);
    }
    let back = renewed(&last, Some(&web()), &table(&two[1..])).unwrap();
    assert!(!back.leaving);
}

#[test]
fn one_that_went_over_to_its_services_method_is_remembered_by_that() {
    let direct = DesiredService {
        forwarding: DIRECT,
        ..web()
    };
    let after = renewed(&applied(), Some(&direct), &table(&[real(1, DIRECT)])).unwrap();
    assert_eq!(*after.reals, [real(1, DIRECT)]);
    let by_another_hand = renewed(&applied(), Some(&web()), &table(&[real(1, DIRECT)])).unwrap();
    assert_eq!(*by_another_hand.reals, [real(1, MASQUERADE)]);
}

#[test]
fn a_table_comes_back_from_its_list_as_it_was() {
    let text = serde_json::to_string(&applied()).unwrap();
    assert!(text.starts_with('['), "{text}");
    assert_eq!(
        serde_json::from_str::<SavedTable>(&text).unwrap(),
        applied()
    );
}
