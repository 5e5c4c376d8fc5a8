//! `strandline redact`: takes away what one event says, and prints what is kept of that.

use crate::cli::{CheckFormat, Redact};
use crate::client::{Client, Request};
use crate::exit::Failure;
use crate::out;
use serde_json::{Value, json};

/// What is shown of a redaction.
const COLUMNS: &[&str] = &["event_id", "stream_type", "stream_id", "seq", "at", "who", "reason"];

pub(crate) fn run(options: &Redact) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    let (path, body) = (client.admin_path(&["redact"])?, wish(options).to_string());
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

fn wish(options: &Redact) -> Value {
    let mut wish = json!({ "event_id": options.event_id });
    if let Some(reason) = &options.reason {
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
