//! The suite against the kernel itself; each case has a network namespace of its own.
//!
//! Run as root on a kernel with `ip_vs`: `cargo test -p ipvs --test kernel -- --ignored --test-threads=1`.

use ipvs::conformance::CASES;
use ipvs::wire::encode;
use ipvs::wire::message::{self, Body, Replies};
use ipvs::{
    Client, Command, Error, Forwarding, Kernel, RealServer, ServiceId, ServiceSettings, Table,
    Thresholds, Weight,
};
use netlink_sys::protocols::NETLINK_GENERIC;
use nix::sched::{CloneFlags, unshare};

#[test]
#[ignore = "needs root and ip_vs"]
fn the_real_kernel_passes_the_suite() {
    for (sentence, case) in CASES {
        println!("{sentence}");
        // A thread's namespace is its own: the next case starts in the one that the process was born in.
        let done = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace");
            // Without any address the namespace has no local table, and every real server would be EINVAL.
            let up = std::process::Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status();
            assert!(up.expect("ip runs").success());
            case(&mut Client::open().expect("the family IPVS"));
        });
        done.join().unwrap_or_else(|_| panic!("{sentence}"));
    }
}

/// A socket of somebody who writes what our commands can't say.
struct Stranger(netlink_sys::Socket);

impl Stranger {
    fn open() -> Self {
        let mut socket = netlink_sys::Socket::new(NETLINK_GENERIC).expect("a socket");
        socket.bind_auto().expect("an address");
        socket
            .connect(&netlink_sys::SocketAddr::new(0, 0))
            .expect("the kernel");
        Self(socket)
    }

    fn ask(&self, datagram: &[u8]) -> Vec<u8> {
        self.0.send(datagram, 0).expect("it is sent");
        let (answer, _) = self.0.recv_from_full().expect("an answer");
        answer
    }

    fn family(&self) -> u16 {
        let mut datagram = Vec::new();
        message::put_family_request(&mut datagram, 1);
        let answer = self.ask(&datagram);
        let reply = Replies::new(&answer).next().expect("a reply");
        match reply.expect("one that can be read").body {
            Body::Data(attributes) => message::family_of(attributes).expect("the family"),
            other => panic!("{other:?}"),
        }
    }

    /// Adds a real server whose forwarding method nobody knows.
    fn add_odd(&self, command: &Command) {
        const ACKNOWLEDGE: u16 = 4;
        /// An attribute's length and kind: the forwarding method, four bytes.
        const METHOD: [u8; 4] = [8, 0, 3, 0];
        let mut datagram = Vec::new();
        encode::put_command(&mut datagram, self.family(), 2, ACKNOWLEDGE, command);
        let at = datagram.windows(4).rposition(|bytes| bytes == METHOD);
        datagram[at.expect("a method") + 4] = 6;
        let answer = self.ask(&datagram);
        let reply = Replies::new(&answer).next().expect("a reply");
        assert_eq!(
            reply.expect("one that can be read").body,
            Body::Acknowledged(0)
        );
    }
}

#[test]
#[ignore = "needs root and ip_vs"]
fn an_entry_of_a_kind_that_we_don_t_know_hides_no_other() {
    let read = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace");
        let up = std::process::Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(up.expect("ip runs").success());
        let mut client = Client::open().expect("the family IPVS");
        let ids: [ServiceId; 2] =
            ["198.18.0.29:80", "198.18.0.30:80"].map(|id| id.parse().expect("an id"));
        let settings = ServiceSettings::new("rr".parse().expect("a scheduler"));
        let real = |address: &str| RealServer {
            address: address.parse().expect("an address"),
            weight: Weight::saturating(1),
            forwarding: Forwarding::Masquerade,
            thresholds: Thresholds::default(),
        };
        let known = [
            Command::AddService(ids[0], settings),
            Command::AddService(ids[1], settings),
            Command::AddReal(ids[0], real("198.18.0.11:80")),
            Command::AddReal(ids[1], real("198.18.0.12:80")),
        ];
        let done = client.apply(&known).expect("the conversation holds");
        assert!(done.iter().all(Result::is_ok), "{done:?}");
        let before = client.read(&Table::default()).expect("a table");
        assert_eq!(before.unreadable, []);
        Stranger::open().add_odd(&Command::AddReal(ids[0], real("198.18.0.13:80")));
        let after = client.read(&before.table).expect("a table all the same");
        assert_eq!(after.table, before.table);
        let told: Vec<String> = after.unreadable.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "a real server of tcp://198.18.0.29:80: attribute forwarding method has the unusable value 6"
            ]
        );
    };
    std::thread::spawn(read).join().expect("it is read");
}

/// Set in the child that asks from within a user namespace.
const UNPRIVILEGED: &str = "IPVS_TEST_UNPRIVILEGED";

#[test]
#[ignore = "needs root and ip_vs"]
fn whoever_lacks_the_capability_is_told_its_name() {
    let asked = Client::open().and_then(|mut client| client.services());
    if std::env::var_os(UNPRIVILEGED).is_some() {
        let error = asked.expect_err("a user namespace's root has no say here");
        assert!(matches!(error, Error::NotPermitted { .. }), "{error}");
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
        return;
    }
    asked.expect("root may");
    // A user namespace wants a process with one thread, so a child asks.
    let output = std::process::Command::new("unshare")
        .args(["-Urn"])
        .arg(std::env::current_exe().expect("our own path"))
        .args([
            "--exact",
            "whoever_lacks_the_capability_is_told_its_name",
            "--ignored",
        ])
        .env(UNPRIVILEGED, "1")
        .output()
        .expect("unshare runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}
