//! The codec against bytes captured with `strace -xx -e sendmsg,recvmsg` around ipvsadm 1.31 on Linux 6.1, x86-64.
//! Above each capture stands the command that made it. Netlink headers are cut off: the captures start with the
//! generic header.

#![expect(clippy::unwrap_used, reason = "a test may")]

use ipvs::wire::message::Request;
use ipvs::wire::{decode, encode};
use ipvs::{
    Command, Connections, Family, Forwarding, Persistence, RealServer, ServiceFlags, ServiceId,
    ServiceSettings, Thresholds, Tunnel, Weight,
};
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

/// Without the netlink header.
fn encoded(command: &Command) -> Vec<u8> {
    let mut buffer = Vec::new();
    encode::put_command(&mut buffer, 0x1c, 1, 0, command);
    buffer.split_off(16)
}

fn id(text: &str) -> ServiceId {
    text.parse().unwrap()
}

fn settings(
    scheduler: &str,
    flags: ServiceFlags,
    persistence: Option<Persistence>,
) -> ServiceSettings {
    ServiceSettings {
        scheduler: scheduler.parse().unwrap(),
        flags,
        persistence,
    }
}

/// ipvsadm writes settings into every service nest; a real server's commands need the identity only.
fn real_nest(message: &[u8]) -> &[u8] {
    let service = usize::from(u16::from_ne_bytes([message[4], message[5]]));
    &message[4 + service.next_multiple_of(4)..]
}

#[test]
fn a_plain_service_is_what_ipvsadm_sends() {
    // ipvsadm -A -t 198.18.0.29:80 -s rr
    let captured = bytes(
        "01010000540001800600010002000000060002000600000014000300c612001d0000000000000000000000000600040000500000
         07000600727200000c00070000000000ffffffff080008000000000008000900ffffffff",
    );
    let command = Command::AddService(
        id("198.18.0.29:80"),
        settings("rr", ServiceFlags::default(), None),
    );
    assert_eq!(encoded(&command), captured);
}

#[test]
fn ipv6_persistence_and_scheduler_flags_are_what_ipvsadm_sends() {
    // ipvsadm -A -u [2001:db8::5]:53 -s mh -b mh-port,mh-fallback -p 300 -M 64
    let captured = bytes(
        "0101000054000180060001000a00000006000200110000001400030020010db80000000000000000000000050600040000350000
         070006006d6800000c00070019000000ffffffff080008002c0100000800090040000000",
    );
    let flags = ServiceFlags::FALLBACK.with(ServiceFlags::PORT);
    let persistence = Some(Persistence {
        seconds: 300,
        prefix: 64,
    });
    let command = Command::AddService(
        id("udp://[2001:db8::5]:53"),
        settings("mh", flags, persistence),
    );
    assert_eq!(encoded(&command), captured);
}

#[test]
fn a_firewall_mark_is_what_ipvsadm_sends() {
    // ipvsadm -A -f 7 -s wlc -p 60 -M 255.255.255.0
    let captured = bytes(
        "01010000380001800600010002000000080005000700000008000600776c63000c00070001000000ffffffff080008003c000000
         08000900ffffff00",
    );
    let persistence = Some(Persistence {
        seconds: 60,
        prefix: 24,
    });
    let command = Command::AddService(
        id("fwmark:7"),
        settings("wlc", ServiceFlags::default(), persistence),
    );
    assert_eq!(encoded(&command), captured);
}

#[test]
fn a_masqueraded_real_server_is_what_ipvsadm_sends() {
    // ipvsadm -a -t 198.18.0.29:80 -r 198.18.0.11:20080 -m -w 5 -x 100 -y 10
    let captured = bytes(
        "05010000540001800600010002000000060002000600000014000300c612001d0000000000000000000000000600040000500000
         05000600000000000c00070000000000ffffffff080008000000000008000900ffffffff
         6000028006000b000200000014000100c612000b000000000000000000000000060002004e700000080003000000000008000400
         0500000005000d000000000006000e000000000006000f00000000000800050064000000080006000a000000",
    );
    let real = RealServer {
        address: "198.18.0.11:20080".parse().unwrap(),
        weight: Weight::saturating(5),
        forwarding: Forwarding::Masquerade,
        thresholds: Thresholds {
            upper: 100,
            lower: 10,
        },
    };
    let message = encoded(&Command::AddReal(id("198.18.0.29:80"), real));
    assert_eq!(message[..4], captured[..4]);
    assert_eq!(real_nest(&message), real_nest(&captured));
}

#[test]
fn a_tunnelled_real_server_is_what_ipvsadm_sends() {
    // ipvsadm -a -u [2001:db8::5]:53 -r [2001:db8::11]:53 -i --tun-type gue --tun-port 6080 --tun-csum -w 3
    let captured = bytes(
        "0501000054000180060001000a00000006000200110000001400030020010db80000000000000000000000050600040000350000
         05000600000000000c00070000000000ffffffff08000800000000000800090080000000
         6000028006000b000a0000001400010020010db80000000000000000000000110600020000350000080003000200000008000400
         0300000005000d000100000006000e0017c0000006000f000100000008000500000000000800060000000000",
    );
    let real = RealServer {
        address: "[2001:db8::11]:53".parse().unwrap(),
        weight: Weight::saturating(3),
        forwarding: Forwarding::Tunnel(Tunnel::Gue {
            port: 6080.try_into().unwrap(),
            flags: 1,
        }),
        thresholds: Thresholds::default(),
    };
    let message = encoded(&Command::AddReal(id("udp://[2001:db8::5]:53"), real));
    assert_eq!(real_nest(&message), real_nest(&captured));
}

