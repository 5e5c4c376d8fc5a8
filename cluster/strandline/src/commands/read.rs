//! `strandline read`: a stream as a table, NDJSON or JSON, page by page.

use crate::cli::{Read, ReadFormat};
use crate::client::{Client, Request, encode};
use crate::exit::Failure;
use crate::out;
use serde_json::Value;

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

/// The lines of the server as they are; the next page begins after the last line's seq.
fn ndjson(client: &Client, options: &Read) -> Result<(), Failure> {
    let seq_name = seq_name(client)?;
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
        match last[&seq_name].as_u64() {
            Some(seq) if lines.len() as u64 == asked && options.desc && seq > 1 => to = Some(seq - 1),
            Some(seq) if lines.len() as u64 == asked && !options.desc => from = Some(seq + 1),
            _ => break,
        }
    }
    Ok(())
}

/// The configured name of the field `seq`.
pub(crate) fn seq_name(client: &Client) -> Result<String, Failure> {
    let config = client.get(&client.store_path(&[])?)?.json();
    Ok(find_key(&config, "envelope.seq_key").unwrap_or("seq").to_owned())
}

/// The text of a key of a store's configuration, wherever the answer nests it.
pub(crate) fn find_key<'a>(json: &'a Value, key: &str) -> Option<&'a str> {
    let object = json.as_object()?;
    object.get(key).and_then(Value::as_str).or_else(|| object.values().find_map(|v| find_key(v, key)))
}

fn table(client: &Client, options: &Read) -> Result<(), Failure> {
    let answer = client.get(&page_path(client, options, options.from_seq, options.to_seq, options.limit)?)?;
    let json = answer.json();
    let events = json["events"].as_array().cloned().unwrap_or_default();
    out::line(&out::json_table(&events))?;
    let tiers = answer.tiers.as_deref().filter(|t| !t.is_empty()).unwrap_or("none");
    out::note(&format!("{} events, last seq {}, from tiers: {tiers}", events.len(), out::cell(&json["last_seq"])));
    let verdict = &json["verdict"];
    if verdict["contiguous"] == Value::Bool(false) {
        out::note(&format!("not contiguous: missing {}, retired {}", verdict["missing"], verdict["retired"]));
    }
    for warning in json["warnings"].as_array().into_iter().flatten() {
        out::note(&format!("warning: {}", out::cell(warning)));
    }
    if events.len() as u64 == options.limit {
        out::note("there may be more: --from-seq or a larger --limit shows it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_seq_name_is_found_in_a_nested_configuration() {
        assert_eq!(
            find_key(&json!({"name": "s", "config": {"envelope.seq_key": "version"}}), "envelope.seq_key"),
            Some("version")
        );
        assert_eq!(find_key(&json!({"name": "s"}), "envelope.seq_key"), None);
    }
}
