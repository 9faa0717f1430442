//! The fake kernel passes the suite that the real one passes.

use ipvs::conformance::CASES;
use ipvs::fake::FakeKernel;
use ipvs::{Command, Kernel, ServiceId, ServiceSettings, Table};

#[test]
fn the_fake_kernel_does_what_the_real_one_does() {
    for (sentence, case) in CASES {
        println!("{sentence}");
        case(&mut FakeKernel::default());
    }
}

#[test]
fn a_service_that_a_dump_left_out_is_asked_for_before_it_counts_as_gone() {
    let id: ServiceId = "198.18.0.29:80".parse().unwrap();
    let mut kernel = FakeKernel::default();
    kernel
        .apply(&[Command::AddService(
            id,
            ServiceSettings::new("rr".parse().unwrap()),
        )])
        .unwrap();
    let expected = kernel.table.clone();
    kernel.hidden_from_dump = vec![id];
    assert_eq!(kernel.read(&expected).unwrap().table, expected);
    kernel.hidden_from_dump = vec![id];
    assert!(kernel.read(&Table::default()).unwrap().table.is_empty());
}
