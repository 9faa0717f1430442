//! Which Docker engine, and is it new enough?

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::finding::Finding;
use crate::host::programs;
use crate::host::stream;
use crate::supply::version::Version;

/// API 1.41, which the driver speaks at least.
const OLDEST: Version = Version::new(20, 10, 0);

/// The engine that tasks run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// One of the lab's own in each node.
    Own,
    /// One that runs already, behind this socket.
    Socket(PathBuf),
}

pub(super) fn docker(engine: &Engine) -> Finding {
    const NAME: &str = "docker";
    match engine {
        Engine::Own => {
            let Some(path) = programs::find("dockerd") else {
                // Its package is named among the others.
                return Finding::ok(NAME, "an engine of the lab's own, once it is installed");
            };
            let answer = stream::answer(
                Command::new(&path).arg("--version"),
                Duration::from_secs(10),
            );
            judge(
                answer.as_deref().and_then(Version::find),
                "an engine of the lab's own",
                &path.display().to_string(),
            )
        }
        Engine::Socket(socket) => match ask(socket) {
            Ok(answer) => judge(
                version_in(&answer),
                "the machine's engine",
                &socket.display().to_string(),
            ),
            Err(error) => {
                let finding = format!("{} does not answer: {error}", socket.display());
                Finding::missing(
                    NAME,
                    finding,
                    "start that engine, or leave --docker out for one of the lab's own",
                )
            }
        },
    }
}

fn judge(version: Option<Version>, whose: &str, place: &str) -> Finding {
    match version {
        None => Finding::warn(
            "docker",
            format!("{place} does not tell its version"),
            format!("{OLDEST} or newer is needed"),
        ),
        Some(old) if old < OLDEST => Finding::missing(
            "docker",
            format!("{place} is {old}, too old"),
            format!("install Docker {OLDEST} or newer"),
        ),
        Some(version) => Finding::ok("docker", format!("{version}, {whose}")),
    }
}

/// The whole answer to `GET /version`. The old protocol has the engine close when it is done.
fn ask(socket: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /version HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(1 << 20).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn version_in(answer: &str) -> Option<Version> {
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let body: serde_json::Value = serde_json::from_str(body.trim()).ok()?;
    Version::find(body["Version"].as_str()?)
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn an_engine_before_twenty_ten_is_too_old() {
        assert_eq!(
            judge(Some(Version::new(19, 3, 15)), "", "/usr/bin/dockerd").state,
            State::Missing
        );
        assert_eq!(
            judge(Some(Version::new(20, 10, 0)), "", "/usr/bin/dockerd").state,
            State::Ok
        );
        assert_eq!(judge(None, "", "/usr/bin/dockerd").state, State::Warn);
    }

    #[test]
    fn the_version_is_read_from_an_engines_answer() {
        let answer = "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"Version\":\"20.10.24+dfsg1\"}\n";
        assert_eq!(version_in(answer), Some(Version::new(20, 10, 24)));
        assert_eq!(version_in("HTTP/1.0 404 Not Found\r\n\r\nno"), None);
        assert_eq!(version_in(""), None);
    }

    #[test]
    fn a_socket_where_nobody_listens_is_named() {
        let finding = docker(&Engine::Socket("/nowhere/docker.sock".into()));
        assert_eq!(finding.state, State::Missing);
        assert!(
            finding
                .finding
                .starts_with("/nowhere/docker.sock does not answer: ")
        );
    }
}
