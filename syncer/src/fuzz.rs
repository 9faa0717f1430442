//! What fuzzing feeds: each function takes any bytes and must come to an end without a panic. Built for tests and under
//! cargo-fuzz alone; `tests/fuzz` holds the targets and what they found.

use std::str;

use syncer_core::tags;

use crate::{config, source};

/// Tags of a service, one a line.
pub fn tags(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    tags::concern_us(text.lines());
    if let Some(ask) = tags::ask(text.lines()) {
        // What is taken can be put into words.
        drop(format!("{ask:?}"));
    }
}

/// An answer of Consul's about a service, and one about all names.
pub fn consul_json(data: &[u8]) {
    source::fuzz::consul(data);
}

/// An answer of Nomad's: allocations, or one with its job.
pub fn nomad_json(data: &[u8]) {
    source::fuzz::nomad(data);
}

/// A config.
pub fn config(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        drop(config::parse(text));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Feeds all files of a corpus, so that what was once found stays mended.
    fn replay(corpus: &str, feed: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus");
        let files = std::fs::read_dir(folder.join(corpus)).unwrap();
        let files = files.map(|file| feed(&std::fs::read(file.unwrap().path()).unwrap()));
        assert!(files.count() > 0, "the corpus {corpus} is empty");
    }

    #[test]
    fn what_fuzzing_found_does_no_harm() {
        replay("tags", super::tags);
        replay("consul_json", super::consul_json);
        replay("nomad_json", super::nomad_json);
        replay("config", super::config);
    }
}
