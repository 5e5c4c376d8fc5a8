//! A chunk over the native protocol: decoded here, sent as batches, answered in the words of HTTP, so that one place tells what became
//! of its lines.

use super::chunk::Chunk;
use crate::cli::{Ingest, OnError};
use crate::client::{Answer, Client as Http};
use crate::exit::Failure;
use crate::native;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use strandline_client::wire::refused::OUTCOME_UNKNOWN;
use strandline_client::{BatchBytes, BulkOutcomes, Client, ClientError, OnError as WireOnError, Refused};
use strandline_event::{Chunk as ChunkMark, FieldNames};
use strandline_server::ndjson::{self, Body, status_of_code};
use tokio::runtime::Runtime;

/// Pause before a chunk is sent again that the node could not take now.
const PAUSE: Duration = Duration::from_secs(1);

/// A connection for the chunks of one input.
pub(super) struct Native {
    runtime: Runtime,
    client: Client,
    names: FieldNames,
    skip: bool,
}

impl Native {
    /// Connects to where the server speaks the protocol.
    pub(super) fn new(http: &Http, options: &Ingest) -> Result<Self, Failure> {
        let runtime = native::runtime()?;
        let to = native::options(http, &options.on, Duration::from_secs(options.patience))?;
        let client = runtime.block_on(native::connect(to))?;
        let names = crate::commands::field_names(http)?;
        Ok(Self { runtime, client, names, skip: options.on_error == OnError::Skip })
    }

