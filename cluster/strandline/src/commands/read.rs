//! `strandline read`: a stream as a table, NDJSON or JSON, page by page.
//!
//! A page may hold fewer events than were asked for, since its bytes are bounded as well: the server says where to go on. Pages
//! follow each other by seq; in what order the events of a page come is the store's `read.default_order` unless one is asked for.

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
        ReadFormat::Json => json(&client, options),
        ReadFormat::Table => table(&client, options),
    }
}

fn page_path(client: &Client, o: &Read, from: Option<u64>, to: Option<u64>, limit: u64) -> Result<String, Failure> {
    let mut path = client.store_path(&["streams", &o.stream_type, &o.stream_id])?;
    path.push_str(&format!("?limit={limit}"));
    path.push_str(match (o.asc, o.desc) {
        (true, _) => "&order=asc",
        (_, true) => "&order=desc",
        // the store's own
        _ => "",
    });
    for (name, seq) in [("from_seq", from), ("to_seq", to)] {
        path.extend(seq.map(|seq| format!("&{name}={}", encode(&seq.to_string()))));
    }
    path.extend(o.as_of.as_ref().map(|wanted| format!("&as_of={}", encode(wanted))));
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

/// The whole answer: of one page as the server sends it, of several as one page that holds them all.
fn json(client: &Client, options: &Read) -> Result<(), Failure> {
    let mut pages = Vec::new();
    each_page(client, options, None, |answer| {
        let page: RawPage = parsed(&answer.body)?;
        let held = page.events.len();
        // only a page that stays alone is told as it came
        pages.push((if pages.is_empty() { answer.body.clone() } else { Vec::new() }, page));
        Ok(held)
    })?;
    match pages.as_slice() {
        [(body, _)] => out::line(String::from_utf8_lossy(body).trim_end()),
        _ => out::line(&joined(pages.into_iter().map(|(_, page)| page))),
    }
}

fn parsed<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|e| Failure::Server(format!("the server's answer is not understood: {e}")))
}

/// A page whose events stay texts.
#[derive(serde::Deserialize)]
struct RawPage {
    events: Vec<Box<RawValue>>,
    last_seq: Value,
    next_seq: Value,
    verdict: Value,
    warnings: Vec<Value>,
}

/// Pages as one: events in the order of the pages; the last page says where to go on and how far the stream reaches; the verdict
/// covers all of them.
fn joined(pages: impl Iterator<Item = RawPage>) -> String {
    let (mut events, mut warnings) = (Vec::new(), Vec::new());
    let (mut verdict, mut last_seq, mut next_seq) = (Value::Null, Value::Null, Value::Null);
    for page in pages {
        events.extend(page.events);
        warnings.extend(page.warnings.into_iter().filter(|warning| !warnings.contains(warning)).collect::<Vec<_>>());
        verdict = both(verdict, page.verdict);
        (last_seq, next_seq) = (page.last_seq, page.next_seq);
    }
    let events = events.iter().map(|event| event.get()).collect::<Vec<_>>().join(",");
    let warnings = Value::Array(warnings);
    format!(
        "{{\"events\":[{events}],\"last_seq\":{last_seq},\"next_seq\":{next_seq},\"verdict\":{verdict},\"warnings\":{warnings}}}"
    )
}

/// The verdict over two pages that follow each other, in either direction.
fn both(one: Value, other: Value) -> Value {
    if one.is_null() {
        return other;
    }
    let seq = |verdict: &Value, end: &str| verdict[end].as_u64().unwrap_or(0);
    let is_falling = seq(&other, "from_seq") < seq(&one, "from_seq");
    let (low, high) = if is_falling { (other, one) } else { (one, other) };
    let all = |list: &str| {
        let of = |verdict: &Value| verdict[list].as_array().cloned().unwrap_or_default();
        Value::Array([of(&low), of(&high)].concat())
    };
    serde_json::json!({
        "from_seq": low["from_seq"],
        "to_seq": high["to_seq"],
        "contiguous": low["contiguous"] == true && high["contiguous"] == true,
        "missing": all("missing"),
        "retired": all("retired"),
    })
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
        let page: Page = parsed(&answer.body)?;
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
    let last_seq = pages.last().map_or(&Value::Null, |page| &page.last_seq);
    match events.is_empty() {
        true => out::line(&nothing(options.from_seq, last_seq))?,
        false => out::line(&out::table(&columns, events.iter().map(row)))?,
    }
    let tiers = if tiers.is_empty() { "none".to_owned() } else { tiers.join(",") };
    out::note(&format!("{} events, last seq {last_seq}, from tiers: {tiers}", events.len()));
    for page in pages.iter().filter(|page| page.verdict["contiguous"] == Value::Bool(false)) {
        out::note(&not_contiguous(&page.verdict));
    }
    for warning in pages.iter().flat_map(|page| &page.warnings) {
        out::note(&format!("warning: {}", out::cell(warning)));
    }
    if more {
        out::note("there is more: --from-seq (--to-seq with --desc) or a larger --limit shows it");
    }
    Ok(())
}

