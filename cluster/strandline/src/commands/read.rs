//! `strandline read`: a stream as a table, NDJSON or JSON, page by page.

use crate::cli::{Read, ReadFormat};
use crate::client::{Client, Request, encode};
use crate::exit::Failure;
use crate::out;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::HashMap;
use strandline_event::Field;

/// Events of one request.
const PAGE: u64 = 10_000;

pub(crate) fn run(options: &Read) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    match options.format {
        ReadFormat::Ndjson => ndjson(&client, options),
        ReadFormat::Json => {
            let answer = client.get(&page_path(&client, options, options.from_seq, options.to_seq, options.limit)?)?;
            out::line(String::from_utf8_lossy(&answer.body).trim_end())
        }
        ReadFormat::Table => table(&client, options),
    }
}

fn page_path(client: &Client, o: &Read, from: Option<u64>, to: Option<u64>, limit: u64) -> Result<String, Failure> {
    let mut path = client.store_path(&["streams", &o.stream_type, &o.stream_id])?;
    path.push_str(&format!("?limit={limit}&order={}", if o.desc { "desc" } else { "asc" }));
    for (name, seq) in [("from_seq", from), ("to_seq", to)] {
        path.extend(seq.map(|seq| format!("&{name}={}", encode(&seq.to_string()))));
    }
    Ok(path)
}

/// The lines of the server as they are; the next page begins after the last line's seq. A page may hold fewer events than
/// were asked for (its bytes are bounded as well): the end is where the stream ends.
fn ndjson(client: &Client, options: &Read) -> Result<(), Failure> {
    let names = super::field_names(client)?;
    let (mut from, mut to, mut left) = (options.from_seq, options.to_seq, options.limit);
    while left > 0 {
        let asked = left.min(PAGE);
        let path = page_path(client, options, from, to, asked)?;
        let answer =
            client.send(&Request { path, accept: Some("application/x-ndjson"), ..Request::default() })?.ok()?;
        out::bytes(&answer.body)?;
        let lines: Vec<&[u8]> = answer.body.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
        left -= (lines.len() as u64).min(left);
        let last: Value = lines.last().and_then(|line| serde_json::from_slice(line).ok()).unwrap_or(Value::Null);
        let Some(seq) = last[names.get(Field::Seq)].as_u64() else { break };
        let head = answer.last_seq.unwrap_or(u64::MAX);
        if options.desc && seq > options.from_seq.unwrap_or(1) {
            to = Some(seq - 1);
        } else if !options.desc && seq < options.to_seq.unwrap_or(head).min(head) {
            from = Some(seq + 1);
        } else {
            break;
        }
    }
    Ok(())
}

/// A page as the server sends it; values stay texts, so that payloads are shown as they are.
#[derive(serde::Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    events: Vec<HashMap<String, &'a RawValue>>,
    last_seq: Value,
    verdict: Value,
    warnings: Vec<Value>,
}

/// Whether the page ends before what was asked for: it holds as many events as were asked for, or as many as fit in a page.
fn is_cut(o: &Read, page: &Page<'_>, seq_name: &str) -> bool {
    let shown = page.events.last().and_then(|event| event.get(seq_name)?.get().parse::<u64>().ok());
    let (Some(shown), head) = (shown, page.last_seq.as_u64().unwrap_or(0)) else { return false };
    if o.desc { shown > o.from_seq.unwrap_or(1) } else { shown < o.to_seq.map_or(head, |to| to.min(head)) }
}

fn table(client: &Client, options: &Read) -> Result<(), Failure> {
    let answer = client.get(&page_path(client, options, options.from_seq, options.to_seq, options.limit)?)?;
    let page: Page<'_> = serde_json::from_slice(&answer.body)
        .map_err(|e| Failure::Server(format!("the server's answer is not understood: {e}")))?;
    let names = super::field_names(client)?;
    let used = |name: &str| page.events.iter().any(|event| event.get(name).is_some_and(|value| value.get() != "null"));
    let columns: Vec<&str> = ORDER.iter().map(|field| names.get(*field)).filter(|name| used(name)).collect();
    let rows = page
        .events
        .iter()
        .map(|event| columns.iter().map(|name| event.get(*name).map_or_else(String::new, |v| shown(v))).collect());
    out::line(&out::table(&columns, rows))?;
    let tiers = answer.tiers.as_deref().filter(|t| !t.is_empty()).unwrap_or("none");
    out::note(&format!("{} events, last seq {}, from tiers: {tiers}", page.events.len(), page.last_seq));
    if page.verdict["contiguous"] == Value::Bool(false) {
        out::note(&format!("not contiguous: missing {}, retired {}", page.verdict["missing"], page.verdict["retired"]));
    }
    for warning in &page.warnings {
        out::note(&format!("warning: {}", out::cell(warning)));
    }
    if is_cut(options, &page, names.get(Field::Seq)) {
        out::note("there is more: --from-seq (--to-seq with --desc), a larger --limit or --format ndjson shows it");
    }
    Ok(())
}

/// Columns of the table; what names the stream is known already.
const ORDER: &[Field] = &[
    Field::Seq,
    Field::EventType,
    Field::EventVersion,
    Field::OccurredAt,
    Field::IngestedAt,
    Field::Payload,
    Field::Metadata,
    Field::CommandId,
    Field::CorrelationId,
    Field::CausationId,
    Field::TenantId,
    Field::EventId,
];

fn shown(value: &RawValue) -> String {
    serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| value.get().to_owned())
}
