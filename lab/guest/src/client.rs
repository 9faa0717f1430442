//! Runs one command in the guest, through its keeper.
//!
//! Three ways: [`attach`] joins it to this process (input, output, signals, exit code), [`capture`] keeps its output,
//! [`detach`] leaves it running. Only the first waits as long as the command likes: the other two have a limit, for a
//! guest that hangs answers nobody.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sys::signal::{SigSet, Signal};

use super::frame::{Body, End, Frame, Run, Sink};
use super::window::Window;

/// How long a process that stays may take to start.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Read size of the standard input.
const CHUNK: usize = 16 * 1024;

/// What a captured command wrote, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code; 128 + signal when it was killed.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Joined to this process's input, output and signals. Returns the exit code.
pub fn attach(socket: &Path, run: Run) -> Result<i32> {
    // Blocked before any thread starts, so that only the waiting thread takes them.
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ] {
        signals.add(signal);
    }
    signals
        .thread_block()
        .context("keep signals for the command")?;
    let mut stream = open(socket, run)?;
    let sink = Sink::new(stream.try_clone().context("share the connection")?);
    let out = sink.clone();
    std::thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            if out.send(0, Body::Signal(signal as i32)).is_err() {
                return;
            }
        }
    });
    let window = Arc::new(Window::default());
    send_input(sink.clone(), Arc::clone(&window));
    let end = receive(
        &mut stream,
        &sink,
        |bytes| write_all(&mut std::io::stdout().lock(), bytes),
        |bytes| write_all(&mut std::io::stderr().lock(), bytes),
        &window,
        None,
    )?;
    code(end)
}

/// Runs to the end with no input and keeps the output. A command that is not done within `limit` is given up, and the guest
/// ends it.
pub fn capture(socket: &Path, argv: &[&str], limit: Duration) -> Result<Output> {
    let mut stream = open(socket, command(argv, None))?;
    let sink = Sink::new(stream.try_clone().context("share the connection")?);
    sink.send(0, Body::Stdin(Vec::new()))
        .context("close the command's input")?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let end = receive(
        &mut stream,
        &sink,
        |bytes| {
            stdout.extend_from_slice(bytes);
            Ok(())
        },
        |bytes| {
            stderr.extend_from_slice(bytes);
            Ok(())
        },
        &Window::default(),
        Some(Limit::of(limit)),
    )
    .with_context(|| format!("run {} in the guest", argv.join(" ")))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Output {
        code: code(end)?,
        stdout: text(stdout),
        stderr: text(stderr),
    })
}

/// Whether the guest runs a command within `patience`.
pub fn answers(socket: &Path, timeout: Duration) -> bool {
    capture(socket, &["true"], timeout).is_ok_and(|output| output.code == 0)
}

/// Starts a process that stays, its output in `log`. Returns its pid in the guest.
pub fn detach(socket: &Path, argv: &[&str], log: &Path) -> Result<i32> {
    let mut stream = open(socket, command(argv, Some(log)))?;
    let sink = Sink::new(stream.try_clone().context("share the connection")?);
    match receive(
        &mut stream,
        &sink,
        |_| Ok(()),
        |_| Ok(()),
        &Window::default(),
        Some(Limit::of(START_LIMIT)),
    )? {
        End::Detached(pid) => Ok(pid),
        other => code(other).and_then(|code| bail!("the guest ended {argv:?} with {code} at once")),
    }
}

fn command(argv: &[&str], log: Option<&Path>) -> Run {
    Run {
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
        env: vec![(
            "PATH".to_owned(),
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        )],
        detached_log: log.map(|path| path.display().to_string()),
    }
}

fn open(socket: &Path, run: Run) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(socket).with_context(|| {
        format!(
            "the guest's keeper doesn't answer on {} (is the lab up?)",
            socket.display()
        )
    })?;
    Frame::new(0, Body::Run(run))
        .write(&mut stream)
        .context("send the command")?;
    Ok(stream)
}

/// Until when a command has to be done.
#[derive(Debug, Clone, Copy)]
struct Limit {
    end: Instant,
    whole: Duration,
}

