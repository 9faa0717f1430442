//! A second account on the machine can do nothing to a lab that is up.
//!
//! The intruder is an account without any rights, which knows the lab's addresses, has its programs, and can guess its
//! paths. Each attempt has a counterpart that shows that the attempt itself is sound: the person's own succeeds.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use lab::world::access::Access;
use lab::world::context::Lab;
use lab::world::topology::Node;

use crate::story;

/// An account that owns nothing and is in no group.
const INTRUDER: &str = "65534";

/// For one attempt over the network.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);

/// A command of the intruder's, with an environment that names the agents and nothing more.
fn intruder(lab: &Lab, program: impl AsRef<Path>, args: &[&str]) -> Output {
    let mut command = Command::new("setpriv");
    let ids = ["--reuid", INTRUDER, "--regid", INTRUDER, "--clear-groups"];
    command.args(ids).arg(program.as_ref()).args(args);
    command.env_clear().current_dir("/");
    command.env("PATH", lab::host::programs::search_path());
    command.env("NOMAD_ADDR", lab.topology.nomad_address());
    command.env("CONSUL_HTTP_ADDR", lab.topology.consul_address());
    command.output().unwrap()
}

/// The agents' programs, where the intruder can run them: the lab's own copies lie in the person's home.
fn agents(lab: &Lab) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let found = lab.decisions().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = |program: &Path| {
        let target = folder.path().join(program.file_name().unwrap());
        std::fs::copy(program, &target).unwrap();
        target
    };
    let (nomad, consul) = (copy(&found.nomad), copy(&found.consul));
    (folder, nomad, consul)
}

#[test]
fn another_account_gets_nothing_from_nomad_and_nothing_into_it() {
    let lab = story::up();
    let (_folder, nomad, _) = agents(&lab);
    let job = story::job_file("plain.nomad.hcl");
    let readable = nomad.parent().unwrap().join("job.hcl");
    std::fs::copy(&job, &readable).unwrap();
    let job = readable.display().to_string();
    for attempt in [
        vec!["job", "run", "-detach", &job],
        vec!["job", "stop", "-detach", "hello-world"],
        vec!["job", "status"],
        vec!["node", "status"],
        vec!["operator", "raft", "list-peers"],
        vec!["acl", "token", "list"],
    ] {
        let text = story::text(&intruder(&lab, &nomad, &attempt));
        assert!(
            text.contains("403") || text.contains("Permission denied"),
            "{attempt:?}: {text}"
        );
    }
    let text = story::text(&intruder(&lab, &nomad, &["acl", "bootstrap"]));
    assert!(text.contains("ACL bootstrap already done"), "{text}");
    // The person can.
    story::nomad_ok(&lab, &["node", "status"]);
}

#[test]
fn another_account_gets_nothing_from_consul_and_nothing_into_it() {
    let lab = story::up();
    let (_folder, _, consul) = agents(&lab);
    let vip = lab.topology.second_vip().ip().to_string();
    let tag = format!("-tag=ipvs.vip={vip}:80");
    let register = vec![
        "services",
        "register",
        "-name=stolen",
        "-port=80",
        tag.as_str(),
    ];
    for attempt in [
        register.clone(),
        vec!["kv", "put", "stolen", "1"],
        vec!["acl", "token", "list"],
        vec!["operator", "raft", "list-peers"],
        vec!["force-leave", "node1"],
        vec!["leave"],
    ] {
        let output = intruder(&lab, &consul, &attempt);
        let text = story::text(&output);
        assert!(
            !output.status.success()
                && (text.contains("403") || text.contains("Permission denied")),
            "{attempt:?}: {text}"
        );
    }
    for list in [vec!["catalog", "services"], vec!["members"]] {
        let text = story::text(&intruder(&lab, &consul, &list));
        assert!(
            !text.contains("hello-world") && !text.contains("node1"),
            "{text}"
        );
    }
    // The person's own word counts.
    let mut own = Command::new(&consul);
    let own = own
        .args(&register)
        .envs(lab::client::env::agents(&lab))
        .output();
    assert!(own.unwrap().status.success());
    let mut undo = Command::new(&consul);
    undo.args(["services", "deregister", "-id=stolen"]);
    let undo = undo.envs(lab::client::env::agents(&lab)).output().unwrap();
    assert!(undo.status.success(), "{}", story::text(&undo));
}

