//! The agent's FIFO as one end to write into, held for as long as the task runs.
//!
//! The bytes in a pipe stay there while a process holds it, so this end is kept until they are read or taken back. Only
//! [`Pipe::write`] waits, and only for room.

use std::io::{self, ErrorKind, Read};

use rustix::io::ioctl_fionread;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::Sender;

use super::directory::{Access, Fifo};

/// What a pipe holds at most, unless the machine's owner has allowed more.
const CAPACITY: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Pipe {
    fifo: Fifo,
    sender: Sender,
}

impl Pipe {
    /// An error when nobody has it open for reading.
    pub(super) fn new(fifo: Fifo) -> io::Result<Self> {
        let sender = Sender::from_file(fifo.open(Access::Append)?)?;
        Ok(Self { fifo, sender })
    }

    /// Again, if there is a reader. An end that saw its reader go is of no use to the runtime
    /// any more, though it is to the kernel.
    pub(super) fn reconnect(&mut self) -> io::Result<()> {
        self.sender = Sender::from_file(self.fifo.open(Access::Append)?)?;
        Ok(())
    }

    /// Writes some of it. Cancel-safe.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sender.write(bytes).await
    }

    /// How many bytes nobody has read yet.
    pub(super) fn unread(&self) -> usize {
        let unread = ioctl_fionread(&self.sender).unwrap_or_default();
        usize::try_from(unread).unwrap_or(usize::MAX)
    }

    /// Empties it, and says how many bytes that were. A reader who comes at this moment gets what is before them: one
    /// read takes all.
    pub(super) fn drain(&self) -> io::Result<usize> {
        let mut end = self.fifo.open(Access::Read)?;
        match end.read(&mut vec![0; self.unread().min(CAPACITY)]) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            other => Ok(other.unwrap_or_default()),
        }
    }
}
