//! What a virtual service does when not all is well: its checks are not believed, somebody says sorry, a newcomer is given little at first,
//! and a client keeps its server.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::time::Duration;

use lab::client::http;
use lab::world::context::Lab;
use lab::world::topology::Node;

use crate::story;

/// The least that is asked for meanwhile.
const REQUESTS: u64 = 200;

#[test]
fn an_only_instance_whose_check_fails_serves_on_where_checks_are_not_believed() {
    let lab = story::up();
    let vip = run(&lab, &["-var", r#"options=["ipvs.least_healthy=0.5"]"#]);
    let alloc = alloc(&page(&lab, vip).unwrap());
    let load = story::load(&lab, vip);
    fails(&lab, &alloc);
    story::eventually("the sentence for the operator", 30, || {
        let text = director_status(&lab);
        let sentence = "checks are not believed: 0 of 1 instances that serve are healthy";
        text.contains(sentence).then_some(()).ok_or(text)
    });
    answered(&load);
    assert_eq!(
        story::weights(&lab::observe::status::read(&lab), &vip.to_string()),
        [1]
    );
    let outcome = load.stop().unwrap();
    assert_eq!(outcome.failed, 0, "{:?}", outcome.failures);
    leave(&lab, vip);
}

#[test]
fn a_sorry_server_stands_in_for_an_only_instance_without_a_lost_request() {
    let lab = story::up();
    let sorry = format!("{}:8099", lab.topology.node_address(Node::Node1));
    let options = format!(r#"options=["ipvs.sorry_server={sorry}"]"#);
    let vip = run(&lab, &["-var", &options]);
    let alloc = alloc(&page(&lab, vip).unwrap());
    let load = story::load(&lab, vip);
    fails(&lab, &alloc);
    says(&lab, vip, "sorry");
    let text = director_status(&lab);
    assert!(text.contains(&format!("sorry server {sorry}")), "{text}");
    answered(&load);
    in_the_instance(&lab, &alloc, "touch");
    says(&lab, vip, "guarded: ");
    answered(&load);
    let outcome = load.stop().unwrap();
    assert_eq!(outcome.failed, 0, "{:?}", outcome.failures);
    leave(&lab, vip);
}

#[test]
fn a_newcomer_gets_little_at_first_and_its_full_weight_in_the_end() {
    let lab = story::up();
    let options = r#"options=["ipvs.slow_start=5s","ipvs.scheduler=wrr"]"#;
    let vip = run(&lab, &["-var", options]);
    let name = vip.to_string();
    assert_eq!(weights(&lab, &name), [10]);
    story::nomad_ok(
        &lab,
        &["job", "scale", "-detach", "guarded", "servers", "2"],
    );
    let mut seen = BTreeSet::new();
    story::eventually("two real servers of full weight", 60, || {
        let all = weights(&lab, &name);
        seen.extend(all.iter().copied());
        (all == [10, 10]).then_some(()).ok_or(format!("{all:?}"))
    });
    let rising = seen
        .iter()
        .filter(|weight| (1..10).contains(*weight))
        .count();
    assert!(rising >= 3, "{seen:?}");
    leave(&lab, vip);
}

#[test]
fn a_client_keeps_its_server_where_persistence_is_asked_for_until_that_one_is_quiesced() {
    let lab = story::up();
    let options = r#"options=["ipvs.persistence=5m","ipvs.scheduler=rr"]"#;
    let vip = run(&lab, &["-var", options, "-var", "count=2"]);
    let pages: BTreeSet<String> = (0..10).map(|_| page(&lab, vip).unwrap()).collect();
    assert_eq!(pages.len(), 1, "{pages:?}");
    let first = pages.first().unwrap();
    in_the_instance(&lab, &alloc(first), "rm");
    story::eventually("the other server", 30, || {
        let now = page(&lab, vip)?;
        (now != *first).then_some(()).ok_or(now)
    });
    leave(&lab, vip);
}

/// Runs the job and waits for its VIP.
fn run(lab: &Lab, variables: &[&str]) -> SocketAddrV4 {
    let vip = lab.topology.guarded_vip();
    let of_vip = format!("vip={vip}");
    let file = story::job_file("guarded.nomad.hcl");
    let mut args = vec!["job", "run", "-detach", "-var", of_vip.as_str()];
    args.extend(variables);
    args.push(&file);
    story::nomad_ok(lab, &args);
    lab::part::job::wait_deployed(lab, "guarded").unwrap();
    says(lab, vip, "guarded: ");
    vip
}

fn leave(lab: &Lab, vip: SocketAddrV4) {
    story::nomad_ok(lab, &["job", "stop", "-purge", "-detach", "guarded"]);
    story::real_servers(lab, &vip.to_string(), 0, 90);
    story::agreement(lab, 30);
}

/// Has an instance's check fail, and waits until Consul says so.
fn fails(lab: &Lab, alloc: &str) {
    in_the_instance(lab, alloc, "rm");
    story::eventually("Consul calls it critical", 30, || {
        let text = director_status(lab);
        text.contains("running, critical").then_some(()).ok_or(text)
    });
}

/// Does that to the file that the check wants.
fn in_the_instance(lab: &Lab, alloc: &str, command: &str) {
    let args = [
        "alloc",
        "exec",
        "-task",
        "web",
        alloc,
        command,
        "/local/healthy",
    ];
    story::nomad_ok(lab, &args);
}

/// The allocation that a page is of.
fn alloc(page: &str) -> String {
    page.trim_start_matches("guarded: ").trim().to_owned()
}

fn page(lab: &Lab, vip: SocketAddrV4) -> Result<String, String> {
    let client = lab.topology.netns(Node::Client.name());
    let answer = http::get_from(&client, &format!("http://{vip}/"), Duration::from_secs(2));
    let answer = answer.map_err(|error| format!("{error:#}"))?;
    match answer.status {
        200 => Ok(answer.body),
        status => Err(format!("status {status}")),
    }
}

fn says(lab: &Lab, vip: SocketAddrV4, beginning: &str) {
    story::eventually(
        &format!("a page that begins with {beginning:?}"),
        60,
        || {
            let page = page(lab, vip)?;
            page.starts_with(beginning).then_some(()).ok_or(page)
        },
    );
}

/// Waits until more requests were answered.
fn answered(load: &lab::observe::load::Load) {
    let before = load.answered();
    story::eventually("more requests", 30, || {
        let more = load.answered() - before;
        (more >= REQUESTS)
            .then_some(())
            .ok_or(format!("{more} so far"))
    });
}

fn weights(lab: &Lab, vip: &str) -> Vec<u32> {
    let mut weights = story::weights(&lab::observe::status::read(lab), vip);
    weights.sort_unstable();
    weights
}

/// What `ipvs-syncer status` says of the director.
fn director_status(lab: &Lab) -> String {
    let output = std::process::Command::new(story::product("ipvs-syncer"))
        .arg("status")
        .args(["--address", &lab.topology.syncer_url(Node::Director)])
        .output()
        .unwrap();
    story::text(&output)
}
