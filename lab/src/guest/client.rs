//! Runs one command in the guest, through its keeper.
//!
//! Three ways: [`attach`] joins it to this process (input, output, signals, exit code), [`capture`] keeps its output,
//! [`detach`] leaves it running.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};

use super::frame::{Body, End, Frame, Run, Sink};
use super::window::Window;

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
    )?;
    code(end)
}

/// Runs to the end with no input and keeps the output.
pub fn capture(socket: &Path, argv: &[&str]) -> Result<Output> {
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
    )?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Output {
        code: code(end)?,
        stdout: text(stdout),
        stderr: text(stderr),
    })
}

/// Whether the guest runs a command within `patience`.
pub fn answers(socket: &Path, patience: Duration) -> bool {
    let ask = || -> Result<i32> {
        let mut stream = open(socket, command(&["true"], None))?;
        stream
            .set_read_timeout(Some(patience))
            .context("set a time-out")?;
        let sink = Sink::new(stream.try_clone().context("share the connection")?);
        let nothing = |_: &[u8]| Ok(());
        code(receive(
            &mut stream,
            &sink,
            nothing,
            nothing,
            &Window::default(),
        )?)
    };
    ask().is_ok_and(|code| code == 0)
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

/// Reads until the end of the command, giving credit for what was consumed.
fn receive(
    stream: &mut UnixStream,
    sink: &Sink<UnixStream>,
    mut stdout: impl FnMut(&[u8]) -> Result<()>,
    mut stderr: impl FnMut(&[u8]) -> Result<()>,
    input: &Window,
) -> Result<End> {
    while let Some(frame) = Frame::read(stream).context("read from the guest")? {
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
