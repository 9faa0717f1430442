//! A token for an agent's API: written in the config, or in a file of its own that may be replaced while we run.
//!
//! A token never reaches a log, an error or a status: not even a part of it.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a token comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Token {
    /// Written in the config itself.
    Inline(String),
    /// From the environment, or from a file as it was when the config was read.
    Resolved(String),
    /// Read again whenever the file changes.
    File(PathBuf),
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("Inline(…)"),
            Self::Resolved(_) => f.write_str("Resolved(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Why a token can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("token_file {}: cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("token_file {}: expected a token: one line of printable ASCII", path.display())]
    NotAToken { path: PathBuf },
}

impl Token {
    /// Reads the token as it is now.
    pub fn read(&self) -> Result<String, TokenError> {
        let path = match self {
            Self::Inline(token) | Self::Resolved(token) => return Ok(token.clone()),
            Self::File(path) => path,
        };
        let bytes = super::read(path).map_err(|source| TokenError::Unreadable {
            path: path.clone(),
            source,
        })?;
        String::from_utf8(bytes)
            .ok()
            .map(|text| text.trim().to_owned())
            .filter(|token| is_token(token))
            .ok_or_else(|| TokenError::NotAToken { path: path.clone() })
    }

    /// The file that holds the token.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Inline(_) | Self::Resolved(_) => None,
            Self::File(path) => Some(path),
        }
    }
}

/// Whether an HTTP header can carry the text.
pub(crate) fn is_token(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_one_line_and_its_end_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = Token::File(path.clone());
        let error = token.read().unwrap_err().to_string();
        assert!(error.ends_with("token: cannot be read"), "{error}");
        std::fs::write(&path, "s3cret\n").unwrap();
        assert_eq!(token.read().unwrap(), "s3cret");
        for bad in ["", "\n", "two\nlines", "sm\u{f6}rg\u{e5}s"] {
            std::fs::write(&path, bad).unwrap();
            let error = token.read().unwrap_err().to_string();
            assert!(error.contains("expected a token") && !error.contains("two"));
        }
    }

    #[test]
    fn a_token_is_not_shown() {
        let text = format!("{:?}", Token::Inline("s3cret".to_owned()));
        assert_eq!(text, "Inline(…)");
    }
}
