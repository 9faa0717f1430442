//! Answers of Consul, whole and odd.

use syncer_core::model::policy::Ask;

use super::*;

/// As Consul 1.14 answers, shortened.
const ANSWER: &str = r#"[
  {"Node":{"ID":"x","Node":"node1","Address":"198.18.0.11","Meta":null,
           "TaggedAddresses":{"lan":"198.18.0.11","wan":"203.0.113.9","odd":null}},
   "Service":{"ID":"_nomad-task-0f6b3d3e-6f0e-7d3c-1f2a-6f2a0c7f0b11-group-web-www-http","Service":"www",
              "Tags":["ipvs.vip=198.18.0.29:80"],"Address":"","Port":20000,"Weights":{"Passing":5,"Warning":2}},
   "Checks":[{"CheckID":"serfHealth","Status":"passing","ServiceID":""},
             {"CheckID":"c","Status":"warning","ServiceID":"_nomad-task-0f6b3d3e-6f0e-7d3c-1f2a-6f2a0c7f0b11-group-web-www-http"}]},
  {"Node":{"Node":"node2","Address":"198.18.0.12"},
   "Service":{"ID":"other","Tags":null,"Address":"198.18.0.11","Port":20000,"Weights":null},
   "Checks":[{"CheckID":"_node_maintenance","Status":"critical"}]},
  {"Node":{"Node":"node2","Address":"198.18.0.12"},
   "Service":{"ID":"named","Tags":[],"Address":"somewhere.example","Port":1},"Checks":null}]"#;

fn read(answer: &str) -> CatalogService {
    service(&serde_json::from_str(answer).unwrap())
}

