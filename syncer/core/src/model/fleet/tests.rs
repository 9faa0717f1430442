//! What an allocation's ports do, and whose they are.

use super::*;

fn allocation(id: u128, client: ClientStatus, created: u64) -> Allocation {
    Allocation {
        id: AllocId(id),
        namespace: "default".into(),
        job: "web".into(),
        group: "web".into(),
        node_id: "n".into(),
        node_name: "node1".into(),
        client,
        wanted: true,
        tasks: vec![Task {
            name: "www".into(),
            state: TaskState::Running,
            started: Some("1".into()),
        }],
        ports: vec![Port {
            label: "http".into(),
            address: "198.18.0.11:20000".parse().unwrap(),
            task: Some("www".into()),
            registered_by_nomad: Some(true),
        }],
        created,
    }
}

#[test]
fn a_port_belongs_to_the_live_allocation_and_else_to_the_newest() {
    let address = "198.18.0.11:20000".parse().unwrap();
    let old = allocation(1, ClientStatus::Running, 1);
    let ended = allocation(2, ClientStatus::Complete, 2);
    let newest = allocation(3, ClientStatus::Failed, 3);
    let owner = |all: Vec<Allocation>| Fleet::new(all).at(address).map(|a| a.id.0);
    assert_eq!(
        owner(vec![ended.clone(), old.clone(), newest.clone()]),
        Some(1)
    );
    assert_eq!(owner(vec![newest.clone(), ended.clone()]), Some(3));
    assert_eq!(owner(vec![ended, newest]), Some(3));
}

#[test]
fn the_ports_own_task_decides_not_its_sidecar() {
    let mut one = allocation(1, ClientStatus::Running, 1);
    one.tasks.push(Task {
        name: "log".into(),
        state: TaskState::Running,
        started: Some("1".into()),
    });
    let address = one.ports[0].address;
    assert_eq!(one.phase(address), Phase::Running);
    one.tasks[0].state = TaskState::Pending;
    assert_eq!(one.phase(address), Phase::Restarting);
    one.tasks[0].started = None;
    assert_eq!(one.phase(address), Phase::Pending);
    one.wanted = false;
    assert_eq!(one.phase(address), Phase::Stopping);
    one.client = ClientStatus::Complete;
    assert_eq!(one.phase(address), Phase::Complete);
}

#[test]
fn nobody_succeeds_itself_nor_one_of_another_namespace() {
    let leaving = allocation(1, ClientStatus::Running, 1);
    let elsewhere = Allocation {
        namespace: "other".into(),
        ..allocation(2, ClientStatus::Running, 2)
    };
    let successor = allocation(3, ClientStatus::Pending, 3);
    let fleet = Fleet::new([leaving.clone(), elsewhere.clone()]);
    assert!(!fleet.has_successor(&leaving));
    let fleet = Fleet::new([leaving.clone(), elsewhere, successor]);
    assert!(fleet.has_successor(&leaving));
}

#[test]
fn a_port_without_a_task_is_served_by_the_only_one_and_by_none_of_several() {
    let mut one = allocation(1, ClientStatus::Running, 1);
    one.ports[0].task = None;
    assert!(one.serves("www", &one.ports[0]));
    assert!(!one.serves("init", &one.ports[0]));
    one.tasks.push(Task {
        name: "init".into(),
        state: TaskState::Dead,
        started: Some("1".into()),
    });
    assert!(!one.serves("www", &one.ports[0]) && !one.serves("init", &one.ports[0]));
    one.ports[0].task = Some("www".into());
    assert!(one.serves("www", &one.ports[0]) && !one.serves("init", &one.ports[0]));
}
