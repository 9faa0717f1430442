//! The iptables that this kernel understands, for an engine that knows only the name `iptables`.
//!
//! Debian's `iptables` speaks to nf_tables; a kernel without it still has the older tables, and `iptables-legacy` for
//! them. Where only that one works, the engine gets a folder with links to it at the front of its PATH.

use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};

use crate::host::{command, netns, programs};

/// What the engine calls, each with what the link points at.
const LINKS: [(&str, &str); 6] = [
    ("iptables", "iptables-legacy"),
    ("iptables-save", "iptables-legacy-save"),
    ("iptables-restore", "iptables-legacy-restore"),
    ("ip6tables", "ip6tables-legacy"),
    ("ip6tables-save", "ip6tables-legacy-save"),
    ("ip6tables-restore", "ip6tables-legacy-restore"),
];

/// A chain that lives for a moment.
const TRIED: &str = "NOMAD-IPVS-LAB-TRIES";

/// The PATH for an engine in that namespace, as a setting of its environment; `folder` is where links may be made.
pub(super) fn search_path(netns: &str, folder: &Path) -> Result<Vec<(String, String)>> {
    // Listing succeeds where nothing can be made; a chain shows, and the engine doesn't know it.
    let works = |program: &str| {
        let run = |words: &[&str]| command::run(program, &[&["-t", "nat"], words].concat());
        let tried = netns::within(netns, || {
            run(&["-N", TRIED]).and_then(|_| run(&["-X", TRIED]))
        });
        tried.is_ok_and(|ran| ran.is_ok())
    };
    if works("iptables") || !works("iptables-legacy") {
        return Ok(Vec::new());
    }
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    for (name, target) in LINKS {
        let link = folder.join(name);
        if let (Some(target), false) = (programs::find(target), link.exists()) {
            symlink(&target, &link).with_context(|| format!("link {}", link.display()))?;
        }
    }
    let path = format!(
        "{}:{}",
        folder.display(),
        programs::search_path().to_string_lossy()
    );
    Ok(vec![("PATH".to_owned(), path)])
}
