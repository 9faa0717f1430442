//! A job of one task, for stories about how a task fares: where it is, what it wrote, what became of it.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use lab::client::docker::docker;
use lab::world::context::Lab;
use lab::world::topology::Node;
use serde_json::Value;

use crate::story;

/// For Nomad's API.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Numbers its lines from 0 until there is a file `stop` in the allocation's folder, then says how many there were.
pub(crate) const COUNTING: &str = "i=0; while [ ! -e /alloc/stop ]; do echo $i; i=$((i+1)); usleep 5000; done; echo total $i; exec sleep 100000";

/// What is to run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipe {
    pub(crate) job: &'static str,
    /// For a shell.
    pub(crate) script: &'static str,
    /// `service` or `batch`.
    pub(crate) kind: &'static str,
    /// More lines for the driver's block.
    pub(crate) config: &'static str,
    /// More blocks for the task.
    pub(crate) blocks: &'static str,
}

/// The job's only allocation. The job goes with it.
pub(crate) struct Task<'a> {
    lab: &'a Lab,
    job: &'static str,
    pub(crate) alloc: String,
}

/// What must stay as it is when a task is not to be disturbed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) container: String,
    pub(crate) restarts: u64,
    pub(crate) state: String,
}

impl Recipe {
    pub(crate) fn service(job: &'static str, script: &'static str) -> Self {
        Self {
            job,
            script,
            kind: "service",
            config: "",
            blocks: "",
        }
    }

    fn text(&self) -> String {
        let Self {
            job,
            script,
            kind,
            config,
            blocks,
        } = self;
        format!(
            r#"
job "{job}" {{
  datacenters = ["*"]
  type        = "{kind}"
  group "g" {{
    restart {{
      attempts = 3
      interval = "10m"
      delay    = "1s"
      mode     = "fail"
    }}
    task "t" {{
      driver       = "docker"
      kill_timeout = "1s"
      config {{
        image   = "busybox:1"
        command = "sh"
        args    = ["-c", {script:?}]
        {config}
      }}
      resources {{
        cpu    = 20
        memory = 32
      }}
      {blocks}
    }}
  }}
}}"#
        )
    }
}

impl<'a> Task<'a> {
    /// Submits the job; returns when it is placed.
    pub(crate) fn submit(lab: &'a Lab, recipe: Recipe) -> Self {
        let file = tempfile::NamedTempFile::with_suffix(".nomad.hcl").unwrap();
        std::fs::write(file.path(), recipe.text()).unwrap();
        let path = file.path().display().to_string();
        story::nomad_ok(lab, &["job", "run", "-detach", &path]);
        let mut task = Self {
            lab,
            job: recipe.job,
            alloc: String::new(),
        };
        task.alloc = story::eventually("an allocation", 20, || {
            let found = task.get(&format!("job/{}/allocations", recipe.job))?;
            let all = found.as_array().into_iter().flatten();
            // One of an earlier run of the job may still be known.
            let wanted = all.filter(|allocation| allocation["DesiredStatus"] == "run");
            let newest = wanted.max_by_key(|allocation| allocation["CreateIndex"].as_u64());
            newest
                .and_then(|allocation| allocation["ID"].as_str().map(str::to_owned))
                .ok_or_else(|| found.to_string())
        });
        task
    }

    /// Submits the job; returns when the task runs.
    pub(crate) fn run(lab: &'a Lab, recipe: Recipe) -> Self {
        let task = Self::submit(lab, recipe);
        task.reaches("running", 30);
        task
    }

    /// Waits for Nomad to say that the task is in this state.
    pub(crate) fn reaches(&self, wanted: &str, seconds: u64) {
        story::eventually(&format!("{} is {wanted}", self.job), seconds, || {
            let state = self.state()?;
            if state["State"] == wanted {
                Ok(())
            } else {
                Err(state.to_string())
            }
        });
    }

    /// Nomad's `TaskState`.
    pub(crate) fn state(&self) -> Result<Value, String> {
        let found = self.get(&format!("allocation/{}", self.alloc))?;
        Ok(found["TaskStates"]["t"].clone())
    }

    pub(crate) fn life(&self) -> Life {
        let state = self.state().unwrap();
        Life {
            container: self.container(),
            restarts: state["Restarts"].as_u64().unwrap(),
            state: state["State"].as_str().unwrap().to_owned(),
        }
    }

