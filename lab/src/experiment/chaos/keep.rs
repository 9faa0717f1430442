//! What is kept of an episode that failed, in a folder of its own below the profile's state.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::episode::Episode;
use super::verdict::{Evidence, Violation};
use crate::observe::status::View;
use crate::world::context::Lab;

/// How long each log was when the episode began.
#[derive(Debug, Clone, Default)]
pub(super) struct Positions(BTreeMap<PathBuf, u64>);

/// What is noted on the way.
#[derive(Debug)]
pub(super) struct Diary {
    positions: Positions,
    lines: Vec<String>,
    views: Vec<(&'static str, Value)>,
}

impl Positions {
    pub(super) fn of(lab: &Lab) -> Self {
        let logs = logs(lab).into_iter();
        Self(
            logs.filter_map(|log| Some((log.clone(), std::fs::metadata(&log).ok()?.len())))
                .collect(),
        )
    }
}

impl Diary {
    pub(super) fn new(positions: Positions) -> Self {
        Self {
            positions,
            lines: Vec::new(),
            views: Vec::new(),
        }
    }

    pub(super) fn line(&mut self, line: &str) {
        self.lines.push(line.to_owned());
    }

    pub(super) fn view(&mut self, when: &'static str, view: &View) {
        let value = json!({
            "allocations": view.allocations, "instances": view.instances, "kernel": view.kernel,
            "data_plane": view.data_plane, "syncer": words(view),
        });
        self.views.push((when, value));
    }

    pub(super) fn failures(&mut self, failures: &[(f64, String)]) {
        for (at, why) in failures {
            self.line(&format!("request due at {at:.1} s of the load: {why}"));
        }
    }

    /// Writes the folder and says where it is.
    pub(super) fn keep(
        &self,
        lab: &Lab,
        episode: &Episode,
        evidence: &Evidence,
        violations: &[Violation],
    ) -> Result<PathBuf> {
        let folder = lab.paths.state.join("chaos").join(episode.seed.to_string());
        let _ = std::fs::remove_dir_all(&folder);
        lab.person.make_dir(&folder)?;
        let write = |name: &str, text: &str| lab.person.write(&folder.join(name), text);
        let words: Vec<String> = violations.iter().map(ToString::to_string).collect();
        let story = [vec![episode.to_string()], words, self.lines.clone()].concat();
        write("story.txt", &(story.join("\n") + "\n"))?;
        let all = json!({
            "episode": episode, "violations": violations,
            "tasks_before": evidence.before, "tasks_after": evidence.after,
            "table": evidence.samples,
            "views": self.views.iter().map(|(when, view)| json!({ "when": when, "view": view })).collect::<Vec<_>>(),
        });
        write(
            "seen.json",
            &serde_json::to_string_pretty(&all).context("write what was seen")?,
        )?;
        for log in logs(lab) {
            let from = self.positions.0.get(&log).copied().unwrap_or(0);
            let name = log.file_name().unwrap_or_default().to_string_lossy();
            let text = since(&log, from).with_context(|| format!("read {}", log.display()))?;
            write(&name, &text)?;
        }
        Ok(folder)
    }
}

/// What the syncer says of each real server of each VIP.
fn words(view: &View) -> Vec<Value> {
    let words = view.syncer.iter().flat_map(|syncer| &syncer.words);
    words
        .map(|((address, vip), words)| json!({ "address": address, "vip": vip, "words": words }))
        .collect()
}

fn logs(lab: &Lab) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(lab.paths.logs()).into_iter().flatten();
    let mut logs: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    logs.push(lab.paths.state.join("director/syncer.log"));
    logs
}

fn since(log: &std::path::Path, from: u64) -> Result<String> {
    let mut file = std::fs::File::open(log)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::status::{Allocations, DataPlane, Instances, Kernel, Syncer, Words};

    #[test]
    fn a_view_with_everything_in_it_is_kept() {
        let words = Words {
            service: "s".to_owned(),
            state: "serving".to_owned(),
            why: "w".to_owned(),
        };
        let at = "198.18.0.11:25000".parse().unwrap();
        let view = View {
            allocations: Ok(Allocations::new()),
            instances: Ok(Instances::new()),
            kernel: Ok(Kernel::new()),
            data_plane: Ok(DataPlane::new()),
            syncer: Some(Syncer {
                words: [((at, "198.18.0.29:80".to_owned()), words)].into(),
                ..Syncer::default()
            }),
        };
        let mut diary = Diary::new(Positions::default());
        diary.view("before", &view);
        let kept = &diary.views[0].1["syncer"][0];
        assert_eq!(kept["vip"], "198.18.0.29:80");
        assert_eq!(kept["words"]["state"], "serving");
    }
}