impl Limit {
    fn of(whole: Duration) -> Self {
        Self {
            end: Instant::now() + whole,
            whole,
        }
    }

    /// Lets the next read end when the time is up.
    fn bound(self, stream: &UnixStream) -> Result<()> {
        let left = self.end.saturating_duration_since(Instant::now());
        // No time left can't be said as a time-out: it would mean none at all.
        ensure!(!left.is_zero(), "{self}");
        stream
            .set_read_timeout(Some(left))
            .context("set a time-out")
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not done after {} s", self.whole.as_secs())
    }
}

/// The next frame; none when the guest is gone.
fn next(stream: &mut UnixStream, limit: Option<Limit>) -> Result<Option<Frame>> {
    let Some(limit) = limit else {
        return Frame::read(stream).context("read from the guest");
    };
    limit.bound(stream)?;
    Frame::read(stream).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => anyhow!("{limit}"),
        _ => anyhow!(error).context("read from the guest"),
    })
}

/// Reads until the end of the command, giving credit for what was consumed.
fn receive(
    stream: &mut UnixStream,
    sink: &Sink<UnixStream>,
    mut stdout: impl FnMut(&[u8]) -> Result<()>,
    mut stderr: impl FnMut(&[u8]) -> Result<()>,
    input: &Window,
    limit: Option<Limit>,
) -> Result<End> {
    while let Some(frame) = next(stream, limit)? {
        let consumed = match frame.body {
            Body::Stdout(bytes) => stdout(&bytes).map(|()| bytes.len())?,
            Body::Stderr(bytes) => stderr(&bytes).map(|()| bytes.len())?,
            Body::Credit(bytes) => {
                input.give(bytes as usize);
                continue;
            }
            Body::End(end) => return Ok(end),
            _ => continue,
        };
        let credit = Body::Credit(u32::try_from(consumed).unwrap_or(0));
        sink.send(0, credit).context("answer the guest")?;
    }
    bail!("the guest went away while the command ran")
}

fn send_input(sink: Sink<UnixStream>, window: Arc<Window>) {
    std::thread::spawn(move || {
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = std::io::stdin().lock().read(&mut chunk).unwrap_or(0);
            if read > 0 && !window.take(read) {
                return;
            }
            // An empty chunk is the end of input.
            if sink.send(0, Body::Stdin(chunk[..read].to_vec())).is_err() || read == 0 {
                return;
            }
        }
    });
}

fn write_all(to: &mut impl Write, bytes: &[u8]) -> Result<()> {
    to.write_all(bytes)
        .and_then(|()| to.flush())
        .context("pass the command's output on")
}

fn code(end: End) -> Result<i32> {
    match end {
        End::Exited(code) => Ok(code),
        End::Killed(signal) => Ok(128 + signal),
        End::Detached(_) => Ok(0),
        End::NotStarted(why) => bail!("not started in the guest: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A keeper that takes connections, and what its guest says to them.
    fn keeper(
        words: impl Fn(&mut UnixStream) + Send + 'static,
    ) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("keeper.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            words(&mut stream);
            // Open until the client has gone.
            while stream.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
        });
        (folder, socket)
    }

    #[test]
    fn a_guest_that_hangs_is_given_up_in_words() {
        let (_folder, socket) = keeper(|_| {});
        let begun = Instant::now();
        let error = capture(&socket, &["cat", "/x"], Duration::from_millis(200)).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(20));
        let words = format!("{error:#}");
        assert!(
            words.contains("run cat /x in the guest") && words.contains("not done"),
            "{words}"
        );
        let (_folder, socket) = keeper(|_| {});
        assert!(!answers(&socket, Duration::from_millis(200)));
    }

    #[test]
    fn output_without_end_does_not_extend_the_limit() {
        let (_folder, socket) = keeper(|stream| {
            while Frame::new(0, Body::Stdout(vec![b'x']))
                .write(stream)
                .is_ok()
            {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let begun = Instant::now();
        capture(&socket, &["yes"], Duration::from_millis(300)).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
