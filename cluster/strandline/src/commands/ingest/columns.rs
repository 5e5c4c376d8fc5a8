//! Parquet files and Arrow IPC streams written out as NDJSON, so that one path loads everything.
//!
//! Columns are known by the store's names, as in its own files; a column that is no field is refused by name. A row that cannot be written out leaves an
//! empty line behind, so that line numbers are row numbers.

use super::source;
use crate::cli::OnError;
use crate::client::Client;
use crate::exit::Failure;
use crate::out;
use serde_json::{Value, json, value::RawValue};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Read, Write as _};
use strandline_durable::ipc::{InputBatch, InputBatches, IpcError};
use strandline_event::{EventInput, Field, FieldNames};
use strandline_server::ndjson::json_hint;

/// Refused rows that are named one by one; of more only the number is told.
const NAMED_MAX: u64 = 100;

/// The kind of a file of columns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Parquet,
    /// Arrow IPC, stream or file.
    Arrow,
}

/// What a row that is no event does, and from which row on that matters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) on_error: OnError,
    pub(super) from_row: u64,
}

/// Rows written out as lines.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) file: File,
    /// Rows that could not be.
    pub(super) refused: u64,
}

/// Writes all rows into a temporary file, one JSON object a line.
pub(super) fn write_out(
    mut file: File,
    kind: Kind,
    name: &str,
    client: &Client,
    rule: Rule,
) -> Result<Written, Failure> {
    let names = crate::commands::field_names(client)?;
    let bad = |e: IpcError| Failure::Usage(format!("{name}: {e}"));
    let batches = match kind {
        Kind::Parquet => InputBatches::from_parquet(&names, file).map_err(bad)?,
        Kind::Arrow => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(|e| Failure::Usage(format!("cannot read {name}: {e}")))?;
            InputBatches::from_ipc(&names, bytes.into()).map_err(bad)?
        }
    };
    if let Some(column) = batches.left_out() {
        out::note(&format!("strandline: column `{column}` of {name} is left out of account: the store gives its own"));
    }
    let written = |e: std::io::Error| Failure::Usage(format!("cannot write a temporary file: {e}"));
    let mut out = BufWriter::with_capacity(1 << 20, source::temporary()?);
    let mut line = String::new();
    let (mut rows, mut refused) = (0_u64, 0);
    for batch in batches {
        let batch = batch.map_err(bad)?;
        for row in 0..batch.rows() {
            rows += 1;
            line.clear();
            if let Err(why) = write_row(&mut line, &names, &batch, row) {
                line.clear();
                line.push('\n');
                if rows >= rule.from_row {
                    refused += 1;
                    refuse(name, (rows, refused), &why, rule.on_error)?;
                }
            }
            out.write_all(line.as_bytes()).map_err(written)?;
        }
    }
    let file = out.into_inner().map_err(|e| written(e.into_error()))?;
    Ok(Written { file, refused })
}

/// Names a row that is no event, the `nth` of them, or ends the load by it.
fn refuse(name: &str, (row, nth): (u64, u64), why: &str, on_error: OnError) -> Result<(), Failure> {
    if on_error == OnError::Abort {
        let text = format!("{name}, row {row}: {why}. Nothing was sent. Mend the row, or skip it with --on-error skip");
        return Err(Failure::No(text));
    }
    if nth <= NAMED_MAX {
        out::note(&format!("strandline: refused: line {row}: {why}"));
    }
    Ok(())
}

/// Errors: why the row is no event.
fn write_row(line: &mut String, names: &FieldNames, batch: &InputBatch, row: usize) -> Result<(), String> {
    let event = batch.input(row).map_err(|wrong| wrong.to_string())?;
    write_line(line, names, batch.stream_type(row), &event)
}

fn write_line(
    out: &mut String,
    names: &FieldNames,
    stream_type: Option<&str>,
    event: &EventInput<'_>,
) -> Result<(), String> {
    let text = |value: Option<&str>| value.map(|v| Value::from(v).to_string());
    let raw = |field: Field, value: Option<&str>| value.map(|json| one_line(names.get(field), json)).transpose();
    let fields = [
        (Field::EventId, event.event_id.map(|id| json!(id.to_string()).to_string())),
        (Field::StreamType, text(stream_type)),
        (Field::StreamId, text(Some(event.stream_id))),
        (Field::Seq, event.seq.map(|seq| seq.0.to_string())),
        (Field::EventType, text(Some(event.event_type))),
        (Field::EventVersion, event.event_version.map(|v| v.to_string())),
        (Field::OccurredAt, event.occurred_at.map(|t| json!(t.to_string()).to_string())),
        (Field::Payload, raw(Field::Payload, Some(event.data).filter(|d| !d.is_empty()))?),
        (Field::Metadata, raw(Field::Metadata, event.metadata)?),
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
fn one_line(name: &str, json: &str) -> Result<String, String> {
    let checked: &RawValue = serde_json::from_str(json)
        .map_err(|error| format!("broken JSON in `{name}`: {error}{}", json_hint(&error, json)))?;
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
        let refused = write_line(&mut String::new(), &FieldNames::default(), Some("T"), &event).unwrap_err();
        assert!(refused.starts_with("broken JSON in `data`: "), "{refused}");
    }

    #[test]
    fn a_row_that_is_no_event_ends_the_load_unless_it_may_be_left_out() {
        let refused = |on_error| refuse("f.parquet", (7, 1), "broken", on_error);
        assert!(refused(OnError::Skip).is_ok());
        let Err(Failure::No(text)) = refused(OnError::Abort) else { panic!() };
        assert!(text.starts_with("f.parquet, row 7: broken. Nothing was sent.") && text.contains("--on-error skip"));
    }
}
