//! What `serve` tells of itself while it runs: the log on stderr, as text or JSON, and traces where it is asked for them.

mod json;

use crate::cli::{LogFormat, ServeTold};
use crate::exit::Failure;
use crate::out;
use crate::traces::{self, Told, Traces};
use std::borrow::Cow;
use std::io;
use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

/// What is logged where STRANDLINE_LOG says nothing. Of the HTTP library not what any client could fill the log with: requests whose
/// bytes are no HTTP, which are answered with 400. Of the Raft engine nothing: it says each attempt to reach a member that is away, for
/// each log. Who is away, and a log that has ended, the node says itself, once.
const FILTER: &str = "warn,actix_http::h1::dispatcher=off,openraft=off";

/// Targets that are told of whatever else is logged, unless the filter itself speaks of them: who administrated and who was refused, and what a start
/// does that is as it should be.
const ALWAYS: [&str; 2] = ["strandline_audit", START];
const START: &str = "strandline_start";

/// Begins to log and to trace; traces are sent until what it gives is dropped. STRANDLINE_LOG takes a filter such as `debug` or
/// `strandline_engine=trace`.
pub(crate) fn start(options: &ServeTold) -> Result<Traces, Failure> {
    let filter = match std::env::var("STRANDLINE_LOG") {
        Ok(text) => {
            EnvFilter::try_new(with_always(&text)).map_err(|e| Failure::Usage(format!("STRANDLINE_LOG={text}: {e}")))?
        }
        Err(_) => with_always(FILTER).into(),
    };
    let (spans, traces) = traces::start(options)?;
    // a second subscriber cannot be set; the first one stays
    let _ = subscriber(log_layer(options.log_format, filter), spans).try_init();
    Ok(traces)
}

fn log_layer(format: LogFormat, filter: EnvFilter) -> Told {
    let log = fmt::layer().with_writer(|| Lines);
    let log = match format {
        LogFormat::Text => log.with_ansi(out::coloured()).boxed(),
        LogFormat::Json => log.with_ansi(false).event_format(json::Json).boxed(),
    };
    log.with_filter(filter).boxed()
}

/// Holds a layer of spans only where spans are sent: an empty one beside the log would want each span and event of the program, at every level.
fn subscriber(log: Told, spans: Option<Told>) -> impl Subscriber + Send + Sync {
    let layers: Vec<Told> = spans.into_iter().chain([log]).collect();
    tracing_subscriber::registry().with(layers)
}

/// Stderr, of which each thing that is logged takes one line.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(&one_line(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A line of the log may show a name that a client gave. One with a line's end in it would write lines of its own, as of the audit log.
fn one_line(bytes: &[u8]) -> Cow<'_, [u8]> {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if !line.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len() + 16);
    for byte in line {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            byte => out.push(*byte),
        }
    }
    out.extend_from_slice(bytes.get(line.len()..).unwrap_or_default());
    Cow::Owned(out)
}

fn with_always(filter: &str) -> String {
    let unnamed = ALWAYS.iter().filter(|target| !filter.contains(**target));
    unnamed.fold(filter.to_owned(), |all, target| format!("{all},{target}=info"))
}

/// A line for the person who starts a node, of what is as it should be; where the log is JSON, a line of it.
pub(crate) fn note(options: &ServeTold, text: &str) {
    match options.log_format {
        LogFormat::Text => out::note(text),
        LogFormat::Json => tracing::info!(target: START, "{text}"),
    }
}

/// The same of what somebody should look at.
pub(crate) fn warning(options: &ServeTold, text: &str) {
    match options.log_format {
        LogFormat::Text => out::note(text),
        LogFormat::Json => tracing::warn!("{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_workers::spans::TARGET;
    use tracing::Level;

    #[test]
    fn nobody_makes_spans_or_texts_that_nothing_takes() {
        let log = log_layer(LogFormat::Text, with_always(FILTER).into());
        tracing::subscriber::with_default(subscriber(log, None), || {
            assert!(tracing::info_span!(target: TARGET, "append").is_disabled());
            assert!(tracing::debug_span!(target: "openraft", "append").is_disabled());
            assert!(!tracing::enabled!(Level::DEBUG));
            assert!(tracing::enabled!(Level::WARN));
            assert!(tracing::enabled!(target: "strandline_audit", Level::INFO));
        });
    }

    #[test]
    fn a_filter_keeps_what_is_always_told_unless_it_speaks_of_it() {
        assert_eq!(with_always("error"), "error,strandline_audit=info,strandline_start=info");
        assert_eq!(with_always("strandline_start=off"), "strandline_start=off,strandline_audit=info");
    }

    #[test]
    fn a_name_with_a_line_s_end_begins_no_line_of_the_log() {
        let logged = |text: &str| String::from_utf8(one_line(text.as_bytes()).into_owned()).unwrap();
        assert_eq!(logged("WARN x: y\n"), "WARN x: y\n");
        let named = "WARN job=`a\nINFO strandline_audit: b\r\n`\n";
        assert_eq!(logged(named), "WARN job=`a\\nINFO strandline_audit: b\\r\\n`\n");
        assert_eq!((logged("a\nb"), logged("\n"), logged("")), ("a\\nb".to_owned(), "\n".to_owned(), String::new()));
    }
}
