//! What the commands print: results on stdout, everything else on stderr. A closed pipe ends a command quietly.

use crate::exit::Failure;
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

/// One line of the result.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()))
}

/// One line of what a command did or found. It is done whoever reads of it, and the exit code tells it too: a reader that went away ends
/// nothing.
pub(crate) fn report(text: &str) -> Result<(), Failure> {
    match line(text) {
        Err(Failure::PipeClosed) => Ok(()),
        told => told,
    }
}

/// One state of what is watched: on a terminal in place of the one before, else behind it.
pub(crate) fn screen(text: &str) -> Result<(), Failure> {
    // clear the screen and go home, as `watch` does
    if io::stdout().is_terminal() { line(&format!("\x1b[2J\x1b[H{text}")) } else { line(&format!("{text}\n")) }
}

/// Bytes of the result as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    written(out.write_all(bytes).and_then(|()| out.flush()))
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    result.map_err(|e| match e.kind() {
        io::ErrorKind::BrokenPipe => Failure::PipeClosed,
        _ => Failure::Usage(format!("cannot write to stdout: {e}")),
    })
}

/// A line for the person who watches: stderr, and no failure if nobody does.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether somebody watches stderr: progress bars are drawn only then.
pub(crate) fn watched() -> bool {
    io::stderr().is_terminal()
}

/// A progress bar of this look, which nobody sees unless somebody watches.
pub(crate) fn bar(bar: ProgressBar, template: &str) -> ProgressBar {
    if !watched() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Whether stderr may be coloured: on a terminal, unless NO_COLOR says otherwise.
pub(crate) fn coloured() -> bool {
    watched() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A text that cannot move the cursor or change what stands before it: control characters are written as escapes. Names of
/// streams and types are whatever clients sent.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c.is_control() {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// A table with a header line.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header(header.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| escaped(cell)));
    }
    // trailing blanks of the last column only make diffs noisy
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// A table of JSON objects, one row each: the named columns that any of them has, in this order. Fields that end in
/// `bytes` are shown as sizes.
pub(crate) fn json_table(rows: &[Value], columns: &[&str]) -> String {
    let shown: Vec<&str> = columns.iter().copied().filter(|key| rows.iter().any(|row| !row[*key].is_null())).collect();
    let text = |row: &Value, key: &str| match row[key].as_u64() {
        Some(bytes) if key.ends_with("bytes") => size(bytes),
        _ => cell(&row[key]),
    };
    table(&shown, rows.iter().map(|row| shown.iter().map(|key| text(row, key)).collect()))
}

/// A JSON value as the text of a table cell.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => escaped(text).into_owned(),
        Value::Array(items) if items.iter().all(|v| !v.is_object() && !v.is_array()) => {
            items.iter().map(cell).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// Bytes for people: `12.3 MB`.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_has_the_named_columns_that_are_there() {
        let rows = [json!({"a": 1, "c": 5}), json!({"b_bytes": 2048, "a": null}), json!({"a": ["x", 2]})];
        let text = json_table(&rows, &["b_bytes", "a", "nowhere"]);
        for part in ["a", "b_bytes", "1", "-", "x, 2", "2.00 KiB"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("nowhere") && !text.contains('c') && !text.contains('5'), "{text}");
    }

    #[test]
    fn what_clients_name_cannot_write_over_a_table() {
        let rows = [json!({"stream_type": "a\u{1b}[2Jb\r\nc\u{9b}", "bytes": 1})];
        let text = json_table(&rows, &["stream_type", "bytes"]);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        assert!(text.contains(r"a\u{1b}[2Jb\r\nc\u{9b}"), "{text}");
        assert_eq!(escaped("Größe 1"), "Größe 1");
    }
}
