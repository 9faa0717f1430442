use std::os::unix::fs::PermissionsExt;

use super::*;

fn person() -> Person {
    Person::find().unwrap()
}

fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let file = folder.join(name);
    std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    file
}

#[test]
fn what_is_in_the_cache_is_taken_as_it_is() {
    let cache = tempfile::tempdir().unwrap();
    assert_eq!(cached(Agent::Consul, cache.path()), None);
    let path = script(
        &cache.path().join("agents/consul-1.14.11"),
        "consul",
        "exit 1",
    );
    let found = cached(Agent::Consul, cache.path()).unwrap();
    assert_eq!(
        found,
        Binary {
            agent: Agent::Consul,
            path,
            version: Version::new(1, 14, 11),
            origin: Origin::Cached
        }
    );
    assert_eq!(found.to_string(), "consul 1.14.11 (cached)");
}

#[test]
fn a_finished_file_moves_to_its_place_whole() {
    let cache = tempfile::tempdir().unwrap();
    let agents = cache.path().join("agents");
    let part = script(&agents, "nomad-1.6.1.part", "exit 0");
    settle(Agent::Nomad, &person(), &agents, &part).unwrap();
    assert!(!part.exists());
    assert!(cached(Agent::Nomad, cache.path()).is_some());
}

#[test]
fn a_second_lab_waits_for_the_first_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let first = lock(Agent::Nomad, &person(), folder.path(), &|text| {
        panic!("{text}")
    })
    .unwrap();
    let (notes, lines) = mpsc::channel::<String>();
    let path = folder.path().to_owned();
    let second = std::thread::spawn(move || {
        lock(Agent::Nomad, &person(), &path, &|text| {
            notes.send(text.to_owned()).unwrap();
        })
        .map(drop)
    });
    assert_eq!(
        lines.recv().unwrap(),
        "another lab is getting it; waiting for that"
    );
    drop(first);
    second.join().unwrap().unwrap();
}
