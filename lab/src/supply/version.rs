//! Versions as programs print them, so that they can be compared.
//!
//! Reads the first dotted number of a text such as `Nomad v1.6.1`, `go version go1.26.8 linux/amd64` or
//! `Docker version 20.10.24+dfsg1`. Not for ranges, pre-releases or anything else that semver knows: what
//! follows the number is left alone.

use std::fmt;

/// Major, minor and patch; what a program does not say is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u64,
    pub minor: u64,
    pub patch: u64,
}

impl Version {
    pub const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// The first dotted number in `text`, wherever it stands.
    pub fn find(text: &str) -> Option<Self> {
        text.split(|c: char| !(c.is_ascii_digit() || c == '.'))
            .find_map(Self::parse)
    }

    fn parse(word: &str) -> Option<Self> {
        let mut numbers = word.trim_end_matches('.').split('.').map(str::parse);
        let major = numbers.next()?.ok()?;
        let minor = numbers.next()?.ok()?;
        let patch = numbers.next().and_then(Result::ok).unwrap_or(0);
        Some(Self {
            major,
            minor,
            patch,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_found_in_what_programs_print() {
        let cases = [
            ("Nomad v1.6.1\nBuildDate 2023-07-21", Version::new(1, 6, 1)),
            (
                "Consul v1.14.11\nRevision 8d3e1b1a",
                Version::new(1, 14, 11),
            ),
            ("go version go1.26.8 linux/amd64", Version::new(1, 26, 8)),
            ("go version go1.21rc2 linux/amd64", Version::new(1, 21, 0)),
            (
                "Docker version 20.10.24+dfsg1, build 5d6db84",
                Version::new(20, 10, 24),
            ),
            ("cargo-deny 0.20.2", Version::new(0, 20, 2)),
        ];
        for (text, version) in cases {
            assert_eq!(Version::find(text), Some(version), "{text}");
        }
    }

    #[test]
    fn a_text_without_a_dotted_number_has_no_version() {
        for text in [
            "",
            "unknown",
            "version 7",
            "...",
            "99999999999999999999999.1",
        ] {
            assert_eq!(Version::find(text), None, "{text}");
        }
    }

    #[test]
    fn versions_compare_by_number_not_by_text() {
        assert!(Version::new(1, 14, 11) > Version::new(1, 14, 9));
        assert!(Version::new(1, 20, 0) > Version::new(1, 9, 9));
    }
}
