//! What configuration a driver takes, as values: `object([attribute("image", "string").required()])`.
//! [`options!`](crate::options!) makes them of structs.
//!
//! The agent decodes the HCL of a `config` block by this and sends the result as msgpack, which [`crate::cty`] reads.

use std::collections::HashMap;

use nomad_ipvs_proto::hclspec as wire;
use wire::spec::Block as Kind;

/// A schema, or one option of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    name: String,
    shape: Shape,
    /// HCL source of the value used when the option is absent.
    default: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Object(Vec<Spec>),
    Attribute {
        r#type: &'static str,
        required: bool,
    },
    Block(Vec<Spec>),
    Blocks(Vec<Spec>),
    FreeBlock {
        r#type: &'static str,
    },
}

/// The body of a `config` block.
pub fn object(options: impl IntoIterator<Item = Spec>) -> Spec {
    Spec::new("", Shape::Object(options.into_iter().collect()))
}

/// `name = value`; `type` is an HCL type expression such as `list(map(string))`.
pub fn attribute(name: &str, r#type: &'static str) -> Spec {
    Spec::new(
        name,
        Shape::Attribute {
            r#type,
            required: false,
        },
    )
}

/// One `name { … }` at most.
pub fn block(name: &str, options: impl IntoIterator<Item = Spec>) -> Spec {
    Spec::new(name, Shape::Block(options.into_iter().collect()))
}

/// Any number of `name { … }`.
pub fn blocks(name: &str, options: impl IntoIterator<Item = Spec>) -> Spec {
    Spec::new(name, Shape::Blocks(options.into_iter().collect()))
}

/// One `name { … }` whose keys are free and whose values are of `type`.
pub fn free_block(name: &str, r#type: &'static str) -> Spec {
    Spec::new(name, Shape::FreeBlock { r#type })
}

impl Spec {
    fn new(name: &str, shape: Shape) -> Self {
        Self {
            name: name.to_owned(),
            shape,
            default: None,
        }
    }

    /// The name of the option in a configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The options inside an object or a block.
    pub fn options(&self) -> &[Spec] {
        match &self.shape {
            Shape::Object(options) | Shape::Block(options) | Shape::Blocks(options) => options,
            Shape::Attribute { .. } | Shape::FreeBlock { .. } => &[],
        }
    }

    /// Leaving the attribute out is an error. Has no effect on blocks.
    #[must_use]
    pub fn required(mut self) -> Self {
        if let Shape::Attribute { required, .. } = &mut self.shape {
            *required = true;
        }
        self
    }

    /// The value when absent, as HCL source: `"3m"` with its quotes, `true`, `[]`.
    #[must_use]
    pub fn or(mut self, source: &str) -> Self {
        self.default = Some(source.to_owned());
        self
    }
}

impl From<Spec> for wire::Spec {
    fn from(spec: Spec) -> Self {
        let name = spec.name;
        let kind = match spec.shape {
            Shape::Object(options) => Kind::Object(fields(options)),
            // The name is always set: the agent derives it from the key only for direct children.
            Shape::Attribute { r#type, required } => Kind::Attr(wire::Attr {
                name,
                r#type: r#type.to_owned(),
                required,
            }),
            Shape::Block(options) => Kind::BlockValue(Box::new(wire::Block {
                name,
                required: false,
                nested: Some(Box::new(nested(options))),
            })),
            Shape::Blocks(options) => Kind::BlockList(Box::new(wire::BlockList {
                name,
                min_items: 0,
                max_items: 0,
                nested: Some(Box::new(nested(options))),
            })),
            Shape::FreeBlock { r#type } => Kind::BlockAttrs(wire::BlockAttrs {
                name,
                r#type: r#type.to_owned(),
                required: false,
            }),
        };
        let primary = wire::Spec { block: Some(kind) };
        match spec.default {
            None => primary,
            Some(value) => {
                let literal = wire::Spec {
                    block: Some(Kind::Literal(wire::Literal { value })),
                };
                let with_default = wire::Default {
                    primary: Some(Box::new(primary)),
                    default: Some(Box::new(literal)),
                };
                wire::Spec {
                    block: Some(Kind::Default(Box::new(with_default))),
                }
            }
        }
    }
}

fn fields(options: Vec<Spec>) -> wire::Object {
    let attributes: HashMap<_, _> = options
        .into_iter()
        .map(|option| (option.name.clone(), option.into()))
        .collect();
    wire::Object { attributes }
}

fn nested(options: Vec<Spec>) -> wire::Spec {
    wire::Spec {
        block: Some(Kind::Object(fields(options))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_wraps_the_attribute_and_keeps_its_name() {
        let wire::Spec {
            block: Some(Kind::Default(default)),
        } = wire::Spec::from(attribute("period", "string").or("\"5m\""))
        else {
            panic!("not a default");
        };
        let Some(Kind::Attr(attribute)) = default.primary.unwrap().block else {
            panic!("not an attribute")
        };
        assert_eq!(
            (attribute.name.as_str(), attribute.r#type.as_str()),
            ("period", "string")
        );
        let Some(Kind::Literal(literal)) = default.default.unwrap().block else {
            panic!("not a literal")
        };
        assert_eq!(literal.value, "\"5m\"");
    }

    #[test]
    fn object_keys_are_the_options_names() {
        let wire::Spec {
            block: Some(Kind::Object(object)),
        } = wire::Spec::from(object([
            attribute("image", "string").required(),
            attribute("tty", "bool"),
        ]))
        else {
            panic!("not an object");
        };
        assert_eq!(object.attributes.len(), 2);
        assert!(object.attributes.contains_key("image"));
    }
}
