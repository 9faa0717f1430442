//! JSON documents read into types: a whole one or an error, a list item by item, so that an odd item costs no other.

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The document that the error names by what was asked.
pub(super) fn typed<T: DeserializeOwned>(document: Value, asked: &str) -> Result<T> {
    serde_json::from_value(document).with_context(|| format!("read the answer to {asked}"))
}

/// The items that are as expected.
pub(super) fn read_each<T: DeserializeOwned>(items: Vec<Value>) -> Vec<T> {
    let read = |item| serde_json::from_value(item).ok();
    items.into_iter().filter_map(read).collect()
}

/// [`read_each`] for a list within a document; one that is null is empty.
pub(super) fn each<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let items: Option<Vec<Value>> = Option::deserialize(deserializer)?;
    Ok(read_each(items.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Document {
        #[serde(default, deserialize_with = "each")]
        numbers: Vec<u8>,
    }

    #[test]
    fn an_odd_item_costs_no_other_and_a_list_may_be_missing_or_null() {
        let read = |value| typed::<Document>(value, "GET numbers").map(|read| read.numbers);
        assert_eq!(
            read(json!({ "numbers": [1, "two", 300, 4] })).unwrap(),
            [1, 4]
        );
        assert!(read(json!({ "numbers": null })).unwrap().is_empty());
        assert!(read(json!({})).unwrap().is_empty());
        let error = read(json!({ "numbers": 7 })).unwrap_err();
        assert!(error.to_string().contains("GET numbers"), "{error}");
    }
}
