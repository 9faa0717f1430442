//! The third part of `source:target:mode`.

use bollard::models::MountBindOptionsPropagationEnum as Propagation;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    /// What a mount of Docker's API can say too.
    Plain {
        read_only: bool,
        propagation: Propagation,
    },
    /// Anything else, for the engine to understand.
    Text(String),
}

impl Default for Mode {
    fn default() -> Self {
        Self::Plain {
            read_only: false,
            propagation: Propagation::RPRIVATE,
        }
    }
}

impl Mode {
    pub(super) fn read_only() -> Self {
        Self::Plain {
            read_only: true,
            propagation: Propagation::RPRIVATE,
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        let (mut read_only, mut propagation) = (false, Propagation::RPRIVATE);
        for word in text.split(',').filter(|_| !text.is_empty()) {
            match (word, word.parse()) {
                ("ro", _) => read_only = true,
                ("rw", _) => read_only = false,
                (_, Ok(mode)) if mode != Propagation::EMPTY => propagation = mode,
                _ => return Self::Text(text.to_owned()),
            }
        }
        Self::Plain {
            read_only,
            propagation,
        }
    }

    /// As it is written; `None` for what needs no word.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Plain {
                read_only,
                propagation,
            } => {
                let words: Vec<_> = [
                    read_only.then(|| "ro".to_owned()),
                    (*propagation != Propagation::RPRIVATE).then(|| propagation.to_string()),
                ]
                .into_iter()
                .flatten()
                .collect();
                (!words.is_empty()).then(|| words.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_plain_or_left_to_the_engine() {
        for (text, plain) in [
            ("", true),
            ("ro", true),
            ("rw", true),
            ("ro,rslave", true),
            ("z", false),
            ("ro,Z", false),
            ("nocopy", false),
            (",", false),
        ] {
            let mode = Mode::parse(text);
            assert_eq!(matches!(mode, Mode::Plain { .. }), plain, "{text}");
            if text != "rw" {
                assert_eq!(mode.text().unwrap_or_default(), text);
            }
        }
    }
}
