//! What the commands print: results on stdout, everything else on stderr. A closed pipe ends a command quietly.

mod tables;

pub(crate) use tables::{Look, Tone, json_table, json_table_in, table};

use crate::exit::Failure;
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

/// A JSON value for people and programs, over several lines.
pub(crate) fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

/// The same as the result.
pub(crate) fn json(value: &Value) -> Result<(), Failure> {
    line(&pretty(value))
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

/// Whether stderr may be coloured.
pub(crate) fn coloured() -> bool {
    is_coloured(&io::stderr())
}

/// Whether this may be coloured: on a terminal, unless NO_COLOR says otherwise.
fn is_coloured(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Columns and rows of the terminal that stdout is; `None`: it is none, or does not say.
pub(crate) fn terminal_size() -> Option<(u16, u16)> {
    let stdout = io::stdout();
    let size = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
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

    #[test]
    fn control_characters_are_written_as_escapes_and_nothing_else_is() {
        assert_eq!(escaped("a\u{1b}[2J\u{9b}"), r"a\u{1b}[2J\u{9b}");
        assert_eq!(escaped("Größe 1"), "Größe 1");
    }
}