/// What is said in the place of an empty table.
fn nothing(from_seq: Option<u64>, last_seq: &Value) -> String {
    match from_seq.filter(|from| last_seq.as_u64().is_some_and(|last| *from > last)) {
        Some(from) => format!("there is no event from seq {from} on: the stream's last seq is {last_seq}"),
        None => format!("no event of the stream is among those that were asked for; its last seq is {last_seq}"),
    }
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

/// A text without its quotes; other JSON as it is, with blanks for the line breaks and tabs that stand between its tokens.
fn shown(value: &RawValue) -> String {
    serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| value.get().replace(['\n', '\r', '\t'], " "))
}

/// Why not every seq of the range is there. A gap that is neither missing nor retired is one that clients left, only where the
/// store lets them, since it is missing elsewhere; or its events are in a tier that the store does not read.
fn not_contiguous(verdict: &Value) -> String {
    let named = |list: &str| {
        let ranges = verdict[list].as_array().map_or(&[][..], Vec::as_slice);
        let range = |range: &Value| match (&range["from_seq"], &range["to_seq"]) {
            (from, to) if from == to => from.to_string(),
            (from, to) => format!("{from}-{to}"),
        };
        (!ranges.is_empty()).then(|| format!("{list} {}", ranges.iter().map(range).collect::<Vec<_>>().join(", ")))
    };
    let missing = named("missing");
    let skipped = "clients skipped seqs, where the store allows it (read.require_monotonic_seq = false), or the events are only \
                   in a tier that it does not read (read.tiers)";
    let why: Vec<String> =
        [missing.unwrap_or_else(|| skipped.to_owned())].into_iter().chain(named("retired")).collect();
    format!("not contiguous: {}", why.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_gap_that_clients_left_is_not_told_as_nothing_missing() {
        let verdict =
            |missing: Value, retired: Value| json!({"contiguous": false, "missing": missing, "retired": retired});
        let skipped = not_contiguous(&verdict(json!([]), json!([])));
        assert!(
            skipped.contains("clients skipped seqs") && skipped.contains("read.tiers") && !skipped.contains('['),
            "{skipped}"
        );
        let range = |from: u64, to: u64| json!([{"from_seq": from, "to_seq": to}]);
        assert_eq!(not_contiguous(&verdict(range(3, 3), range(5, 7))), "not contiguous: missing 3; retired 5-7");
    }

    #[test]
    fn pages_are_joined_in_either_direction() {
        let page = |from: u64, to: u64, next: Value, warning: &str| {
            let text = json!({
                "events": [{"seq": from, "data": 1.0}], "last_seq": 9, "next_seq": next, "warnings": [warning],
                "verdict": {"from_seq": from, "to_seq": to, "contiguous": to < 6, "missing": [from], "retired": []},
            });
            parsed::<RawPage>(text.to_string().as_bytes()).unwrap()
        };
        let rising = [page(1, 3, json!(4), "w"), page(4, 6, json!(null), "w")];
        let falling = [page(4, 6, json!(3), "w"), page(1, 3, json!(null), "w")];
        for pages in [rising, falling] {
            let whole: Value = serde_json::from_str(&joined(pages.into_iter())).unwrap();
            assert_eq!(
                (&whole["last_seq"], &whole["next_seq"], &whole["warnings"]),
                (&json!(9), &Value::Null, &json!(["w"]))
            );
            assert_eq!(whole["events"].as_array().unwrap().len(), 2);
            let verdict = json!({"from_seq": 1, "to_seq": 6, "contiguous": false, "missing": [1, 4], "retired": []});
            assert_eq!(whole["verdict"], verdict);
        }
    }
}
