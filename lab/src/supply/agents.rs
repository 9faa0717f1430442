//! Real Nomad and Consul agents, had in the fastest way there is.
//!
//! The order is PATH → cache → official release → Go modules; each way says what it does, and the next is
//! tried when it can't serve. What a download or a build gave stays in the cache, per version, outside every
//! clone, and is never made twice: a lock per agent makes a second lab wait for the first. Everything here
//! belongs to the person and, builds above all, runs as the person. Not for starting agents.

use std::fmt;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::host::paths::Person;
use crate::host::privilege::command_for;
use crate::host::programs;
use crate::host::stream;
use crate::report::ui::Step;
use crate::supply::version::Version;

mod go;
mod modules;
mod recipe;
mod release;

pub use go::go_toolchain;
pub use release::releases_answer;

/// Which agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    Nomad,
    Consul,
    /// A gateway that listens to Consul: a peer to measure beside, not part of the lab.
    Traefik,
}

impl Agent {
    /// Those that the lab can't be without.
    pub const ALL: [Self; 2] = [Self::Nomad, Self::Consul];

    pub fn name(self) -> &'static str {
        match self {
            Self::Nomad => "nomad",
            Self::Consul => "consul",
            Self::Traefik => "traefik",
        }
    }

    /// The version the lab gets by itself: of the first two the last under the MPL that Go modules build.
    pub fn version(self) -> Version {
        match self {
            Self::Nomad => Version::new(1, 6, 1),
            Self::Consul => Version::new(1, 14, 11),
            Self::Traefik => Version::new(3, 6, 1),
        }
    }

    /// The oldest one on PATH that is used.
    fn oldest(self) -> Version {
        match self {
            Self::Nomad => Version::new(1, 6, 0),
            Self::Consul => Version::new(1, 14, 0),
            Self::Traefik => Version::new(3, 0, 0),
        }
    }

    /// `nomad-1.6.1`.
    fn folder(self) -> String {
        format!("{}-{}", self.name(), self.version())
    }
}

/// An agent that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    pub agent: Agent,
    pub path: PathBuf,
    pub version: Version,
    pub origin: Origin,
}

impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} ({})",
            self.agent.name(),
            self.version,
            self.origin
        )
    }
}

/// Where an agent came from, this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    OnPath,
    Cached,
    Downloaded,
    Built,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnPath => "on PATH",
            Self::Cached => "cached",
            Self::Downloaded => "downloaded",
            Self::Built => "built from Go modules",
        })
    }
}

/// The agent if it needs no download and no build: on PATH or in the cache.
pub fn at_hand(agent: Agent, person: &Person, cache: &Path) -> Option<Binary> {
    on_path(agent, person, cache, &|_| {}).or_else(|| cached(agent, cache))
}

/// The agent, by whatever way works first. A build takes minutes.
///
/// # Errors
/// No way worked; the text names each and why.
pub fn ensure(agent: Agent, person: &Person, cache: &Path, step: &mut Step) -> Result<Binary> {
    let [binary] = side_by_side([agent], person, cache, step);
    binary
}

/// Both agents, side by side: one waits for a compiler while the other waits for the network.
///
/// # Errors
/// As [`ensure`]; both reasons when both failed.
pub fn ensure_both(person: &Person, cache: &Path, step: &mut Step) -> Result<(Binary, Binary)> {
    let [nomad, consul] = side_by_side(Agent::ALL, person, cache, step);
    match (nomad, consul) {
        (Ok(nomad), Ok(consul)) => Ok((nomad, consul)),
        (Err(one), Err(other)) => Err(anyhow::anyhow!("{one:#}\n{other:#}")),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
    }
}

