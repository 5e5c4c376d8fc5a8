//! What the server said about a chunk: totals, refused lines by their number in the input, and how to go on.

use super::chunk::Chunk;
use crate::client::Answer;
use crate::exit::Failure;
use crate::out;
use serde_json::Value;
use std::path::Path;

/// Refused lines that are named one by one; of more only the number is told.
const NAMED_MAX: u64 = 100;

/// Sums over the chunks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Events stored by this run.
    pub(super) appended: u64,
    /// Events that were stored before.
    pub(super) duplicates: u64,
    /// Lines that the store refused.
    pub(super) refused: u64,
    /// Bytes of the chunks that were answered.
    pub(super) bytes: u64,
}

impl Totals {
    /// Counts the answer to a chunk, or says why it is a failure and how to go on.
    pub(super) fn take(&mut self, answer: &Answer, chunk: &Chunk, file: &Path) -> Result<(), Failure> {
        let json = answer.json();
        let rejected: &[Value] = json["rejected"].as_array().map_or(&[], Vec::as_slice);
        let named = |row: &Value| format!("line {}: {}", input_line(chunk, row), out::cell(&row["error"]));
        match answer.status {
            200 | 201 => {
                self.count(&json, chunk);
                for row in rejected {
                    self.refused += 1;
                    if self.refused <= NAMED_MAX {
                        out::note(&format!("strandline: refused: {}", named(row)));
                    }
                }
                Ok(())
            }
            207 => {
                self.count(&json, chunk);
                let failed =
                    json["streams"].as_array().into_iter().flatten().find(|stream| stream["error"].is_string());
                let why = rejected
                    .first()
                    .map(named)
                    .or(failed.map(|stream| out::cell(&stream["error"])))
                    .unwrap_or_default();
                Err(Failure::No(format!(
                    "{why}\nA part of lines {} is stored, the other part is not. {}",
                    chunk.span(),
                    again(file)
                )))
            }
            _ => Err(stopped(answer, &json, chunk, file)),
        }
    }

    fn count(&mut self, json: &Value, chunk: &Chunk) {
        self.appended += json["appended"].as_u64().unwrap_or(0);
        self.duplicates += json["duplicates"].as_u64().unwrap_or(0);
        self.bytes += chunk.body.len() as u64;
    }
}

impl Chunk {
    fn span(&self) -> String {
        format!("{} to {}", self.first_line, self.first_line + self.lines.saturating_sub(1))
    }
}

/// Codes that say nothing of the lines: what failed is to be sent again.
const MAY_PASS: [&str; 5] = ["overloaded", "unavailable", "not_leader", "disk_full", "io_error"];

/// Why a chunk that was answered is not done: a part of it found the node overloaded, its disk full, its log closed. The
/// chunk must be sent again before the next one, or that part is lost.
pub(super) fn not_done(answer: &Answer) -> Option<String> {
    if !matches!(answer.status, 200 | 201 | 207) {
        return None;
    }
    let json = answer.json();
    let listed = ["rejected", "streams"].into_iter().filter_map(|list| json[list].as_array()).flatten();
    let failed = listed.filter(|row| row["code"].as_str().is_some_and(|code| MAY_PASS.contains(&code)));
    failed.map(|row| out::cell(&row["error"])).next()
}

fn again(file: &Path) -> String {
    format!(
        "To go on without the refused lines, run the same command on the same file with --on-error skip: {}",
        command(file)
    )
}

fn command(file: &Path) -> String {
    format!("strandline ingest {} --on-error skip", file.display())
}

/// The line in the input, from a line in the chunk.
fn input_line(chunk: &Chunk, row: &Value) -> String {
    row["line"].as_u64().map_or_else(|| "?".to_owned(), |line| (chunk.first_line + line.saturating_sub(1)).to_string())
}

fn stopped(answer: &Answer, json: &Value, chunk: &Chunk, file: &Path) -> Failure {
    let details = &json["details"];
    let listed = json["rejected"].as_array().or(details["rejected"].as_array()).and_then(|rows| rows.first());
    let row = listed.unwrap_or(details);
    let place = match row["line"].as_u64() {
        Some(_) => format!("line {}", input_line(chunk, row)),
        None => format!("lines {}", chunk.span()),
    };
    let text = format!(
        "{place} of {}: {}\nNothing of lines {} is stored; everything before line {} is. To go on: mend the line and run \
         `strandline ingest {} --from-line {}`, or leave refused lines out with `{}`.",
        file.display(),
        answer.error_text(),
        chunk.span(),
        chunk.first_line,
        file.display(),
        chunk.first_line,
        command(file),
    );
    match answer.status {
        400 | 409 | 413 | 422 => Failure::No(text),
        401 | 403 | 404 | 415 | 501 => Failure::Usage(answer.error_text()),
        _ => Failure::Server(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, retry_after: None, tiers: None, next_seq: None, body: body.as_bytes().to_vec() }
    }

    fn chunk() -> Chunk {
        Chunk { number: 3, first_line: 20_001, lines: 10, body: b"{}\n".to_vec(), too_long: Vec::new() }
    }

    #[test]
    fn refused_lines_are_named_as_in_the_input() {
        let mut totals = Totals::default();
        let body = r#"{"error":"not JSON","code":"bad_request","details":{"line":5}}"#;
        let Err(Failure::No(text)) = totals.take(&answer(400, body), &chunk(), Path::new("f.ndjson")) else { panic!() };
        assert!(text.starts_with("line 20005 of f.ndjson: not JSON"), "{text}");
        assert!(text.contains("--from-line 20001"), "{text}");
        assert_eq!(totals, Totals::default());
    }

    #[test]
    fn skipped_lines_are_counted_beside_the_stored_ones() {
        let mut totals = Totals::default();
        let body = r#"{"appended":7,"duplicates":2,"rejected":[{"line":1,"code":"invalid_event","error":"e"}]}"#;
        totals.take(&answer(201, body), &chunk(), Path::new("f")).unwrap();
        assert_eq!(totals, Totals { appended: 7, duplicates: 2, refused: 1, bytes: 3 });
    }

    #[test]
    fn what_the_node_could_not_do_is_not_done_and_what_is_wrong_with_a_line_is() {
        for code in MAY_PASS {
            let skipped =
                format!(r#"{{"appended":0,"duplicates":0,"rejected":[{{"line":1,"code":"{code}","error":"e"}}]}}"#);
            assert_eq!(not_done(&answer(201, &skipped)), Some("e".to_owned()));
            let part = format!(
                r#"{{"appended":1,"rejected":[],"streams":[{{"stored":true}},{{"code":"{code}","error":"e"}}]}}"#
            );
            assert_eq!(not_done(&answer(207, &part)), Some("e".to_owned()));
        }
        let line = r#"{"appended":0,"rejected":[{"line":1,"code":"seq_gap","error":"overloaded"}]}"#;
        assert_eq!((not_done(&answer(201, line)), not_done(&answer(207, line))), (None, None));
    }
}
