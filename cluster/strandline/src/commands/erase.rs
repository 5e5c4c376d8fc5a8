//! `strandline erase`: destroys the keys of a subject and prints the receipt.

use crate::cli::Erase;
use crate::client::{Client, Request};
use crate::exit::Failure;
use crate::out;
use serde_json::json;

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
    let receipts = body["erased"].as_array().cloned().unwrap_or_default();
    out::line(&out::json_table(&receipts, COLUMNS))?;
    if let Some(behind) = body["not_known_to"].as_array() {
        let nodes: Vec<String> = behind.iter().map(out::cell).collect();
        let what = "what they began to answer before may still show the text, and nothing that they begin afterwards";
        out::note(&format!("not said in time that they know of it: nodes {}; {what}", nodes.join(", ")));
    }
    Ok(())
}
