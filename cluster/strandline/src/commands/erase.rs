//! `strandline erase`: destroys the keys of a subject and prints the receipt.

use crate::cli::Erase;
use crate::client::{Client, Request};
use crate::exit::Failure;
use crate::out;
use serde_json::{Value, json};

/// What is shown of an erasure.
const COLUMNS: &[&str] = &["stream_type", "subject", "name", "at", "who", "events", "already"];

pub(crate) fn run(options: &Erase) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    let mut wish = json!({});
    let given =
        [("stream_id", &options.stream_id), ("tenant_id", &options.tenant_id), ("stream_type", &options.stream_type)];
    for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        wish[name] = json!(value);
    }
    let path = client.admin_path(&["erase"])?;
    let body = wish.to_string();
    let request = Request { path, body: Some(body.as_bytes()), content_type: "application/json", ..Request::default() };
    let answer = client.send(&request)?.ok()?;
    let body = answer.json();
    let mut receipts = body["erased"].as_array().cloned().unwrap_or_default();
    let notes: Vec<String> = receipts.iter().filter_map(explained).collect();
    receipts.iter_mut().filter(|receipt| is_not_counted(receipt)).for_each(|it| it["events"] = json!("not counted"));
    out::line(&out::json_table(&receipts, COLUMNS))?;
    notes.iter().for_each(|note| out::note(note));
    if let Some(behind) = body["not_known_to"].as_array() {
        let nodes: Vec<String> = behind.iter().map(out::cell).collect();
        let what = "what they began to answer before may still show the text, and nothing that they begin afterwards";
        out::note(&format!("not said in time that they know of it: nodes {}; {what}", nodes.join(", ")));
    }
    Ok(())
}

/// Of a tenant nobody knows how many events there are.
fn is_not_counted(receipt: &Value) -> bool {
    receipt["events"] == 0 && receipt["subject"] == "tenant"
}

/// What a receipt means where it does not say it by itself.
fn explained(receipt: &Value) -> Option<String> {
    let whose = ["stream_type", "subject", "name"].map(|key| out::cell(&receipt[key])).join(" ");
    if receipt["already"] == true {
        let (at, who) = (out::cell(&receipt["at"]), out::cell(&receipt["who"]));
        return Some(format!("{whose}: it was erased already, at {at} by {who}: nothing was left to be done"));
    }
    if is_not_counted(receipt) {
        return Some(format!("{whose}: its key is destroyed; events of a tenant are not counted"));
    }
    (receipt["events"] == 0).then(|| {
        format!(
            "{whose}: its key is destroyed, and no event that it sealed was found: none was stored, or nobody could be asked. If there should be \
             some, see the name, and whether they are in another stream type"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_says_what_its_numbers_leave_open() {
        let of = |subject: &str, events: u64, already: bool| {
            explained(&json!({
                "stream_type": "Person", "subject": subject, "name": "anna", "at": "2026-01-01T00:00:00Z", "who": "ops",
                "events": events, "already": already,
            }))
        };
        assert_eq!(of("stream", 3, false), None);
        for (subject, events, already, said) in [
            ("stream", 3, true, "it was erased already, at 2026-01-01T00:00:00Z by ops"),
            ("stream", 0, true, "it was erased already"),
            ("stream", 0, false, "no event that it sealed was found"),
            ("tenant", 0, false, "events of a tenant are not counted"),
        ] {
            let told = of(subject, events, already).unwrap();
            assert!(told.starts_with(&format!("Person {subject} anna: ")) && told.contains(said), "{told}");
        }
    }
}
