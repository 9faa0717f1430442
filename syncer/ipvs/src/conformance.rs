//! What every [`Kernel`] must do, run against the fake one always and against the real one where there is one.
//!
//! Each function takes an empty table and panics where the kernel behaves otherwise.

use std::net::SocketAddr;

use crate::errno;
use crate::kernel::Kernel;
use crate::model::Command;
use crate::model::{
    Forwarding, Persistence, RealServer, ServiceFlags, ServiceId, ServiceSettings, Table,
    Thresholds, Tunnel, Weight,
};

/// One sentence that must hold.
pub type Case = fn(&mut dyn Kernel);

/// The suite: a sentence and the function that proves it.
pub const CASES: [(&str, Case); 6] = [
    (
        "what was added is read back, with every kind of address, flag and tunnel",
        reads_back_what_was_added,
    ),
    (
        "an error does not stop the commands after it, and says which one it was",
        goes_on_after_an_error,
    ),
    (
        "refusals have the errno of their operation",
        refuses_with_the_right_errno,
    ),
    (
        "an edit changes weight and settings and keeps the rest",
        edits,
    ),
    ("removing a service removes its real servers", removes),
    (
        "a batch longer than one send is done whole and in order",
        does_a_long_batch,
    ),
];

fn id(text: &str) -> ServiceId {
    text.parse().expect("a literal")
}

fn settings(scheduler: &str) -> ServiceSettings {
    ServiceSettings::new(scheduler.parse().expect("a literal"))
}

fn real(address: &str, weight: u32) -> RealServer {
    RealServer {
        address: address.parse().expect("a literal"),
        weight: Weight::saturating(weight),
        forwarding: Forwarding::Masquerade,
        thresholds: Thresholds::default(),
    }
}

fn errnos(kernel: &mut dyn Kernel, commands: &[Command]) -> Vec<i32> {
    let results = kernel.apply(commands).expect("the conversation holds");
    results
        .into_iter()
        .map(|result| result.map_or_else(|refused| refused.errno, |()| 0))
        .collect()
}

fn table(kernel: &mut dyn Kernel) -> Table {
    kernel
        .read(&Table::default())
        .expect("the conversation holds")
        .table
}

fn reads_back_what_was_added(kernel: &mut dyn Kernel) {
    let six = id("udp://[2001:db8::5]:53");
    let mut hashed = settings("mh");
    hashed.flags = ServiceFlags::FALLBACK.with(ServiceFlags::PORT);
    hashed.persistence = Some(Persistence {
        seconds: 300,
        prefix: 64,
    });
    let mut sticky = settings("wlc");
    sticky.persistence = Some(Persistence {
        seconds: 60,
        prefix: 24,
    });
    let mut tunnelled = real("[2001:db8::11]:53", 3);
    tunnelled.forwarding = Forwarding::Tunnel(Tunnel::Gre { flags: 1 });
    let mut limited = real("198.18.0.11:20080", 5);
    limited.thresholds = Thresholds {
        upper: 100,
        lower: 10,
    };
    let mut routed = real("198.18.0.12:80", 7);
    routed.forwarding = Forwarding::DirectRouting;
    let commands = [
        Command::AddService(id("198.18.0.29:80"), settings("rr")),
        Command::AddReal(id("198.18.0.29:80"), limited),
        Command::AddReal(id("198.18.0.29:80"), routed),
        Command::AddService(six, hashed),
        Command::AddReal(six, tunnelled),
        Command::AddService(id("fwmark:7"), sticky),
        Command::AddService(id("sctp://198.18.0.30:9"), settings("sh")),
    ];
    assert_eq!(errnos(kernel, &commands), [0; 7]);
    let mut expected = Table::default();
    for command in &commands {
        expected.apply(command).expect("an empty table takes them");
    }
    assert_eq!(table(kernel), expected);
}