    /// Sends a chunk until it is answered for good, as [`Http::send_patiently`] does.
    pub(super) fn send(&self, chunk: &Chunk, digest: u128, patience: Duration) -> Result<Answer, Failure> {
        let mark = ChunkMark { digest: digest.to_be_bytes(), number: chunk.number };
        let body = match ndjson::decode(&chunk.body, &self.names, self.skip, Some(mark)) {
            Ok(body) => body,
            Err(refused) => return Ok(answer(refused.status, &refused.body)),
        };
        if body.parts.is_empty() {
            return Ok(done(&body, &BulkOutcomes::new()));
        }
        let batches: Vec<BatchBytes> = body.parts.iter().map(|part| part.batch.clone()).collect();
        let on_error = if self.skip { WireOnError::Skip } else { WireOnError::Abort };
        let mut began = Instant::now();
        loop {
            let last = match self.runtime.block_on(self.client.append_bulk(&batches, on_error)) {
                Ok(outcomes) => match open(&outcomes) {
                    // its owner knows it again by its mark
                    Some(refused) => Some(Failure::Server(refused.to_string())),
                    None => return Ok(done(&body, &outcomes)),
                },
                Err(ClientError::Refused(refused)) if refused.code == "not_leader" => {
                    return Ok(of_line(&refused, &body));
                }
                Err(ClientError::Refused(refused)) => match status_of_code(&refused.code) {
                    // it lives and will take it later
                    429 => {
                        began = Instant::now();
                        None
                    }
                    500 | 502 | 503 | 504 | 507 => Some(Failure::Server(refused.to_string())),
                    _ => return Ok(of_line(&refused, &body)),
                },
                // the chunk is known again by its mark
                Err(error @ ClientError::OutcomeUnknown { .. }) => Some(native::failure(&error)),
                // the client was patient itself
                Err(error) => return Err(native::failure(&error)),
            };
            if let Some(failure) = last.filter(|_| began.elapsed() >= patience) {
                return Err(failure);
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn answer(status: u16, body: &Value) -> Answer {
    Answer { status, body: body.to_string().into_bytes(), ..Answer::default() }
}

fn line(body: &Body, part: usize, row: u32) -> Option<u32> {
    body.parts.get(part)?.lines.get(row as usize).copied()
}

/// A refusal of all, with the line in place of the row.
fn of_line(refused: &Refused, body: &Body) -> Answer {
    let line = refused.row.and_then(|row| line(body, refused.part.unwrap_or(0) as usize, row));
    let (text, details) = match line {
        Some(line) => (format!("line {line}: {}", refused.text), json!({ "line": line })),
        None => (refused.text.clone(), json!({})),
    };
    let told = json!({ "error": text, "code": refused.code, "details": details });
    answer(status_of_code(&refused.code), &told)
}

/// Whether a part could not be done now, whatever is in it.
fn is_not_done(refused: &Refused) -> bool {
    matches!(status_of_code(&refused.code), 429 | 500..)
}

/// A part of which nobody knows whether it is stored.
fn open(outcomes: &BulkOutcomes) -> Option<&Refused> {
    outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).find(|refused| refused.code == OUTCOME_UNKNOWN)
}

/// What became of the parts.
fn done(body: &Body, outcomes: &BulkOutcomes) -> Answer {
    let failed: Vec<(usize, &Refused)> =
        outcomes.iter().enumerate().filter_map(|(part, outcome)| Some((part, outcome.as_ref().err()?))).collect();
    let not_done = failed.iter().find(|(_, refused)| is_not_done(refused));
    let all_failed = failed.len() == outcomes.len();
    // what is wrong with the node comes before what is wrong with the lines
    if let Some((part, refused)) = not_done.or(failed.first().filter(|_| body.rejected.is_empty()))
        && all_failed
    {
        return of_line(&Refused { part: Some(*part as u32), ..(*refused).clone() }, body);
    }
    let as_lines = all_failed || not_done.is_none();
    let (mut appended, mut known, mut rejected) = (0, 0, body.rejected.clone());
    for (part, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(outcome) => {
                appended += outcome.appended;
                known += outcome.known;
                rejected.extend(
                    outcome
                        .rejected
                        .iter()
                        .map(|row| json!({ "line": line(body, part, row.row), "code": row.code, "error": row.text })),
                );
            }
            Err(refused) if as_lines => {
                let lines = body.parts.get(part).map_or(&[][..], |part| &part.lines);
                rejected.extend(
                    lines.iter().map(|line| json!({ "line": line, "code": refused.code, "error": refused.text })),
                );
            }
            Err(_) => {}
        }
    }
    rejected.sort_by_key(|row| row["line"].as_u64());
    let mut told = json!({ "appended": appended, "duplicates": known, "rejected": rejected });
    if failed.is_empty() || as_lines {
        return answer(201, &told);
    }
    let streams = failed.iter().map(|(_, refused)| json!({ "code": refused.code, "error": refused.text }));
    told["streams"] = streams.collect();
    answer(207, &told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_client::{PartAppended, RejectedRow};
    use strandline_event::ErrorKind;

    fn body(text: &str) -> Body {
        ndjson::decode(text.as_bytes(), &FieldNames::default(), true, None).unwrap()
    }

    const TWO_TYPES: &str = "{\"stream_type\":\"A\",\"stream_id\":\"s\",\"event_type\":\"E\"}\nnot json\n\
                             {\"stream_type\":\"B\",\"stream_id\":\"s\",\"event_type\":\"E\"}\n";

    #[test]
    fn rows_are_told_as_lines_of_the_chunk() {
        let rejected = vec![RejectedRow { row: 0, code: "seq_gap".to_owned(), text: "a gap".to_owned() }];
        let outcomes = vec![
            Ok(PartAppended { appended: 1, ..PartAppended::default() }),
            Ok(PartAppended { known: 2, rejected, ..PartAppended::default() }),
        ];
        let answer = done(&body(TWO_TYPES), &outcomes);
        let json = answer.json();
        assert_eq!((answer.status, &json["appended"], &json["duplicates"]), (201, &json!(1), &json!(2)));
        let lines: Vec<_> = json["rejected"].as_array().unwrap().iter().map(|row| row["line"].clone()).collect();
        assert_eq!(lines, [2, 3]);
    }

    #[test]
    fn a_part_that_the_node_could_not_take_is_not_taken_for_refused_lines() {
        let full = Refused::new(ErrorKind::DiskFull, "full");
        let part = done(&body(TWO_TYPES), &vec![Ok(PartAppended::default()), Err(full.clone())]);
        assert_eq!((part.status, super::super::answer::not_done(&part)), (207, Some("full".to_owned())));
        let all = done(&body(TWO_TYPES), &vec![Err(full.clone()), Err(full)]);
        assert_eq!(all.status, 507);
    }

    #[test]
    fn a_part_of_which_nobody_knows_is_no_answer_yet() {
        let lost = Refused { code: OUTCOME_UNKNOWN.to_owned(), ..Refused::default() };
        assert_eq!(open(&vec![Ok(PartAppended::default()), Err(lost.clone())]), Some(&lost));
        assert_eq!(open(&vec![Err(Refused::new(ErrorKind::DiskFull, "full"))]), None);
    }
}
