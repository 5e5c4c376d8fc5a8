//! Parquet files and Arrow IPC streams written out as NDJSON, so that one path loads everything.
//!
//! Columns are known by the store's names, as in its own files; a column that is no field is refused by name.

use super::source;
use crate::client::Client;
use crate::exit::Failure;
use serde_json::{Value, json, value::RawValue};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Read, Write as _};
use strandline_durable::ipc::{InputBatch, InputBatches, IpcError};
use strandline_event::{EventInput, Field, FieldNames};

/// The kind of a file of columns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Parquet,
    /// Arrow IPC, stream or file.
    Arrow,
}

/// Writes all rows into a temporary file, one JSON object a line.
pub(super) fn write_out(mut file: File, kind: Kind, name: &str, client: &Client) -> Result<File, Failure> {
    let names = crate::commands::field_names(client)?;
    let bad = |e: IpcError| Failure::Usage(format!("{name}: {e}"));
    let batches: Box<dyn Iterator<Item = Result<InputBatch, IpcError>>> = match kind {
        Kind::Parquet => Box::new(InputBatches::from_parquet(&names, file).map_err(bad)?),
        Kind::Arrow => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(|e| Failure::Usage(format!("cannot read {name}: {e}")))?;
            Box::new(InputBatches::from_ipc(&names, bytes.into()).map_err(bad)?)
        }
    };
    let written = |e: std::io::Error| Failure::Usage(format!("cannot write a temporary file: {e}"));
    let mut out = BufWriter::with_capacity(1 << 20, source::temporary()?);
    let mut line = String::new();
    let mut rows = 0_u64;
    for batch in batches {
        let batch = batch.map_err(bad)?;
        for row in 0..batch.rows() {
            rows += 1;
            let event = batch.input(row).map_err(bad)?;
            line.clear();
            let result = write_line(&mut line, &names, batch.stream_type(row), &event);
            result.map_err(|e| Failure::Usage(format!("{name}, row {rows}: data or metadata is not JSON: {e}")))?;
            out.write_all(line.as_bytes()).map_err(written)?;
        }
    }
    out.into_inner().map_err(|e| written(e.into_error()))
}

fn write_line(
    out: &mut String,
    names: &FieldNames,
    stream_type: Option<&str>,
    event: &EventInput<'_>,
) -> Result<(), serde_json::Error> {
    let text = |value: Option<&str>| value.map(|v| Value::from(v).to_string());
    let raw = |value: Option<&str>| value.map(one_line).transpose();
    let fields = [
        (Field::EventId, event.event_id.map(|id| json!(id.to_string()).to_string())),
        (Field::StreamType, text(stream_type)),
        (Field::StreamId, text(Some(event.stream_id))),
        (Field::Seq, event.seq.map(|seq| seq.0.to_string())),
        (Field::EventType, text(Some(event.event_type))),
        (Field::EventVersion, event.event_version.map(|v| v.to_string())),
        (Field::OccurredAt, event.occurred_at.map(|t| json!(t.to_string()).to_string())),
        (Field::Payload, raw(Some(event.data).filter(|d| !d.is_empty()))?),
        (Field::Metadata, raw(event.metadata)?),
        (Field::CommandId, text(event.command_id)),
        (Field::CorrelationId, text(event.correlation_id)),
        (Field::CausationId, text(event.causation_id)),
        (Field::TenantId, text(event.tenant_id)),
    ];
    let mut mark = '{';
    for (field, value) in fields {
        if let Some(value) = value {
            // writing to a String cannot fail
            let _ = write!(out, "{mark}{}:{value}", json!(names.get(field)));
            mark = ',';
        }
    }
    out.push_str("}\n");
    Ok(())
}

/// JSON text without line breaks: they can stand only between tokens, where a space means the same. What is not JSON is
/// refused here: inside a line it could pass for other fields.
fn one_line(json: &str) -> Result<String, serde_json::Error> {
    let checked: &RawValue = serde_json::from_str(json)?;
    Ok(checked.get().replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_becomes_one_line_with_the_stores_names() {
        let mut names = FieldNames::default();
        names.set(Field::StreamId, "aggregate");
        let event = EventInput { stream_id: "a\"b", event_type: "E", data: "{\n\"x\":1.0}", ..EventInput::default() };
        let mut line = String::new();
        write_line(&mut line, &names, Some("T"), &event).unwrap();
        assert_eq!(
            line,
            "{\"stream_type\":\"T\",\"aggregate\":\"a\\\"b\",\"event_type\":\"E\",\"data\":{ \"x\":1.0}}\n"
        );
    }

    #[test]
    fn data_that_is_not_json_cannot_pass_for_fields() {
        let event = EventInput { stream_id: "a", event_type: "E", data: r#"1,"seq":7"#, ..EventInput::default() };
        assert!(write_line(&mut String::new(), &FieldNames::default(), Some("T"), &event).is_err());
    }
}
