//! Reads the msgpack that the agent makes of a decoded `config` block (go-cty's encoding) into serde types.
//!
//! The encoding is loose, so the reading is too:
//! - `nil` for a key is the same as no key (use `#[serde(default)]`), `nil` for a list or a map is an empty one;
//! - a number may be an int, a float or, beyond 64 bits, a decimal string;
//! - a string may be of the bin family (old writers), and a list of maps may stand where a map is wanted: they are merged, later wins;
//! - keys nobody asked for are ignored.
//!
//! An error names the option: `mount.tmpfs_options.size: a number is wanted, got "much"`.

mod value;

use rmpv::Value;
use serde::de::DeserializeOwned;

use value::Cty;
pub use value::CtyError;

/// Deeper than any schema, shallow enough for the stack.
const DEPTH_MAX: usize = 64;

/// Decodes `bytes`; no bytes at all is an empty object.
pub fn from_slice<T: DeserializeOwned>(mut bytes: &[u8]) -> Result<T, CtyError> {
    let value = if bytes.is_empty() {
        Value::Map(Vec::new())
    } else {
        rmpv::decode::read_value_with_max_depth(&mut bytes, DEPTH_MAX)
            .map_err(|error| CtyError::new(format!("not msgpack: {error}")))?
    };
    T::deserialize(Cty(value))
}

#[cfg(test)]
mod tests;
