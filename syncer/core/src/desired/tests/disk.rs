//! Before the catalogue is read: the table as it was applied last.

use super::*;

#[test]
fn before_the_catalogue_is_read_the_table_on_disk_is_what_should_be() {
    let by = |service, real, expected| {
        let mut of_two_methods = saved("api", OTHER, &[1]);
        of_two_methods.forwarding = service;
        for own in Arc::make_mut(&mut of_two_methods.reals) {
            own.forwarding = real;
        }
        assert_eq!(
            restored(of_two_methods),
            [expected],
            "{real:?} in {service:?}"
        );
    };
    let (direct, masquerade) = (Forwarding::DirectRouting, Forwarding::Masquerade);
    by(direct, direct, Want::Serve(Weight::ONE));
    by(direct, masquerade, Want::Serve(Weight::ONE));
    // Its node would have to say that it takes it.
    by(masquerade, direct, Want::Keep);
}

/// What is wanted of a service's instances before the catalogue is read, by the table on disk.
fn restored(service: SavedService) -> Vec<Want> {
    let policy = Case::new().policy;
    let last = [
        saved("web", VIP, &[1, 0]),
        saved("theirs", OUTSIDE, &[1]),
        service,
    ];
    let last = last.into_iter().collect();
    let snapshots = Snapshots {
        catalog: None,
        fleet: FleetView::Awaited,
        warmed: &BTreeSet::new(),
        refusals: &Arc::default(),
        last: &last,
        hints: &HintPhases::new(),
        occupied: &Arc::default(),
    };
    let desired = desired(&snapshots, &policy);
    assert!(!desired.complete);
    assert_eq!(desired.services.len(), 2);
    let wants = |vip: &str| -> Vec<Want> {
        let endpoints = desired.services[&id(vip)].endpoints.iter();
        endpoints.map(|endpoint| endpoint.want).collect()
    };
    assert_eq!(wants(VIP), [Want::Serve(Weight::ONE), Want::Keep]);
    wants(OTHER)
}
