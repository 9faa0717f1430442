//! Whose tag it is: ours, somebody else's, or ours with a slip of the pen. Pure.
//!
//! Tags are free text that many read. One is meant for us if it is `ipvs.` and a key in any case, with any of the usual
//! separators, or with two letters swapped. Anything further away is somebody else's.

use super::{PREFIX, keys};

/// Whose tag it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spelling<'a> {
    Foreign,
    /// What follows the prefix.
    Ours(&'a str),
    /// What was meant, as far as can be said.
    Slip(String),
}

/// How a prefix is misspelt, in lower case.
const SLIPS: [&str; 8] = [
    "ipvs.", "ipvs-", "ipvs_", "ipvs:", "ipvs/", "ivps.", "ipsv.", "pivs.",
];

pub(super) fn of(tag: &str) -> Spelling<'_> {
    if let Some(rest) = tag.strip_prefix(PREFIX) {
        return Spelling::Ours(rest);
    }
    let trimmed = tag.trim();
    let Some(start) = trimmed.get(..PREFIX.len()) else {
        return Spelling::Foreign;
    };
    let Some(slip) = SLIPS.iter().find(|slip| start.eq_ignore_ascii_case(slip)) else {
        return Spelling::Foreign;
    };
    let rest = trimmed.get(PREFIX.len()..).unwrap_or_default();
    let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
    match nearest(key, &keys()) {
        Some(key) => Spelling::Slip(format!("{PREFIX}{key}={value}")),
        // Another prefix and no key of ours is no tag of ours.
        None if *slip != PREFIX => Spelling::Foreign,
        None => Spelling::Slip(format!("{PREFIX}{}", rest.to_ascii_lowercase())),
    }
}

/// Finds the word that is most likely meant, if any is.
pub(super) fn nearest<'a>(written: &str, words: &[&'a str]) -> Option<&'a str> {
    let written = written.trim().to_ascii_lowercase();
    // Nothing so long is meant to be a short word.
    if written.is_empty() || written.len() > 32 {
        return None;
    }
    let start = |word: &&&str| written.len() >= 3 && word.starts_with(&written);
    let near = words
        .iter()
        .map(|word| (distance(&written, word), *word))
        .filter(|(distance, word)| *distance * 3 <= word.len().max(3))
        .min_by_key(|(distance, _)| *distance);
    near.map(|(_, word)| word)
        .or_else(|| words.iter().find(start).copied())
}

/// Counts the letters that have to be put in, left out, replaced or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i.saturating_add(1)];
        for (j, b) in right.iter().enumerate() {
            let at = |row: Option<&Vec<usize>>, column: usize| {
                row.and_then(|row| row.get(column).copied())
                    .unwrap_or(usize::MAX)
            };
            let (above, here) = (rows.last(), Some(&row));
            let replaced = at(above, j).saturating_add(usize::from(a != b));
            let put = at(here, j).saturating_add(1);
            let dropped = at(above, j.saturating_add(1)).saturating_add(1);
            let mut least = replaced.min(put).min(dropped);
            let is_swap = |i: usize, j: usize| left.get(i) == Some(b) && right.get(j) == Some(a);
            if let (Some(before), Some(beside)) = (i.checked_sub(1), j.checked_sub(1))
                && is_swap(before, beside)
            {
                least = least.min(at(rows.get(before), beside).saturating_add(1));
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows.last()
        .and_then(|row| row.last().copied())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_is_one_slip_as_a_letter_more_or_less_is() {
        for (left, right, expected) in [
            ("vip", "vip", 0),
            ("vpi", "vip", 1),
            ("vips", "vip", 1),
            ("ip", "vip", 1),
            ("vap", "vip", 1),
            ("", "vip", 3),
            ("shceduler", "scheduler", 1),
            ("vx", "iv", 2),
            ("xv", "vi", 2),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }

    #[test]
    fn only_what_is_near_is_meant() {
        assert_eq!(nearest("port", &keys()), None);
        assert_eq!(nearest("colour", &keys()), None);
        assert_eq!(nearest("sched", &keys()), Some("scheduler"));
        assert_eq!(nearest("v", &keys()), None);
    }

    #[test]
    fn with_another_prefix_only_a_key_of_ours_is_meant_for_us_and_with_ours_anything() {
        for foreign in ["ipvs-colour=red", "ivps.colour=red", "IPVS_x", "ipv"] {
            assert_eq!(of(foreign), Spelling::Foreign, "{foreign}");
        }
        for (slip, meant) in [
            ("IPVS.Colour=Red", "ipvs.colour=red"),
            (" ipvs.colour=red", "ipvs.colour=red"),
            ("ipvs-vip=198.18.0.29:80", "ipvs.vip=198.18.0.29:80"),
        ] {
            assert_eq!(of(slip), Spelling::Slip(meant.to_owned()), "{slip}");
        }
    }
}
