//! What may reach a terminal: names, tags and messages of others, with nothing in them that a terminal would obey.
//!
//! A service's name may hold an escape sequence, or a line break that forges a line of its own. Such characters are
//! written as their escapes. Not for JSON, which has its own; [`escaped_json`] does the rest of those.

use std::borrow::Cow;
use std::fmt::{self, Write};

use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};

/// Makes one line, with whatever is not to be printed as `\n`, `\u{1b}` and the like.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_active) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_active(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// A JSON text means the same with these characters as `\u009b` and the like: inside strings only can there be any.
pub fn escaped_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        let between_tokens = matches!(character, '\n' | '\r' | '\t');
        if between_tokens || !is_active(character) {
            escaped.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing into a String does not fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}

/// Whether a terminal does something else with the character than print it in its place.
fn is_active(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            // Without a width, ends of lines and paragraphs, and what turns the direction of text.
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
        )
}

/// Fields of log lines, escaped.
#[derive(Debug, Default)]
pub struct EscapedFields(DefaultFields);

impl EscapedFields {
    pub fn new() -> Self {
        Self(DefaultFields::new())
    }
}

impl<'writer> FormatFields<'writer> for EscapedFields {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        let mut plain = String::new();
        self.0.format_fields(Writer::new(&mut plain), fields)?;
        writer.write_str(&escaped(&plain))
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    const NASTY: &str = "we\u{1b}[2Jb\nREJECTED \u{9b}31m\u{7f}\u{202e}x";
    const SHOWN: &str = "we\\u{1b}[2Jb\\nREJECTED \\u{9b}31m\\u{7f}\\u{202e}x";

    #[test]
    fn nothing_that_a_terminal_obeys_is_left_and_letters_of_all_languages_are() {
        assert_eq!(escaped(NASTY), SHOWN);
        assert!(matches!(escaped("web-ü-服务 \\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_means_the_same_afterwards_and_has_nothing_that_a_terminal_obeys() {
        let json = serde_json::to_string_pretty(&[NASTY]).unwrap();
        let escaped = escaped_json(&json);
        assert_eq!(
            serde_json::from_str::<Vec<String>>(&escaped).unwrap(),
            [NASTY]
        );
        assert!(
            !escaped.contains(|c: char| is_active(c) && c != '\n'),
            "{escaped:?}"
        );
    }

    /// What was logged.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_name_in_a_log_line_is_escaped() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(EscapedFields::new())
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(service = %NASTY, "{NASTY} is refused");
        });
        let written = lines.text();
        let line = written.strip_suffix('\n').unwrap();
        assert!(!line.contains(is_active), "{line:?}");
        assert_eq!(line.matches("REJECTED").count(), 2, "{line}");
        assert!(line.ends_with(SHOWN), "{line}");
    }
}
