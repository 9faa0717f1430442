//! Text of others on its way to a terminal: names, tags, logs, answers.
//!
//! A terminal obeys control characters, and shows text in another order where it is told so. Whoever may name a service
//! must not steer the terminal of whoever looks at it. Not for the lab's own colours: those are put around afterwards.

use std::borrow::Cow;
use std::fmt::Write;

/// One word or line: no control character is left, line breaks included.
pub fn word(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// A text of several lines, such as an error with a log's end: line breaks and tabs stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |char| matches!(char, '\n' | '\t'))
}

/// A JSON document, whose own rules escape only the first of the control characters. What it says stays the same.
pub fn json(document: &str) -> Cow<'_, str> {
    if !document.chars().any(steers) {
        return Cow::Borrowed(document);
    }
    let mut text = String::with_capacity(document.len());
    for char in document.chars() {
        if steers(char) {
            let mut units = [0; 2];
            for unit in char.encode_utf16(&mut units) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(char);
        }
    }
    Cow::Owned(text)
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    let shown = |char: char| !steers(char) || stays(char);
    if text.chars().all(shown) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if shown(char) {
            plain.push(char);
        } else {
            plain.extend(char.escape_default());
        }
    }
    Cow::Owned(plain)
}

/// Control characters, and those that are not seen or turn the order of others.
fn steers(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_and_not_sent() {
        for (text, shown) in [
            ("web", "web"),
            ("größe", "größe"),
            ("a\x1b[2Jb", r"a\u{1b}[2Jb"),
            ("a\nb\rc\0", r"a\nb\rc\u{0}"),
            ("a\u{9b}31mb", r"a\u{9b}31mb"),
            ("a\u{202e}b", r"a\u{202e}b"),
        ] {
            assert_eq!(word(text), shown);
        }
        assert_eq!(lines("one\n\ttwo\x07"), "one\n\ttwo\\u{7}");
    }

    #[test]
    fn a_document_says_the_same_with_its_characters_escaped() {
        let value = serde_json::json!({ "na\u{9b}me": "\x1b[2J\u{202e}x" });
        let document = value.to_string();
        let plain = json(&document);
        assert!(!plain.chars().any(steers), "{plain}");
        let read: serde_json::Value = serde_json::from_str(&plain).unwrap();
        assert_eq!(read, value);
    }
}
