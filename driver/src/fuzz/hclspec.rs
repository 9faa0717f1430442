//! Values made after a schema, as the agent makes them of a `config` block: the bytes say which value each option gets.
//!
//! The schema is walked in the form in which the agent gets it, so what is tried is what the agent can send.

use std::collections::BTreeMap;

use nomad_driver_sdk::hclspec::Spec;
use nomad_ipvs_proto::hclspec as wire;
use rmpv::Value;
use wire::spec::Block as Kind;

/// Items of a list or a map at most.
const ITEMS_MAX: u8 = 4;

/// A `config` block as the agent may send it.
pub(super) struct Config {
    /// Every option, nil where it is not set.
    value: Value,
    /// The options of wrong types. The agent sends none; a fault of its own must be refused in words.
    faults: Vec<String>,
    /// Whether there are numbers that the schema allows and the driver may find too big.
    odd: bool,
}

/// Bytes as a row of decisions; nought once they are used up.
struct Choices<'a>(std::slice::Iter<'a, u8>);

struct Maker<'a> {
    choices: Choices<'a>,
    faults: Vec<String>,
    odd: bool,
}

impl Config {
    pub(super) fn new(schema: Spec, data: &[u8]) -> Self {
        let mut maker = Maker {
            choices: Choices(data.iter()),
            faults: Vec::new(),
            odd: false,
        };
        let value = maker.spec("", &schema.into());
        Self {
            value,
            faults: maker.faults,
            odd: maker.odd,
        }
    }

    /// Decodes the block in both forms, which must come to the same, and holds the outcome to what was made.
    pub(super) fn check<T: PartialEq + std::fmt::Debug>(
        &self,
        decode: impl Fn(&[u8]) -> Result<T, String>,
    ) {
        let outcome = decode(&encode(&self.value));
        assert_eq!(
            outcome,
            decode(&encode(&sparse(&self.value))),
            "{}",
            self.value
        );
        match outcome {
            Ok(_) => assert!(
                self.faults.is_empty(),
                "{:?} in {}",
                self.faults,
                self.value
            ),
            Err(text) if self.faults.is_empty() => assert!(self.odd, "{text}: {}", self.value),
            Err(text) => {
                let is_named = self.faults.iter().any(|name| text.contains(name.as_str()));
                assert!(is_named || self.odd, "{text}: {:?}", self.faults);
            }
        }
    }
}

impl Choices<'_> {
    fn next(&mut self) -> u8 {
        self.0.next().copied().unwrap_or_default()
    }

    /// A number below `end`.
    fn below(&mut self, end: u8) -> u8 {
        self.next().checked_rem(end).unwrap_or_default()
    }

    fn text(&mut self) -> String {
        let length = self.below(12).into();
        let bytes: Vec<u8> = self.0.by_ref().take(length).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Maker<'_> {
    fn spec(&mut self, name: &str, spec: &wire::Spec) -> Value {
        match spec.block.as_ref().expect("no schema is empty") {
            Kind::Object(object) => self.object(object),
            Kind::Attr(attribute) => self.option(name, &attribute.r#type),
            // Blocks of free keys arrive as one map.
            Kind::BlockAttrs(block) => self.option(name, &format!("map({})", block.r#type)),
            Kind::Default(default) => self.spec(name, inside(default.primary.as_deref())),
            Kind::BlockValue(block) => match self.choices.below(8) {
                0..=2 => Value::Nil,
                3 => self.fault(name, "text".into()),
                _ => self.spec(name, inside(block.nested.as_deref())),
            },
            Kind::BlockList(list) => {
                let nested = inside(list.nested.as_deref());
                let items = (0..self.choices.below(ITEMS_MAX)).map(|_| self.spec(name, nested));
                Value::Array(items.collect())
            }
            other => panic!("the driver's schemas have no {other:?}"),
        }
    }

    fn object(&mut self, object: &wire::Object) -> Value {
        // In an order of its own, so that the same bytes mean the same.
        let options: BTreeMap<_, _> = object.attributes.iter().collect();
        let pairs = options
            .into_iter()
            .map(|(name, spec)| (Value::from(name.as_str()), self.spec(name, spec)));
        Value::Map(pairs.collect())
    }

    fn option(&mut self, name: &str, r#type: &str) -> Value {
        match self.choices.below(16) {
            0..=5 => Value::Nil,
            // No type of the schemas is a list of lists, and none a map of them.
            6 => self.fault(name, Value::Array(vec![Value::Array(vec![1.into()])])),
            _ => self.value(r#type),
        }
    }

    fn fault(&mut self, name: &str, value: Value) -> Value {
        self.faults.push(name.to_owned());
        value
    }

    fn value(&mut self, r#type: &str) -> Value {
        let inner = |outer: &str| r#type.strip_prefix(outer)?.strip_suffix(')');
        if let Some(item) = inner("list(") {
            let items = (0..self.choices.below(ITEMS_MAX)).map(|_| self.value(item));
            return Value::Array(items.collect());
        }
        if let Some(item) = inner("map(") {
            let pairs = (0..self.choices.below(ITEMS_MAX))
                .map(|_| (self.choices.text().into(), self.value(item)));
            return Value::Map(pairs.collect());
        }
        match r#type {
            "string" => self.choices.text().into(),
            "bool" => (self.choices.below(2) == 1).into(),
            "number" => self.number(),
            other => panic!("the driver's schemas have no {other}"),
        }
    }

    fn number(&mut self) -> Value {
        let small = self.choices.next();
        match self.choices.below(8) {
            0 => {
                self.odd = true;
                let bytes = std::array::from_fn(|_| self.choices.next());
                i64::from_le_bytes(bytes).into()
            }
            1 => {
                self.odd = true;
                let bytes = std::array::from_fn(|_| self.choices.next());
                f64::from_le_bytes(bytes).into()
            }
            // Beyond 64 bits: the agent's notation for it.
            2 => {
                self.odd = true;
                format!("{small}000000000000000000000").into()
            }
            3 => f64::from(small).into(),
            4 => small.to_string().into(),
            _ => small.into(),
        }
    }
}

fn inside(spec: Option<&wire::Spec>) -> &wire::Spec {
    spec.expect("blocks and defaults are of something")
}

/// The same without what is nil.
fn sparse(value: &Value) -> Value {
    match value {
        Value::Map(pairs) => {
            let pairs = pairs.iter().filter(|(_, value)| *value != Value::Nil);
            Value::Map(
                pairs
                    .map(|(key, value)| (key.clone(), sparse(value)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(sparse).collect()),
        other => other.clone(),
    }
}

fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).expect("memory takes all bytes");
    bytes
}
