//! Container images for the jobs, made from the machine's own packages and from this workspace, and imported as they are.
//!
//! `busybox:1` is the static busybox with its applet links, `echo:1` our own server of datagrams and nothing else.

mod tree;

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};

use crate::client::docker::docker;
use crate::supply::{packages, products};
use crate::world::context::Lab;
use crate::world::topology::Node;

/// An image, and what a container of it runs unless it is told otherwise.
#[derive(Debug, Clone, Copy)]
struct Image {
    name: &'static str,
    command: &'static str,
    archive: fn(&Lab) -> Result<PathBuf>,
}

/// What hello-world and the stories run.
const BUSYBOX: Image = Image {
    name: "busybox:1",
    command: r#"CMD ["sh"]"#,
    archive: busybox,
};

/// What answers datagrams.
const ECHO: Image = Image {
    name: "echo:1",
    command: r#"CMD ["/echo", "0.0.0.0:7"]"#,
    archive: echo,
};

/// Makes all images known to the engine. Returns how, and why the one is not there that only some jobs need.
pub fn ensure(lab: &Lab, node: Node) -> Result<(String, Option<anyhow::Error>)> {
    // The second comes along in the time that the first takes.
    let (busybox, echo) = std::thread::scope(|scope| {
        let echo = scope.spawn(|| ECHO.ensure(lab, node));
        let busybox = BUSYBOX.ensure(lab, node);
        let panicked = |_| Err(anyhow!("the thread of an image panicked"));
        (busybox, echo.join().unwrap_or_else(panicked))
    });
    let how = match busybox? {
        How::Present => "present",
        How::Made => "from package busybox-static",
    };
    let name = BUSYBOX.name;
    Ok(match echo {
        Ok(_) => (format!("{name} {how}, {}", ECHO.name), None),
        Err(error) => (format!("{name} {how}"), Some(error.context(ECHO.name))),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Present,
    Made,
}

impl Image {
    fn ensure(&self, lab: &Lab, node: Node) -> Result<How> {
        let id = ["image", "inspect", "--format", "{{.Id}}", self.name];
        if docker(lab, node, &id).is_ok() {
            return Ok(How::Present);
        }
        let archive = (self.archive)(lab)?.display().to_string();
        let import = ["import", "--change", self.command, &archive, self.name];
        docker(lab, node, &import).map(|_| How::Made)
    }
}

/// The archive in the cache, made once for each version of the program.
fn busybox(lab: &Lab) -> Result<PathBuf> {
    let program = packages::static_busybox(&lab.person, &lab.paths.cache)?;
    let size = std::fs::metadata(&program)
        .context("look at busybox")?
        .len();
    tree::archive(lab, &format!("busybox-{size}"), |tree| {
        tree::plant_busybox(tree, &program)
    })
}

/// Same; compiled where the cache has none of this source.
fn echo(lab: &Lab) -> Result<PathBuf> {
    tree::archive(lab, &format!("echo-{}", products::echo_version()), |tree| {
        let program = products::echo(&lab.person)?;
        std::fs::create_dir_all(tree).context("make the tree of echo")?;
        std::fs::copy(program, tree.join("echo")).context("copy echo")?;
        Ok(())
    })
}
