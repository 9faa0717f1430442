//! A busybox that needs no libraries, for images made on the spot.
//!
//! Debian's `busybox-static` conflicts with `busybox`, which many machines have and need for their initramfs;
//! so unless a static one is there already, its package is only downloaded and unpacked into the person's
//! cache. Not for making images.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Distribution, distribution};
use crate::host::paths::Person;
use crate::host::privilege::command_for;
use crate::host::programs;
use crate::host::stream;

/// A static busybox: on PATH, in the cache, or from Debian's package.
///
/// # Errors
/// There is none and it can't be had, with what to do.
pub fn static_busybox(person: &Person, cache: &Path) -> Result<PathBuf> {
    if let Some(path) = programs::find("busybox").filter(|path| is_static_file(path)) {
        return Ok(path);
    }
    let folder = cache.join("tools/busybox-static");
    let places = ["bin/busybox", "usr/bin/busybox"].map(|place| folder.join(place));
    if let Some(path) = places.iter().find(|path| is_static_file(path)) {
        return Ok(path.clone());
    }
    if distribution() == Distribution::Other {
        bail!(
            "there is no statically linked busybox on PATH: install one (often called busybox-static)"
        );
    }
    unpack(person, &folder)?;
    let found = places.into_iter().find(|path| is_static_file(path));
    found.with_context(|| {
        format!(
            "the package busybox-static has no static busybox; see {}",
            folder.display()
        )
    })
}

fn unpack(person: &Person, folder: &Path) -> Result<()> {
    person.make_dir(folder)?;
    let steps = "rm -f busybox-static_*.deb && apt-get download busybox-static && dpkg-deb --extract busybox-static_*.deb . \
                 && rm busybox-static_*.deb";
    let mut command = command_for(person, "sh");
    command.args(["-c", steps]).current_dir(folder);
    let finished = stream::run(command, |_| {}).context("run apt-get download")?;
    if !finished.status.success() {
        bail!(
            "Debian's busybox-static could not be downloaded (apt-get update may help):\n{}",
            finished.tail.indented(4)
        );
    }
    Ok(())
}

fn is_static_file(path: &Path) -> bool {
    // The program headers stand right behind the file's own.
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(4096).read_to_end(&mut head));
    programs::is_executable(path) && read.is_ok() && is_static(&head)
}

/// Whether a 64-bit little-endian ELF file asks for no interpreter, that is for no libraries.
fn is_static(head: &[u8]) -> bool {
    const INTERPRETER: u32 = 3;
    let word = |at: usize, width: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(width)?)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        )
    };
    if head.get(..6) != Some(b"\x7fELF\x02\x01") {
        return false;
    }
    let (Some(start), Some(size), Some(count)) = (word(32, 8), word(54, 2), word(56, 2)) else {
        return false;
    };
    (0..count).all(|index| {
        let at = index
            .checked_mul(size)
            .and_then(|offset| start.checked_add(offset));
        let at = at
            .and_then(|at| usize::try_from(at).ok())
            .and_then(|at| word(at, 4));
        at.is_some_and(|kind| kind != u64::from(INTERPRETER))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header whose program headers are of these kinds.
    fn elf(kinds: &[u8]) -> Vec<u8> {
        let mut head = vec![0; 64 + 56 * kinds.len()];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[32] = 64;
        head[54] = 56;
        head[56] = u8::try_from(kinds.len()).unwrap();
        for (index, kind) in kinds.iter().enumerate() {
            head[64 + 56 * index] = *kind;
        }
        head
    }

    #[test]
    fn a_program_with_an_interpreter_is_not_static() {
        assert!(is_static(&elf(&[6, 1, 1])));
        assert!(!is_static(&elf(&[6, 3, 1])));
    }

    #[test]
    fn what_is_no_program_or_only_half_of_one_is_not_static() {
        let mut huge = elf(&[1]);
        huge[32..40].fill(0xff);
        for head in [
            b"#!/bin/sh\n".to_vec(),
            Vec::new(),
            elf(&[1, 1])[..80].to_vec(),
            huge,
        ] {
            assert!(!is_static(&head));
        }
    }
}