#[test]
fn the_agents_take_neither_rpc_nor_gossip_from_a_stranger() {
    let lab = story::up();
    let node1 = lab.topology.node_address(Node::Node1);
    // The first byte says what is spoken: 1 is RPC, 2 is Raft. A server that takes it waits for more.
    for port in [4647, 8300] {
        for kind in [1, 2] {
            let at = SocketAddr::from((node1, port));
            assert_eq!(reply_of(at, &[kind]), Reply::Closed, "{kind} to {at}");
        }
    }
    // A ping over a stream (memberlist: kind 0, then a map in MessagePack). Whoever takes plain gossip answers it, as plain; one
    // with a key says that it has not understood, encrypted (kind 10).
    let ping = b"\x00\x82\xa5SeqNo\x07\xa4Node\xa0";
    for port in [4648, 8301, 8302] {
        let at = SocketAddr::from((node1, port));
        match reply_of(at, ping) {
            Reply::Closed => {}
            Reply::Words(words) if words.first() == Some(&10) => {}
            reply => panic!("{at}: {reply:?}"),
        }
    }
}

/// What a port makes of some bytes.
#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Closed,
    /// Still listening.
    Nothing,
    Words(Vec<u8>),
}

fn reply_of(at: SocketAddr, bytes: &[u8]) -> Reply {
    let mut stream = TcpStream::connect_timeout(&at, ATTEMPT_TIMEOUT).unwrap();
    stream.set_read_timeout(Some(ATTEMPT_TIMEOUT)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut words = [0; 64];
    match stream.read(&mut words) {
        Ok(0) => Reply::Closed,
        Ok(length) => Reply::Words(words[..length].to_vec()),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Reply::Closed,
        Err(_) => Reply::Nothing,
    }
}

/// A program for perl, which every Debian has: 7 is the end of an attempt that was refused.
const CONNECT: &str =
    "socket(S, PF_UNIX, SOCK_STREAM, 0); connect(S, pack_sockaddr_un($ARGV[0])) or exit 7";

#[test]
fn no_file_and_no_socket_of_the_lab_is_open_to_another_account() {
    let lab = story::up();
    for folder in [&lab.paths.state, &lab.paths.run] {
        let listed = intruder(&lab, "ls", &[&folder.display().to_string()]);
        let text = story::text(&listed);
        assert!(
            !listed.status.success() && text.contains("Permission denied"),
            "{text}"
        );
    }
    let sockets = sockets(&lab);
    assert!(sockets.len() >= 5, "{sockets:?}");
    let mut tried = 0;
    for socket in &sockets {
        let path = socket.display().to_string();
        let words = ["-MSocket", "-e", CONNECT, &path];
        if !Command::new("perl").args(words).status().unwrap().success() {
            // Whoever listened there has gone.
            continue;
        }
        tried += 1;
        let output = intruder(&lab, "perl", &words);
        assert_eq!(output.status.code(), Some(7), "{path} takes everybody");
    }
    assert!(tried >= 5, "{tried} of {sockets:?}");
    // The person's own can. A story before may have taken the tasks' containers along, and Nomad starts them again in its time.
    story::eventually("a container in the engine's list", 60, || {
        let own = lab::client::docker::docker(&lab, Node::Node1, &["ps", "--quiet"]).unwrap();
        (!own.is_empty()).then_some(()).ok_or(own)
    });
}

/// Every socket with a path on which a process in one of the lab's namespaces listens.
fn sockets(lab: &Lab) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let namespaces = lab.topology.all_netns();
    for pid in namespaces
        .iter()
        .flat_map(|netns| lab::host::netns::pids(netns))
    {
        let root = std::fs::read_link(format!("/proc/{pid}/root"));
        if root.is_ok_and(|root| root != Path::new("/")) {
            continue;
        }
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            // The fourth is its flags, here "listens", and the eighth its path.
            if let [_, _, _, "00010000", _, _, _, path] = fields[..]
                && path.starts_with('/')
            {
                found.insert(PathBuf::from(path));
            }
        }
    }
    found
}

#[test]
fn no_token_is_among_the_arguments_of_a_process_or_in_a_readable_file() {
    let lab = story::up();
    let access = Access::of(&lab).unwrap();
    let secrets = [
        access.nomad,
        access.consul,
        access.nomad_gossip,
        access.consul_gossip,
    ];
    let holds = |bytes: &[u8]| {
        let held = secrets.iter().filter(|secret| {
            let secret = secret.reveal().as_bytes();
            bytes.windows(secret.len()).any(|window| window == secret)
        });
        held.count() > 0
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    for process in processes {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        assert!(!holds(&line), "{}", String::from_utf8_lossy(&line));
    }
    let mut settings = 0;
    for file in files(&lab.paths.state) {
        if holds(&std::fs::read(&file).unwrap_or_default()) {
            settings += 1;
            let mode = std::fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{} is {mode:o}", file.display());
        }
    }
    // Both agents, both syncers and the tokens' own file.
    assert!(settings >= 5, "{settings}");
}

/// Small files that the lab itself has written: not what is below an agent's or an engine's data.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() && !matches!(entry.file_name().to_str(), Some("data" | "docker")) {
            found.extend(files(&path));
        } else if kind.is_file() {
            found.push(path);
        }
    }
    found
}
