//! Root file systems of images, and the archives that they are imported from: the same bytes each time.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::host::command;
use crate::world::context::Lab;

/// The archive of that name in the cache, made of what `plant` puts into an empty folder where it is not there.
pub(super) fn archive(
    lab: &Lab,
    name: &str,
    plant: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let folder = lab.paths.cache.join("images");
    let archive = folder.join(format!("{name}.tar"));
    if archive.is_file() {
        return Ok(archive);
    }
    lab.person.make_dir(&folder)?;
    let tree = lab.paths.state.join(name);
    let _ = std::fs::remove_dir_all(&tree);
    plant(&tree)?;
    // Labs beside each other make the same.
    let part = archive.with_extension(format!("{}.part", lab.topology.profile()));
    let (of, to) = (tree.display().to_string(), part.display().to_string());
    let plain = [
        "--sort=name",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
    ];
    command::run(
        "tar",
        &[&["-C", &of][..], &plain, &["-cf", &to, "."]].concat(),
    )?;
    std::fs::remove_dir_all(&tree).with_context(|| format!("remove {of}"))?;
    lab.person.give(&part)?;
    std::fs::rename(&part, &archive).context("keep the image archive")?;
    Ok(archive)
}

/// A root file system with busybox as every program it can be.
pub(super) fn plant_busybox(tree: &Path, program: &Path) -> Result<()> {
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
