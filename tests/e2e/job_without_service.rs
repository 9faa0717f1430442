//! A job that says nothing of services is found in the catalogue all the same, for as long as it runs.

use std::time::Duration;

use crate::story;

#[test]
fn a_job_without_a_service_block_is_registered_while_it_runs() {
    let lab = story::up();
    story::nomad_ok(
        &lab,
        &["job", "run", "-detach", &story::job_file("plain.nomad.hcl")],
    );
    let registered = || {
        let found = lab.consul().entries("plain-servers-www");
        found.map_err(|error| error.to_string())
    };
    let service = story::eventually("the registration", 60, || {
        let found = registered()?;
        let [entry] = found.as_slice() else {
            return Err(format!("{found:?}"));
        };
        let passes = entry.checks.iter().all(|check| check.status == "passing");
        if passes && !entry.checks.is_empty() {
            Ok(entry.service.clone())
        } else {
            Err(format!("{entry:?}"))
        }
    });
    assert!(service.id.starts_with("nomad-ipvs-"), "{}", service.id);
    let page = format!("http://{}:{}/", service.address, service.port.unwrap());
    assert_eq!(
        lab::client::http::get(&page, Duration::from_secs(2))
            .unwrap()
            .status,
        200
    );

    story::nomad_ok(&lab, &["job", "stop", "-purge", "-detach", "plain"]);
    story::eventually("the registration goes", 60, || {
        let found = registered()?;
        if found.is_empty() {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    });
}