fn goes_on_after_an_error(kernel: &mut dyn Kernel) {
    let service = id("198.18.0.29:80");
    let add = Command::AddService(service, settings("rr"));
    let commands = [
        add,
        add,
        Command::AddReal(service, real("198.18.0.11:80", 1)),
    ];
    assert_eq!(errnos(kernel, &commands), [0, errno::EEXIST, 0]);
    assert_eq!(
        table(kernel).get(&service).map(|found| found.reals().len()),
        Some(1)
    );
}

fn refuses_with_the_right_errno(kernel: &mut dyn Kernel) {
    let (present, gone) = (id("198.18.0.29:80"), id("198.18.0.30:80"));
    let absent: SocketAddr = "198.18.0.99:1".parse().expect("a literal");
    let mut backwards = real("198.18.0.12:80", 1);
    backwards.thresholds = Thresholds { upper: 1, lower: 2 };
    let commands = [
        Command::AddService(present, settings("rr")),
        Command::AddService(gone, settings("nosuch")),
        Command::EditService(gone, settings("rr")),
        Command::RemoveService(gone),
        Command::AddReal(gone, real("198.18.0.11:80", 1)),
        Command::EditReal(present, real("198.18.0.11:80", 1)),
        Command::RemoveReal(present, absent),
        Command::AddReal(present, backwards),
        Command::AddReal(present, real("224.0.0.1:80", 1)),
    ];
    let expected = [
        0,
        errno::ENOENT,
        errno::ESRCH,
        errno::ESRCH,
        errno::ESRCH,
        errno::ENOENT,
        errno::ENOENT,
        errno::ERANGE,
        errno::EINVAL,
    ];
    assert_eq!(errnos(kernel, &commands), expected);
    assert_eq!(kernel.service(&gone).expect("the conversation holds"), None);
    assert_eq!(
        kernel.service(&present).expect("the conversation holds"),
        Some(settings("rr"))
    );
    assert!(
        kernel
            .reals(&gone)
            .expect("a missing service has no real servers")
            .entries
            .is_empty()
    );
}

fn edits(kernel: &mut dyn Kernel) {
    let service = id("198.18.0.29:80");
    let commands = [
        Command::AddService(service, settings("rr")),
        Command::AddReal(service, real("198.18.0.11:80", 1)),
        Command::AddReal(service, real("198.18.0.12:80", 1)),
        Command::EditReal(service, real("198.18.0.11:80", 0)),
        Command::EditService(service, settings("wlc")),
    ];
    assert_eq!(errnos(kernel, &commands), [0; 5]);
    let found = table(kernel);
    let found = found.get(&service).expect("it was added");
    assert_eq!(found.settings, settings("wlc"));
    assert_eq!(
        found
            .reals()
            .iter()
            .map(|real| real.weight.get())
            .collect::<Vec<_>>(),
        [0, 1]
    );
}

fn removes(kernel: &mut dyn Kernel) {
    let service = id("198.18.0.29:80");
    let first = real("198.18.0.11:80", 1);
    let commands = [
        Command::AddService(service, settings("rr")),
        Command::AddReal(service, first),
        Command::AddReal(service, real("198.18.0.12:80", 1)),
        Command::RemoveReal(service, first.address),
    ];
    assert_eq!(errnos(kernel, &commands), [0; 4]);
    assert_eq!(
        kernel
            .reals(&service)
            .expect("the conversation holds")
            .entries
            .len(),
        1
    );
    assert_eq!(errnos(kernel, &[Command::RemoveService(service)]), [0]);
    assert!(table(kernel).is_empty());
}

fn does_a_long_batch(kernel: &mut dyn Kernel) {
    let service = id("198.18.0.29:80");
    let mut commands = vec![Command::AddService(service, settings("rr"))];
    for port in 1..=700 {
        let mut one = real("198.18.0.11:1", 1);
        one.address.set_port(port);
        commands.push(Command::AddReal(service, one));
        if port % 100 == 0 {
            commands.push(Command::AddReal(service, one));
        }
    }
    let failed = errnos(kernel, &commands)
        .into_iter()
        .filter(|errno| *errno == errno::EEXIST)
        .count();
    assert_eq!(failed, 7);
    assert_eq!(
        table(kernel).get(&service).map(|found| found.reals().len()),
        Some(700)
    );
}
