//! `strandline append`: one event from the options, or several as NDJSON from stdin, in one atomic append.
//!
//! What the options say of an event, from the command line or the environment, holds for each line of stdin that does not say
//! it. Nothing that was given is left out in silence.

use crate::cli::Append;
use crate::client::{Client, Request};
use crate::exit::Failure;
use crate::out;
use serde_json::{Map, Value, json, value::RawValue};
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Read as _};
use strandline_event::limits::APPEND_BYTES_MAX;
use strandline_event::{Field, FieldNames};

pub(crate) fn run(options: &Append) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    // what is wrong with the options needs no server to be told
    let (given, rest) = (given(options)?, rest(options)?);
    let given = named(given, &super::field_names(&client)?);
    let stdin = std::io::stdin();
    // where the event type comes from the environment, a terminal is not asked for lines
    let is_one_event = options.is_one_event || (options.event_type.is_some() && stdin.is_terminal());
    if !is_one_event && stdin.is_terminal() {
        tell_of_stdin(options)?;
    }
    let lines = if is_one_event { String::new() } else { read_lines(stdin.lock())? };
    let mut events = events_of(&lines, &given)?;
    if events.is_empty() {
        if options.event_type.is_none() {
            return Err(Failure::Usage("no event: give --event-type, or NDJSON on stdin".to_owned()));
        }
        events.push(object(&given));
    }
    let mut path = client.store_path(&["streams", &options.stream_type, &options.stream_id])?;
    if options.inspect {
        path.push_str("?inspect=true");
    }
    let body = body(&events.join(","), &rest);
    let request = Request { path, body: Some(body.as_bytes()), content_type: "application/json", ..Request::default() };
    let answer = client.send(&request)?.ok()?;
    out::line(String::from_utf8_lossy(&answer.body).trim_end())
}

/// Somebody sits there, and nothing would happen: what is waited for is said, and what cannot be meant is refused.
fn tell_of_stdin(options: &Append) -> Result<(), Failure> {
    if options.data.is_some() {
        return Err(Failure::Usage("--data is that of an event whose --event-type is missing: give it too".to_owned()));
    }
    out::note(
        "strandline: reads events from here, a JSON object a line; Ctrl-D ends them, Ctrl-C appends nothing (one event: --event-type and --data)",
    );
    Ok(())
}

/// What the options say of the append, beside its events.
fn rest(options: &Append) -> Result<Map<String, Value>, Failure> {
    let mut rest = Map::new();
    if let Some(command_id) = &options.command_id {
        rest.insert("command_id".to_owned(), json!(command_id));
    }
    if let Some(expected) = &options.expected_seq {
        rest.insert("expected_seq".to_owned(), expected_seq(expected)?);
    }
    Ok(rest)
}

/// The request, with the events' texts exactly as given: numbers and spaces of `data` are kept byte for byte.
fn body(events: &str, rest: &Map<String, Value>) -> String {
    let fields: String = rest.iter().map(|(k, v)| format!(",{}:{v}", json!(k))).collect();
    format!("{{\"events\":[{events}]{fields}}}")
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

/// What the options say of an event: the store's name of a field, and its JSON text.
type Given = Vec<(String, String)>;

fn given(options: &Append) -> Result<Vec<(Field, String)>, Failure> {
    let texts = [
        (Field::EventType, &options.event_type),
        (Field::OccurredAt, &options.occurred_at),
        (Field::CorrelationId, &options.correlation_id),
        (Field::CausationId, &options.causation_id),
        (Field::TenantId, &options.tenant_id),
    ];
    let mut fields: Vec<(Field, String)> =
        texts.into_iter().filter_map(|(field, value)| Some((field, json!(value.as_ref()?).to_string()))).collect();
    fields.extend(options.event_version.map(|version| (Field::EventVersion, version.to_string())));
    for (field, option, value) in
        [(Field::Payload, "--data", &options.data), (Field::Metadata, "--metadata", &options.metadata)]
    {
        fields.extend(value.as_ref().map(|text| raw(option, text)).transpose()?.map(|text| (field, text)));
    }
    Ok(fields)
}

fn named(given: Vec<(Field, String)>, names: &FieldNames) -> Given {
    given.into_iter().map(|(field, text)| (names.get(field).to_owned(), text)).collect()
}

fn object(fields: &[(String, String)]) -> String {
    let parts: Vec<String> = fields.iter().map(|(name, text)| format!("{}:{text}", json!(name))).collect();
    format!("{{{}}}", parts.join(","))
}

fn raw(option: &str, text: &str) -> Result<String, Failure> {
    let value: Box<RawValue> = serde_json::from_str(text).map_err(|e| {
        let hint = strandline_server::ndjson::json_hint(&e, text);
        Failure::Usage(format!("{option} is not JSON: {e}{hint}{}", quotes(text)))
    })?;
    Ok(value.get().to_owned())
}

/// What to look for where no quote has arrived of what should be an object: a shell takes those that are not quoted themselves.
fn quotes(text: &str) -> &'static str {
    if text.starts_with(['{', '[']) && !text.contains('"') {
        "; in a shell it stands between single quotes: '{\"a\": 1}'"
    } else {
        ""
    }
}

