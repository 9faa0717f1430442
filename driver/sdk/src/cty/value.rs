//! A serde deserializer over [`rmpv::Value`] with cty's looseness. See the parent module for the rules.

use std::collections::{BTreeMap, btree_map};
use std::fmt::{self, Display};

use rmpv::Value;
use serde::de::value::SeqDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor,
};

/// Why a configuration can't be read, with the path of the option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct CtyError {
    path: String,
    reason: String,
}

/// One value, about to be read as whatever serde asks for.
pub(super) struct Cty(pub(super) Value);

/// The entries of one or several maps, without those that are nil.
struct Entries {
    pairs: btree_map::IntoIter<String, Value>,
    current: Option<(String, Value)>,
}

impl CtyError {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            reason: reason.into(),
        }
    }

    fn inside(mut self, key: &str) -> Self {
        self.path = if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{key}.{}", self.path)
        };
        self
    }
}

impl Display for CtyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.reason)
    }
}

impl de::Error for CtyError {
    fn custom<T: Display>(reason: T) -> Self {
        Self::new(reason.to_string())
    }
}

impl Cty {
    fn mismatch<T>(&self, expected: &str) -> Result<T, CtyError> {
        Err(CtyError::new(format!(
            "{expected} is wanted, got {}",
            self.0
        )))
    }

    fn text(&self) -> Option<&str> {
        match &self.0 {
            Value::String(text) => text.as_str(),
            Value::Binary(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// Integers as they are; whole floats and numeric strings as the integer they stand for.
    fn integer(&self) -> Result<i64, CtyError> {
        let float = match &self.0 {
            Value::Integer(number) => {
                return number
                    .as_i64()
                    .map_or_else(|| self.mismatch("a smaller number"), Ok);
            }
            Value::F32(number) => f64::from(*number),
            Value::F64(number) => *number,
            _ => match self.text().map(str::trim) {
                Some(text) => return text.parse().or_else(|_| self.mismatch("a whole number")),
                None => return self.mismatch("a number"),
            },
        };
        // 2^53: beyond it a float does not say which integer it means.
        #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
        if float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0 {
            Ok(float as i64)
        } else {
            self.mismatch("a whole number")
        }
    }

    fn float(&self) -> Result<f64, CtyError> {
        match &self.0 {
            Value::F32(number) => Ok(f64::from(*number)),
            Value::F64(number) => Ok(*number),
            Value::Integer(number) => number
                .as_f64()
                .map_or_else(|| self.mismatch("a number"), Ok),
            _ => match self.text().and_then(|text| text.trim().parse().ok()) {
                Some(number) => Ok(number),
                None => self.mismatch("a number"),
            },
        }
    }

    fn boolean(&self) -> Result<bool, CtyError> {
        match (&self.0, self.text()) {
            (Value::Boolean(value), _) => Ok(*value),
            (_, Some("true" | "1")) => Ok(true),
            (_, Some("false" | "0")) => Ok(false),
            _ => self.mismatch("true or false"),
        }
    }

    fn string(self) -> Result<String, CtyError> {
        match &self.0 {
            Value::Boolean(_) | Value::Integer(_) | Value::F32(_) | Value::F64(_) => {
                Ok(self.0.to_string())
            }
            _ => match self.text() {
                Some(text) => Ok(text.to_owned()),
                None => self.mismatch("a string"),
            },
        }
    }

    fn entries(self) -> Result<Entries, CtyError> {
        let mut entries = BTreeMap::new();
        match self.0 {
            Value::Nil => {}
            Value::Map(pairs) => collect(pairs, &mut entries)?,
            Value::Array(items) => {
                for item in items {
                    match item {
                        Value::Nil => {}
                        Value::Map(pairs) => collect(pairs, &mut entries)?,
                        other => return Cty(other).mismatch("a map"),
                    }
                }
            }
            other => return Cty(other).mismatch("a map"),
        }
        Ok(Entries {
            pairs: entries.into_iter(),
            current: None,
        })
    }
}

/// Adds `pairs`, a later value of a key replacing an earlier one.
fn collect(
    pairs: Vec<(Value, Value)>,
    entries: &mut BTreeMap<String, Value>,
) -> Result<(), CtyError> {
    for (key, value) in pairs {
        let key = Cty(key).string()?;
        if value == Value::Nil {
            entries.remove(&key);
        } else {
            entries.insert(key, value);
        }
    }
    Ok(())
}

impl<'de> MapAccess<'de> for Entries {
    type Error = CtyError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, CtyError> {
        self.current = self.pairs.next();
        match &self.current {
            Some((key, _)) => seed.deserialize(key.clone().into_deserializer()).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, CtyError> {
        let Some((key, value)) = self.current.take() else {
            return Err(CtyError::custom("a value was asked for without a key"));
        };
        seed.deserialize(Cty(value))
            .map_err(|error| error.inside(&key))
    }
}

impl IntoDeserializer<'_, CtyError> for Cty {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CtyError> {
            visitor.visit_i64(self.integer()?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Cty {
    type Error = CtyError;

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CtyError> {
        match &self.0 {
            Value::Nil => visitor.visit_unit(),
            Value::Boolean(_) => self.deserialize_bool(visitor),
            Value::Integer(_) => self.deserialize_i64(visitor),
            Value::F32(_) | Value::F64(_) => self.deserialize_f64(visitor),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
            Value::String(_) | Value::Binary(_) | Value::Ext(..) => {
                self.deserialize_string(visitor)
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CtyError> {
        visitor.visit_bool(self.boolean()?)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CtyError> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CtyError> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CtyError> {
        visitor.visit_string(self.string()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CtyError> {
        visitor.visit_string(self.string()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CtyError> {
        if self.0 == Value::Nil {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, CtyError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CtyError> {
        let items = match self.0 {
            Value::Nil => Vec::new(),
            Value::Array(items) => items,
            // One block where a list of them is wanted.
            block @ Value::Map(_) => vec![block],
            other => return Cty(other).mismatch("a list"),
        };
        visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(Cty)))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CtyError> {
        visitor.visit_map(self.entries()?)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CtyError> {
        visitor.visit_map(self.entries()?)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CtyError> {
        visitor.visit_enum(self.string()?.into_deserializer())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CtyError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}
