//! A command that runs inside a container.

use std::fmt;
use std::pin::Pin;

use tokio::io::AsyncWrite;

use super::Output;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub words: Vec<String>,
    pub tty: bool,
    pub stdin: bool,
}

/// The engine's name for a command that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandId(pub String);

/// Whether a command still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandState {
    Running {
        /// In the engine's pid namespace, once it has one.
        pid: Option<i32>,
    },
    Exit {
        code: i64,
    },
}

/// Both ends of a command that runs. Shutting `input` down is its end of file.
pub struct CommandIo {
    pub id: CommandId,
    pub output: Output,
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
}

impl fmt::Debug for CommandIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandIo")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