#[test]
fn an_answer_becomes_instances_with_their_worst_health() {
    let service = read(ANSWER);
    assert_eq!(
        service.instances.len(),
        2,
        "two registrations of one address"
    );
    let instance = &service.instances[0];
    assert_eq!(instance.address, "198.18.0.11:20000".parse().unwrap());
    assert_eq!(
        (instance.health, instance.checked, instance.weight_passing),
        (Health::Warning, true, 5)
    );
    assert!(instance.origin.is_some());
    assert_eq!(service.left_out[0].what, "named");
    let asks: Vec<Option<String>> = service
        .instances
        .iter()
        .map(|instance| match &instance.tags.ask {
            Some(Ask::Vips(vips)) => Some(vips[0].id.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(asks, [Some("tcp://198.18.0.29:80".to_owned()), None]);
}

#[test]
fn each_address_of_a_node_is_known_as_the_nodes() {
    let hosts: Vec<String> = read(ANSWER)
        .hosts
        .iter()
        .map(|(ip, node)| format!("{node} {ip}"))
        .collect();
    let expected = [
        "node1 198.18.0.11",
        "node2 198.18.0.12",
        "node1 203.0.113.9",
    ];
    assert_eq!(hosts, expected);
}

#[test]
fn instances_with_the_same_tags_share_them() {
    let mut entries: Vec<serde_json::Value> = serde_json::from_str(ANSWER).unwrap();
    entries.push(entries[0].clone());
    entries[3]["Service"]["Port"] = 20001.into();
    let service = read(&serde_json::to_string(&entries).unwrap());
    let [first, other, twin] = service.instances.as_slice() else {
        panic!("{:?}", service.instances);
    };
    assert!(Arc::ptr_eq(&first.tags, &twin.tags));
    assert!(!Arc::ptr_eq(&first.tags, &other.tags));
}

#[test]
fn the_order_of_an_answer_does_not_matter() {
    let mut entries: Vec<serde_json::Value> = serde_json::from_str(ANSWER).unwrap();
    // A twin of the first under another allocation, which asks for another VIP.
    let mut twin = entries[0].clone();
    twin["Service"]["ID"] =
        "_nomad-task-1f6b3d3e-6f0e-7d3c-1f2a-6f2a0c7f0b11-group-web-www-http".into();
    twin["Service"]["Tags"] = serde_json::json!(["ipvs.vip=198.18.0.30:80"]);
    entries.push(twin);
    let again = |entries: &[serde_json::Value]| read(&serde_json::to_string(entries).unwrap());
    let expected = again(&entries);
    for turn in 0..entries.len() {
        let mut turned = entries.clone();
        turned.rotate_left(turn);
        assert_eq!(again(&turned), expected);
        turned.reverse();
        assert_eq!(again(&turned), expected);
    }
}

const GOOD: &str =
    r#"{"Node":{"Node":"node1","Address":"198.18.0.11"},"Service":{"ID":"good","Port":80}}"#;

/// One row for each odd entry: what is told of it.
#[test]
fn an_instance_that_cannot_be_used_is_left_out_by_name_and_its_neighbour_is_not() {
    let with = |service: &str| {
        format!(
            r#"{{"Node":{{"Node":"n","Address":"198.18.0.12"}},"Service":{{"ID":"odd"{service}}}}}"#
        )
    };
    let whole = |entry: &str| entry.to_owned();
    let second = "number 2 of the answer";
    let rows = [
        (with(""), "odd", "no port"),
        (with(r#","Port":null"#), "odd", "no port"),
        (with(r#","Port":0"#), "odd", "no port"),
        (with(r#","Port":-1"#), "odd", "not from 1"),
        (with(r#","Port":65536"#), "odd", "not from 1"),
        (with(r#","Port":1e999"#), "odd", "not from 1"),
        (with(r#","Port":"80""#), "odd", "not a number"),
        (
            with(r#","Port":80,"Address":"www.example""#),
            "odd",
            "no IP address",
        ),
        (with(r#","Port":80,"Address":7"#), "odd", "not a text"),
        (with(r#","Port":80,"Weights":7"#), "odd", "weights"),
        (
            with(r#","Port":80,"Weights":{"Passing":"much"}"#),
            "odd",
            "weights",
        ),
        (
            whole(r#"{"Service":{"ID":"odd","Port":80}}"#),
            "odd",
            "neither it nor its node",
        ),
        (
            whole(r#"{"Node":null,"Service":{"ID":"odd","Port":80}}"#),
            "odd",
            "neither it nor its node",
        ),
        (
            whole(r#"{"Node":{"Address":"198.18.0.12"}}"#),
            second,
            "not described",
        ),
        (whole("null"), second, "not described"),
        (whole("[7]"), second, "not described"),
        (
            whole(r#"{"Node":{"Address":"198.18.0.12"},"Service":{"Port":0}}"#),
            second,
            "no port",
        ),
    ];
    for (odd, what, reason) in rows {
        let service = read(&format!("[{GOOD},{odd}]"));
        let addresses: Vec<String> = service
            .instances
            .iter()
            .map(|instance| instance.address.to_string())
            .collect();
        assert_eq!(addresses, ["198.18.0.11:80"], "{odd}");
        let [left_out] = service.left_out.as_slice() else {
            panic!("{odd}: {:?}", service.left_out)
        };
        assert_eq!(left_out.what, what, "{odd}");
        assert!(left_out.reason.contains(reason), "{odd}: {left_out:?}");
    }
}

/// One row for each odd field that costs less than its instance: health, weights, and whether tags were read.
#[test]
fn what_an_instance_can_do_without_does_not_leave_it_out() {
    use Health::{Critical, Passing, Warning};
    let vip = r#","Tags":["ipvs.vip=198.18.0.29:80"]"#;
    let mixed = r#","Tags":[null,7,"ipvs.vip=198.18.0.29:80"]"#;
    let nulls = r#","Tags":null,"Meta":null,"Weights":null"#;
    let huge = r#","Weights":{"Passing":1e30,"Warning":2.9}"#;
    let rows = [
        ("", "", Passing, (1, 1), false),
        (nulls, r#","Checks":null"#, Passing, (1, 1), false),
        (vip, r#","Checks":[]"#, Passing, (1, 1), true),
        (mixed, "", Passing, (1, 1), true),
        (
            r#","Tags":"ipvs.vip=198.18.0.29:80""#,
            "",
            Passing,
            (1, 1),
            false,
        ),
        (
            r#","Weights":{"Passing":null,"Warning":-3}"#,
            "",
            Passing,
            (1, 0),
            false,
        ),
        (huge, "", Passing, (u32::MAX, 2), false),
        (
            "",
            r#","Checks":[null,{"Status":"passing"}]"#,
            Critical,
            (1, 1),
            false,
        ),
        (
            "",
            r#","Checks":[{"CheckID":"c"}]"#,
            Critical,
            (1, 1),
            false,
        ),
        (
            "",
            r#","Checks":[{"CheckID":7,"Status":"warning"}]"#,
            Warning,
            (1, 1),
            false,
        ),
        (
            r#","Meta":{"k":"\ud800"},"Unknown":[[[]]]"#,
            "",
            Passing,
            (1, 1),
            false,
        ),
    ];
    for (service, checks, health, weights, tagged) in rows {
        let answer = format!(
            r#"[{{"Node":{{"Address":"198.18.0.12"}},"Service":{{"ID":"x","Port":80{service}}}{checks}}}]"#
        );
        let read = read(&answer);
        assert!(read.left_out.is_empty(), "{answer}: {:?}", read.left_out);
        let instance = &read.instances[0];
        assert_eq!(instance.health, health, "{answer}");
        assert_eq!(
            (instance.weight_passing, instance.weight_warning),
            weights,
            "{answer}"
        );
        assert_eq!(instance.tags.ask.is_some(), tagged, "{answer}");
    }
}

#[test]
fn of_many_that_cannot_be_used_some_are_named_and_the_rest_is_counted() {
    let entries = vec!["null"; LEFT_OUT_NAMED + 5].join(",");
    let left_out = read(&format!("[{entries}]")).left_out;
    assert_eq!(left_out.len(), LEFT_OUT_NAMED + 1);
    assert_eq!(left_out[LEFT_OUT_NAMED].what, "5 more");
}