    /// The running container's id; empty when there is none.
    pub(crate) fn container(&self) -> String {
        let label = format!("label=com.hashicorp.nomad.alloc_id={}", self.alloc);
        let args = ["ps", "--quiet", "--no-trunc", "--filter", &label];
        let ids = docker(self.lab, Node::Node1, &args).unwrap();
        ids.trim().to_owned()
    }

    /// What the task's events say, oldest first.
    pub(crate) fn events(&self) -> Vec<String> {
        let state = self.state().unwrap();
        let events = state["Events"].as_array().cloned().unwrap_or_default();
        let words = |event: &Value| event["DisplayMessage"].as_str().map(str::to_owned);
        events.iter().filter_map(words).collect()
    }

    /// What `nomad alloc exec` makes of a command.
    pub(crate) fn exec(&self, flags: &[&str], command: &[&str]) -> Command {
        let mut exec = Command::new(self.lab.decisions().unwrap().nomad);
        exec.args(["alloc", "exec"])
            .args(flags)
            .arg(&self.alloc)
            .args(command)
            .envs(lab::client::env::agents(self.lab));
        exec
    }

    pub(crate) fn exec_output(&self, command: &[&str]) -> Output {
        self.exec(&["-i=false"], command).output().unwrap()
    }

    /// All that arrived of one stream, over all its files.
    pub(crate) fn log(&self, stream: &str) -> String {
        let text = |(_, path): &(u64, PathBuf)| std::fs::read_to_string(path).unwrap();
        self.log_files(stream).iter().map(text).collect()
    }

    /// The files of one stream, by number.
    pub(crate) fn log_files(&self, stream: &str) -> Vec<(u64, PathBuf)> {
        let prefix = format!("t.{stream}.");
        let folder = self.folder().join("logs");
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut files: Vec<(u64, PathBuf)> = entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                Some((name.strip_prefix(&prefix)?.parse().ok()?, entry.path()))
            })
            .collect();
        files.sort();
        files
    }

    /// Waits until the log files hold what the task has written by now, and says what they hold.
    pub(crate) fn caught_up(&self, seconds: u64) -> String {
        let container = self.container();
        assert!(
            !container.is_empty(),
            "{} has no container: {:#?}",
            self.job,
            self.events()
        );
        let last = docker(self.lab, Node::Node1, &["logs", "--tail=1", &container]).unwrap();
        let what = format!("line {:?} of {} in its log", last.trim(), self.job);
        story::eventually(&what, seconds, || {
            let log = self.log("stdout");
            if log.lines().rev().any(|line| line == last.trim()) {
                Ok(log)
            } else {
                Err(format!("its last line is {:?}", log.lines().last()))
            }
        })
    }

    /// Makes a [`COUNTING`] task stop, and waits until its last line is in its log. Returns all before that line, and
    /// how many there should be.
    pub(crate) fn total(&self) -> (Vec<String>, usize) {
        std::fs::write(self.folder().join("stop"), "").unwrap();
        story::eventually("the last line", 20, || {
            let log = self.log("stdout");
            let mut lines: Vec<String> = log.lines().map(str::to_owned).collect();
            let last = lines.pop().unwrap_or_default();
            let total = last.strip_prefix("total ").and_then(|n| n.parse().ok());
            total
                .map(|total| (lines, total))
                .ok_or_else(|| format!("the last line is {last:?}"))
        })
    }

    /// The allocation's folder, which is `/alloc` inside.
    pub(crate) fn folder(&self) -> PathBuf {
        let data = self.lab.state_of(Node::Node1).join("nomad/data/alloc");
        data.join(&self.alloc).join("alloc")
    }

    fn get(&self, path: &str) -> Result<Value, String> {
        let found = self.lab.nomad().get_json(path, ANSWER_TIMEOUT);
        found.map_err(|error| format!("{error:#}"))
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        // A story that failed has said why; a job that stays then is no second reason.
        let _ = story::nomad(self.lab, &["job", "stop", "-purge", "-detach", self.job]);
    }
}

/// Whether the lines are the numbers from `first` on, each once, in order. Says where not.
pub(crate) fn counted<'l>(
    lines: impl IntoIterator<Item = &'l str>,
    first: usize,
) -> Result<usize, String> {
    let mut next = first;
    for line in lines {
        if line.parse() != Ok(next) {
            return Err(format!("{line:?} where {next} belongs"));
        }
        next += 1;
    }
    Ok(next)
}
