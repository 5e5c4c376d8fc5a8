//! `strandline ingest`: bulk load that resumes after a break without duplicates, over the native protocol or HTTP.
//!
//! ```text
//! file -> lines (unpacked, or columns written out as NDJSON)      source, columns
//!      -> chunks of at most 4 MiB and 10,000 lines                chunk
//!      -> with (digest of all chunks, chunk number)               here, one after another
//!         decoded into batches, over the native protocol          native
//!         or POST /events
//! ```
//!
//! The owner of each stream keeps the highest chunk number per digest with the append, so a chunk that arrives twice
//! is stored once. That holds only while a chunk is sent after the one before it is answered: chunks are never in
//! flight together; the next one is cut while the last is on its way. So each stream also keeps its order.

mod answer;
mod chunk;
mod columns;
mod native;
mod source;

use crate::cli::{Ingest, OnError, Protocol};
use crate::client::{Answer, Client, Request};
use crate::exit::Failure;
use crate::out;
use answer::Totals;
use chunk::{Chunk, Chunks, Survey};
use indicatif::ProgressBar;
use native::Native;
use source::Source;
use std::cell::Cell;
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub(crate) fn run(options: &Ingest) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    let path = format!("{}?on_error={}", client.store_path(&["events"])?, word(options.on_error));
    let rule = columns::Rule { on_error: options.on_error, from_row: options.from_line };
    let source = Source::open(&options.file, &client, rule)?;
    let survey = survey(&source, options)?;
    let native = match options.protocol {
        Protocol::Native => Some(Native::new(&client, options)?),
        Protocol::Http => None,
    };
    let patience = Duration::from_secs(options.patience);
    let passed_on = Cell::new(false);
    let sender = Sender { client: &client, native, passed_on, path, survey: &survey, options, patience };
    let began = Instant::now();
    let mut totals = Totals::default();
    let result = sender.send_all(&source, &mut totals);
    // what was not even sent
    totals.refused += source.refused() + survey.too_long.len() as u64;
    report(&survey, &totals, began.elapsed(), result.is_ok())?;
    result?;
    match totals.refused {
        0 => Ok(()),
        refused => Err(Failure::No(format!("{refused} lines were refused; the others are stored"))),
    }
}

const fn word(on_error: OnError) -> &'static str {
    match on_error {
        OnError::Abort => "abort",
        OnError::Skip => "skip",
    }
}

/// One pass over the input before anything is sent: its digest, and the lines that are too long to be an event.
fn survey(source: &Source, options: &Ingest) -> Result<Survey, Failure> {
    let bar = spinner(source.name());
    let survey = chunk::survey(Chunks::new(source.lines()?, options.from_line)).map_err(|e| source.broken(&e))?;
    bar.finish_and_clear();
    for line in &survey.too_long {
        let text = format!("line {line} is longer than {} bytes; one event holds at most 1 MiB", chunk::LINE_BYTES_MAX);
        if options.on_error == OnError::Abort {
            return Err(Failure::No(format!(
                "{text}. Nothing was sent. Take the line out, or skip it with --on-error skip"
            )));
        }
        out::note(&format!("strandline: refused: {text}"));
    }
    if survey.lines == 0 {
        return Err(Failure::Usage(format!("{} holds no line from line {} on", source.name(), options.from_line)));
    }
    Ok(survey)
}

struct Sender<'a> {
    client: &'a Client,
    native: Option<Native>,
    /// Another node leads, to whom this one passes on what comes over HTTP.
    passed_on: Cell<bool>,
    path: String,
    survey: &'a Survey,
    options: &'a Ingest,
    patience: Duration,
}

