use super::*;

const V1: &str = "\
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
42 31 0:39 / /proc rw - proc proc rw
";

fn id() -> ContainerId {
    ContainerId("0123456789abcdef".repeat(4))
}

fn write(folder: &Path, name: &str, files: &[(&str, &str)]) {
    let folder = folder.join(name.trim_start_matches('/')).join(id().0);
    fs::create_dir_all(&folder).unwrap();
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
}

fn mount(point: PathBuf, kind: Hierarchy) -> HierarchyMount {
    let root = "/".to_owned();
    HierarchyMount { point, root, kind }
}

#[test]
fn hierarchies_are_found_in_the_list_of_mounts() {
    let found = mounts(V1);
    assert_eq!(found.len(), 3);
    let lines = format!(
        "4:memory:/docker/{0}/init.scope\n2:cpuacct:/docker/{0}\n0::/\n",
        id()
    );
    let memory = folder(&found, &lines, "memory", &id()).unwrap();
    assert_eq!(
        memory,
        Path::new(&format!("/sys/fs/cgroup/memory/docker/{}", id()))
    );
    assert_eq!(folder(&found, &lines, "cpu", &id()), None);
    assert_eq!(
        folder(&found, &lines, "", &id()),
        None,
        "its own cgroup is of version 1"
    );
}

#[test]
fn a_process_of_another_cgroup_is_not_measured() {
    let found = mounts(V1);
    for path in ["/docker/other", "/", "", "/../../docker/"] {
        let lines = format!("4:memory:{path}\n");
        assert_eq!(folder(&found, &lines, "memory", &id()), None, "{path}");
    }
    let outside = format!("4:memory:/../{}\n", id());
    assert_eq!(folder(&found, &outside, "memory", &id()), None);
}

#[test]
fn counters_of_version_one_are_the_engines() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    write(
        &at("acct"),
        "/docker",
        &[
            ("cpuacct.usage", "123456789\n"),
            ("cpuacct.stat", "user 7\nsystem 5\n"),
            (
                "cpu.stat",
                "nr_periods 9\nnr_throttled 3\nthrottled_time 4000\n",
            ),
        ],
    );
    write(
        &at("memory"),
        "/docker",
        &[
            (
                "memory.stat",
                "cache 4096\nrss 8192\nrss_huge 1\nswap 5\ntotal_rss 77\n",
            ),
            ("memory.usage_in_bytes", "20480\n"),
            ("memory.max_usage_in_bytes", "40960\n"),
        ],
    );
    let v1 = |controllers: &str| Hierarchy::V1 {
        controllers: format!("rw,{controllers}"),
    };
    let mounts = [
        mount(at("acct"), v1("cpu,cpuacct")),
        mount(at("memory"), v1("memory")),
    ];
    let lines = format!("3:cpu,cpuacct:/docker/{0}\n2:memory:/docker/{0}\n", id());
    let cgroup = Cgroup::find(&mounts, &lines, &id()).unwrap();
    let found = cgroup.sample(Clock::start()).unwrap();
    assert_eq!(
        (found.cpu_total, found.cpu_user, found.cpu_kernel),
        (123_456_789, 70_000_000, 50_000_000)
    );
    assert_eq!(
        (found.throttled_periods, found.throttled),
        (3, Duration::from_micros(4))
    );
    let memory = MemoryStats {
        rss: Some(8192),
        cache: Some(4096),
        swap: Some(5),
        usage: Some(20480),
        max_usage: Some(40960),
    };
    assert_eq!(found.memory, memory);
}

#[test]
fn counters_of_version_two_are_the_engines() {
    let root = tempfile::tempdir().unwrap();
    let cpu = "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 9\nnr_throttled 3\nthrottled_usec 4\n";
    write(
        root.path(),
        "/docker",
        &[
            ("cpu.stat", cpu),
            ("memory.stat", "anon 8192\nfile 4096\n"),
            ("memory.current", "20480\n"),
        ],
    );
    let mounts = [mount(root.path().to_owned(), Hierarchy::V2)];
    let lines = format!("0::/docker/{}\n", id());
    let found = Cgroup::find(&mounts, &lines, &id())
        .unwrap()
        .sample(Clock::start())
        .unwrap();
    assert_eq!(
        (found.cpu_total, found.cpu_user, found.cpu_kernel),
        (30_000, 20_000, 10_000)
    );
    assert_eq!(
        (found.throttled_periods, found.throttled),
        (3, Duration::from_micros(4))
    );
    let memory = MemoryStats {
        rss: Some(8192),
        cache: Some(4096),
        swap: None,
        usage: Some(20480),
        max_usage: None,
    };
    assert_eq!(found.memory, memory);
}

#[test]
fn processors_are_counted_from_their_list() {
    for (list, expected) in [
        ("0", 1),
        ("0-3", 4),
        ("0-3,6", 5),
        ("", 0),
        ("3-1", 0),
        ("x", 0),
    ] {
        assert_eq!(processors(list), expected, "{list:?}");
    }
}
