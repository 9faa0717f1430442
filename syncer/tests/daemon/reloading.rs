//! A config that is read again while the daemon runs.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::harness::{Lab, stranger};

#[tokio::test]
async fn a_policy_that_changes_changes_the_table_and_nothing_else() {
    let lab = Lab::with(&[0]).await;
    let daemon = lab.daemon();
    lab.expect(&["198.18.0.11:20000 1"]).await;
    let schedulers = || {
        let inside = lab.director.inside();
        let services = inside.kernel.table.iter();
        services
            .map(|(id, service)| format!("{id} {}", service.settings.scheduler))
            .collect::<Vec<_>>()
    };
    assert_eq!(schedulers(), ["tcp://198.18.0.29:80 rr"]);
    lab.director.inside().steps.clear();
    let text = lab.config_text();
    daemon.reload(&text.replace("\"rr\"", "\"wlc\""));
    lab.eventually(schedulers, &vec!["tcp://198.18.0.29:80 wlc".to_owned()])
        .await;
    assert_eq!(lab.director.inside().steps.len(), 1);
    daemon.reload(&text.replace("198.18.0.29:80", "198.18.0.30:80"));
    lab.eventually(schedulers, &vec!["tcp://198.18.0.30:80 rr".to_owned()])
        .await;
}

#[tokio::test]
async fn a_service_that_is_new_in_the_config_is_followed_and_one_that_left_it_is_not() {
    let lab = Lab::with(&[0]).await;
    lab.consul.change(|world| {
        world.services.insert("api".into(), vec![stranger(1)]);
    });
    let daemon = lab.daemon();
    lab.expect(&["198.18.0.11:20000 1"]).await;
    let text = lab.config_text();
    let more = text.clone() + "service \"api\" { vip = \"198.18.0.31:80\" }\n";
    daemon.reload(&more);
    let both = [
        "tcp://198.18.0.29:80 -> 198.18.0.11:20000 1",
        "tcp://198.18.0.31:80 -> 198.18.0.11:20001 1",
    ];
    lab.eventually(|| lab.director.rows(), &both.map(str::to_owned).to_vec())
        .await;
    daemon.reload(&text);
    lab.expect(&["198.18.0.11:20000 1"]).await;
}

/// The program itself, and what it logs.
struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Process {
    fn start(config: &std::path::Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ipvs-syncer"))
            .args(["agent", "--config"])
            .arg(config)
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines(child.stderr.take().unwrap());
        Self { child, lines }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, signal).unwrap();
    }

    /// Waits for a line with that text; gives all up to it.
    fn until(&self, text: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(20));
            let line = line.unwrap_or_else(|_| panic!("no {text:?} after {lines:?}"));
            let found = line.contains(text);
            lines.push(line);
            if found {
                return lines;
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stderr: ChildStderr) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

#[tokio::test]
async fn sighup_has_the_config_read_again_and_a_bad_one_changes_nothing() {
    let lab = Lab::with(&[0]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("syncer.hcl");
    let good = format!(
        "log_level = \"info\"\nstate_dir = {:?}\nconsul {{ address = {:?} }}\nnomad {{ address = {:?} }}\nregistrar {{}}\n",
        folder.path(),
        lab.consul.address,
        lab.nomad.address
    );
    std::fs::write(&path, &good).unwrap();
    let mut process = tokio::task::spawn_blocking(move || {
        let process = Process::start(&path);
        process.until("running");

        std::fs::write(&path, good.replace("registrar {}", "registrar {")).unwrap();
        process.signal(Signal::SIGHUP);
        let refused = process.until("the config is not taken; nothing changed");
        assert!(
            refused.last().unwrap().contains("syncer.hcl:"),
            "{refused:?}"
        );

        let other = good
            .replace("\"info\"", "\"debug\"")
            .replace("registrar {}", "registrar { check_interval = \"9s\" }");
        std::fs::write(&path, other).unwrap();
        process.signal(Signal::SIGHUP);
        let taken = process.until("the config is read again").join("\n");
        assert!(
            taken.contains("that needs a restart") && taken.contains("key=\"registrar\""),
            "{taken}"
        );

        std::fs::write(&path, good).unwrap();
        process.signal(Signal::SIGHUP);
        process.until("the config is read again");
        process.signal(Signal::SIGTERM);
        process.until("ending; virtual services stay as they are");
        process
    })
    .await
    .unwrap();
    assert!(process.child.wait().unwrap().success());
}
