//! Container images for the jobs: pulled where a registry answers, else made from the machine's own packages.
//!
//! `busybox:1` from the static busybox is a tree with one program and its applet links, imported as it is.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::client::docker::docker;
use crate::host::command;
use crate::supply::packages;
use crate::world::context::Lab;
use crate::world::topology::Node;

/// What hello-world and the stories run.
pub const BUSYBOX: &str = "busybox:1";

/// Makes the image known to the engine. Returns how.
pub fn ensure_busybox(lab: &Lab, node: Node) -> Result<&'static str> {
    if docker(
        lab,
        node,
        &["image", "inspect", "--format", "{{.Id}}", BUSYBOX],
    )
    .is_ok()
    {
        return Ok("present");
    }
    let archive = archive(lab)?;
    docker(
        lab,
        node,
        &[
            "import",
            "--change",
            r#"CMD ["sh"]"#,
            &archive.display().to_string(),
            BUSYBOX,
        ],
    )?;
    Ok("from package busybox-static")
}

/// The archive in the cache, made once for each version of the program.
fn archive(lab: &Lab) -> Result<PathBuf> {
    let program = packages::static_busybox(&lab.person, &lab.paths.cache)?;
    let size = std::fs::metadata(&program)
        .context("look at busybox")?
        .len();
    let folder = lab.paths.cache.join("images");
    let archive = folder.join(format!("busybox-{size}.tar"));
    if archive.is_file() {
        return Ok(archive);
    }
    lab.person.make_dir(&folder)?;
    let tree = lab.paths.state.join("busybox");
    plant(&tree, &program)?;
    let part = archive.with_extension("part");
    command::run(
        "tar",
        &[
            "-C",
            &tree.display().to_string(),
            "-cf",
            &part.display().to_string(),
            ".",
        ],
    )?;
    std::fs::remove_dir_all(&tree).context("remove the busybox tree")?;
    lab.person.give(&part)?;
    std::fs::rename(&part, &archive).context("keep the image archive")?;
    Ok(archive)
}

/// A root file system with busybox as every program it can be.
fn plant(tree: &Path, program: &Path) -> Result<()> {
    let _ = std::fs::remove_dir_all(tree);
    for folder in ["bin", "etc", "tmp", "root", "var", "home"] {
        std::fs::create_dir_all(tree.join(folder)).context("make the busybox tree")?;
    }
    std::fs::copy(program, tree.join("bin/busybox")).context("copy busybox")?;
    let applets = command::run(&program.display().to_string(), &["--list"])?;
    for applet in applets.lines().filter(|&applet| applet != "busybox") {
        symlink("busybox", tree.join("bin").join(applet))
            .with_context(|| format!("link {applet}"))?;
    }
    std::fs::write(
        tree.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )
    .and_then(|()| std::fs::write(tree.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n"))
    .context("write the busybox tree's users")
}
