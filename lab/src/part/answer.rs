//! The proof that everything works: a page through the VIP, fetched from the client.

use std::time::Duration;

use anyhow::{Result, bail};

use super::Up;
use crate::client::http;
use crate::host::wait;
use crate::world::context::Lab;
use crate::world::topology::Node;

/// Asks until the VIP answers 200.
pub fn up(lab: &Lab) -> Result<Up> {
    let url = format!("http://{}/", lab.topology.vip().ip());
    let netns = lab.topology.netns(Node::Client.name());
    wait::until(
        "wait for an answer through the VIP",
        Duration::from_secs(30),
        || {
            let answer = http::get_from(&netns, &url, Duration::from_secs(1))?;
            if answer.status != 200 {
                bail!("{url} answered {}", answer.status);
            }
            Ok(())
        },
        || None,
    )?;
    Ok(Up::now(format!("{url} 200")))
}
