//! The log as go-plugin reads it: one JSON object a line on stderr, in hclog's form.
//!
//! Nothing here may fail or panic: after the agent died, stderr is a pipe without a reader and every write fails.
//! `@message`, `@level` and `@timestamp` are always strings (the agent's decoder panics on anything else) and the
//! timestamp always has six fractional digits (otherwise the whole line is shown raw, at debug).

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::panic;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber, error};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// go-plugin splits lines beyond 64 KiB, which makes them unreadable: long values are cut well before.
const LONGEST_VALUE: usize = 8 * 1024;

/// Sends every `tracing` event of this process to the agent, and panics too. `own_crates` are the crates whose debug lines
/// count; of others only warnings are shown. Call it once.
pub fn install(module: &'static str, own_crates: &[&'static str]) {
    let targets = own_crates
        .iter()
        .fold(
            Targets::new().with_default(LevelFilter::WARN),
            |targets, name| targets.with_target(*name, LevelFilter::DEBUG),
        )
        .with_target(env!("CARGO_CRATE_NAME"), LevelFilter::DEBUG);
    // Fails only when there is one already, which then does the work.
    let _ = Registry::default()
        .with(Hclog { module }.with_filter(targets))
        .try_init();
    panic::set_hook(Box::new(|info| {
        error!(
            place = info.location().map(ToString::to_string),
            "the driver panicked: {}",
            info.payload_as_str().unwrap_or("no message")
        );
    }));
}

struct Hclog {
    module: &'static str,
}

impl<S: Subscriber> Layer<S> for Hclog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = line(self.module, *event.metadata().level(), event);
        line.push('\n');
        // One write, so that lines of different threads don't mix. A broken pipe has no one to be reported to.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }
}

fn line(module: &str, level: Level, event: &Event<'_>) -> String {
    let mut fields = Fields(Map::new());
    event.record(&mut fields);
    let Fields(mut object) = fields;
    object.entry("@message").or_insert_with(|| Value::from(""));
    let level = level.as_str().to_ascii_lowercase();
    for (key, value) in [
        ("@level", level.as_str()),
        ("@module", module),
        ("@timestamp", &format!("{:.6}", Timestamp::now())),
    ] {
        object.insert(key.to_owned(), Value::from(value));
    }
    Value::Object(object).to_string()
}

/// Collects an event's fields; `message` becomes `@message`.
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        let key = match field.name() {
            "message" => "@message",
            name => name,
        };
        self.0.insert(key.to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(cut(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // Writing to a String fails only when the value's own Debug does.
        let _ = write!(text, "{value:?}");
        self.put(field, Value::from(cut(&text)));
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_VALUE)]
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Lines that the layer would write.
    #[derive(Clone, Default)]
    struct Capture(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Capture {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0
                .lock()
                .unwrap()
                .push(line("docker", *event.metadata().level(), event));
        }
    }

    fn log_line(emit: impl FnOnce()) -> Map<String, Value> {
        let capture = Capture::default();
        tracing::subscriber::with_default(Registry::default().with(capture.clone()), emit);
        let lines = capture.0.lock().unwrap();
        serde_json::from_str(&lines[0]).unwrap()
    }

    #[test]
    fn a_line_has_string_fields_and_six_fractional_digits() {
        let line = log_line(|| tracing::info!(container = "abc", count = 3, "started"));
        for key in ["@level", "@message", "@module", "@timestamp"] {
            assert!(line[key].is_string(), "{key}");
        }
        assert_eq!(
            (line["@message"].as_str(), line["@level"].as_str()),
            (Some("started"), Some("info"))
        );
        assert_eq!(line["count"], 3);
        let stamp = line["@timestamp"].as_str().unwrap();
        let fraction = stamp.split_once('.').unwrap().1;
        assert!(fraction.len() == 7 && fraction.ends_with('Z'), "{stamp}");
    }

    #[test]
    fn an_event_without_a_message_still_has_one() {
        assert_eq!(log_line(|| tracing::warn!(count = 1))["@message"], "");
    }

    #[test]
    fn long_values_are_cut_at_a_character() {
        let long = "ü".repeat(LONGEST_VALUE);
        let line = log_line(|| tracing::error!(text = long, "x"));
        assert!(line["text"].as_str().unwrap().len() <= LONGEST_VALUE);
    }
}
