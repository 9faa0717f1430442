//! Direct routing: packets come by the director, answers by-pass it, and the server sees its client.

use std::net::SocketAddrV4;
use std::time::Duration;

use lab::client::http;
use lab::world::context::Lab;
use lab::world::topology::Node;

use crate::story;

/// The size of the job's second file.
const LARGE: u64 = 1 << 20;

/// The node's rules.
const TABLE: &str = "nomad_ipvs_direct";

/// The least that is asked for while instances come and go.
const REQUESTS: u64 = 1000;

#[test]
fn answers_by_pass_the_director_and_the_server_sees_its_client() {
    let lab = story::up();
    let vip = run(&lab, &[]);
    story::real_servers(&lab, &vip.to_string(), 1, 60);
    let client = lab.topology.netns(Node::Client.name());
    // The VIP is on no node, whatever these take: one alone answers for it.
    let second = Duration::from_secs(1);
    let holders = lab::observe::arp::holders(&client, *vip.ip(), second).unwrap();
    assert_eq!(holders, [of_the_director(&lab, "address")].into());
    let before = sent_by_the_director(&lab);
    let page = http::get_from(
        &client,
        &format!("http://{vip}/large"),
        Duration::from_secs(10),
    )
    .unwrap();
    let sent = sent_by_the_director(&lab) - before;
    assert_eq!((page.status, page.body.len() as u64), (200, LARGE));
    assert!(
        sent < LARGE / 4,
        "the director sent {sent} bytes while an answer of {LARGE} came"
    );
    let address = lab.topology.node_address(Node::Client).to_string();
    story::eventually("the client's own address in the server's log", 20, || {
        let log = story::nomad_ok(&lab, &["alloc", "logs", "-stderr", "-job", "direct"]);
        log.contains(&address).then_some(()).ok_or(log)
    });
    // Somebody takes the node's rules away: what comes meanwhile is lost, and the node sees it by itself.
    on_the_node(&lab, &["nft", "delete", "table", "ip", TABLE]).unwrap();
    story::eventually("the VIP answers again", 10, || {
        let url = format!("http://{vip}/");
        let answer = http::get_from(&client, &url, Duration::from_secs(1));
        let answer = answer.map_err(|error| format!("{error:#}"))?;
        (answer.status == 200).then_some(()).ok_or(answer.body)
    });
    leave(&lab, vip);
}

#[test]
fn instances_with_direct_routing_come_and_go_without_a_lost_request() {
    let lab = story::up();
    let vip = run(&lab, &["-var", "count=2"]);
    let name = vip.to_string();
    story::real_servers(&lab, &name, 2, 60);
    let load = story::load(&lab, vip);
    lab::part::job::wait_deployed(&lab, "direct").unwrap();
    run(&lab, &["-var", "count=2", "-var", "release=2"]);
    lab::part::job::wait_deployed(&lab, "direct").unwrap();
    for count in [4, 1] {
        let count_word = count.to_string();
        story::nomad_ok(
            &lab,
            &["job", "scale", "-detach", "direct", "servers", &count_word],
        );
        story::real_servers(&lab, &name, count, 90);
        lab::part::job::wait_deployed(&lab, "direct").unwrap();
    }
    story::eventually("enough requests", 60, || {
        let answered = load.answered();
        (answered >= REQUESTS)
            .then_some(())
            .ok_or(format!("{answered} so far"))
    });
    let outcome = load.stop().unwrap();
    assert_eq!(outcome.failed, 0, "{:?}", outcome.failures);
    leave(&lab, vip);
}

#[test]
fn a_lab_goes_over_to_direct_routing_and_back_without_a_lost_request() {
    let lab = story::up();
    let vip = lab.topology.vip();
    let name = vip.to_string();
    let scale = |count: usize| {
        let count_word = count.to_string();
        let args = [
            "job",
            "scale",
            "-detach",
            "hello-world",
            "servers",
            &count_word,
        ];
        story::nomad_ok(&lab, &args);
        story::real_servers(&lab, &name, count, 90);
        lab::part::job::wait_deployed(&lab, "hello-world").unwrap();
    };
    // Nomad ends an instance before it starts another: one has to be there meanwhile.
    scale(2);
    let load = story::load(&lab, vip);
    for forward in ["dr", "masq"] {
        let args = ["up", "--no-build", "--forward", forward];
        let output = story::lab(story::profile(), &args);
        assert!(output.status.success(), "{}", story::text(&output));
        let status = lab::observe::status::read(&lab);
        let reals = status
            .rows
            .iter()
            .filter_map(|row| row.real_server.as_ref());
        let methods: Vec<&str> = reals
            .filter(|real| real.serves(&name) && real.weight > 0)
            .map(|real| real.forward.as_str())
            .collect();
        assert_eq!(methods, [forward, forward]);
        let answered = load.answered();
        story::eventually("requests by that method", 20, || {
            let more = load.answered() - answered;
            (more >= 200).then_some(()).ok_or(format!("{more} so far"))
        });
    }
    let outcome = load.stop().unwrap();
    assert_eq!(outcome.failed, 0, "{:?}", outcome.failures);
    scale(1);
    story::agreement(&lab, 30);
}

/// Runs the job; gives its VIP.
fn run(lab: &Lab, variables: &[&str]) -> SocketAddrV4 {
    let vip = lab.topology.direct_vip();
    let of_vip = format!("vip={vip}");
    let file = story::job_file("direct.nomad.hcl");
    let mut args = vec!["job", "run", "-detach", "-var", of_vip.as_str()];
    args.extend(variables);
    args.push(&file);
    story::nomad_ok(lab, &args);
    vip
}

fn leave(lab: &Lab, vip: SocketAddrV4) {
    story::nomad_ok(lab, &["job", "stop", "-purge", "-detach", "direct"]);
    story::real_servers(lab, &vip.to_string(), 0, 90);
    story::eventually("the node lets go of the VIP", 20, || {
        let table = on_the_node(lab, &["nft", "list", "table", "ip", TABLE])?;
        let is_there = table.contains(&vip.ip().to_string());
        if is_there { Err(table) } else { Ok(()) }
    });
}

fn on_the_node(lab: &Lab, command: &[&str]) -> Result<String, String> {
    let netns = lab.topology.netns(Node::Node1.name());
    let run = || lab::host::command::run(command[0], &command[1..]);
    let output = lab::host::netns::within(&netns, run).unwrap();
    output.map_err(|error| format!("{error:#}"))
}

fn sent_by_the_director(lab: &Lab) -> u64 {
    of_the_director(lab, "statistics/tx_bytes").parse().unwrap()
}

/// What the director's kernel says of its interface.
fn of_the_director(lab: &Lab, file: &str) -> String {
    let file = format!("/sys/class/net/eth0/{file}");
    let output = lab.kernel.capture(&["cat", &file]).unwrap();
    output.stdout.trim().to_owned()
}
