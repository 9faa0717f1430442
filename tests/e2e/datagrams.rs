//! Datagrams through a VIP: answers come from it, a server sees whom it should, and a client that never changes its port goes over
//! to another server when its own goes.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{SocketAddr, SocketAddrV4};

use lab::observe::datagrams::{self, Outcome, Stream};
use lab::world::context::Lab;
use lab::world::topology::Node;

use crate::story;

const JOB: &str = "udp-echo";

/// Datagrams a second.
const RATE: u32 = 200;

/// How often the client's own server is taken from it.
pub(crate) const TURNS: usize = 4;

/// What the loss of a server may cost its client: what was under way, and the first that finds it gone.
const LOST_A_TURN: u64 = 3;

#[test]
fn by_masquerade_a_client_that_keeps_its_port_goes_over_to_another_server() {
    let lab = story::up();
    let (outcome, _) = come_and_go(&lab, "masq");
    let director = lab.topology.node_address(Node::Director);
    assert!(outcome.seen().all(|seen| seen.ip() == director));
}

#[test]
fn by_direct_routing_a_client_that_keeps_its_port_goes_over_to_another_server() {
    let lab = story::up();
    let (outcome, client) = come_and_go(&lab, "dr");
    let others: BTreeSet<SocketAddr> = outcome.seen().filter(|seen| *seen != client).collect();
    assert!(others.is_empty(), "{client}: {others:?}");
}

/// Servers come and go, the client's own above all; gives what came of it, and who the client was.
fn come_and_go(lab: &Lab, forward: &str) -> (Outcome, SocketAddr) {
    let vip = run(lab, forward, 2);
    let stream = stream(lab, vip);
    let client = stream.client;
    scale(lab, vip, 3);
    for _ in 0..TURNS {
        take_its_server(lab, &stream);
        story::real_servers(lab, &vip.to_string(), 3, 60);
    }
    scale(lab, vip, 1);
    let outcome = judged(forward, stream);
    leave(lab, vip);
    (outcome, client)
}

/// Stops the server that the client has, and waits until another answers it.
pub(crate) fn take_its_server(lab: &Lab, stream: &Stream) {
    let (_, own) = stream.latest().unwrap();
    story::nomad_ok(lab, &["alloc", "stop", "-detach", &own.server]);
    story::eventually("another server answers", 20, || {
        let (_, now) = stream.latest().unwrap();
        (now.server != own.server).then_some(()).ok_or(now.server)
    });
}

/// What came of a stream whose client had its server taken so many times: answers from the VIP alone, and next to none lost.
pub(crate) fn judged(what: &str, stream: Stream) -> Outcome {
    let outcome = stream.stop().unwrap();
    say(what, &outcome);
    let turns = outcome.servers().len();
    assert!(turns > TURNS, "{:?}", outcome.servers());
    assert_eq!(outcome.from_elsewhere(), 0);
    let limit = LOST_A_TURN * u64::try_from(turns).unwrap();
    assert!(outcome.lost() <= limit, "{outcome}");
    outcome
}

#[test]
fn a_server_that_starts_again_at_its_port_has_the_client_that_it_had() {
    let lab = story::up();
    for forward in ["masq", "dr"] {
        let vip = run(&lab, forward, 1);
        let stream = stream(&lab, vip);
        for _ in 0..2 {
            let (_, own) = stream.latest().unwrap();
            story::nomad_ok(&lab, &["alloc", "restart", &own.server]);
            let sent = stream.sent();
            story::eventually("the server answers again", 10, || {
                let (number, answer) = stream.latest().unwrap();
                let again = number > sent && answer.server == own.server;
                again.then_some(()).ok_or(format!("{number} {answer:?}"))
            });
        }
        say(&format!("{forward}, restarts"), &stream.stop().unwrap());
        leave(&lab, vip);
    }
}

/// Runs the job and waits until so many serve; gives its VIP.
fn run(lab: &Lab, forward: &str, count: usize) -> SocketAddrV4 {
    let vip = lab.topology.echo_vip();
    let variables = [
        format!("-var=vip={vip}"),
        format!("-var=forward={forward}"),
        format!("-var=count={count}"),
    ];
    let mut args = vec!["job", "run", "-detach"];
    args.extend(variables.iter().map(String::as_str));
    let file = story::job_file("udp-echo.nomad.hcl");
    args.push(&file);
    story::nomad_ok(lab, &args);
    story::real_servers(lab, &vip.to_string(), count, 60);
    lab::part::job::wait_deployed(lab, JOB).unwrap();
    vip
}

fn scale(lab: &Lab, vip: SocketAddrV4, count: usize) {
    lab::part::job::wait_deployed(lab, JOB).unwrap();
    let word = count.to_string();
    story::nomad_ok(lab, &["job", "scale", "-detach", JOB, "servers", &word]);
    story::real_servers(lab, &vip.to_string(), count, 60);
    lab::part::job::wait_deployed(lab, JOB).unwrap();
}

/// Datagrams from one port of the client, once they are answered.
pub(crate) fn stream(lab: &Lab, vip: impl Into<SocketAddr>) -> Stream {
    let plan = datagrams::Plan {
        target: vip.into(),
        rate: RATE,
        netns: lab.topology.netns(Node::Client.name()),
    };
    let stream = datagrams::start(&plan).unwrap();
    story::eventually("a first answer", 5, || {
        stream.latest().map(drop).ok_or("none".to_owned())
    });
    stream
}

/// Past what is kept of a story that ends well.
fn say(what: &str, outcome: &Outcome) {
    let turns = outcome.servers().len();
    let _ = writeln!(std::io::stderr(), "{what}: {turns} servers, {outcome}");
}

fn leave(lab: &Lab, vip: SocketAddrV4) {
    story::nomad_ok(lab, &["job", "stop", "-purge", "-detach", JOB]);
    story::real_servers(lab, &vip.to_string(), 0, 60);
}
