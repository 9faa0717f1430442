//! The second console of a guest: a terminal that has to carry bytes as they are, both ways.
//!
//! Inside it is `/dev/tty1` made raw. A terminal keeps at most 4095 unread bytes and drops what comes beyond (Linux
//! `drivers/tty/n_tty.c`, `N_TTY_BUF_SIZE`), and User-mode Linux doesn't hold the host back in time: so the host sends
//! only as much as the guest has said it has read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use anyhow::{Context, Result};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

use super::frame::{Body, Sink};
use super::window::Window;

/// Where `con1` of the kernel's command line is inside.
const DEVICE: &str = "/dev/tty1";

/// Unread bytes towards the guest: safely below the terminal's own buffer.
const UNREAD: usize = 3 * 1024;

/// The guest says what it has read in steps of this.
const STEP: usize = 1024;

/// The guest's reading end: acknowledges what it reads, on channel 0.
#[derive(Debug)]
pub struct Inside {
    file: File,
    out: Sink<File>,
    unsaid: usize,
}

impl Inside {
    /// Opens it with no echo, no line editing and no translation. The sink is the writing end.
    pub fn open() -> Result<(Self, Sink<File>)> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(DEVICE)
            .with_context(|| format!("open {DEVICE}"))?;
        let mut settings = tcgetattr(&file).context("read the console's settings")?;
        cfmakeraw(&mut settings);
        tcsetattr(&file, SetArg::TCSANOW, &settings).context("make the console raw")?;
        let out = Sink::new(file.try_clone().context("share the console")?);
        Ok((
            Self {
                file,
                out: out.clone(),
                unsaid: 0,
            },
            out,
        ))
    }
}

impl Read for Inside {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.unsaid += read;
        if self.unsaid >= STEP {
            self.out
                .send(0, Body::Credit(u32::try_from(self.unsaid).unwrap_or(0)))?;
            self.unsaid = 0;
        }
        Ok(read)
    }
}

/// The host's writing end: waits for the guest to have read.
#[derive(Debug)]
pub struct Outside {
    stream: UnixStream,
    window: Arc<Window>,
}

impl Outside {
    /// The window gets the credit that arrives on channel 0.
    pub fn new(stream: UnixStream) -> (Self, Arc<Window>) {
        let window = Arc::new(Window::of(UNREAD));
        (
            Self {
                stream,
                window: Arc::clone(&window),
            },
            window,
        )
    }
}

impl Write for Outside {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let piece = &buffer[..buffer.len().min(STEP)];
        if !self.window.take(piece.len()) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.stream.write_all(piece).map(|()| piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
