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
    /// Whether chunks were sent before this one: their lines are stored.
    pub(super) const fn is_first(&self) -> bool {
        self.number == 1
    }

    fn not_stored(&self) -> String {
        let before =
            if self.is_first() { String::new() } else { format!("; everything before line {} is", self.first_line) };
        format!("Nothing of lines {} is stored{before}", self.span())
    }

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

/// Whether another node leads what a chunk is of, or a part of it.
pub(super) fn is_led_elsewhere(answer: &Answer) -> bool {
    let json = answer.json();
    let listed = ["rejected", "streams"].into_iter().filter_map(|list| json[list].as_array()).flatten();
    std::iter::once(&json).chain(listed).any(|told| told["code"] == "not_leader")
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

/// What is wrong with a chunk and where. The server counts lines in the chunk and names its own options: both are told in the
/// words of this command instead.
fn stopped(answer: &Answer, json: &Value, chunk: &Chunk, file: &Path) -> Failure {
    let details = &json["details"];
    let listed = json["rejected"].as_array().or(details["rejected"].as_array()).and_then(|rows| rows.first());
    let row = listed.unwrap_or(details);
    let place = match row["line"].as_u64() {
        Some(_) => format!("line {}", input_line(chunk, row)),
        None => format!("lines {}", chunk.span()),
    };
    let why = match (row["error"].as_str(), row["code"].as_str()) {
        (Some(error), Some(code)) => format!("{} ({code})", out::escaped(error)),
        _ => without_line(&answer.error_text(), row),
    };
    let text = format!(
        "{place} of {}: {why}\n{}. To go on: mend the line and run `strandline ingest {} --from-line {}`, or leave refused lines \
         out with `{}`.",
        file.display(),
        chunk.not_stored(),
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

/// The sentence without the line of the chunk that it begins with.
fn without_line(text: &str, row: &Value) -> String {
    let named = row["line"].as_u64().map(|line| format!("line {line}: "));
    named.and_then(|named| text.strip_prefix(&named)).unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.as_bytes().to_vec(), ..Answer::default() }
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
    fn a_refusal_is_told_in_the_words_of_this_command() {
        let first = Chunk { number: 1, first_line: 1, lines: 2, ..Chunk::default() };
        let listed = r#"{"error":"line 2: not JSON (nothing was stored; `on_error=skip` stores the valid lines)","code":"bad_request","details":{"line":2,"rejected":[{"line":2,"code":"bad_request","error":"not JSON"}]}}"#;
        let conflict = r#"{"error":"line 2: a gap","code":"seq_gap","details":{"line":2,"index":0}}"#;
        for (status, body, said) in [(400, listed, "not JSON (bad_request)"), (409, conflict, "a gap (seq_gap)")] {
            let told = Totals::default().take(&answer(status, body), &first, Path::new("f"));
            let Err(Failure::No(text)) = told else { panic!() };
            assert!(text.starts_with(&format!("line 2 of f: {said}\nNothing of lines 1 to 2 is stored. ")), "{text}");
            assert!(text.contains("--on-error skip") && !text.contains("on_error"), "{text}");
            assert!(!text.contains("before line"), "{text}");
        }
        let told = Totals::default().take(&answer(409, conflict), &chunk(), Path::new("f"));
        let Err(Failure::No(text)) = told else { panic!() };
        assert!(text.contains("; everything before line 20001 is. "), "{text}");
    }

    #[test]
    fn skipped_lines_are_counted_beside_the_stored_ones() {
        let mut totals = Totals::default();
        let body = r#"{"appended":7,"duplicates":2,"rejected":[{"line":1,"code":"invalid_event","error":"e"}]}"#;
        totals.take(&answer(201, body), &chunk(), Path::new("f")).unwrap();
        assert_eq!(totals, Totals { appended: 7, duplicates: 2, refused: 1, bytes: 3 });
    }

    #[test]
    fn another_leader_is_seen_wherever_it_is_told() {
        let part = r#"{"appended":1,"rejected":[],"streams":[{"stored":true},{"code":"not_leader","error":"e"}]}"#;
        let skipped = r#"{"appended":1,"rejected":[{"line":1,"code":"not_leader","error":"e"}]}"#;
        for (status, body) in [(503, r#"{"code":"not_leader","error":"e"}"#), (207, part), (201, skipped)] {
            assert!(is_led_elsewhere(&answer(status, body)), "{body}");
        }
        assert!(!is_led_elsewhere(&answer(503, r#"{"code":"unavailable","error":"not_leader"}"#)));
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
