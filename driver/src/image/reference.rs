//! An image's name, split as Docker splits it: the digest beats the tag.

use std::fmt;

use super::ImageError;

/// Docker's limit for a repository with its registry.
const LONGEST_REPOSITORY: usize = 255;
const LONGEST_TAG: usize = 128;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference {
    repository: String,
    version: Version,
}

#[derive(Debug, PartialEq, Eq)]
enum Version {
    Tag(String),
    Digest(String),
}

impl Reference {
    pub(super) fn parse(text: &str) -> Result<Self, ImageError> {
        Self::split(text).ok_or_else(|| ImageError::Reference(text.to_owned()))
    }

    fn split(text: &str) -> Option<Self> {
        let reference = text.strip_prefix("https://").unwrap_or(text);
        let (path, digest) = reference
            .split_once('@')
            .map_or((reference, None), |(path, digest)| (path, Some(digest)));
        // A colon after the last slash starts the tag; one before it is the registry's port.
        let last_part = path.rsplit('/').next().unwrap_or(path);
        let (repository, tag) = match last_part.split_once(':') {
            Some((_, tag)) => (
                path.strip_suffix(tag)
                    .and_then(|rest| rest.strip_suffix(':'))
                    .unwrap_or(path),
                Some(tag),
            ),
            None => (path, None),
        };
        if !is_repository(repository) || !tag.is_none_or(is_tag) {
            return None;
        }
        let version = match (digest, tag) {
            (Some(digest), _) if is_digest(digest) => Version::Digest(digest.to_owned()),
            (Some(_), _) => return None,
            (None, Some(tag)) => Version::Tag(tag.to_owned()),
            (None, None) => Version::Tag("latest".to_owned()),
        };
        Some(Self {
            repository: repository.to_owned(),
            version,
        })
    }

    pub(super) fn is_latest(&self) -> bool {
        self.version == Version::Tag("latest".to_owned())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Version::Tag(tag) => write!(f, "{}:{tag}", self.repository),
            Version::Digest(digest) => write!(f, "{}@{digest}", self.repository),
        }
    }
}

/// A registry, if there is one, and a path of small letters.
fn is_repository(text: &str) -> bool {
    let is_registry = |first: &str| {
        first == "localhost"
            || first.contains(['.', ':'])
            || first.contains(|c: char| c.is_ascii_uppercase())
    };
    let path = match text.split_once('/') {
        Some((first, path)) if is_registry(first) => {
            let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
            if !first.chars().all(plain) {
                return false;
            }
            path
        }
        _ => text,
    };
    text.len() <= LONGEST_REPOSITORY && path.split('/').all(is_component)
}

/// Small letters and digits, with `.`, `_`, `__` or dashes between them.
fn is_component(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separator =
        |part: &str| matches!(part, "" | "." | "_" | "__") || part.chars().all(|c| c == '-');
    text.starts_with(plain) && text.ends_with(plain) && text.split(plain).all(separator)
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= LONGEST_TAG
        && text.starts_with(word)
        && text.chars().all(|c| word(c) || c == '.' || c == '-')
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, sum)| {
        algorithm.starts_with(|c: char| c.is_ascii_alphabetic())
            && algorithm
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+._-".contains(c))
            && !sum.is_empty()
            && sum.chars().all(|c| c.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_split_as_docker_splits_them() {
        for (text, expected) in [
            ("busybox", "busybox:latest"),
            ("busybox:1", "busybox:1"),
            ("my__base/a-b--c.d:1.2_x", "my__base/a-b--c.d:1.2_x"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
            ("localhost:5000/a/b:2", "localhost:5000/a/b:2"),
            ("[::1]:5000/a:2", "[::1]:5000/a:2"),
            ("Registry.Example/a:2", "Registry.Example/a:2"),
            ("a/b:2@sha256:00ff", "a/b@sha256:00ff"),
            (
                "https://registry.example/pause:3.3",
                "registry.example/pause:3.3",
            ),
        ] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn what_is_not_a_reference_is_refused() {
        for text in [
            "",
            "wrong-docker-image:",
            "a b",
            "/a",
            "a/",
            "a//b",
            "a@",
            "a@sha256:",
            "a@sha256:xyz",
            ":1",
            "a\n",
            "Busybox:1",
            "a/Busybox:1",
            "-a",
            "a-",
            "a...b",
            "a___b",
            "a:-1",
            "a:tag with spaces",
            "${image}",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
        assert!(Reference::parse(&"a".repeat(256)).is_err());
        assert!(Reference::parse(&format!("a:{}", "1".repeat(129))).is_err());
    }
}
