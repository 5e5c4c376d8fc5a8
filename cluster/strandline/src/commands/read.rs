//! `strandline read`: a stream as a table, NDJSON or JSON, page by page.
//!
//! A page may hold fewer events than were asked for, since its bytes are bounded as well: the server says where to go on.

use crate::cli::{Read, ReadFormat};
use crate::client::{Answer, Client, Request, encode};
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
            let path = page_path(&client, options, options.from_seq, options.to_seq, options.limit)?;
            out::line(String::from_utf8_lossy(&client.get(&path)?.body).trim_end())
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
    path.extend(o.as_of.map(|version| format!("&as_of={version}")));
    Ok(path)
}

/// Asks for page after page until `limit` events were taken or nothing is left; `take` gives the number of events of an answer.
/// Whether something is left.
fn each_page(
    client: &Client,
    options: &Read,
    accept: Option<&'static str>,
    mut take: impl FnMut(&Answer) -> Result<usize, Failure>,
) -> Result<bool, Failure> {
    let (mut from, mut to, mut left) = (options.from_seq, options.to_seq, options.limit);
    loop {
        let path = page_path(client, options, from, to, left.min(PAGE))?;
        let answer = client.send(&Request { path, accept, ..Request::default() })?.ok()?;
        left = left.saturating_sub(take(&answer)? as u64);
        match answer.next_seq {
            None => return Ok(false),
            Some(_) if left == 0 => return Ok(true),
            Some(next) if options.desc => to = Some(next),
            Some(next) => from = Some(next),
        }
    }
}

/// The lines of the server as they are.
fn ndjson(client: &Client, options: &Read) -> Result<(), Failure> {
    let print = |answer: &Answer| {
        out::bytes(&answer.body)?;
        Ok(answer.body.iter().filter(|byte| **byte == b'\n').count())
    };
    each_page(client, options, Some("application/x-ndjson"), print).map(drop)
}

/// A page as the server sends it; values stay texts, so that payloads are shown as they are.
#[derive(serde::Deserialize)]
struct Page {
    events: Vec<HashMap<String, Box<RawValue>>>,
    last_seq: Value,
    verdict: Value,
    warnings: Vec<Value>,
}

fn table(client: &Client, options: &Read) -> Result<(), Failure> {
    let (mut pages, mut tiers) = (Vec::<Page>::new(), Vec::<String>::new());
    let more = each_page(client, options, None, |answer| {
        let page: Page = serde_json::from_slice(&answer.body)
            .map_err(|e| Failure::Server(format!("the server's answer is not understood: {e}")))?;
        let named = answer.tiers.iter().flat_map(|named| named.split(',')).filter(|tier| !tier.is_empty());
        for tier in named.map(str::to_owned) {
            if !tiers.contains(&tier) {
                tiers.push(tier);
            }
        }
        pages.push(page);
        Ok(pages.last().map_or(0, |page| page.events.len()))
    })?;
    let events: Vec<&HashMap<String, Box<RawValue>>> = pages.iter().flat_map(|page| &page.events).collect();
    let names = super::field_names(client)?;
    let used = |name: &str| events.iter().any(|event| event.get(name).is_some_and(|value| value.get() != "null"));
    let columns: Vec<&str> = ORDER.iter().map(|field| names.get(*field)).filter(|name| used(name)).collect();
    let row = |event: &&HashMap<String, Box<RawValue>>| {
        columns.iter().map(|name| event.get(*name).map_or_else(String::new, |v| shown(v))).collect()
    };
    out::line(&out::table(&columns, events.iter().map(row)))?;
    let tiers = if tiers.is_empty() { "none".to_owned() } else { tiers.join(",") };
    let last_seq = pages.last().map_or(&Value::Null, |page| &page.last_seq);
    out::note(&format!("{} events, last seq {last_seq}, from tiers: {tiers}", events.len()));
    for page in pages.iter().filter(|page| page.verdict["contiguous"] == Value::Bool(false)) {
        out::note(&format!("not contiguous: missing {}, retired {}", page.verdict["missing"], page.verdict["retired"]));
    }
    for warning in pages.iter().flat_map(|page| &page.warnings) {
        out::note(&format!("warning: {}", out::cell(warning)));
    }
    if more {
        out::note("there is more: --from-seq (--to-seq with --desc) or a larger --limit shows it");
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
