//! The fake kernel passes the suite that the real one passes.

use ipvs::conformance::CASES;
use ipvs::fake::FakeKernel;
use ipvs::wire::Malformed;
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

#[test]
fn an_entry_that_can_t_be_read_is_told_and_hides_no_other() {
    let id: ServiceId = "198.18.0.29:80".parse().unwrap();
    let mut kernel = FakeKernel::default();
    let settings = ServiceSettings::new("rr".parse().unwrap());
    kernel.apply(&[Command::AddService(id, settings)]).unwrap();
    let odd = |value| Malformed::Value {
        what: "forwarding method",
        value,
    };
    kernel.unreadable = vec![Malformed::Scheduler];
    kernel.unreadable_of.insert(id, (0..40).map(odd).collect());
    let live = kernel.read(&Table::default()).unwrap();
    assert_eq!(live.table, kernel.table);
    let told: Vec<String> = live.unreadable.iter().map(ToString::to_string).collect();
    let expected = [
        "a virtual service: a scheduler's name is unusable",
        "a real server of tcp://198.18.0.29:80: attribute forwarding method has the unusable value 0",
    ];
    assert_eq!(told[..2], expected);
    assert_eq!(told.len(), 16, "the list has its end");
}
