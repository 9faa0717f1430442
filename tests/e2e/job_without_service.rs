//! A job that says nothing of services is found in the catalogue all the same, for as long as it runs.

use std::time::Duration;

use serde_json::Value;

use crate::story;

#[test]
fn a_job_without_a_service_block_is_registered_while_it_runs() {
    let lab = story::up();
    story::nomad_ok(
        &lab,
        &["job", "run", "-detach", &story::job_file("plain.nomad.hcl")],
    );
    let registered = || {
        let path = "health/service/plain-servers-www";
        let found = lab.consul().get_json(path, Duration::from_secs(2));
        found.map_err(|error| error.to_string())
    };
    let entry = story::eventually("the registration", 60, || {
        let found = registered()?;
        let checks = found[0]["Checks"].as_array().cloned().unwrap_or_default();
        if !checks.is_empty() && checks.iter().all(|check| check["Status"] == "passing") {
            Ok(found[0].clone())
        } else {
            Err(found.to_string())
        }
    });
    let id = entry["Service"]["ID"].as_str().unwrap_or_default();
    assert!(id.starts_with("nomad-ipvs-"), "{id}");
    let (address, port) = (&entry["Service"]["Address"], &entry["Service"]["Port"]);
    let page = format!("http://{}:{port}/", address.as_str().unwrap());
    assert_eq!(
        lab::client::http::get(&page, Duration::from_secs(2))
            .unwrap()
            .status,
        200
    );

    story::nomad_ok(&lab, &["job", "stop", "-purge", "-detach", "plain"]);
    story::eventually("the registration goes", 60, || {
        let found = registered()?;
        if found == Value::Array(Vec::new()) {
            Ok(())
        } else {
            Err(found.to_string())
        }
    });
}
