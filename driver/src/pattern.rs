//! Patterns of an operator's configuration: `*` stands for any run of characters, everything else for itself.

/// Linear in the text for each `*`, whatever the two are.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|head| text.strip_prefix(head)) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    // The first place for a part is the best: it leaves the most to those after it.
    let end = parts.try_fold(rest, |rest, part| {
        rest.split_once(part).map(|(_, after)| after)
    });
    end.is_some_and(|end| end.ends_with(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, expected) in [
            ("task*", "task_name", true),
            ("task*", "task_group_name", true),
            ("*", "anything", true),
            ("*", "", true),
            ("*_name", "job_name", true),
            ("job*e", "job_name", true),
            ("job*job*e", "job_name", false),
            ("job_name", "job_name", true),
            ("job", "job_name", false),
            ("*x*", "job_name", false),
            ("*a*a", "a", false),
            ("a*a", "a", false),
            ("**a**", "xay", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_over_a_long_text_take_no_time() {
        let text = "a".repeat(20_000);
        assert!(!matches(&format!("{}b", "*a".repeat(2_000)), &text));
    }
}
