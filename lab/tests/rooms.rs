//! The top-level rooms of each package build on each other in one direction: whoever reads one need not read them all.
//!
//! Read from the sources: `crate::room` outside of comments and tests. A circle through `lib.rs` or `main.rs`, which know
//! all rooms, is none.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lab::host::paths::workspace;

const PACKAGES: [&str; 8] = [
    "driver",
    "driver/sdk",
    "lab",
    "lab/guest",
    "lab/host",
    "syncer",
    "syncer/core",
    "syncer/ipvs",
];

/// Which rooms each room uses.
type Uses = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_room_uses_one_that_uses_it() {
    for package in PACKAGES {
        let uses = uses(&workspace().join(package).join("src"));
        assert!(uses.len() > 3, "{package}: {uses:?}");
        let circles = circles(&uses);
        assert!(circles.is_empty(), "{package}: {circles:?}");
    }
}

#[test]
fn a_circle_is_found_and_a_comment_or_a_test_makes_none() {
    let text = "//! [`crate::above`]\nuse crate::{below, error::Error};\nfn f() { crate::aside::g() } // crate::no\n\
                #[cfg(test)]\nmod tests {\n    use crate::above;\n}\n";
    let found = rooms_in(text);
    assert_eq!(found, ["aside", "below", "error"].map(str::to_owned).into());
    let room = |name: &str, uses: &[&str]| {
        let uses = uses.iter().map(|used| (*used).to_owned()).collect();
        (name.to_owned(), uses)
    };
    let uses = Uses::from([
        room("above", &["below"]),
        room("below", &["aside"]),
        room("aside", &["below"]),
    ]);
    assert_eq!(circles(&uses), ["aside", "below"]);
}

/// Rooms that come back to themselves.
fn circles(uses: &Uses) -> Vec<&str> {
    let returns = |room: &&String| {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&String> = uses[*room].iter().collect();
        while let Some(used) = next.pop() {
            if reached.insert(used) {
                next.extend(uses.get(used).into_iter().flatten());
            }
        }
        reached.contains(*room)
    };
    uses.keys().filter(returns).map(String::as_str).collect()
}

fn uses(sources: &Path) -> Uses {
    let mut uses = Uses::new();
    for file in files(sources) {
        let inside = file.strip_prefix(sources).unwrap();
        let first = inside.components().next().unwrap().as_os_str();
        let room = first.to_str().unwrap().trim_end_matches(".rs").to_owned();
        let is_test = inside
            .components()
            .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs");
        if is_test || ["lib", "main"].contains(&room.as_str()) {
            continue;
        }
        let mut used = rooms_in(&std::fs::read_to_string(&file).unwrap());
        used.remove(&room);
        uses.entry(room).or_default().extend(used);
    }
    uses
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let of_entry = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path)
        } else {
            vec![path]
        }
    };
    let all = entries.flat_map(of_entry);
    all.filter(|path| path.extension().is_some_and(|it| it == "rs"))
        .collect()
}

/// The rooms that a file names, its unit tests left out.
fn rooms_in(text: &str) -> BTreeSet<String> {
    let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = product
        .lines()
        .map(|line| line.split("//").next().unwrap_or(line));
    let code: String = lines.collect::<Vec<_>>().join("\n");
    let mut rooms = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => rooms.extend(word(rest)),
            Some(list) => rooms.extend(first_words(list)),
        }
    }
    rooms
}

/// Of `a, b::{c, d}, e}` the words `a`, `b` and `e`.
fn first_words(list: &str) -> Vec<String> {
    let (mut depth, mut words, mut item) = (0_usize, Vec::new(), String::new());
    for letter in list.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                words.extend(word(&item));
                item.clear();
            }
            _ if depth == 0 => item.push(letter),
            _ => {}
        }
    }
    words.extend(word(&item));
    words
}

/// The identifier that a text begins with. Types and macros at a crate's top are no rooms.
fn word(text: &str) -> Option<String> {
    let text = text.trim_start();
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    let word = &text[..end.unwrap_or(text.len())];
    let is_room = word.starts_with(|letter: char| letter.is_lowercase());
    is_room.then(|| word.to_owned())
}
