//! An engine beside the lab's, in a network of its own, for what the lab's is not configured for.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lab::world::context::Lab;
use tempfile::TempDir;

use crate::story;

/// Ends with the value, and so do its containers.
pub(crate) struct OwnEngine {
    daemon: Child,
    folder: TempDir,
}

impl OwnEngine {
    /// Starts one that has the lab's image. `surroundings` is what a shell does before, in namespaces of the engine's own;
    /// `unshare` says which beside that of the network.
    pub(crate) fn start(lab: &Lab, unshare: &[&str], surroundings: &str, args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let at = |name: &str| path.join(name).display().to_string();
        std::fs::write(at("config.json"), "{}").unwrap();
        let log = std::fs::File::create(at("log")).unwrap();
        let script = format!("set -e; ip link set lo up; {surroundings}\nexec \"$0\" \"$@\"");
        let mut command = Command::new("unshare");
        command
            .arg("--net")
            .args(unshare)
            .args([
                "sh",
                "-c",
                &script,
                "dockerd",
                "--iptables=false",
                "--ip6tables=false",
            ])
            .arg(format!("--data-root={}", at("data")))
            .arg(format!("--exec-root={}", at("exec")))
            .arg(format!("--pidfile={}", at("pid")))
            .arg(format!("--host=unix://{}", at("socket")))
            .arg(format!("--config-file={}", at("config.json")))
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0);
        let daemon = command.spawn().unwrap();
        let engine = Self { daemon, folder };
        story::eventually("an engine of its own", 30, || {
            engine.docker(&["version"]).map_err(|error| {
                let log = std::fs::read_to_string(engine.folder().join("log"));
                format!("{error}; {}", log.unwrap_or_default())
            })
        });
        let archive = at("image.tar");
        let save = [
            "--host",
            &lab.docker_host(),
            "save",
            "-o",
            &archive,
            "busybox:1",
        ];
        let saved = Command::new("docker").args(save).output().unwrap();
        assert!(saved.status.success(), "{}", story::text(&saved));
        engine.docker(&["load", "-i", &archive]).unwrap();
        engine
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn socket(&self) -> String {
        format!("unix://{}", self.folder().join("socket").display())
    }

    /// Runs the docker program against it.
    pub(crate) fn docker(&self, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new("docker");
        command.args(["--host", &self.socket()]).args(args);
        let output = command.output().unwrap();
        let text = story::text(&output);
        if output.status.success() {
            Ok(text)
        } else {
            Err(text)
        }
    }

    /// A command in its network.
    pub(crate) fn beside(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.daemon.id()))
            .arg(program);
        command
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        let pid = self.daemon.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        for _ in 0..200 {
            if !matches!(self.daemon.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        // With all that it started.
        let _ = Command::new("kill")
            .args(["-KILL", "--", &format!("-{pid}")])
            .status();
        let _ = self.daemon.wait();
    }
}
