//! Bulk bodies: many streams in one request, as NDJSON, as a JSON array or from Arrow rows.
//!
//! Gives one batch per stream type, the events of each stream in the body's order, and for every row the
//! line that it came from. A line that is no event is listed, never fatal to the reader; whether the
//! others go on is the caller's rule (`on_error`).

use super::event::RawEvent;
use super::json;
use crate::error::ApiError;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::fmt;
use strandline_event::{BatchBuilder, BatchBytes, BatchUnit, Chunk, ErrorKind, EventInput, Field, FieldNames};

/// Invalid lines that are listed when nothing is stored; the others are only counted.
const LISTED_ABORT: usize = 100;
/// Invalid lines of a body at most: one with more is no event data at all: ten times what a chunk of `strandline ingest` holds, and a bound on
/// the memory that naming them takes.
const LISTED_SKIP: usize = 100_000;

/// Where an object of events belongs.
const ONE_STREAM: &str =
    "; `{\"events\": [...]}` of one stream goes to POST /v1/stores/{store}/streams/{stream_type}/{stream_id}";

/// Stream types of one body: each has a log of its own.
const STREAM_TYPES_MAX: usize = 1000;

/// What an invalid line does to the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum OnError {
    /// Nothing is stored.
    #[default]
    Abort,
    /// The valid ones are stored.
    Skip,
}

/// A line that is no valid event.
#[derive(Debug)]
pub(crate) struct Rejected {
    /// Line of the body (place in the array, row of the Arrow stream), from 1.
    pub(crate) line: u32,
    pub(crate) error: ApiError,
}

/// The events of one stream type.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) batch: BatchBytes,
    /// Row -> line, from 1.
    pub(crate) lines: Vec<u32>,
}

/// A decoded body.
#[derive(Debug, Default)]
pub(crate) struct BulkBody {
    pub(crate) parts: Vec<Part>,
    pub(crate) rejected: Vec<Rejected>,
    /// Lines that hold something.
    pub(crate) events: usize,
    /// What was left out of account.
    pub(crate) warnings: Vec<String>,
}

/// Collects rows per stream type.
pub(crate) struct BulkBuilder<'n> {
    names: &'n FieldNames,
    on_error: OnError,
    chunk: Option<Chunk>,
    by_type: HashMap<String, usize>,
    parts: Vec<(BatchBuilder, Vec<u32>)>,
    last: Option<(String, usize)>,
    rejected: Vec<Rejected>,
    events: usize,
    warnings: Vec<String>,
}

impl<'n> BulkBuilder<'n> {
    /// An empty body.
    pub(crate) fn new(names: &'n FieldNames, on_error: OnError, chunk: Option<Chunk>) -> Self {
        let (by_type, parts, rejected) = (HashMap::new(), Vec::new(), Vec::new());
        Self { names, on_error, chunk, by_type, parts, last: None, rejected, events: 0, warnings: Vec::new() }
    }

    /// Tells the client of something that is no error.
    pub(crate) fn warn(&mut self, sentence: String) {
        self.warnings.push(sentence);
    }

    /// Reads NDJSON. Lines of nothing but what JSON takes for white space are passed over.
    pub(crate) fn ndjson(&mut self, body: &[u8]) -> Result<(), ApiError> {
        let mut start = 0;
        let mut line = 0;
        while start < body.len() {
            let rest = body.get(start..).unwrap_or(&[]);
            let len = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            line += 1;
            let text = rest.get(..len).unwrap_or(&[]);
            // a form feed, which Rust counts too, is none
            let is_blank = text.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
            if !is_blank && !self.line(line, text)? {
                return Ok(());
            }
            start += len + 1;
        }
        Ok(())
    }

    /// Reads a JSON array; "line" is the place in it.
    pub(crate) fn array(&mut self, body: &[u8]) -> Result<(), ApiError> {
        if body.trim_ascii().is_empty() {
            return Err(ApiError::bad_request("the body is empty: a JSON array of events is expected"));
        }
        let mut refused = None;
        let seed = ArraySeed { builder: self, refused: &mut refused };
        let read = json::read(json::utf8(body)?, seed);
        match refused {
            Some(error) => Err(error),
            None => read.map_err(|e| {
                let error = e.into_bad_request().at("a JSON array of events is expected");
                // what the other route takes
                let is_object = body.trim_ascii_start().starts_with(b"{");
                if is_object { error.and(ONE_STREAM) } else { error }
            }),
        }
    }

    /// One event as JSON. `false`: enough is known, stop.
    fn line(&mut self, line: u32, text: &[u8]) -> Result<bool, ApiError> {
        self.events += 1;
        let names = self.names;
        let result = json::utf8(text).and_then(|text| json::event(text, names)).and_then(|e| self.event(line, &e));
        match result {
            Ok(()) => Ok(true),
            Err(error) => self.reject(line, error),
        }
    }

    fn event(&mut self, line: u32, event: &RawEvent<'_>) -> Result<(), ApiError> {
        let stream_id = event.stream_id.as_deref().unwrap_or("");
        self.push(line, event.stream_type.as_deref(), &event.input(stream_id))
    }

