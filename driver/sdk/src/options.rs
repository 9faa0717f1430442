//! A `config` block's options, each declared once.
//!
//! [`options!`](crate::options!) makes two things of one list: the [`Spec`] by which the agent reads the block, and the struct
//! into which [`crate::cty`] decodes the result. So no option can be in one of them and not in the other.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use nomad_driver_sdk::options::Options;
//!
//! nomad_driver_sdk::options! {
//!     pub struct TaskOptions {
//!         pub image: String => required,
//!         pub labels: BTreeMap<String, String>,
//!         /// How often a pull is tried.
//!         pub attempts: i64 = 5,
//!         pub mount: Vec<Mount>,
//!     }
//!
//!     pub struct Mount {
//!         pub r#type: String => or("\"volume\""),
//!         pub target: String,
//!     }
//! }
//!
//! assert_eq!(TaskOptions::default().attempts, 5);
//! assert_eq!(TaskOptions::schema().options()[3].options()[0].name(), "type");
//! ```
//!
//! A field's type says what the agent reads ([`OptionType`]). `= value` is what the field holds when the option is unset;
//! without it, its type's default. `=> rule` is a method of [`Spec`]. The crate that uses the macro needs serde.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::hclspec::{Spec, attribute, block, blocks, free_block, object};

/// The options of a block; [`options!`](crate::options!) implements it.
pub trait Options {
    fn options() -> Vec<Spec>;

    /// The schema of a `config` block that has these options.
    fn schema() -> Spec {
        object(Self::options())
    }
}

/// What the agent reads for a field of this type.
pub trait OptionType {
    fn spec(name: &str) -> Spec;
}

/// One block whose keys are free. A plain map is an attribute: the agent lets its blocks and objects be repeated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct FreeBlock(pub BTreeMap<String, String>);

/// Declares structs of options. See [the module](mod@crate::options).
#[macro_export]
macro_rules! options {
    (@default) => {
        ::std::default::Default::default()
    };
    (@default $default:expr) => {
        $default.into()
    };
    ($(
        $(#[$struct_attribute:meta])*
        $struct_visibility:vis struct $name:ident {$(
            $(#[$attribute:meta])*
            $visibility:vis $field:ident: $type:ty $(= $default:expr)? $(=> $rule:ident $(($argument:expr))?)?,
        )*}
    )*) => {$(
        $(#[$struct_attribute])*
        #[derive(Debug, Clone, PartialEq, ::serde::Deserialize)]
        #[serde(default)]
        $struct_visibility struct $name {$(
            $(#[$attribute])*
            $visibility $field: $type,
        )*}

        impl ::std::default::Default for $name {
            fn default() -> Self {
                Self {$($field: $crate::options!(@default $($default)?),)*}
            }
        }

        impl $crate::options::Options for $name {
            fn options() -> ::std::vec::Vec<$crate::hclspec::Spec> {
                ::std::vec![$({
                    let name = ::std::stringify!($field).trim_start_matches("r#");
                    <$type as $crate::options::OptionType>::spec(name) $(.$rule($($argument)?))?
                },)*]
            }
        }
    )*};
}

macro_rules! attributes {
    ($($type:ty: $hcl:literal,)*) => {$(
        impl OptionType for $type {
            fn spec(name: &str) -> Spec {
                attribute(name, $hcl)
            }
        }
    )*};
}

attributes! {
    String: "string",
    bool: "bool",
    i64: "number",
    u32: "number",
    Vec<String>: "list(string)",
    BTreeMap<String, String>: "list(map(string))",
    BTreeMap<String, u16>: "list(map(number))",
}

impl OptionType for FreeBlock {
    fn spec(name: &str) -> Spec {
        free_block(name, "string")
    }
}

/// An absent option differs from one that has the default's value.
impl<T: OptionType> OptionType for Option<T> {
    fn spec(name: &str) -> Spec {
        T::spec(name)
    }
}

impl<T: Options> OptionType for T {
    fn spec(name: &str) -> Spec {
        block(name, T::options())
    }
}

impl<T: Options> OptionType for Vec<T> {
    fn spec(name: &str) -> Spec {
        blocks(name, T::options())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cty;

    crate::options! {
        struct Task {
            image: String => required,
            r#type: String = "volume" => or("\"volume\""),
            attempts: i64 = 5,
            pids: Option<u32>,
            mount: Vec<Mount>,
            first: Mount,
            second: Option<Mount>,
            storage: FreeBlock,
        }

        struct Mount {
            target: String = "/",
        }
    }

    #[test]
    fn a_field_is_an_option_by_its_name_and_type() {
        let mount = || [attribute("target", "string")];
        let expected = object([
            attribute("image", "string").required(),
            attribute("type", "string").or("\"volume\""),
            attribute("attempts", "number"),
            attribute("pids", "number"),
            blocks("mount", mount()),
            block("first", mount()),
            block("second", mount()),
            free_block("storage", "string"),
        ]);
        assert_eq!(Task::schema(), expected);
    }

    #[test]
    fn what_is_unset_has_the_default_of_its_field_and_then_of_its_type() {
        // {"type": nil, "first": {}, "storage": {"size": "1G"}}
        let bytes = [
            &[0x83, 0xa4][..],
            b"type",
            &[0xc0, 0xa5],
            b"first",
            &[0x80, 0xa7],
            b"storage",
            &[0x81, 0xa4],
            b"size",
            &[0xa2],
            b"1G",
        ]
        .concat();
        let task: Task = cty::from_slice(&bytes).unwrap();
        let expected = Task {
            r#type: "volume".to_owned(),
            first: Mount {
                target: "/".to_owned(),
            },
            storage: FreeBlock(BTreeMap::from([("size".to_owned(), "1G".to_owned())])),
            ..Task::default()
        };
        assert_eq!(
            (task.attempts, task.pids, task.second.is_none()),
            (5, None, true)
        );
        assert_eq!(task, expected);
    }
}
