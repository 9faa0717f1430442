//! IPv6 from end to end: a page through a VIP while instances, the syncer and the whole director come and go, and whom servers see.

use std::io::Write;
use std::net::SocketAddrV6;
use std::time::Duration;

use lab::client::http;
use lab::observe::load::Load;
use lab::world::context::Lab;
use lab::world::topology::Node;

use crate::{datagrams, interrupted, story};

const JOB: &str = "ipv6";

/// The job's first page.
const RELEASE_1: &str = "ipv6: release 1\n";

/// The least that is asked for while instances come and go.
const REQUESTS: u64 = 1000;

#[test]
fn a_vip_answers_its_neighbours_and_its_clients_and_servers_see_the_director() {
    let lab = story::up();
    let vip = run(&lab, &[]);
    let client = lab.topology.netns(Node::Client.name());
    // Nobody remembers what was announced: whoever sends has to ask first.
    let address = vip.ip().to_string();
    ip(&client, &["-6", "neigh", "flush", "to", &address]);
    assert_eq!(page(&lab, vip).unwrap(), RELEASE_1);
    let from_the_machine = http::get(&format!("http://{vip}/"), Duration::from_secs(5));
    assert_eq!(from_the_machine.unwrap().body, RELEASE_1);
    let neighbour = ip(&client, &["-6", "neigh", "show", "to", &address]);
    let link = link_address_of_the_director(&lab);
    assert!(
        neighbour.contains(&format!("lladdr {link} ")),
        "{link}: {neighbour}"
    );
    let director = lab.topology.six().node(Node::Director).to_string();
    story::eventually("the director's address in the server's log", 20, || {
        let log = story::nomad_ok(&lab, &["alloc", "logs", "-stderr", "-job", JOB]);
        log.contains(&director).then_some(()).ok_or(log)
    });
    let log = story::nomad_ok(&lab, &["alloc", "logs", "-stderr", "-job", JOB]);
    let of_client = lab.topology.six().node(Node::Client).to_string();
    assert!(!log.contains(&of_client), "{log}");
    status_agrees(&lab, vip);
    leave(&lab, vip);
}

#[test]
fn instances_behind_an_ipv6_vip_come_and_go_without_a_lost_request() {
    let lab = story::up();
    let vip = run(&lab, &[]);
    let name = vip.to_string();
    let load = story::load(&lab, vip);
    for count in [3, 1] {
        let word = count.to_string();
        story::nomad_ok(&lab, &["job", "scale", "-detach", JOB, "servers", &word]);
        story::real_servers(&lab, &name, count, 90);
        lab::part::job::wait_deployed(&lab, JOB).unwrap();
    }
    // Nomad ends an instance before it starts another: one has to be there meanwhile.
    run(&lab, &["-var", "count=2"]);
    run(&lab, &["-var", "count=2", "-var", "release=2"]);
    enough(&load);
    assert_eq!(page(&lab, vip).unwrap(), "ipv6: release 2\n");
    nothing_lost("1 -> 3 -> 1 -> 2 and an update", load);
    leave(&lab, vip);
}

#[test]
fn an_ipv6_vip_outlives_its_syncer_without_a_lost_request() {
    let lab = story::up();
    let vip = run(&lab, &[]);
    let load = story::load(&lab, vip);
    for _ in 0..2 {
        lab::part::syncer::director_end(&lab).unwrap();
        let before = load.answered();
        more(&load, before, 100);
        lab::part::syncer::director_up(&lab, &story::product("ipvs-syncer")).unwrap();
        story::agreement(&lab, 30);
    }
    enough(&load);
    nothing_lost("two restarts of the syncer", load);
    leave(&lab, vip);
}

#[test]
fn an_ipv6_vip_comes_back_with_its_director() {
    let lab = interrupted::guest_director();
    let vip = run(&lab, &[]);
    interrupted::kill_guest(&lab);
    let output = story::lab(lab.topology.profile(), &["up", "--no-build"]);
    assert!(output.status.success(), "{}", story::text(&output));
    story::eventually("the page through the VIP", 10, || page(&lab, vip).map(drop));
    leave(&lab, vip);
    interrupted::leave_guest(&lab);
}

