//! Tables of any kind, programmed into the kernel: read back they are the same, and `ipvsadm` reads the same.
//!
//! Run as root on a kernel with `ip_vs`, with `ipvsadm`: `cargo test -p ipvs --test kernel_tables -- --ignored`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command as Program;

use ipvs::{
    Client, Command, Family, Forwarding, Kernel, Persistence, Protocol, RealServer, ServiceFlags,
    ServiceId, ServiceSettings, Table, Thresholds, Tunnel, VirtualService, Weight,
};
use nix::sched::{CloneFlags, unshare};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const TABLES: u32 = 200;

/// All that the kernel has.
const SCHEDULERS: [&str; 13] = [
    "rr", "wrr", "lc", "wlc", "sh", "mh", "sed", "nq", "dh", "lblc", "lblcr", "fo", "ovf",
];

fn address(family: Family, last: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(198, 18, 0, last).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into(),
    }
}

fn any_family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

fn any_id() -> impl Strategy<Value = ServiceId> {
    let protocol = prop_oneof![
        Just(Protocol::Tcp),
        Just(Protocol::Udp),
        Just(Protocol::Sctp)
    ];
    let of_address =
        (protocol, any_family(), 1_u8..4, 1_u16..4).prop_map(|(protocol, family, last, port)| {
            ServiceId::Address {
                protocol,
                address: SocketAddr::new(address(family, last), port),
            }
        });
    let of_mark = (any_family(), 1_u32..9).prop_map(|(family, mark)| ServiceId::Mark {
        family,
        mark: mark.try_into().expect("not nought"),
    });
    prop_oneof![4 => of_address, 1 => of_mark]
}

fn any_settings(id: ServiceId) -> impl Strategy<Value = ServiceSettings> {
    let host = id.family().host_prefix();
    let persistence = proptest::option::of((1_u32..100_000, 1..=host));
    let scheduler = proptest::sample::select(&SCHEDULERS[..]);
    let switches = any::<(bool, bool, bool)>();
    (scheduler, switches, persistence).prop_map(
        move |(name, (fallback, port, one), persistence)| {
            let mut settings = ServiceSettings::new(name.parse().expect("a scheduler"));
            settings.persistence =
                persistence.map(|(seconds, prefix)| Persistence { seconds, prefix });
            let hashes = ["sh", "mh"].contains(&name);
            let one = one && id.protocol() == Some(Protocol::Udp);
            for (is_set, flag) in [
                (fallback && hashes, ServiceFlags::FALLBACK),
                (port && hashes, ServiceFlags::PORT),
                (one, ServiceFlags::ONE_PACKET),
            ] {
                if is_set {
                    settings.flags = settings.flags.with(flag);
                }
            }
            settings
        },
    )
}

/// By another method than masquerade a packet keeps its port.
fn any_real(id: ServiceId) -> impl Strategy<Value = RealServer> {
    let method = prop_oneof![
        3 => Just(Forwarding::Masquerade),
        1 => Just(Forwarding::DirectRouting),
        1 => Just(Forwarding::Tunnel(Tunnel::Ipip)),
    ];
    let thresholds = (0_u32..1000, 0_u32..1000);
    (
        200_u8..206,
        1_u16..u16::MAX,
        0_u32..=Weight::MAX.get(),
        method,
        thresholds,
    )
        .prop_map(move |(last, port, weight, forwarding, (one, other))| {
            let kept = match id {
                ServiceId::Address { address, .. } => address.port(),
                ServiceId::Mark { .. } => 0,
            };
            let port = match forwarding {
                Forwarding::Masquerade => port,
                _ => kept,
            };
            RealServer {
                address: SocketAddr::new(address(id.family(), last), port),
                weight: Weight::saturating(weight),
                forwarding,
                thresholds: Thresholds {
                    upper: one.max(other),
                    lower: one.min(other),
                },
            }
        })
}

fn any_table() -> impl Strategy<Value = Table> {
    let service = any_id().prop_flat_map(|id| {
        let reals = proptest::collection::vec(any_real(id), 0..6);
        (Just(id), any_settings(id), reals)
    });
    proptest::collection::vec(service, 0..6).prop_map(|services| {
        let service = |(id, settings, reals): (ServiceId, ServiceSettings, Vec<RealServer>)| {
            let reals: BTreeMap<_, _> =
                reals.into_iter().map(|real| (real.address, real)).collect();
            (
                id,
                VirtualService::new(settings, reals.into_values().collect()),
            )
        };
        services.into_iter().map(service).collect()
    })
}

