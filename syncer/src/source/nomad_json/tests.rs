//! Answers of Nomad, whole and odd.

use syncer_core::model::fleet::Phase;

use super::*;

/// As Nomad 1.6 answers, shortened.
const STUB: &str = r#"{"ID":"0f6b3d3e-6f0e-7d3c-1f2a-6f2a0c7f0b11","Namespace":"default","NodeID":"n1",
  "NodeName":"node1","JobID":"web","JobVersion":2,"TaskGroup":"web","DesiredStatus":"run","ClientStatus":"running",
  "AllocatedResources":{"Tasks":{"www":{"Networks":null}},
    "Shared":{"Ports":[{"Label":"http","Value":20000,"To":80,"HostIP":"198.18.0.11"}]}},
  "TaskStates":{"www":{"State":"pending","StartedAt":"2026-11-24T20:00:00Z"},
                "log":{"State":"running","StartedAt":null}},"CreateIndex":7}"#;

const JOB: &str = r#"{"Job":{"TaskGroups":[{"Name":"web","Services":[{"PortLabel":"metrics","Provider":"nomad"}],
  "Tasks":[{"Name":"www","Config":{"ports":["http"]},"Services":[{"PortLabel":"http","Provider":"consul"}]},
           {"Name":"log","Config":{},"Services":null}]}]}}"#;

#[test]
fn a_stub_and_its_job_become_an_allocation() {
    let stub: Stub = serde_json::from_str(STUB).unwrap();
    let shapes = shapes(&serde_json::from_str(JOB).unwrap());
    let mut left_out = Vec::new();
    let allocation = stub.allocation(shapes.get("web"), &mut left_out).unwrap();
    assert!(left_out.is_empty(), "{left_out:?}");
    let port = &allocation.ports[0];
    assert_eq!(port.address, "198.18.0.11:20000".parse().unwrap());
    assert_eq!(port.task.as_deref(), Some("www"));
    assert_eq!(port.registered_by_nomad, Some(true));
    assert_eq!(allocation.phase(port.address), Phase::Restarting);
    assert!(
        !shapes["web"].registered.contains("metrics"),
        "Nomad's own catalogue is not Consul"
    );
}

/// One row for each odd field: what of the allocation it costs, and its phase.
#[test]
fn an_odd_field_costs_what_it_is_about_and_the_allocation_goes_on() {
    use Phase::{Pending, Restarting, Running, Stopping, Unknown};
    let port = r#""Ports":[{"Label":"http","Value":20000"#;
    let states = r#""www":{"State":"pending""#;
    let rows: [(&str, &str, Phase, Option<&str>); 16] = [
        ("", "", Restarting, None),
        (
            r#""TaskStates":{"#,
            r#""TaskStates":null,"Old":{"#,
            Running,
            None,
        ),
        (
            r#""TaskStates":{"#,
            r#""TaskStates":7,"Old":{"#,
            Running,
            None,
        ),
        (
            states,
            r#""www":null,"x":{"State":"pending""#,
            Running,
            Some("task www"),
        ),
        (
            states,
            r#""www":{"State":"asleep""#,
            Running,
            Some("task www"),
        ),
        (states, r#""www":{"State":7"#, Running, Some("task www")),
        (
            r#""StartedAt":"2026-11-24T20:00:00Z""#,
            r#""StartedAt":7"#,
            Pending,
            None,
        ),
        (
            r#""AllocatedResources":{"#,
            r#""AllocatedResources":null,"Old":{"#,
            Running,
            None,
        ),
        (r#""Shared":{"#, r#""Shared":null,"Old":{"#, Running, None),
        (
            port,
            r#""Ports":[null,{"Label":"http","Value":20000"#,
            Restarting,
            Some("port "),
        ),
        (
            port,
            r#""Ports":[{"Label":"odd","Value":1e999},{"Label":"http","Value":20000"#,
            Restarting,
            Some("port odd"),
        ),
        (
            port,
            r#""Ports":[{"Label":"odd","Value":-1},{"Label":"http","Value":20000"#,
            Restarting,
            Some("port odd"),
        ),
        (
            r#""ClientStatus":"running""#,
            r#""ClientStatus":"asleep""#,
            Unknown,
            Some("the status"),
        ),
        (
            r#""ClientStatus":"running""#,
            r#""ClientStatus":null"#,
            Unknown,
            Some("the status"),
        ),
        (
            r#""DesiredStatus":"run""#,
            r#""DesiredStatus":"stop","CreateIndex":-1"#,
            Stopping,
            None,
        ),
        (
            r#""NodeName":"node1""#,
            r#""NodeName":null,"JobVersion":null,"Namespace":7"#,
            Restarting,
            None,
        ),
    ];
    let shapes = shapes(&serde_json::from_str(JOB).unwrap());
    for (from, to, phase, named) in rows {
        // Where a field is replaced, its first one goes.
        let mut text = STUB.replacen(from, to, 1);
        for twice in ["CreateIndex", "JobVersion", "Namespace"] {
            if text.matches(&format!("{twice:?}:")).count() > 1 {
                text = text.replacen(&format!("{twice:?}:"), &format!("\"Old{twice}\":"), 1);
            }
        }
        let items: Vec<Field<Stub>> = serde_json::from_str(&format!("[{text}]")).unwrap();
        let mut left_out = Vec::new();
        let stub = items[0].value().unwrap_or_else(|| panic!("{text}"));
        let allocation = stub.allocation(shapes.get("web"), &mut left_out).unwrap();
        let address = "198.18.0.11:20000".parse().unwrap();
        assert_eq!(allocation.phase(address), phase, "{text}");
        match (named, left_out.as_slice()) {
            (None, []) => {}
            (Some(named), [entry]) => assert!(entry.what.starts_with(named), "{text}: {entry:?}"),
            _ => panic!("{text}: {left_out:?}"),
        }
    }
}

#[test]
fn one_that_nobody_can_name_is_left_out() {
    let mut left_out = Vec::new();
    for id in [r#""ID":null"#, r#""ID":"x""#, r#""ID":7"#] {
        let text = STUB.replace(r#""ID":"0f6b3d3e-6f0e-7d3c-1f2a-6f2a0c7f0b11""#, id);
        let stub: Stub = serde_json::from_str(&text).unwrap();
        assert!(stub.allocation(None, &mut left_out).is_none());
    }
    assert_eq!(left_out.len(), 3);
    assert_eq!(left_out[0].what, "an allocation of job \"web\"");
}