#[test]
fn over_ipv6_a_client_of_datagrams_that_keeps_its_port_goes_over_to_another_server() {
    let lab = story::up();
    let vip = run(&lab, &["-var", "echo_count=2"]);
    let echo_vip = lab.topology.six().echo_vip();
    let stream = datagrams::stream(&lab, echo_vip);
    for _ in 0..datagrams::TURNS {
        datagrams::take_its_server(&lab, &stream);
        story::real_servers(&lab, &echo_vip.to_string(), 2, 60);
    }
    let outcome = datagrams::judged("masq over IPv6", stream);
    let director = lab.topology.six().node(Node::Director);
    assert!(outcome.seen().all(|seen| seen.ip() == director));
    leave(&lab, vip);
}

/// Runs the job and waits until it is deployed; gives its VIP.
fn run(lab: &Lab, variables: &[&str]) -> SocketAddrV6 {
    let vip = lab.topology.six().vip();
    let vips = [
        format!("-var=vip={vip}"),
        format!("-var=echo_vip={}", lab.topology.six().echo_vip()),
    ];
    let file = story::job_file("ipv6.nomad.hcl");
    let mut args = vec!["job", "run", "-detach", &vips[0], &vips[1]];
    args.extend(variables);
    args.push(&file);
    story::nomad_ok(lab, &args);
    lab::part::job::wait_deployed(lab, JOB).unwrap();
    story::eventually("the VIP answers", 30, || page(lab, vip).map(drop));
    vip
}

/// The page that the client gets through the VIP.
fn page(lab: &Lab, vip: SocketAddrV6) -> Result<String, String> {
    let client = lab.topology.netns(Node::Client.name());
    let page = http::get_from(&client, &format!("http://{vip}/"), Duration::from_secs(2));
    let page = page.map_err(|error| format!("{error:#}"))?;
    match page.status {
        200 => Ok(page.body),
        status => Err(format!("status {status}")),
    }
}

fn leave(lab: &Lab, vip: SocketAddrV6) {
    story::nomad_ok(lab, &["job", "stop", "-purge", "-detach", JOB]);
    for vip in [vip, lab.topology.six().echo_vip()] {
        story::real_servers(lab, &vip.to_string(), 0, 90);
    }
    story::agreement(lab, 30);
}

/// The operator's own view: a row of the VIP that agrees, and a connection through it.
fn status_agrees(lab: &Lab, vip: SocketAddrV6) {
    story::agreement(lab, 30);
    let output = story::lab(story::profile(), &["status"]);
    let text = story::text(&output);
    assert!(output.status.success(), "{text}");
    let has = |words: &[&str]| {
        let mut lines = text.lines();
        lines.any(|line| words.iter().all(|word| line.contains(word)))
    };
    let name = format!("tcp://{vip}");
    let node = format!("[{}]:", lab.topology.six().node(Node::Node1));
    let row = [
        &node,
        "ipv6/servers:www running",
        "ipv6-servers passing",
        &name,
        "agree",
    ];
    assert!(has(&row) && has(&[&name, "connects in"]), "{text}");
}

fn ip(netns: &str, words: &[&str]) -> String {
    lab::host::netns::within(netns, || lab::host::command::run("ip", words))
        .unwrap()
        .unwrap()
}

fn link_address_of_the_director(lab: &Lab) -> String {
    let output = lab.kernel.capture(&["ip", "-o", "link", "show", "eth0"]);
    let line = output.unwrap().stdout;
    let mut words = line.split_whitespace();
    words.find(|word| *word == "link/ether").unwrap();
    words.next().unwrap().to_owned()
}

fn enough(load: &Load) {
    more(load, 0, REQUESTS);
}

fn more(load: &Load, before: u64, wanted: u64) {
    story::eventually("enough requests", 60, || {
        let more = load.answered() - before;
        (more >= wanted)
            .then_some(())
            .ok_or(format!("{more} so far"))
    });
}

/// Says past what is kept of a story that ends well how many there were.
fn nothing_lost(what: &str, load: Load) {
    let outcome = load.stop().unwrap();
    let (answered, failed) = (outcome.answered, outcome.failed);
    let at = |quantile| Duration::from_micros(outcome.latency.value_at_quantile(quantile));
    let (median, last) = (at(0.5), at(0.99));
    let _ = writeln!(
        std::io::stderr(),
        "{what}: {failed} of {} requests lost, median {median:.1?}, p99 {last:.1?}",
        answered + failed
    );
    assert_eq!(failed, 0, "{:?}", outcome.failures);
}
