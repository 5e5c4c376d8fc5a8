//! `strandline redact`: takes away what one event says, and prints what is kept of that.

use crate::cli::{CheckFormat, Redact};
use crate::client::{Client, Request};
use crate::commands::names::field_names;
use crate::exit::Failure;
use crate::out;
use serde_json::{Value, json};
use strandline_event::Field;

/// What is shown of a redaction.
const COLUMNS: &[&str] = &["event_id", "stream_type", "stream_id", "seq", "at", "who", "reason"];

pub(crate) fn run(options: &Redact) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    let wish = wish(&event_id(&client, options)?, options.reason.as_deref());
    let (path, body) = (client.admin_path(&["redact"])?, wish.to_string());
    let request = Request { path, body: Some(body.as_bytes()), content_type: "application/json", ..Request::default() };
    let answer = client.send(&request)?.ok()?.json();
    let rows = answer["redacted"].as_array().cloned().unwrap_or_default();
    match options.format {
        CheckFormat::Json => out::report(&out::pretty(&answer))?,
        CheckFormat::Table => out::report(&out::json_table(&rows, COLUMNS))?,
    }
    notes(&answer).iter().for_each(|note| out::note(note));
    Ok(())
}

/// The event that is meant: its id, or what stands at its place.
fn event_id(client: &Client, options: &Redact) -> Result<String, Failure> {
    let (Some(stream_type), Some(stream_id), Some(seq)) = (&options.stream_type, &options.stream_id, options.seq)
    else {
        return Ok(options.event_id.clone().unwrap_or_default());
    };
    let names = field_names(client)?;
    let path = client.store_path(&["streams", stream_type, stream_id])?;
    let page = client.get(&format!("{path}?from_seq={seq}&to_seq={seq}"))?.json();
    let id = page["events"][0][names.get(Field::EventId)].as_str();
    id.map(str::to_owned).ok_or_else(|| {
        let stream_id = out::escaped(stream_id);
        Failure::No(format!("stream '{stream_id}' has no event {seq}: it was never stored, or retention removed it"))
    })
}

fn wish(event_id: &str, reason: Option<&str>) -> Value {
    let mut wish = json!({ "event_id": event_id });
    if let Some(reason) = reason {
        wish["reason"] = json!(reason);
    }
    wish
}

/// What the rows do not say by themselves.
fn notes(answer: &Value) -> Vec<String> {
    let already = (answer["already"] == true).then(|| {
        "it was redacted already: the reason is that of the first time, and nothing was left to be done".to_owned()
    });
    let behind = answer["not_known_to"].as_array().map(|behind| {
        let nodes: Vec<String> = behind.iter().map(out::cell).collect();
        format!(
            "not said in time that they know of it: nodes {}; they may still show the text: run it again to ask them once more",
            nodes.join(", ")
        )
    });
    already.into_iter().chain(behind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_say_what_was_so_already_and_who_does_not_know_yet() {
        assert!(notes(&json!({"redacted": [], "already": false})).is_empty());
        let told = notes(&json!({"redacted": [], "already": true, "not_known_to": [2, 3]}));
        assert!(told.len() == 2 && told[0].contains("already") && told[1].contains("nodes 2, 3;"), "{told:?}");
    }
}