#[test]
fn the_question_for_real_servers_is_what_ipvsadm_sends() {
    // ipvsadm -Ln
    let captured = bytes(
        "08010000300001800600010002000000060002000600000014000300c612001d0000000000000000000000000600040000500000",
    );
    let mut buffer = Vec::new();
    let request = Request {
        flags: 0x300,
        command: 8,
        sequence: 1,
    };
    encode::put_question(&mut buffer, 0x1c, request, Some(&id("198.18.0.29:80")));
    assert_eq!(buffer.split_off(16), captured);
}

#[test]
fn a_service_of_the_kernel_is_understood_and_its_own_flag_left_out() {
    // ipvsadm -Ln; counters cut off. Flags are PERSISTENT, HASHED (the kernel's own), SCHED1, SCHED2.
    let answer = bytes(
        "54000100060001000a00000006000200110000001400030020010db80000000000000000000000050600040000350000
         070006006d6800000c0007001b000000ffffffff080008002c0100000800090040000000",
    );
    let flags = ServiceFlags::FALLBACK.with(ServiceFlags::PORT);
    let persistence = Some(Persistence {
        seconds: 300,
        prefix: 64,
    });
    let expected = (
        id("udp://[2001:db8::5]:53"),
        settings("mh", flags, persistence),
    );
    assert_eq!(decode::service(&answer), Ok(expected));
}

#[test]
fn a_real_server_of_the_kernel_is_understood_with_its_counts() {
    // ipvsadm -Ln; packet counters cut off, connection counts set to 2 and 3.
    let answer = bytes(
        "7800020014000100c612000b000000000000000000000000060002004e700000080003000000000008000400000000000500
         0d000000000006000e000000000006000f000000000008000500000000000800060000000000080007000200000008000800
         0300000008000900000000000600 0b0002000000",
    );
    let (real, connections) = decode::real_server(&answer, Family::V4).unwrap();
    assert_eq!(real.address, "198.18.0.11:20080".parse().unwrap());
    assert_eq!(
        (real.weight, real.forwarding),
        (Weight::ZERO, Forwarding::Masquerade)
    );
    assert_eq!(
        connections,
        Connections {
            active: 2,
            inactive: 3,
            persistent: 0
        }
    );
}

fn any_id() -> impl Strategy<Value = ServiceId> {
    let protocol = prop_oneof![Just("tcp"), Just("udp"), Just("sctp")];
    let address =
        any::<std::net::SocketAddr>().prop_map(|a| std::net::SocketAddr::new(a.ip(), a.port()));
    prop_oneof![
        (protocol, address).prop_map(|(protocol, address)| id(&format!("{protocol}://{address}"))),
        (1_u32.., prop_oneof![Just('4'), Just('6')])
            .prop_map(|(mark, v)| id(&format!("fwmark{v}:{mark}"))),
    ]
}

fn any_forwarding() -> impl Strategy<Value = Forwarding> {
    prop_oneof![
        Just(Forwarding::Masquerade),
        Just(Forwarding::Local),
        Just(Forwarding::DirectRouting),
        Just(Forwarding::Bypass),
        Just(Forwarding::Tunnel(Tunnel::Ipip)),
        (1_u16.., any::<u16>()).prop_map(|(port, flags)| Forwarding::Tunnel(Tunnel::Gue {
            port: port.try_into().unwrap(),
            flags
        })),
        any::<u16>().prop_map(|flags| Forwarding::Tunnel(Tunnel::Gre { flags })),
    ]
}

proptest! {
    #[test]
    fn services_survive_the_wire(
        id in any_id(),
        name in "[a-z][a-z0-9_-]{0,14}",
        bits in any::<u32>(),
        persistence in proptest::option::of((any::<u32>(), 1_u8..=32)),
    ) {
        let persistence = persistence.map(|(seconds, prefix)| Persistence { seconds, prefix });
        let settings = settings(&name, ServiceFlags::from_bits(bits), persistence);
        let message = encoded(&Command::AddService(id, settings));
        prop_assert_eq!(decode::service(&message[4..]), Ok((id, settings)));
    }

    #[test]
    fn real_servers_survive_the_wire(
        address in any::<std::net::SocketAddr>(),
        weight in 0..=i32::MAX.unsigned_abs(),
        forwarding in any_forwarding(),
        upper in any::<u32>(),
        lower in any::<u32>(),
    ) {
        let address = std::net::SocketAddr::new(address.ip(), address.port());
        let weight = Weight::saturating(weight);
        let real = RealServer { address, weight, forwarding, thresholds: Thresholds { upper, lower } };
        let message = encoded(&Command::EditReal(id("fwmark:1"), real));
        let decoded = decode::real_server(&message[4..], Family::V4);
        prop_assert_eq!(decoded, Ok((real, Connections::default())));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode::service(&noise);
        let _ = decode::real_server(&noise, Family::V6);
        let _ = ipvs::wire::message::Replies::new(&noise).count();
    }

    #[test]
    fn a_damaged_answer_does_not_make_the_decoder_panic(at in 0_usize..80, byte in any::<u8>()) {
        let mut message = encoded(&Command::AddService(
            id("198.18.0.29:80"),
            settings("rr", ServiceFlags::default(), None),
        ));
        let at = at % message.len();
        message[at] = byte;
        let _ = decode::service(&message[4..]);
    }
}
