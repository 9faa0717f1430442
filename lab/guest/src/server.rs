//! Runs commands inside the guest for whoever is at the other end of the console.
//!
//! One thread reads frames and chooses; every process has one thread for each of its streams and one that waits for
//! it. The console closes when the keeper dies, and then this ends.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::console::Inside;
use super::frame::{Body, End, Frame, Run, Sink};
use super::window::Window;

/// Read size of a stream: well below [`super::window::WINDOW`].
const CHUNK: usize = 16 * 1024;

type Out = Sink<File>;

/// A process that a channel speaks to.
struct Session {
    pid: Pid,
    stdin: Sender<Vec<u8>>,
    window: Arc<Window>,
    /// Its pid may belong to another by now.
    ended: Arc<AtomicBool>,
}

impl Session {
    /// To the whole process group: a shell's children too.
    fn signal(&self, number: i32) {
        if !self.ended.load(Ordering::Acquire)
            && let Ok(signal) = Signal::try_from(number)
        {
            let _ = kill(Pid::from_raw(-self.pid.as_raw()), signal);
        }
    }
}

/// Serves until the console is closed.
pub fn run() -> Result<()> {
    let (mut console, out) = Inside::open()?;
    out.send(0, Body::Ready).context("write to the console")?;
    let mut sessions: HashMap<u32, Session> = HashMap::new();
    while let Some(frame) = Frame::read(&mut console).context("read the console")? {
        match frame.body {
            Body::Run(run) => match start(frame.channel, &run, &out) {
                Ok(Some(session)) => drop(sessions.insert(frame.channel, session)),
                Ok(None) => {}
                Err(error) => say(
                    &out,
                    frame.channel,
                    Body::End(End::NotStarted(format!("{error:#}"))),
                ),
            },
            body => {
                let Some(session) = sessions.get(&frame.channel) else {
                    continue;
                };
                match body {
                    Body::Stdin(bytes) => drop(session.stdin.send(bytes)),
                    Body::Signal(number) => session.signal(number),
                    Body::Credit(bytes) => session.window.give(bytes as usize),
                    // The client went away: nobody reads any more, and its process is told as a terminal would.
                    Body::End(_) => {
                        session.window.close();
                        session.signal(Signal::SIGHUP as i32);
                        sessions.remove(&frame.channel);
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

/// A console that fails is one whose keeper is gone; the reading side ends the server.
fn say(out: &Out, channel: u32, body: Body) {
    let _ = out.send(channel, body);
}

fn start(channel: u32, run: &Run, out: &Out) -> Result<Option<Session>> {
    let (program, args) = run.argv.split_first().context("an empty command")?;
    let mut command = Command::new(program);
    command
        .args(args)
        .envs(run.env.iter().map(|(key, value)| (key, value)))
        .current_dir("/")
        .process_group(0);
    if let Some(path) = &run.detached_log {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("open {path}"))?;
        let second = log.try_clone().context("share the log")?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(second)
            .spawn()
            .context(program.clone())?;
        say(
            out,
            channel,
            Body::End(End::Detached(i32::try_from(child.id()).unwrap_or(0))),
        );
        std::thread::spawn(move || child.wait());
        return Ok(None);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| program.clone())?;
    let window = Arc::new(Window::default());
    let pid = Pid::from_raw(i32::try_from(child.id()).context("a pid beyond pid_t")?);
    let (stdin, bytes) = mpsc::channel::<Vec<u8>>();
    if let Some(mut pipe) = child.stdin.take() {
        let out = out.clone();
        std::thread::spawn(move || {
            for chunk in bytes {
                if chunk.is_empty() {
                    break;
                }
                // A process that closed its input still gets the rest of its life; what comes is consumed.
                let _ = pipe.write_all(&chunk);
                say(
                    &out,
                    channel,
                    Body::Credit(u32::try_from(chunk.len()).unwrap_or(0)),
                );
            }
        });
    }
    let ended = follow(channel, child, &window, out.clone());
    Ok(Some(Session {
        pid,
        stdin,
        window,
        ended,
    }))
}

/// Streams the output and reports the end after the last byte of it.
fn follow(channel: u32, mut child: Child, window: &Arc<Window>, out: Out) -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ended);
    let stdout = child
        .stdout
        .take()
        .map(|pipe| pump(channel, pipe, Body::Stdout, window, &out));
    let stderr = child
        .stderr
        .take()
        .map(|pipe| pump(channel, pipe, Body::Stderr, window, &out));
    std::thread::spawn(move || {
        let end = match child.wait() {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => End::Exited(code),
                (None, signal) => End::Killed(signal.unwrap_or(9)),
            },
            Err(error) => End::NotStarted(format!("wait: {error}")),
        };
        flag.store(true, Ordering::Release);
        for thread in [stdout, stderr].into_iter().flatten() {
            let _ = thread.join();
        }
        say(&out, channel, Body::End(end));
    });
    ended
}

fn pump(
    channel: u32,
    mut pipe: impl Read + Send + 'static,
    body: fn(Vec<u8>) -> Body,
    window: &Arc<Window>,
    out: &Out,
) -> std::thread::JoinHandle<()> {
    let (window, out) = (Arc::clone(window), out.clone());
    std::thread::spawn(move || {
        let mut chunk = vec![0; CHUNK];
        while let Ok(read @ 1..) = pipe.read(&mut chunk) {
            if !window.take(read) {
                break;
            }
            say(&out, channel, body(chunk[..read].to_vec()));
        }
    })
}
