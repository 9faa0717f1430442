//! The task's image: taken when it is here, pulled when it is not.
//!
//! One pull at a time per image: tasks that want the same one wait for the same pull. A pull ends by success, by its
//! total time-out, when the engine reports no progress for a while, or when whoever waits for it goes: it is dropped.

mod progress;
mod reference;
mod refusal;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nomad_driver_sdk::DriverError;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::info;

use crate::engine::{ContainerEngine, Credentials, EngineError, Layer};
use progress::Progress;
use reference::Reference;

/// The first word on a pull's progress comes after this time: short pulls need none.
const FIRST_REPORT_DELAY: Duration = Duration::from_secs(15);
/// Each further word comes this much later. The agent keeps the last ten events of a task.
const REPORT_INTERVAL: Duration = Duration::from_mins(2);
/// Lines of progress that wait to be counted.
const LINE_QUEUE_LENGTH: usize = 64;

/// How to get an image.
#[derive(Debug, Clone)]
pub struct Want {
    pub image: String,
    pub force: bool,
    pub credentials: Option<Credentials>,
    /// The limit for the whole pull.
    pub limit: Duration,
    /// The limit for the time between two signs of life.
    pub silence: Duration,
}

/// The news for the task's events while an image is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Another task fetches it already.
    Waits,
    Begins,
    Progress(String),
}

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("{0:?} is not an image reference; it looks like registry:5000/name:tag")]
    Reference(String),
    #[error("Failed to pull `{image}`: {reason}")]
    Pull {
        image: String,
        reason: String,
        recoverable: bool,
    },
    #[error("cannot get image `{image}`")]
    Engine { image: String, source: EngineError },
}

impl ImageError {
    /// Whether the engine could not be asked at all.
    pub fn is_engine_away(&self) -> bool {
        matches!(
            self,
            Self::Engine {
                source: EngineError::Unreachable(_),
                ..
            }
        )
    }
}

/// Pulls that are under way, by reference.
#[derive(Debug, Default)]
pub struct Images {
    pulls: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl From<ImageError> for DriverError {
    fn from(error: ImageError) -> Self {
        let recoverable = match &error {
            ImageError::Reference(_) => false,
            ImageError::Pull { recoverable, .. } => *recoverable,
            ImageError::Engine { source, .. } => is_transient(source),
        };
        let refusal = Self::new(nomad_driver_sdk::error::chain(&error));
        if recoverable {
            refusal.into_recoverable()
        } else {
            refusal
        }
    }
}

/// Whether another try can help.
fn is_transient(error: &EngineError) -> bool {
    match error {
        EngineError::Endpoint { .. } => false,
        EngineError::Refusal(reason) => !refusal::is_permanent(reason),
        EngineError::NotFound(_)
        | EngineError::Conflict(_)
        | EngineError::Unreachable(_)
        | EngineError::Timeout { .. } => true,
    }
}

impl Images {
    /// The image's id. Dropping the future gives the pull up.
    pub async fn ensure<E: ContainerEngine>(
        &self,
        engine: &E,
        want: &Want,
        tell: impl Fn(News),
    ) -> Result<String, ImageError> {
        let reference = Reference::parse(&want.image)?;
        let name = reference.to_string();
        let deadline = Instant::now().checked_add(want.limit);
        if !want.force && !reference.is_latest() {
            match engine.find_image(&name).await {
                Ok(id) => return Ok(id),
                Err(EngineError::NotFound(_)) => {}
                Err(source) => {
                    return Err(ImageError::Engine {
                        image: name,
                        source,
                    });
                }
            }
        }
        let turn = {
            let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
            pulls.retain(|_, pull| Arc::strong_count(pull) > 1);
            Arc::clone(pulls.entry(name.clone()).or_default())
        };
        let fetch = async {
            let mut after_wait = false;
            let _turn = if let Ok(turn) = turn.try_lock() {
                turn
            } else {
                after_wait = true;
                tell(News::Waits);
                turn.lock().await
            };
            // Somebody else's pull, ended just now, is as good as our own.
            if after_wait && let Ok(id) = engine.find_image(&name).await {
                return Ok(id);
            }
            tell(News::Begins);
            info!(image = name, "pulling image");
            pull(engine, &name, want, &tell).await?;
            let image = engine.find_image(&name).await;
            image.map_err(|source| ImageError::Engine {
                image: name.clone(),
                source,
            })
        };
        let Some(deadline) = deadline else {
            return fetch.await;
        };
        let late = || transient_error(&name, format!("not done after {} s", want.limit.as_secs()));
        timeout_at(deadline, fetch)
            .await
            .unwrap_or_else(|_| Err(late()))
    }
}

async fn pull<E: ContainerEngine>(
    engine: &E,
    name: &str,
    want: &Want,
    tell: impl Fn(News),
) -> Result<(), ImageError> {
    let (lines_tx, lines) = mpsc::channel(LINE_QUEUE_LENGTH);
    tokio::select! {
        outcome = engine.pull(name, want.credentials.clone(), lines_tx) => outcome.map_err(|error| match error {
            source @ EngineError::Unreachable(_) => ImageError::Engine { image: name.to_owned(), source },
            // A registry that has no such image, or says so to who may not see it.
            EngineError::NotFound(reason) => ImageError::Pull { image: name.to_owned(), reason, recoverable: false },
            other => ImageError::Pull {
                image: name.to_owned(),
                recoverable: is_transient(&other),
                reason: other.to_string(),
            },
        }),
        () = silence(lines, want.silence, tell) => {
            Err(transient_error(name, format!("no progress for {} s", want.silence.as_secs())))
        }
    }
}

/// Tells now and then how far the pull is; returns when the engine has said nothing for `limit`.
async fn silence(mut lines: mpsc::Receiver<Option<Layer>>, limit: Duration, tell: impl Fn(News)) {
    let mut progress = Progress::default();
    let (mut report_time, mut pause) = (Instant::now(), FIRST_REPORT_DELAY);
    let mut last = Instant::now();
    loop {
        // Cancel-safe: a line that was not taken stays in the channel.
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => {
                    last = Instant::now();
                    if let Some(layer) = line {
                        progress.note(layer);
                    }
                }
                // The pull has its answer.
                None => return std::future::pending().await,
            },
            () = sleep(pause.saturating_sub(report_time.elapsed())) => {
                (report_time, pause) = (Instant::now(), REPORT_INTERVAL);
                tell(News::Progress(progress.sentence()));
            }
            () = sleep(limit.saturating_sub(last.elapsed())) => return,
        }
    }
}

fn transient_error(image: &str, reason: String) -> ImageError {
    ImageError::Pull {
        image: image.to_owned(),
        reason,
        recoverable: true,
    }
}