/// One thread an agent; this one shows what they say.
fn side_by_side<const N: usize>(
    agents: [Agent; N],
    person: &Person,
    cache: &Path,
    step: &mut Step,
) -> [Result<Binary>; N] {
    let (notes, lines) = mpsc::channel::<String>();
    std::thread::scope(|scope| {
        let threads = agents.map(|agent| {
            let notes = notes.clone();
            scope.spawn(move || {
                obtain(agent, person, cache, &|text| {
                    let _ = notes.send(text.to_owned());
                })
            })
        });
        // The loop ends when the last thread drops its sender.
        drop(notes);
        for text in lines {
            step.note(&text);
        }
        threads.map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("a thread that gets agents broke down")))
        })
    })
}

/// `note` gets a line for the person, the agent's name in front.
fn obtain(agent: Agent, person: &Person, cache: &Path, note: &dyn Fn(&str)) -> Result<Binary> {
    let note = |text: &str| note(&format!("{}: {text}", agent.name()));
    if let Some(binary) = on_path(agent, person, cache, &note).or_else(|| cached(agent, cache)) {
        return Ok(binary);
    }
    let agents = cache.join("agents");
    person.make_dir(&agents)?;
    let _lock = lock(agent, person, &agents, &note)?;
    // Another lab may have made it while we waited.
    if let Some(binary) = cached(agent, cache) {
        return Ok(binary);
    }
    let origin = match release::download(agent, person, &agents, &note) {
        Ok(()) => Origin::Downloaded,
        Err(why) => {
            note(&format!(
                "no official release ({why}); building from Go modules, which takes minutes"
            ));
            modules::build(agent, person, &agents, &note).with_context(|| {
                format!(
                    "no {} on PATH, in {} or to download ({why}), and the build failed",
                    agent.name(),
                    agents.display()
                )
            })?;
            Origin::Built
        }
    };
    Ok(Binary {
        agent,
        path: place(agent, &agents),
        version: agent.version(),
        origin,
    })
}

fn on_path(agent: Agent, person: &Person, cache: &Path, note: &dyn Fn(&str)) -> Option<Binary> {
    let path = programs::find(agent.name())?;
    if path.starts_with(cache) {
        // `lab env` puts the cache on PATH.
        return None;
    }
    let answer = stream::answer(
        command_for(person, &path).arg("version"),
        Duration::from_secs(10),
    );
    let Some(version) = answer.as_deref().and_then(Version::find) else {
        note(&format!(
            "{} does not tell its version: not used",
            path.display()
        ));
        return None;
    };
    if version < agent.oldest() {
        note(&format!(
            "{} is {version}, older than {}: not used",
            path.display(),
            agent.oldest()
        ));
        return None;
    }
    if version != agent.version() {
        note(&format!(
            "{} is {version}; the lab is tried with {}",
            path.display(),
            agent.version()
        ));
    }
    Some(Binary {
        agent,
        path,
        version,
        origin: Origin::OnPath,
    })
}

fn cached(agent: Agent, cache: &Path) -> Option<Binary> {
    // It got its name by a rename, so what is there is whole.
    let path = place(agent, &cache.join("agents"));
    programs::is_executable(&path).then(|| Binary {
        agent,
        path,
        version: agent.version(),
        origin: Origin::Cached,
    })
}

/// Where the agent lies in the cache.
fn place(agent: Agent, agents: &Path) -> PathBuf {
    agents.join(agent.folder()).join(agent.name())
}

/// Gives a finished file its place, so that nobody ever sees half of one.
fn settle(agent: Agent, person: &Person, agents: &Path, part: &Path) -> Result<()> {
    let place = place(agent, agents);
    person.make_dir(&agents.join(agent.folder()))?;
    person.give(part)?;
    std::fs::rename(part, &place).with_context(|| format!("put {} into the cache", place.display()))
}

fn lock(agent: Agent, person: &Person, agents: &Path, note: &dyn Fn(&str)) -> Result<File> {
    let path = agents.join(format!("{}.lock", agent.folder()));
    let file = File::create(&path).with_context(|| format!("open {}", path.display()))?;
    person.give(&path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            note("another lab is getting it; waiting for that");
            file.lock()
                .with_context(|| format!("lock {}", path.display()))?;
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("lock {}", path.display()));
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests;
