//! The articles' hello-world answers through the VIP, and a second `up` finds everything there.

use std::time::Duration;

use lab::client::http;
use lab::world::context::Lab;
use lab::world::kernel::scratch::Scratch;
use lab::world::topology::Node;

use crate::story;

#[test]
fn hello_world_answers_through_the_vip_from_the_client_and_from_the_machine() {
    let lab = story::up();
    let url = format!("http://{}/", lab.topology.vip().ip());
    let client = lab.topology.netns(Node::Client.name());
    for answer in [
        http::get_from(&client, &url, Duration::from_secs(3)),
        http::get(&url, Duration::from_secs(3)),
    ] {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200);
        assert!(
            answer.body.contains("<h1>Hello, Nomad!</h1>"),
            "{}",
            answer.body
        );
        assert!(
            answer.body.contains("Currently running on port: 8001"),
            "{}",
            answer.body
        );
    }
}

#[test]
fn the_three_views_of_hello_world_agree() {
    let lab = story::up();
    story::real_servers(&lab, &lab.topology.vip().to_string(), 1, 30);
    story::agreement(&lab, 30);
    let output = story::lab(story::profile(), &["status"]);
    let text = story::text(&output);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("hello-world/servers:www running")
            && text.contains("hello-world-servers passing"),
        "{text}"
    );
}

#[test]
fn a_second_up_finds_each_part_running() {
    let lab = story::up();
    let before: Vec<_> = lab.records.all();
    let output = story::lab(story::profile(), &["up", "--no-build"]);
    let text = story::text(&output);
    assert!(output.status.success(), "{text}");
    for part in [
        "fabric", "consul", "docker", "director", "nomad", "syncer", "job",
    ] {
        let line = text
            .lines()
            .find(|line| {
                line.trim_start().starts_with('✓') && line.split_whitespace().nth(1) == Some(part)
            })
            .unwrap_or_default();
        assert!(line.contains("already running"), "{part}: {text}");
    }
    assert_eq!(before, lab.records.all(), "a process was replaced");
}

#[test]
fn no_helper_process_pumps_the_logs() {
    let lab = story::up();
    let node1 = lab::host::netns::pids(&lab.topology.netns(Node::Node1.name()));
    let commands: Vec<String> = node1
        .iter()
        .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok())
        .collect();
    assert!(
        !commands
            .iter()
            .any(|command| command.contains("docker_logger")),
        "{commands:?}"
    );
}

#[test]
fn the_threads_that_pass_an_end_on_go_before_others_and_no_thread_else_does() {
    let lab = story::up();
    let plugin = lab::part::nomad::plugins(&lab, Node::Node1).swap_remove(0);
    let registrar = lab.records.living("syncer-registrar").unwrap();
    assert_eq!(going_first(plugin.pid), ["prompt"]);
    assert_eq!(going_first(registrar.pid), ["hints"]);
}

#[test]
fn a_guest_is_held_to_one_processor() {
    // One of its own: the lab's director may be a namespace.
    let lab = Lab::open("oneguest", None).unwrap();
    let guest = Scratch::boot(&lab.paths, &lab.person, 64).unwrap();
    let processes = lab::host::process::children(guest.keeper().pid);
    assert!(!processes.is_empty());
    for process in processes {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
        let mut lines = status.lines();
        let allowed = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        assert!(
            allowed.is_some_and(|list| list.trim().parse::<u32>().is_ok()),
            "{allowed:?}"
        );
    }
}

#[test]
fn a_guest_that_sleeps_is_made_to_look_for_what_it_missed() {
    let lab = Lab::open("oneguest", None).unwrap();
    let guest = Scratch::boot(&lab.paths, &lab.person, 64).unwrap();
    // Asleep it would take a few alarms a second; each of ours is one more.
    let before = alarms(&guest);
    std::thread::sleep(Duration::from_secs(1));
    let taken = alarms(&guest) - before;
    assert!(taken > 100, "{taken} alarms in a second");
}

/// How many alarms the guest's kernel has taken.
fn alarms(guest: &Scratch) -> u64 {
    let read = guest.run(&["cat", "/proc/interrupts"]).unwrap();
    let mut lines = read.stdout.lines();
    let timer = lines.find(|line| line.contains("SIGALRM")).unwrap();
    timer.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A process's threads in the round-robin class (proc(5), stat field 41: 2).
fn going_first(pid: i32) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stats = threads.map(|thread| {
        std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default()
    });
    let name = |stat: String| {
        let (name, rest) = stat.split_once(" (")?.1.rsplit_once(") ")?;
        (rest.split(' ').nth(38)? == "2").then(|| name.to_owned())
    };
    stats.filter_map(name).collect()
}

#[test]
fn what_the_task_writes_is_in_its_log() {
    let lab = story::up();
    let url = format!("http://{}/", lab.topology.vip().ip());
    http::get(&url, Duration::from_secs(3)).unwrap();
    story::eventually("a request in the log", 10, || {
        let text = story::nomad_ok(&lab, &["alloc", "logs", "-stderr", "-job", "hello-world"]);
        if text.contains("response:200") {
            Ok(())
        } else {
            Err(text)
        }
    });
}
