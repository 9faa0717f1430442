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

#[test]
fn each_port_of_an_allocation_has_a_phase_of_its_own() {
    let mut one = allocation(1, ClientStatus::Running, 1);
    let (first, second) = (one.ports[0].address, "198.18.0.11:20001".parse().unwrap());
    one.tasks.push(Task {
        name: "db".into(),
        state: TaskState::Dead,
        started: Some("1".into()),
    });
    one.ports.push(Port {
        label: "db".into(),
        address: second,
        task: Some("db".into()),
        registered_by_nomad: Some(true),
    });
    let fleet = Fleet::new([one]);
    let phases = [first, second].map(|address| fleet.phase(AllocId(1), address));
    assert_eq!(phases, [Some(Phase::Running), Some(Phase::Restarting)]);
    assert_eq!(fleet.phase(AllocId(2), first), None);
}

#[test]
fn a_fleet_knows_how_many_there_are_and_whose_their_hosts_are() {
    assert!(Fleet::default().is_empty());
    let second = Allocation {
        ports: Vec::new(),
        ..allocation(2, ClientStatus::Running, 2)
    };
    let fleet = Fleet::new([allocation(1, ClientStatus::Running, 1), second]);
    assert_eq!((fleet.len(), fleet.iter().count()), (2, 2));
    assert!(!fleet.is_empty() && fleet.left_out.is_empty());
    let host = Host {
        name: "node1".into(),
        id: "n".into(),
    };
    let ip = "198.18.0.11".parse().unwrap();
    assert_eq!(fleet.host(ip), Some(&host));
    assert_eq!(fleet.host("198.18.0.12".parse().unwrap()), None);
    assert_eq!(fleet.hosts().collect::<Vec<_>>(), [(ip, &host)]);
}

#[test]
fn an_id_is_written_as_nomad_writes_it_however_it_is_asked_for() {
    let text = "0f6b3d3e-6f0e-7d3c-1f2a-6f2a0c7f0b11";
    let id: AllocId = text.parse().unwrap();
    assert_eq!(
        (id.to_string(), format!("{id:?}")),
        (text.into(), text.into())
    );
    assert!("0f6b3d3e".parse::<AllocId>().is_err());
}

#[test]
fn every_bit_of_an_id_has_a_say_in_its_hash() {
    let ids = [0x0f6b_3d3e_6f0e_7d3c_1f2a_6f2a_0c7f_0b11_u128, u128::MAX];
    let whole = |id: u128| {
        let mut hasher = IdHasher::default();
        // All bits of what is there already are set.
        hasher.write_u128(u128::from(u64::MAX));
        hasher.write_u128(id);
        hasher.finish()
    };
    let bytes = |id: u128| {
        let mut hasher = IdHasher::default();
        hasher.write(&id.to_be_bytes());
        hasher.finish()
    };
    for id in ids {
        for bit in 0..u128::BITS {
            let other = id ^ (1 << bit);
            assert_ne!(whole(id), whole(other), "bit {bit}");
            assert_ne!(bytes(id), bytes(other), "bit {bit}");
        }
    }
}
