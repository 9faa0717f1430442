//! A registry of images beside an engine of a story's own.

use std::process::{Child, Stdio};

use tempfile::TempDir;

use crate::own_engine::OwnEngine;
use crate::story;

/// A user whose password is `sesame`, as `htpasswd` writes one down.
pub(crate) const ALICE: &str =
    "alice:$2b$05$abcdefghijklmnopqrstuuKcS.CYWVYVaLiiCKrrc0A5s3mGesJ9O\n";

/// Ends with the value, and so do its images.
pub(crate) struct Registry {
    daemon: Child,
    /// Where the engine reaches it.
    pub(crate) address: String,
    _folder: TempDir,
}

impl Registry {
    /// Starts one in the engine's network, for everybody or for those `users` alone.
    pub(crate) fn start(engine: &OwnEngine, port: u16, users: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let at = |name: &str| path.join(name).display().to_string();
        let address = format!("127.0.0.1:{port}");
        let images = at("images");
        let auth = users.map_or(String::new(), |users| {
            std::fs::write(at("users"), users).unwrap();
            format!(
                "auth: {{ htpasswd: {{ realm: lab, path: {} }} }}\n",
                at("users")
            )
        });
        let config = format!(
            "version: 0.1\nstorage: {{ filesystem: {{ rootdirectory: {images} }} }}\nhttp: {{ addr: \"{address}\" }}\n{auth}"
        );
        std::fs::write(at("config.yml"), config).unwrap();
        let log = std::fs::File::create(at("log")).unwrap();
        let daemon = engine
            .beside("docker-registry".as_ref())
            .args(["serve", &at("config.yml")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let registry = Self {
            daemon,
            address,
            _folder: folder,
        };
        let url = format!("http://{}/v2/", registry.address);
        story::eventually("a registry of its own", 20, || {
            let answered = engine.beside("curl".as_ref()).args(["-s", &url]).status();
            let answered = answered.is_ok_and(|status| status.success());
            answered
                .then_some(())
                .ok_or_else(|| std::fs::read_to_string(at("log")).unwrap_or_default())
        });
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
