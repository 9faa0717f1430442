//! The latest errors, for the status.

use std::collections::VecDeque;
use std::time::Instant;

/// How many errors are kept.
const KEPT_ERRORS: usize = 20;

/// Errors so far, the newest last.
#[derive(Debug, Default)]
pub(super) struct Errors(pub(super) VecDeque<(Instant, String)>);

impl Errors {
    /// Adds an error. One that was known already becomes the newest, and is not counted twice.
    pub(super) fn add(&mut self, now: Instant, what: String) {
        self.0.retain(|(_, earlier)| *earlier != what);
        self.0.push_back((now, what));
        if self.0.len() > KEPT_ERRORS {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "any moment will do to begin with"
    )]
    fn an_error_is_kept_once_and_the_oldest_goes_first() {
        let (mut errors, start) = (Errors::default(), Instant::now());
        for number in 0..30 {
            errors.add(start, format!("error {number}"));
        }
        let later = start + Duration::from_secs(1);
        errors.add(later, "error 15".to_owned());
        assert_eq!(errors.0.len(), KEPT_ERRORS);
        assert_eq!(errors.0.front().map(|(_, what)| &**what), Some("error 10"));
        assert_eq!(errors.0.back(), Some(&(later, "error 15".to_owned())));
        let same = errors.0.iter().filter(|(_, what)| what == "error 15");
        assert_eq!(same.count(), 1);
    }
}
