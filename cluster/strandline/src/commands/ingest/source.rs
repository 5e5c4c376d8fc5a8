//! Where lines come from: a file of NDJSON (plain or zstd), stdin, or a Parquet or Arrow file written out as NDJSON.
//!
//! The kind is told by the first bytes, not by the name. What cannot be read twice is kept in a temporary file while
//! it is loaded, because the digest of the whole must be known before the first chunk is sent.

use super::columns;
use crate::client::Client;
use crate::exit::Failure;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::path::Path;

const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const GZIP: &[u8] = &[0x1f, 0x8b];
const PARQUET: &[u8] = b"PAR1";
const ARROW_FILE: &[u8] = b"ARROW1";
const ARROW_STREAM: &[u8] = &[0xff, 0xff, 0xff, 0xff];
const BYTE_ORDER_MARK: &[u8] = &[0xef, 0xbb, 0xbf];

/// So much of an input tells its kind.
const START_BYTES: u64 = 4096;

/// An input of lines that can be read twice.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    file: File,
    packed: bool,
    refused: u64,
}

impl Source {
    /// Opens a file, or takes all of stdin (`-`).
    pub(super) fn open(path: &Path, client: &Client, rule: columns::Rule) -> Result<Self, Failure> {
        let (name, mut file) = if path == Path::new("-") {
            ("stdin".to_owned(), spool_stdin()?)
        } else {
            (path.display().to_string(), File::open(path).map_err(|e| Failure::file("open", path, &e))?)
        };
        let start = first_bytes(&mut file).map_err(|e| Failure::file("read", path, &e))?;
        if start.starts_with(GZIP) {
            let packed = if path == Path::new("-") { "FILE" } else { &name };
            let advice = format!("unpack it: `gunzip -c {packed} | strandline ingest -`");
            return Err(Failure::Usage(format!("{name} is packed with gzip, which is not read here; {advice}")));
        }
        if is_csv(&start) {
            return Err(Failure::Usage(format!(
                "{name} looks like CSV, which is not read here: give NDJSON (an event as a JSON object a line), Parquet or Arrow IPC. DuckDB makes \
                 it of a table: `duckdb -c \"COPY (SELECT ... FROM read_csv('FILE')) TO 'events.ndjson' (FORMAT json)\"`, with the columns named \
                 as the fields of an event"
            )));
        }
        if let Some((what, with)) = not_lines(&start) {
            let file = if path == Path::new("-") { "FILE" } else { &name };
            return Err(Failure::Usage(format!(
                "{name} {what}: give NDJSON, an event as a JSON object a line; `{with} {file} | strandline ingest -` makes it of this"
            )));
        }
        let columns = |kind| {
            let file = file.try_clone().map_err(|e| Failure::file("read", path, &e))?;
            columns::write_out(file, kind, &name, client, rule)
        };
        let written = match start.as_slice() {
            start if start.starts_with(PARQUET) => Some(columns(columns::Kind::Parquet)?),
            start if start.starts_with(ARROW_FILE) || start.starts_with(ARROW_STREAM) => {
                Some(columns(columns::Kind::Arrow)?)
            }
            _ => None,
        };
        Ok(match written {
            Some(columns::Written { file, refused }) => Self { name, file, packed: false, refused },
            None => Self { name, file, packed: start.starts_with(ZSTD), refused: 0 },
        })
    }

    /// Rows of a file of columns that are no events; empty lines stand for them.
    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }

    /// For messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The lines from the first one on.
    pub(super) fn lines(&self) -> Result<Box<dyn BufRead + Send>, Failure> {
        self.reader().map_err(|e| self.broken(&e))
    }

    fn reader(&self) -> io::Result<Box<dyn BufRead + Send>> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        Ok(if self.packed {
            Box::new(BufReader::with_capacity(1 << 20, zstd::stream::read::Decoder::new(file)?))
        } else {
            Box::new(BufReader::with_capacity(1 << 20, file))
        })
    }

    /// A failure to read it.
    pub(super) fn broken(&self, error: &io::Error) -> Failure {
        Failure::Usage(format!("cannot read {}: {error}", self.name))
    }
}

fn spool_stdin() -> Result<File, Failure> {
    let failed = |e: io::Error| Failure::Usage(format!("cannot keep stdin in a temporary file: {e}"));
    let mut spool = temporary()?;
    io::copy(&mut io::stdin().lock(), &mut spool).map_err(failed)?;
    spool.flush().map_err(failed)?;
    Ok(spool)
}

/// A file that nobody else sees and that goes with the process.
pub(super) fn temporary() -> Result<File, Failure> {
    tempfile::tempfile().map_err(|e| Failure::Usage(format!("cannot make a temporary file: {e}")))
}

/// JSON that is not an event a line, which its first line shows: what it is, and what makes lines of it.
fn not_lines(start: &[u8]) -> Option<(&'static str, &'static str)> {
    if start.starts_with(BYTE_ORDER_MARK) {
        return Some(("begins with a byte order mark", "tail -c +4"));
    }
    let text = start.trim_ascii_start();
    if text.strip_prefix(b"[").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"{")) {
        return Some(("is one JSON array", "jq -c '.[]'"));
    }
    let is_open = text.split(|byte| *byte == b'\n').next().is_some_and(|line| line.trim_ascii() == b"{");
    is_open.then_some(("is JSON over several lines", "jq -c ."))
}

/// Two lines of as many cells each, and nothing of JSON in them.
fn is_csv(start: &[u8]) -> bool {
    let mut lines = start.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let (Some(first), Some(second)) = (lines.next(), lines.next()) else { return false };
    let is_foreign = |byte: &u8| matches!(byte, b'{' | b'[') || (byte.is_ascii_control() && *byte != b'\t');
    let is_plain = |line: &[u8]| !line.iter().any(is_foreign) && std::str::from_utf8(line).is_ok();
    let cells = |line: &[u8], separator: u8| line.iter().filter(|byte| **byte == separator).count();
    let is_table =
        |separator: &u8| cells(first, *separator) > 0 && cells(first, *separator) == cells(second, *separator);
    is_plain(first) && is_plain(second) && b",;\t".iter().any(is_table)
}

fn first_bytes(file: &mut File) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    file.rewind()?;
    Read::by_ref(file).take(START_BYTES).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(start)
}
