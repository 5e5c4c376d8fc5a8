//! `strandline append`: one event from the options, or several as NDJSON from stdin, in one atomic append.

use crate::cli::Append;
use crate::client::{Client, Request};
use crate::exit::Failure;
use crate::out;
use serde_json::{Map, Value, json, value::RawValue};
use std::io::Read as _;
use strandline_event::limits::APPEND_BYTES_MAX;

pub(crate) fn run(options: &Append) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    let events = match &options.event_type {
        Some(event_type) => one_event(options, event_type)?,
        None => from_stdin()?,
    };
    let mut path = client.store_path(&["streams", &options.stream_type, &options.stream_id])?;
    if options.inspect {
        path.push_str("?inspect=true");
    }
    let body = body(options, &events)?;
    let request = Request { path, body: Some(body.as_bytes()), content_type: "application/json", ..Request::default() };
    let answer = client.send(&request)?.ok()?;
    out::line(String::from_utf8_lossy(&answer.body).trim_end())
}

/// The request, with the events' texts exactly as given: numbers and spaces of `data` are kept byte for byte.
fn body(options: &Append, events: &str) -> Result<String, Failure> {
    let mut rest = Map::new();
    if let Some(command_id) = &options.command_id {
        rest.insert("command_id".to_owned(), json!(command_id));
    }
    if let Some(expected) = &options.expected_seq {
        rest.insert("expected_seq".to_owned(), expected_seq(expected)?);
    }
    let fields: String = rest.iter().map(|(k, v)| format!(",{}:{v}", json!(k))).collect();
    Ok(format!("{{\"events\":[{events}]{fields}}}"))
}

fn expected_seq(text: &str) -> Result<Value, Failure> {
    match text {
        "empty" | "any" => Ok(json!(text)),
        _ => text
            .parse::<u64>()
            .map(|n| json!(n))
            .map_err(|_| Failure::Usage(format!("--expected-seq {text}: a number, `empty` or `any`"))),
    }
}

fn one_event(options: &Append, event_type: &str) -> Result<String, Failure> {
    let mut fields = vec![("event_type", json!(event_type).to_string())];
    fields.extend(options.data.as_ref().map(|text| raw("--data", text)).transpose()?.map(|v| ("data", v)));
    fields.extend(options.metadata.as_ref().map(|text| raw("--metadata", text)).transpose()?.map(|v| ("metadata", v)));
    fields.extend(options.event_version.map(|v| ("event_version", v.to_string())));
    let texts = [
        ("occurred_at", &options.occurred_at),
        ("correlation_id", &options.correlation_id),
        ("causation_id", &options.causation_id),
        ("tenant_id", &options.tenant_id),
    ];
    fields.extend(texts.into_iter().filter_map(|(name, value)| Some((name, json!(value.as_ref()?).to_string()))));
    let parts: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    Ok(format!("{{{}}}", parts.join(",")))
}

fn raw(option: &str, text: &str) -> Result<String, Failure> {
    let value: Box<RawValue> =
        serde_json::from_str(text).map_err(|e| Failure::Usage(format!("{option} is not JSON: {e}")))?;
    Ok(value.get().to_owned())
}

fn from_stdin() -> Result<String, Failure> {
    let limit = APPEND_BYTES_MAX as u64 + 1;
    let mut text = String::new();
    let read = std::io::stdin().lock().take(limit).read_to_string(&mut text);
    read.map_err(|e| Failure::Usage(format!("stdin is not UTF-8 text: {e}")))?;
    if text.len() > APPEND_BYTES_MAX {
        let advice = "use `strandline ingest` for more";
        return Err(Failure::Usage(format!("one append holds at most {APPEND_BYTES_MAX} bytes; {advice}")));
    }
    let mut events = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let event: &RawValue = serde_json::from_str(line)
            .map_err(|e| Failure::Usage(format!("line {} of stdin is not JSON: {e}", i + 1)))?;
        events.push(event.get());
    }
    if events.is_empty() {
        return Err(Failure::Usage("no event: give --event-type, or NDJSON on stdin".to_owned()));
    }
    Ok(events.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Command;
    use clap::Parser as _;

    fn options(line: &[&str]) -> Append {
        let start = ["strandline", "append", "--stream-type", "T", "--stream-id", "S"];
        match crate::cli::Cli::parse_from(start.iter().chain(line)).command {
            Command::Append(options) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_data_of_an_event_is_sent_byte_for_byte() {
        let o = options(&[
            "--event-type",
            "E",
            "--data",
            r#" {"b":1.0,  "a":1e2}"#,
            "--command-id",
            "c",
            "--expected-seq",
            "4",
        ]);
        let event = one_event(&o, "E").unwrap();
        assert_eq!(
            body(&o, &event).unwrap(),
            r#"{"events":[{"event_type":"E","data":{"b":1.0,  "a":1e2}}],"command_id":"c","expected_seq":4}"#
        );
    }

    #[test]
    fn a_wrong_expected_seq_is_a_usage_error() {
        assert!(matches!(expected_seq("-1"), Err(Failure::Usage(_))));
        assert_eq!(expected_seq("empty").unwrap(), json!("empty"));
    }
}
