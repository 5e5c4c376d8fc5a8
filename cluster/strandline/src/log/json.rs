//! The log as JSON: one object a line, with `timestamp`, `level`, `target`, `message` and what else the line says.

use serde_json::{Map, Value, json};
use std::fmt;
use strandline_workers::clock;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The format. Spans are for traces: lines say what they are about by themselves.
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        writeln!(writer, "{}", line(event))
    }
}

fn line(event: &Event<'_>) -> Value {
    let mut fields = Fields(Map::new());
    event.record(&mut fields);
    let (Fields(mut line), facts) = (fields, event.metadata());
    // a field of the same name gives way
    line.insert("timestamp".to_owned(), json!(clock::now().to_string()));
    line.insert("level".to_owned(), json!(facts.level().as_str()));
    line.insert("target".to_owned(), json!(facts.target()));
    Value::Object(line)
}

struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, json!(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, json!(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, json!(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::{Context, SubscriberExt};

    struct Kept(Arc<Mutex<Vec<Value>>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(line(event));
        }
    }

    #[test]
    fn a_line_holds_its_fields_as_they_are_and_what_it_is() {
        let kept: Arc<Mutex<Vec<Value>>> = Arc::default();
        let subscriber = tracing_subscriber::registry().with(Kept(Arc::clone(&kept)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "there", store = "a\"b\n", files = 7_u64, late = true, level = "loud", "{} files", 7);
        });
        let lines = kept.lock().unwrap();
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((&line["message"], &line["store"]), (&json!("7 files"), &json!("a\"b\n")));
        assert_eq!((&line["files"], &line["late"]), (&json!(7), &json!(true)));
        assert_eq!((&line["level"], &line["target"]), (&json!("WARN"), &json!("there")));
        assert!(!line.to_string().contains('\n') && line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    }
}
