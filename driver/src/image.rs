//! The task's image: taken when it is here, pulled when it is not.
//!
//! One pull at a time per image: tasks that want the same one wait for the same pull. A pull ends by success, by its
//! total time-out, or when the engine reports no progress for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nomad_driver_sdk::DriverError;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info};

use crate::engine::{ContainerEngine, Credentials, EngineError};

/// How to get an image.
#[derive(Debug, Clone)]
pub struct Want {
    pub image: String,
    pub force: bool,
    pub credentials: Option<Credentials>,
    /// For the whole pull.
    pub limit: Duration,
    /// Between two signs of life.
    pub silence: Duration,
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
            ImageError::Engine { .. } => true,
        };
        let refusal = Self::new(nomad_driver_sdk::error::chain(&error));
        if recoverable {
            refusal.into_recoverable()
        } else {
            refusal
        }
    }
}

impl Images {
    /// The image's id. `on_pull` is told once when a download begins.
    pub async fn ensure<E: ContainerEngine>(
        &self,
        engine: &E,
        want: &Want,
        on_pull: impl FnOnce(),
    ) -> Result<String, ImageError> {
        let reference = Reference::parse(&want.image)?;
        let name = reference.to_string();
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
        let waited = turn.try_lock().is_err();
        let _turn = turn.lock().await;
        // Somebody else's pull, ended just now, is as good as our own.
        if waited && let Ok(id) = engine.find_image(&name).await {
            return Ok(id);
        }
        on_pull();
        info!(image = name, "pulling image");
        pull(engine, &name, want).await?;
        engine
            .find_image(&name)
            .await
            .map_err(|source| ImageError::Engine {
                image: name,
                source,
            })
    }
}

async fn pull<E: ContainerEngine>(engine: &E, name: &str, want: &Want) -> Result<(), ImageError> {
    let failed = |reason: String| ImageError::Pull {
        image: name.to_owned(),
        recoverable: !(reason.contains("image ") && reason.contains(" not found")),
        reason,
    };
    let (progress_tx, mut progress) = mpsc::channel(64);
    let pull = engine.pull(name, want.credentials.clone(), progress_tx);
    let watch = async {
        loop {
            match timeout(want.silence, progress.recv()).await {
                Ok(Some(line)) => debug!(image = name, line, "pull"),
                Ok(None) => std::future::pending().await,
                Err(_) => return,
            }
        }
    };
    let deadline = Instant::now() + want.limit;
    let both = async {
        tokio::select! {
            done = pull => done.map_err(|error| match error {
                source @ EngineError::Unreachable(_) => ImageError::Engine { image: name.to_owned(), source },
                refused => failed(refused.to_string()),
            }),
            () = watch => Err(failed(format!("no progress for {} s", want.silence.as_secs()))),
        }
    };
    timeout_at(deadline, both)
        .await
        .unwrap_or_else(|_| Err(failed(format!("not done after {} s", want.limit.as_secs()))))
}

/// A reference split as Docker splits it: the digest beats the tag.
#[derive(Debug, PartialEq, Eq)]
struct Reference {
    repository: String,
    version: Version,
}

#[derive(Debug, PartialEq, Eq)]
enum Version {
    Tag(String),
    Digest(String),
}

impl Reference {
    fn parse(text: &str) -> Result<Self, ImageError> {
        let bad = || ImageError::Reference(text.to_owned());
        let trimmed = text.strip_prefix("https://").unwrap_or(text);
        let (named, digest) = trimmed
            .split_once('@')
            .map_or((trimmed, None), |(named, digest)| (named, Some(digest)));
        // A colon after the last slash starts the tag; one before it is the registry's port.
        let name_start = named.rfind('/').map_or(0, |slash| slash + 1);
        let (repository, tag) = match named[name_start..].find(':') {
            Some(colon) => (
                &named[..name_start + colon],
                Some(&named[name_start + colon + 1..]),
            ),
            None => (named, None),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:[]".contains(c);
        let usable = !repository.is_empty()
            && repository.chars().all(plain)
            && !repository.starts_with('/')
            && !repository.ends_with('/');
        let version = match (digest, tag) {
            (Some(digest), _) if digest.contains(':') && !digest.ends_with(':') => {
                Version::Digest(digest.to_owned())
            }
            (None, Some(tag)) if !tag.is_empty() => Version::Tag(tag.to_owned()),
            (None, None) => Version::Tag("latest".to_owned()),
            (Some(_), _) | (None, Some(_)) => return Err(bad()),
        };
        if usable {
            Ok(Self {
                repository: repository.to_owned(),
                version,
            })
        } else {
            Err(bad())
        }
    }

    fn is_latest(&self) -> bool {
        self.version == Version::Tag("latest".to_owned())
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.version {
            Version::Tag(tag) => write!(f, "{}:{tag}", self.repository),
            Version::Digest(digest) => write!(f, "{}@{digest}", self.repository),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_split_as_docker_splits_them() {
        for (text, expected) in [
            ("busybox", "busybox:latest"),
            ("busybox:1", "busybox:1"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
            ("localhost:5000/a/b:2", "localhost:5000/a/b:2"),
            ("a/b:2@sha256:00ff", "a/b@sha256:00ff"),
            (
                "https://registry.example/pause:3.3",
                "registry.example/pause:3.3",
            ),
        ] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn what_is_not_a_reference_is_refused() {
        for text in [
            "",
            "wrong-docker-image:",
            "a b",
            "/a",
            "a/",
            "a@",
            "a@sha256:",
            ":1",
            "a\n",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }
}