impl Sender<'_> {
    fn send_all(&self, source: &Source, totals: &mut Totals) -> Result<(), Failure> {
        let chunks = Chunks::new(source.lines()?, self.options.from_line);
        let bar = bar(self.survey.bytes);
        let result = std::thread::scope(|scope| {
            // one chunk on its way, one ready, one being cut: memory stays bounded
            let (ready, next) = mpsc::sync_channel(1);
            scope.spawn(move || chunks.map(|chunk| ready.send(chunk)).take_while(Result::is_ok).count());
            for chunk in next {
                let chunk = chunk.map_err(|e| source.broken(&e))?;
                self.send(&chunk, totals)?;
                bar.inc(chunk.body.len() as u64);
                bar.set_message(format!("{} events", totals.appended + totals.duplicates));
            }
            Ok(())
        });
        bar.finish_and_clear();
        result
    }

    fn send(&self, chunk: &Chunk, totals: &mut Totals) -> Result<(), Failure> {
        if chunk.body.trim_ascii().is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        loop {
            let answer = self.send_once(chunk).map_err(|f| self.interrupted(chunk, f))?;
            // owners that stored their part know the chunk, so all of it may be sent again
            let Some(why) = answer::not_done(&answer) else {
                return totals.take(&answer, chunk, &self.options.file);
            };
            if began.elapsed() >= self.patience {
                return Err(self.interrupted(chunk, Failure::Server(why)));
            }
            std::thread::sleep(Duration::from_secs(answer.retry_after.unwrap_or(1).clamp(1, 30)).min(self.patience));
        }
    }

    /// Sends a chunk, patiently.
    fn send_once(&self, chunk: &Chunk) -> Result<Answer, Failure> {
        if let Some(native) = self.native.as_ref().filter(|_| !self.passed_on.get()) {
            let answer = native.send(chunk, self.survey.digest, self.patience)?;
            if !answer::is_led_elsewhere(&answer) {
                return Ok(answer);
            }
            // owners that stored their part know the chunk, however it comes again
            self.passed_on.set(true);
            out::note(
                "strandline: another node leads: on over HTTP, which this node passes on (faster at the node that leads)",
            );
        }
        let request = Request {
            answer_within: Some(self.patience),
            path: self.path.clone(),
            body: Some(&chunk.body),
            is_delete: false,
            content_type: "application/x-ndjson",
            accept: None,
            headers: vec![
                ("x-strandline-chunk-digest", format!("{:032x}", self.survey.digest)),
                ("x-strandline-chunk-number", chunk.number.to_string()),
            ],
        };
        self.client.send_patiently(&request, self.patience)
    }

    fn interrupted(&self, chunk: &Chunk, failure: Failure) -> Failure {
        let Failure::Server(text) = failure else { return failure };
        let before = match chunk.is_first() {
            true => String::new(),
            false => format!("Everything before line {} is stored. ", chunk.first_line),
        };
        Failure::Server(format!(
            "{text}\n{before}Run the same command again to go on: what is stored is known and not stored twice."
        ))
    }
}

/// `whole`: the load came to its end. What stopped it is told after this, and was counted by nobody.
fn report(survey: &Survey, totals: &Totals, took: Duration, whole: bool) -> Result<(), Failure> {
    let seconds = took.as_secs_f64().max(0.001);
    let events = totals.appended + totals.duplicates;
    let refused = match totals.refused {
        0 if !whole => String::new(),
        refused => format!(", refused {refused}"),
    };
    out::report(&format!(
        "{}appended {}, already there {}{refused} of {} lines in {seconds:.1} s ({:.0} events/s, {}/s)",
        if whole { "" } else { "stopped: " },
        totals.appended,
        totals.duplicates,
        survey.lines,
        events as f64 / seconds,
        out::size((totals.bytes as f64 / seconds) as u64),
    ))
}

fn spinner(name: &str) -> ProgressBar {
    let bar = out::bar(ProgressBar::new_spinner(), "{spinner} {msg}");
    bar.set_message(format!("reading {name}"));
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn bar(bytes: u64) -> ProgressBar {
    out::bar(ProgressBar::new(bytes), "[{wide_bar}] {percent}% {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}")
}
