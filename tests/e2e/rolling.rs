//! Instances come and go under load, and no request is lost.

use lab::observe::load;
use lab::world::context::Lab;
use lab::world::topology::Node;

use crate::story;

/// The least that a story has to have asked.
const REQUESTS: u64 = 2000;

#[test]
fn hello_world_scales_from_one_to_five_to_two_without_a_lost_request() {
    let lab = story::up();
    scale_under_load(&lab, "hello-world", lab.topology.vip());
    lab::part::job::wait_deployed(&lab, "hello-world").unwrap();
    story::nomad_ok(
        &lab,
        &["job", "scale", "-detach", "hello-world", "servers", "1"],
    );
    story::real_servers(&lab, &lab.topology.vip().to_string(), 1, 90);
}

#[test]
fn a_late_server_that_exits_at_once_scales_without_a_lost_request() {
    let lab = story::up();
    let vip = lab.topology.second_vip();
    story::nomad_ok(
        &lab,
        &[
            "job",
            "run",
            "-detach",
            "-var",
            &format!("vip={vip}"),
            &story::job_file("late.nomad.hcl"),
        ],
    );
    scale_under_load(&lab, "late", vip);
    story::nomad_ok(&lab, &["job", "stop", "-purge", "-detach", "late"]);
    story::real_servers(&lab, &vip.to_string(), 0, 90);
}

fn scale_under_load(lab: &Lab, job: &str, vip: std::net::SocketAddrV4) {
    let name = vip.to_string();
    story::real_servers(lab, &name, 1, 60);
    let load = story::load(lab, vip);
    for count in [5, 2] {
        // Nomad refuses to scale while a deployment is under way.
        lab::part::job::wait_deployed(lab, job).unwrap();
        story::nomad_ok(
            lab,
            &[
                "job",
                "scale",
                "-detach",
                job,
                "servers",
                &count.to_string(),
            ],
        );
        story::real_servers(lab, &name, count, 90);
    }
    story::eventually("enough requests", 60, || {
        if load.answered() >= REQUESTS {
            Ok(())
        } else {
            Err(format!("{} so far", load.answered()))
        }
    });
    let outcome = load.stop().unwrap();
    let rate = outcome.rate();
    assert_eq!(outcome.failed, 0, "{:?}", outcome.failures);
    assert!(rate >= 50.0, "only {rate:.0} requests a second were asked");
}

#[test]
fn a_stopped_job_leaves_the_catalogue_and_its_vip_refuses() {
    let lab = story::up();
    let vip = lab.topology.vip();
    story::nomad_ok(&lab, &["job", "stop", "-detach", "hello-world"]);
    story::real_servers(&lab, &vip.to_string(), 0, 60);
    story::eventually("the service leaves the catalogue", 30, || {
        let path = "catalog/service/hello-world-servers";
        let answer = lab.consul().get(path, std::time::Duration::from_secs(2));
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.body.trim() == "[]" {
            Ok(())
        } else {
            Err(answer.body)
        }
    });
    let client = lab.topology.netns(Node::Client.name());
    let error = lab::host::netns::within(&client, || load::request(vip.into()))
        .unwrap()
        .unwrap_err();
    assert!(format!("{error:#}").contains("refused"), "{error:#}");
    let output = story::lab(story::profile(), &["up", "--no-build"]);
    assert!(output.status.success(), "{}", story::text(&output));
}