fn program(kernel: &mut Client, table: &Table) {
    let mut commands = Vec::new();
    for (id, service) in table.iter() {
        commands.push(Command::AddService(*id, service.settings));
        commands.extend(
            service
                .reals()
                .iter()
                .map(|real| Command::AddReal(*id, *real)),
        );
    }
    let done = kernel.apply(&commands).expect("the conversation holds");
    for (command, outcome) in commands.iter().zip(done) {
        assert!(outcome.is_ok(), "{command}: {outcome:?}");
    }
}

fn ipvsadm(words: &[&str]) -> String {
    let output = Program::new("ipvsadm")
        .args(words)
        .output()
        .expect("ipvsadm runs");
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// As `ipvsadm -Sn` writes an identity.
fn identity(id: &ServiceId) -> String {
    match id {
        ServiceId::Address { protocol, address } => {
            let letter = match protocol {
                Protocol::Tcp => "-t",
                Protocol::Udp => "-u",
                Protocol::Sctp => "--sctp-service",
            };
            format!("{letter} {address}")
        }
        ServiceId::Mark { family, mark } => match family {
            Family::V4 => format!("-f {mark}"),
            Family::V6 => format!("-f {mark} -6"),
        },
    }
}

fn mask(family: Family, prefix: u8) -> String {
    match family {
        Family::V4 => Ipv4Addr::from(u32::MAX << (32 - u32::from(prefix))).to_string(),
        Family::V6 => prefix.to_string(),
    }
}

/// What `ipvsadm -Sn` writes of a table, which leaves thresholds out.
fn lines(table: &Table) -> Vec<String> {
    let mut lines = Vec::new();
    for (id, service) in table.iter() {
        let settings = service.settings;
        let mut words = vec![format!("-A {} -s {}", identity(id), settings.scheduler)];
        if let Some(Persistence { seconds, prefix }) = settings.persistence {
            words.push(format!("-p {seconds}"));
            if prefix < id.family().host_prefix() {
                words.push(format!("-M {}", mask(id.family(), prefix)));
            }
        }
        if settings.flags.contains(ServiceFlags::ONE_PACKET) {
            words.push("-o".to_owned());
        }
        let flags = [
            (ServiceFlags::FALLBACK, "fallback"),
            (ServiceFlags::PORT, "port"),
        ];
        let flags: Vec<String> = flags
            .into_iter()
            .filter(|(flag, _)| settings.flags.contains(*flag))
            .map(|(_, name)| format!("{}-{name}", settings.scheduler))
            .collect();
        if !flags.is_empty() {
            words.push(format!("-b {}", flags.join(",")));
        }
        lines.push(words.join(" "));
        for real in service.reals() {
            let (letter, more) = match real.forwarding {
                Forwarding::Masquerade => ("-m", ""),
                Forwarding::DirectRouting => ("-g", ""),
                _ => ("-i", " --tun-type ipip"),
            };
            let (id, address, weight) = (identity(id), real.address, real.weight);
            lines.push(format!("-a {id} -r {address} {letter} -w {weight}{more}"));
        }
    }
    lines.sort();
    lines
}

#[test]
#[ignore = "needs root and ip_vs"]
fn two_hundred_tables_of_any_kind_are_read_back_as_they_were_written_and_ipvsadm_reads_the_same() {
    unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace");
    let up = Program::new("ip")
        .args(["link", "set", "lo", "up"])
        .status();
    assert!(up.expect("ip runs").success());
    let mut runner = TestRunner::new(Config {
        cases: TABLES,
        failure_persistence: None,
        ..Config::default()
    });
    let done = runner.run(&any_table(), |table| {
        ipvsadm(&["-C"]);
        let mut kernel = Client::open().expect("the family IPVS");
        program(&mut kernel, &table);
        let read = kernel.read(&Table::default()).expect("a table");
        prop_assert_eq!(read.unreadable, []);
        prop_assert_eq!(&read.table, &table);
        let text = ipvsadm(&["-Sn"]);
        let mut theirs: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        theirs.sort();
        prop_assert_eq!(theirs, lines(&table));
        Ok(())
    });
    done.unwrap_or_else(|error| panic!("{error}"));
}