    /// One event of any source. `Ok(false)`: enough is known, stop. `Err`: the body as a whole is refused.
    pub(crate) fn row(
        &mut self,
        line: u32,
        stream_type: Option<&str>,
        input: Result<EventInput<'_>, ApiError>,
    ) -> Result<bool, ApiError> {
        self.events += 1;
        match input.and_then(|input| self.push(line, stream_type, &input)) {
            Ok(()) => Ok(true),
            Err(error) => self.reject(line, error),
        }
    }

    fn push(&mut self, line: u32, stream_type: Option<&str>, input: &EventInput<'_>) -> Result<(), ApiError> {
        let names = self.names;
        let Some(stream_type) = stream_type else {
            let missing = ApiError::invalid(format!("`{}` is missing", names.get(Field::StreamType)));
            return Err(missing.of(names, Field::StreamType));
        };
        let part = self.part(stream_type)?;
        let Some((builder, lines)) = self.parts.get_mut(part) else { return Ok(()) };
        builder.push(input).map_err(|e| json::invalid(&e, names))?;
        lines.push(line);
        Ok(())
    }

    fn part(&mut self, stream_type: &str) -> Result<usize, ApiError> {
        if let Some((last, part)) = &self.last
            && last == stream_type
        {
            return Ok(*part);
        }
        let part = match self.by_type.get(stream_type) {
            Some(part) => *part,
            None => self.new_part(stream_type)?,
        };
        self.last = Some((stream_type.to_owned(), part));
        Ok(part)
    }

    fn new_part(&mut self, stream_type: &str) -> Result<usize, ApiError> {
        strandline_event::builder::check_stream_type(stream_type).map_err(|e| json::invalid(&e, self.names))?;
        if self.parts.len() == STREAM_TYPES_MAX {
            let sentence = format!("a bulk body holds at most {STREAM_TYPES_MAX} stream types; split it");
            return Err(ApiError::new(ErrorKind::TooLarge, sentence).with("limit_stream_types", STREAM_TYPES_MAX));
        }
        let mut builder = BatchBuilder::new(stream_type, BatchUnit::Rows);
        if let Some(chunk) = self.chunk {
            builder.set_chunk(chunk);
        }
        self.by_type.insert(stream_type.to_owned(), self.parts.len());
        self.parts.push((builder, Vec::new()));
        Ok(self.parts.len() - 1)
    }

    fn reject(&mut self, line: u32, error: ApiError) -> Result<bool, ApiError> {
        self.rejected.push(Rejected { line, error });
        match self.on_error {
            OnError::Abort => Ok(self.rejected.len() < LISTED_ABORT),
            OnError::Skip if self.rejected.len() <= LISTED_SKIP => Ok(true),
            OnError::Skip => Err(ApiError::bad_request(format!(
                "more than {LISTED_SKIP} lines are no events (the last one is line {line}); nothing was stored"
            ))),
        }
    }

    /// The batches. Under `Abort` an invalid line refuses the whole body, all of them listed.
    pub(crate) fn finish(self) -> Result<BulkBody, ApiError> {
        if self.on_error == OnError::Abort && !self.rejected.is_empty() {
            return Err(aborted(&self.rejected));
        }
        let mut parts = Vec::with_capacity(self.parts.len());
        for (builder, lines) in self.parts {
            if lines.is_empty() {
                continue;
            }
            let batch = builder.finish().map_err(|e| ApiError::new(ErrorKind::TooLarge, e.to_string()))?;
            parts.push(Part { batch, lines });
        }
        Ok(BulkBody { parts, rejected: self.rejected, events: self.events, warnings: self.warnings })
    }
}

/// Feeds the elements of an array to the builder as they come, none of them kept.
struct ArraySeed<'a, 'n> {
    builder: &'a mut BulkBuilder<'n>,
    /// Why the body as a whole is refused.
    refused: &'a mut Option<ApiError>,
}

impl<'de> DeserializeSeed<'de> for ArraySeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ArraySeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut line = 0;
        while let Some(element) = seq.next_element::<&'de RawValue>()? {
            line += 1;
            match self.builder.line(line, element.get().as_bytes()) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    *self.refused = Some(error);
                    break;
                }
            }
        }
        // enough is known: what follows is only checked
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// The answer for a body that is refused because of its lines: the first one decides the code.
pub(crate) fn aborted(rejected: &[Rejected]) -> ApiError {
    let Some(first) = rejected.first() else { return ApiError::bad_request("the body is refused") };
    let others = match rejected.len() {
        1 => "nothing was stored".to_owned(),
        n if n >= LISTED_ABORT => {
            format!("nothing was stored; the first {n} refused lines are in details, there may be more")
        }
        n => format!("nothing was stored; {} more lines are refused, see details", n - 1),
    };
    let sentence =
        format!("line {}: {} ({others}; `on_error=skip` stores the valid lines)", first.line, first.error.message());
    ApiError::new(first.error.kind(), sentence).with("line", first.line).with("rejected", listed(rejected))
}

/// Rejected lines as answers show them: the same of every format, with the field where it is one's.
pub(crate) fn listed(rejected: &[Rejected]) -> Vec<serde_json::Value> {
    let row = |rejected: &Rejected| {
        let Rejected { line, error } = rejected;
        let mut row = serde_json::json!({ "line": line, "code": error.code(), "error": error.message() });
        if let Some(field) = error.field() {
            row["field"] = field.into();
        }
        row
    };
    rejected.iter().map(row).collect()
}
