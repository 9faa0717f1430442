//! What stands behind an `=`: evaluated by hcl-rs, with `env("NAME")` and `file("/PATH")` for what is secret, and then
//! converted.
//!
//! What comes from a variable or a file is shown in no error; what stands in the config itself is.

use std::fmt;
use std::path::Path;

use hcl::eval::{Context, ErrorKind, Evaluate, FuncArgs, FuncDef, ParamType};
use hcl::{Number, Value};
use hcl_edit::expr::Expression;

use crate::credential;

/// Why a value can't be taken.
#[derive(Debug)]
pub(super) struct Unfit {
    /// What was expected; it says nothing of the value.
    expected: &'static str,
    /// What there is; shown for a literal alone.
    found: String,
}

impl Unfit {
    /// The reason with the value that was found.
    pub(super) fn not(expected: &'static str, found: impl fmt::Debug) -> Self {
        Self {
            expected,
            found: format!(", not {found:?}"),
        }
    }
}

impl From<&'static str> for Unfit {
    fn from(expected: &'static str) -> Self {
        Self {
            expected,
            found: String::new(),
        }
    }
}

/// Words of others, that may repeat the value.
impl From<String> for Unfit {
    fn from(found: String) -> Self {
        Self {
            expected: "",
            found,
        }
    }
}

/// Evaluates and converts; the error is for the person who wrote the expression.
pub(super) fn convert<T>(
    expression: &Expression,
    convert: impl Fn(&Value) -> Result<T, Unfit>,
) -> Result<T, String> {
    let value = evaluate(expression)?;
    convert(&value).map_err(|unfit| {
        let Unfit { expected, found } = unfit;
        if is_literal(expression) {
            format!("{expected}{found}")
        } else if expected.is_empty() {
            "its value, which is not shown, can't be used here".to_owned()
        } else {
            format!("{expected}; its value is not shown")
        }
    })
}

/// Whether the value itself is written in the config.
pub(super) fn is_literal(expression: &Expression) -> bool {
    match expression {
        Expression::Null(_)
        | Expression::Bool(_)
        | Expression::Number(_)
        | Expression::String(_) => true,
        Expression::Array(items) => items.iter().all(is_literal),
        _ => false,
    }
}

fn evaluate(expression: &Expression) -> Result<Value, String> {
    let one_text = |function| FuncDef::builder().param(ParamType::String).build(function);
    let mut context = Context::new();
    context.declare_func("env", one_text(env));
    context.declare_func("file", one_text(contents));
    let evaluated = hcl::Expression::from(expression.clone()).evaluate(&context);
    evaluated.map_err(|error| match error.into_kind() {
        ErrorKind::FuncCall(function, message) => format!("{}: {message}", function.name),
        ErrorKind::UndefinedFunc(function) => {
            format!("unknown function {}; known are env, file", function.name)
        }
        ErrorKind::UndefinedVar(name) => format!(
            "expected a text in quotes, env(\"NAME\") or file(\"/PATH\"); there is no variable {name}"
        ),
        // Others repeat values.
        _ => "can't be evaluated".to_owned(),
    })
}

/// The one argument of a function.
fn argument(arguments: FuncArgs) -> String {
    match arguments.into_values().pop() {
        Some(Value::String(text)) => text,
        _ => String::new(),
    }
}

fn env(arguments: FuncArgs) -> Result<Value, String> {
    let name = argument(arguments);
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(format!("{name:?} is no name of a variable"));
    }
    match std::env::var(&name) {
        Ok(value) => Ok(value.into()),
        Err(std::env::VarError::NotPresent) => {
            Err(format!("the environment has no variable {name}"))
        }
        Err(std::env::VarError::NotUnicode(_)) => Err(format!("the variable {name} is not UTF-8")),
    }
}

fn contents(arguments: FuncArgs) -> Result<Value, String> {
    let name = argument(arguments);
    let path = Path::new(&name);
    if !path.is_absolute() {
        return Err(format!("expected an absolute path, not {name:?}"));
    }
    let bytes = credential::read(path).map_err(|error| format!("{name}: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{name}: not UTF-8"))?;
    Ok(text.trim_end().into())
}

/// A text.
pub(super) fn text(value: &Value) -> Result<String, Unfit> {
    Ok(value
        .as_str()
        .ok_or("expected a text in quotes")?
        .to_owned())
}

/// A text that `convert` understands.
pub(super) fn parsed<T, E: Into<Unfit>>(
    convert: impl Fn(&str) -> Result<T, E>,
) -> impl Fn(&Value) -> Result<T, Unfit> {
    move |value| convert(&text(value)?).map_err(Into::into)
}

/// `true` or `false`.
pub(super) fn boolean(value: &Value) -> Result<bool, Unfit> {
    Ok(value.as_bool().ok_or("expected true or false")?)
}

/// A number.
pub(super) fn number(value: &Value) -> Result<f64, Unfit> {
    let number = value.as_number().and_then(Number::as_f64);
    Ok(number.ok_or("expected a number")?)
}

/// A list of texts.
pub(super) fn texts(value: &Value) -> Result<Vec<String>, Unfit> {
    const EXPECTED: &str = "expected a list of texts: [\"…\", \"…\"]";
    value
        .as_array()
        .ok_or(EXPECTED)?
        .iter()
        .map(|item| Ok(item.as_str().ok_or(EXPECTED)?.to_owned()))
        .collect()
}