fn read_lines(stdin: impl std::io::Read) -> Result<String, Failure> {
    let limit = APPEND_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    stdin.take(limit).read_to_end(&mut bytes).map_err(|e| Failure::Usage(format!("cannot read stdin: {e}")))?;
    if bytes.len() > APPEND_BYTES_MAX {
        let advice = "use `strandline ingest` for more";
        return Err(Failure::Usage(format!("one append holds at most {APPEND_BYTES_MAX} bytes; {advice}")));
    }
    String::from_utf8(bytes).map_err(|e| Failure::Usage(format!("stdin is not UTF-8 text: {e}")))
}

/// The events of the lines, each as it is, with what is given and a line does not say.
fn events_of(lines: &str, given: &Given) -> Result<Vec<String>, Failure> {
    let mut events = Vec::new();
    for (i, line) in lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong =
            |error: serde_json::Error| Failure::Usage(format!("line {} of stdin is no JSON object: {error}", i + 1));
        let said: BTreeMap<String, &RawValue> = serde_json::from_str(line).map_err(wrong)?;
        let missing: Given = given.iter().filter(|(name, _)| !said.contains_key(name)).cloned().collect();
        let line = line.trim();
        events.push(match (missing.is_empty(), said.is_empty()) {
            (true, _) => line.to_owned(),
            (false, true) => object(&missing),
            // two objects: the braces between them become a comma
            (false, false) => format!("{},{}", line.strip_suffix('}').unwrap_or(line), &object(&missing)[1..]),
        });
    }
    Ok(events)
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
        let event = object(&named(given(&o).unwrap(), &FieldNames::default()));
        assert_eq!(
            body(&event, &rest(&o).unwrap()),
            r#"{"events":[{"event_type":"E","data":{"b":1.0,  "a":1e2}}],"command_id":"c","expected_seq":4}"#
        );
    }

    #[test]
    fn a_line_says_more_than_the_options_do() {
        let o = options(&["--tenant-id", "t", "--event-version", "2"]);
        let mut names = FieldNames::default();
        names.set(Field::TenantId, "org");
        let given = named(given(&o).unwrap(), &names);
        let lines =
            "{\"event_type\":\"E\",\"data\":{\"a\": {}}}\n\n {} \n{\"org\":null,\"event_version\":1}\n{\"org\":\"}\"}";
        assert_eq!(
            events_of(lines, &given).unwrap(),
            [
                r#"{"event_type":"E","data":{"a": {}},"org":"t","event_version":2}"#,
                r#"{"org":"t","event_version":2}"#,
                r#"{"org":null,"event_version":1}"#,
                r#"{"org":"}","event_version":2}"#,
            ]
        );
        assert!(matches!(events_of("{}\n[]", &given), Err(Failure::Usage(text)) if text.contains("line 2")));
    }

    #[test]
    fn what_is_too_much_is_not_taken_for_what_is_no_text() {
        // the limit falls into the middle of a letter
        let long = "ä".repeat(APPEND_BYTES_MAX / 2 + 1);
        assert!(matches!(read_lines(long.as_bytes()), Err(Failure::Usage(text)) if text.contains("strandline ingest")));
        assert!(matches!(read_lines(&[0xff_u8, b'\n'][..]), Err(Failure::Usage(text)) if text.contains("UTF-8")));
        assert_eq!(read_lines("ä\n".as_bytes()).unwrap(), "ä\n");
    }

    #[test]
    fn quotes_that_a_shell_took_are_missed() {
        let said = |text: &str| raw("--data", text).unwrap_err().text().unwrap_or_default().to_owned();
        assert!(said("{a:1}").contains("single quotes") && !said("{\"a\":}").contains("single quotes"));
        assert_eq!(raw("--data", "[1]").unwrap(), "[1]");
    }

    #[test]
    fn a_wrong_expected_seq_is_a_usage_error() {
        assert!(matches!(expected_seq("-1"), Err(Failure::Usage(_))));
        assert_eq!(expected_seq("empty").unwrap(), json!("empty"));
    }
}
