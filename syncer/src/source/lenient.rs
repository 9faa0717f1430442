//! JSON of which some may be odd: what is wrong with one item, or with one of its fields, costs that and no more.
//!
//! A list is cut into its items first and each is read for itself; a field that is missing, null or of another kind is
//! a [`Field`] that says so. Only what is no JSON at all, or not a list, refuses a whole answer. What to make of an odd
//! field is up to whoever knows what it means: `consul_json`, `nomad_json`.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::http::{Answer, HttpError};

/// One field, or one item of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Field<T> {
    /// Missing or null.
    #[default]
    Absent,
    /// It is of another kind than expected, or out of its range.
    Odd,
    Value(T),
}

impl<T> Field<T> {
    /// The value, where it is one.
    pub(super) fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Odd => None,
        }
    }

    /// Whether something else is in its place.
    pub(super) fn is_odd(&self) -> bool {
        matches!(self, Self::Odd)
    }
}

impl<T> Field<Vec<Field<T>>> {
    /// The items that can be read.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.value().into_iter().flatten().filter_map(Field::value)
    }
}

impl Field<String> {
    /// The text; empty where there is none.
    pub(super) fn text(&self) -> &str {
        self.value().map_or("", String::as_str)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        Ok(if raw == "null" {
            Self::Absent
        } else {
            serde_json::from_str(raw).map_or(Self::Odd, Self::Value)
        })
    }
}

/// A number of any size, cut off at the ends of its range: 10³⁰ is more than can be used, and not odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clamped(pub(super) i64);

impl<'de> Deserialize<'de> for Clamped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        if let Ok(whole) = raw.parse() {
            return Ok(Self(whole));
        }
        let digits = raw.strip_prefix('-').unwrap_or(raw);
        if !digits.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(serde::de::Error::custom("not a number"));
        }
        let number: f64 = raw.parse().map_err(serde::de::Error::custom)?;
        // Saturates, and a fraction is cut off.
        #[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
        let whole = number as i64;
        Ok(Self(whole))
    }
}

/// Reads an answer as `T`, whose items are [`Field`]s.
pub(super) fn read<T: DeserializeOwned>(answer: &Answer, path: &str) -> Result<T, HttpError> {
    answer.parsed(path, parse)
}

/// JSON; what is no UTF-8 spoils the texts that it is in.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    serde_json::from_str(&String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Default, PartialEq)]
    #[serde(default)]
    struct Item {
        name: Field<String>,
        size: Field<Clamped>,
        tags: Field<Vec<Field<String>>>,
    }

    #[test]
    fn an_odd_item_and_an_odd_field_cost_themselves_alone() {
        let items: Vec<Field<Item>> = serde_json::from_str(
            r#"[{"name":"a","size":1e999,"tags":["x",null,7,"y"]}, 7, null,
                {"name":null,"size":"big","tags":{}}, {"name":"\ud800","size":-99999999999999999999},
                {"name":"b","name":"twice"}]"#,
        )
        .unwrap();
        let Field::Value(first) = &items[0] else {
            panic!("{items:?}")
        };
        assert_eq!(first.name.text(), "a");
        assert_eq!(first.size, Field::Value(Clamped(i64::MAX)));
        assert_eq!(first.tags.values().collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!((&items[1], &items[2]), (&Field::Odd, &Field::Absent));
        let Field::Value(fourth) = &items[3] else {
            panic!("{items:?}")
        };
        assert_eq!(fourth.name, Field::Absent);
        assert!(fourth.size.is_odd() && fourth.tags.is_odd());
        let Field::Value(fifth) = &items[4] else {
            panic!("{items:?}")
        };
        assert!(fifth.name.is_odd());
        assert_eq!(fifth.size, Field::Value(Clamped(i64::MIN)));
        assert_eq!(items[5], Field::Odd, "a field that is there twice");
    }
}
