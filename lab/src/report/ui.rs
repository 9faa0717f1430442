//! What the person sees while the lab works: one line a step.
//!
//! A terminal gets spinners that turn into lines, anything else gets the lines alone, and `--json` gets
//! one object a line with the same words. Steps may run side by side: each thread holds its own [`Step`].
//! Not for the output of commands such as `status`, which print a table of their own.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::report::plain;

/// Width of the step's name, so that findings stand in one column.
const NAME_WIDTH: usize = 10;

/// How steps are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Spinners,
    Lines,
    Json,
    /// Nothing: somebody else tells what comes of it.
    Silent,
}

impl Mode {
    /// What fits the standard output; `json` is the person's wish and wins.
    pub fn choose(json: bool) -> Self {
        if json {
            Self::Json
        } else if std::io::stdout().is_terminal() {
            Self::Spinners
        } else {
            Self::Lines
        }
    }
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done now.
    Ok,
    /// Nothing to do: it was as wanted.
    Already,
    /// Works, but the person should know something.
    Warn,
    Failed,
}

impl Outcome {
    fn mark(self) -> console::StyledObject<&'static str> {
        match self {
            Self::Ok | Self::Already => console::style("✓").green(),
            Self::Warn => console::style("!").yellow(),
            Self::Failed => console::style("✗").red(),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Already => "already",
            Self::Warn => "warn",
            Self::Failed => "failed",
        }
    }
}

/// The screen, shared by every step.
#[derive(Debug, Clone)]
pub struct Ui {
    mode: Mode,
    bars: Arc<MultiProgress>,
}

impl Ui {
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            bars: Arc::new(MultiProgress::new()),
        }
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Begins a step; its line appears when it ends.
    pub fn step(&self, name: &str) -> Step {
        let bar = (self.mode == Mode::Spinners).then(|| {
            let style = ProgressStyle::with_template(" {spinner} {prefix} {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = self.bars.add(ProgressBar::new_spinner().with_style(style));
            bar.set_prefix(format!("{name:NAME_WIDTH$}"));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Step {
            ui: self.clone(),
            name: name.to_owned(),
            started: Instant::now(),
            bar,
            last_note: None,
        }
    }

    /// A closing sentence, not part of any step.
    pub fn say(&self, text: &str) {
        match self.mode {
            Mode::Json | Mode::Silent => {}
            Mode::Spinners => drop(self.bars.println(plain::lines(text))),
            Mode::Lines => print(&plain::lines(text)),
        }
    }

    /// A machine's closing object; people don't see it.
    pub fn object(&self, value: &serde_json::Value) {
        if self.mode == Mode::Json {
            print(&plain::json(&value.to_string()));
        }
    }
}

/// One step under way. Dropping it without an ending shows nothing.
#[derive(Debug)]
pub struct Step {
    ui: Ui,
    name: String,
    started: Instant,
    bar: Option<ProgressBar>,
    last_note: Option<String>,
}

impl Step {
    /// What is happening right now. Repeated texts are shown once.
    pub fn note(&mut self, text: &str) {
        if self.last_note.as_deref() == Some(text) {
            return;
        }
        self.last_note = Some(text.to_owned());
        match (&self.bar, self.ui.mode) {
            (Some(bar), _) => bar.set_message(plain::word(text).into_owned()),
            (None, Mode::Json) => self.ui.object(
                &serde_json::json!({ "step": self.name, "state": "working", "note": text }),
            ),
            (None, Mode::Silent) => {}
            (None, _) => print(&format!(
                " · {:NAME_WIDTH$} {}",
                self.name,
                plain::word(text)
            )),
        }
    }

    /// A line that stays, such as one stage of a job.
    pub fn line(&mut self, text: &str) {
        match &self.bar {
            Some(_) => drop(self.ui.bars.println(format!(
                "   {:NAME_WIDTH$} {}",
                "",
                plain::word(text)
            ))),
            None => self.note(text),
        }
    }

    /// Ends the step: its line, with what was found and how long it took.
    pub fn end(self, outcome: Outcome, finding: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        if self.ui.mode == Mode::Silent {
            return;
        }
        if self.ui.mode == Mode::Json {
            let line = serde_json::json!({
                "step": self.name, "state": outcome.word(), "finding": finding,
                "seconds": (seconds * 1000.0).round() / 1000.0,
            });
            return self.ui.object(&line);
        }
        let already = if outcome == Outcome::Already {
            "already running, "
        } else {
            ""
        };
        let took = console::style(format!("{seconds:.1} s")).dim();
        let finding = plain::lines(finding);
        let line = format!(
            " {} {:NAME_WIDTH$} {already}{finding}  {took}",
            outcome.mark(),
            self.name
        );
        match self.bar {
            Some(bar) => {
                bar.finish_and_clear();
                drop(self.ui.bars.println(line));
            }
            None => print(&line),
        }
    }
}

/// Writes a line to the standard output. A reader that went away is no reason to stop half-way.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Writes a line to the standard error, under the same rule. What others have named is in it.
pub fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", plain::lines(text));
}
