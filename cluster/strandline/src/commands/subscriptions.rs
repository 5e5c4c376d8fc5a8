//! `strandline subscriptions`: named subscriptions as operators see them, what they have parked, and how that is given again.

use crate::cli::{
    CheckFormat, Subscriptions, SubscriptionsDelete, SubscriptionsList, SubscriptionsReplay, SubscriptionsShow,
};
use crate::client::{Client, Request};
use crate::exit::Failure;
use crate::out;
use serde_json::{Value, json};

/// What is shown of each; what stands last is left out first where a terminal is narrow.
const COLUMNS: &[&str] = &[
    "name",
    "lag_s",
    "parked",
    "error",
    "consumers",
    "in_flight",
    "waiting",
    "mode",
    "filter",
    "position",
    "attempts_max",
    "ack_within_s",
    "created_at",
];
/// What is shown first of a parked event; behind it stands what the store calls its stream.
const PARKED_COLUMNS: &[&str] = &["position", "at", "attempts", "reason", "replayed", "unread"];

pub(crate) fn run(command: &Subscriptions) -> Result<(), Failure> {
    match command {
        Subscriptions::List(options) => list(options),
        Subscriptions::Show(options) => show(options),
        Subscriptions::Replay(options) => replay(options),
        Subscriptions::Delete(options) => delete(options),
    }
}

fn list(options: &SubscriptionsList) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    let answer = client.get(&client.admin_path(&["subscriptions"])?)?.json();
    let all = answer["subscriptions"].as_array().cloned().unwrap_or_default();
    match options.format {
        CheckFormat::Json => out::json(&answer),
        CheckFormat::Table if all.is_empty() => out::line("no named subscriptions"),
        CheckFormat::Table => out::line(&out::json_table(&all.iter().map(row).collect::<Vec<_>>(), COLUMNS)),
    }
}

fn show(options: &SubscriptionsShow) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    let one = client.get(&client.admin_path(&["subscriptions", &options.name])?)?.json();
    match options.format {
        CheckFormat::Json => out::json(&one),
        CheckFormat::Table => out::line(&tables(&one)),
    }
}

/// One subscription, and below it the events that it has parked.
fn tables(one: &Value) -> String {
    let head = out::json_table(&[row(one)], COLUMNS);
    let parked = one["parked"].as_array().map(Vec::as_slice).unwrap_or_default();
    if parked.is_empty() {
        return format!("{head}\n\nno event is parked");
    }
    format!("{head}\n\nparked events\n{}", out::json_table(parked, &parked_columns(parked)))
}

/// The store names the fields of its events as it likes.
fn parked_columns(parked: &[Value]) -> Vec<&str> {
    let named = parked.first().and_then(Value::as_object).into_iter().flat_map(|row| row.keys());
    let named = named.map(String::as_str).filter(|name| !PARKED_COLUMNS.contains(name));
    PARKED_COLUMNS.iter().copied().chain(named).collect()
}

/// As a row: parked events are counted, and of what is wrong the sentence stands in it.
fn row(of: &Value) -> Value {
    let mut row = of.clone();
    if let Some(parked) = of["parked"].as_array() {
        row["parked"] = json!(parked.len());
    }
    if of["filter"].as_object().is_some_and(serde_json::Map::is_empty) {
        row["filter"] = Value::Null;
    }
    row["error"] = of["last_error"]["error"].clone();
    row
}

fn replay(options: &SubscriptionsReplay) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    let path = client.admin_path(&["subscriptions", &options.name, "replay"])?;
    let wish = options.position.as_ref().map_or_else(|| json!({}), |position| json!({ "position": position }));
    let body = wish.to_string();
    let request = Request { path, body: Some(body.as_bytes()), content_type: "application/json", ..Request::default() };
    let replayed = client.send(&request)?.ok()?.json()["replayed"].as_u64().unwrap_or(0);
    if let (0, Some(position)) = (replayed, &options.position) {
        return Err(Failure::No(format!(
            "no event at {} waits to be replayed: it is not parked, or is being given again already; \
             `strandline subscriptions show` lists what is parked",
            out::escaped(position)
        )));
    }
    out::report(&format!("replayed {replayed}"))
}

/// At the address for clients: operators have no such route at theirs.
fn delete(options: &SubscriptionsDelete) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    let path = client.store_path(&["subscriptions", &options.name])?;
    client.send(&Request { path, is_delete: true, ..Request::default() })?.ok()?;
    out::report(&format!("deleted {}", out::escaped(&options.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_shown_with_what_it_has_parked_by_the_names_of_its_store() {
        let parked = json!({
            "position": "p1", "at": "2026-11-23T10:00:00Z", "attempts": 5, "reason": "no address", "replayed": false, "unread": null,
            "id": "e1", "kind": "Order", "stream_id": "1001", "seq": 2,
        });
        let one = json!({
            "name": "bills", "mode": "async", "filter": {}, "lag_s": 1.5, "consumers": 1, "in_flight": 0, "waiting": 0, "position": "p0",
            "last_error": {"code": "io_error", "error": "a.parquet is damaged"}, "parked": [parked],
        });
        let text = tables(&one);
        for told in ["bills", "a.parquet is damaged", "parked events", "no address", "kind", "Order", "1001", "p1"] {
            assert!(text.contains(told), "{told} is not in {text}");
        }
        assert!(!text.contains("filter") && !text.contains("unread"), "{text}");
        let mut none = one;
        none["parked"] = json!([]);
        assert!(tables(&none).ends_with("no event is parked"));
    }

    #[test]
    fn a_number_of_parked_events_stays_one() {
        assert_eq!(row(&json!({"name": "s", "parked": 3}))["parked"], 3);
    }
}
