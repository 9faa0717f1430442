//! Commands inside the fake's containers.

use std::collections::HashMap;
use std::time::Duration;

use docker_ipvs::engine::{Chunk, Command, CommandId, CommandIo, CommandState, EngineError};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::FakeEngine;
use super::shell::{Step, steps};

#[derive(Debug, Default)]
pub(super) struct Commands {
    states: HashMap<String, CommandState>,
    questions: usize,
    /// How long the engine takes to begin a command, and to say whether it runs.
    delays: (Duration, Duration),
    starts: usize,
    starts_max: usize,
}

impl FakeEngine {
    /// How often somebody asked whether a command runs.
    pub(crate) fn questions(&self) -> usize {
        self.lock().commands.questions
    }

    /// How many commands were being begun at the same time, at most.
    pub(crate) fn starts_max(&self) -> usize {
        self.lock().commands.starts_max
    }

    pub(crate) fn set_command_delays(&self, begin: Duration, question: Duration) {
        self.lock().commands.delays = (begin, question);
    }

    pub(super) async fn begin(&self, command: Command) -> Result<CommandIo, EngineError> {
        let (name, delay) = {
            let mut world = self.up()?;
            let commands = &mut world.commands;
            commands.starts += 1;
            commands.starts_max = commands.starts_max.max(commands.starts);
            let name = format!("command {}", commands.states.len());
            let state = CommandState::Running { pid: None };
            commands.states.insert(name.clone(), state);
            (name, commands.delays.0)
        };
        tokio::time::sleep(delay).await;
        self.lock().commands.starts -= 1;
        let (to, chunks) = mpsc::channel(1000);
        tokio::spawn(self.clone().execute(name.clone(), command, to));
        Ok(CommandIo {
            id: CommandId(name),
            output: ReceiverStream::new(chunks).map(Ok).boxed(),
            input: Box::pin(tokio::io::sink()),
        })
    }

    async fn execute(self, name: String, command: Command, to: mpsc::Sender<Chunk>) {
        let mut code = 0;
        for step in steps(command.words.last().unwrap(), command.tty) {
            match step {
                Step::Write(source, bytes) => to.send(Chunk { source, bytes }).await.unwrap_or(()),
                Step::Sleep(time) => tokio::time::sleep(time).await,
                Step::Hold => {
                    let sender = to.clone();
                    tokio::spawn(async move { sender.closed().await });
                }
                Step::Exit(exit_code) => code = exit_code,
            }
        }
        let state = CommandState::Exit { code };
        self.lock().commands.states.insert(name, state);
    }

    pub(super) async fn question(&self, id: &CommandId) -> Result<CommandState, EngineError> {
        let delay = {
            let mut world = self.up()?;
            world.commands.questions += 1;
            world.commands.delays.1
        };
        tokio::time::sleep(delay).await;
        let state = self.lock().commands.states.get(&id.0).copied();
        state.ok_or_else(|| EngineError::NotFound(id.0.clone()))
    }
}
