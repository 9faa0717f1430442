//! A job of many tasks that sleep: what figures are taken with.

use anyhow::Result;

use crate::part::job;
use crate::world::context::Lab;

/// Runs `count` of them under this name; returns when all do.
pub(super) fn run(lab: &Lab, name: &str, count: usize) -> Result<()> {
    let file = lab.paths.state.join(format!("{name}.nomad.hcl"));
    lab.person.write(&file, &jobfile(name, count))?;
    job::submit(lab, &file)?;
    let deployed = job::wait_deployed(lab, name);
    if deployed.is_err() {
        purge(lab, name)?;
    }
    deployed
}

pub(super) fn purge(lab: &Lab, name: &str) -> Result<()> {
    job::purge(lab, name)
}

/// Small enough for fifty to fit on any node.
fn jobfile(name: &str, count: usize) -> String {
    format!(
        r#"job "{name}" {{
  datacenters = ["*"]
  group "sleepers" {{
    count = {count}
    ephemeral_disk {{
      size = 110
    }}
    update {{
      max_parallel     = {count}
      min_healthy_time = "1s"
    }}
    task "sleep" {{
      driver = "docker"
      config {{
        image   = "busybox:1"
        command = "sleep"
        args    = ["100000"]
      }}
      resources {{
        cpu    = 10
        memory = 10
      }}
    }}
  }}
}}
"#
    )
}
