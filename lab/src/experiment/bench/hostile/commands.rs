//! Commands inside a task by the hundred, through Nomad's own websocket: a connection each, opened and then left alone. A
//! `nomad alloc exec` each would measure two hundred agents' programs.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::world::access::Access;
use crate::world::context::Lab;

/// Ten thousand lines, and then it stays.
const COMMAND: &str = r#"["sh","-c","seq 0 9999; exec sleep 1000"]"#;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Of an answer's beginning so much is looked at.
const HEAD: usize = 16 * 1024;
/// And so much of a refusal is shown.
const WHY: usize = 200;

pub(super) struct Commands {
    connections: Vec<TcpStream>,
}

#[derive(Default)]
pub(super) struct Answers {
    /// They ran.
    pub(super) wrote: usize,
    /// They have not begun.
    pub(super) wait: usize,
    pub(super) refused: usize,
    /// The first refusal's words.
    pub(super) why: String,
}

impl Commands {
    /// Asks for all of them and waits for none.
    pub(super) fn begin(lab: &Lab, allocation: &str, task: &str, count: usize) -> Result<Self> {
        let url = lab.topology.nomad_address();
        let address = url.trim_start_matches("http://");
        let token = Access::of(lab)?.nomad;
        let request = [
            format!(
                "GET /v1/client/allocation/{allocation}/exec?task={task}&tty=false&command={} HTTP/1.1",
                escaped(COMMAND)
            ),
            format!("Host: {address}"),
            "Connection: Upgrade".to_owned(),
            "Upgrade: websocket".to_owned(),
            "Sec-WebSocket-Version: 13".to_owned(),
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==".to_owned(),
            format!("X-Nomad-Token: {}", token.reveal()),
            String::new(),
            String::new(),
        ]
        .join("\r\n");
        let target = address
            .parse()
            .with_context(|| format!("{address} is no address"))?;
        let begin = |_| -> Result<TcpStream> {
            let mut connection = TcpStream::connect_timeout(&target, CONNECT_TIMEOUT)
                .with_context(|| format!("connect to {address}"))?;
            connection.write_all(request.as_bytes())?;
            connection.set_nonblocking(true)?;
            Ok(connection)
        };
        let connections = (0..count).map(begin).collect::<Result<Vec<_>>>()?;
        ensure!(connections.len() == count, "not all connections are open");
        Ok(Self { connections })
    }

    /// What became of them. The connections end with this.
    pub(super) fn end(self) -> Answers {
        let mut answers = Answers::default();
        for mut connection in self.connections {
            match read(&mut connection) {
                Ok(text) if text.contains("\"stdout\"") => answers.wrote += 1,
                Ok(text) if text.starts_with("HTTP/1.1 101") => answers.wait += 1,
                Ok(text) => answers.refuse(&text),
                Err(error) => answers.refuse(&error.to_string()),
            }
        }
        answers
    }
}

impl Answers {
    fn refuse(&mut self, why: &str) {
        self.refused += 1;
        if self.why.is_empty() {
            self.why = why.chars().take(WHY).filter(|c| !c.is_control()).collect();
        }
    }
}

/// What has arrived so far.
fn read(connection: &mut TcpStream) -> std::io::Result<String> {
    let mut bytes = vec![0; HEAD];
    let mut length = 0;
    while length < HEAD {
        match connection.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    text.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_fits_into_an_address() {
        assert_eq!(escaped(r#"["a b"]"#), "%5B%22a%20b%22%5D");
    }
}
