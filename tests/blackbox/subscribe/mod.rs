//! Subscriptions over the real program: history and live without a gap or a double at the seam, named ones that survive kills, slow
//! clients, dry runs, sync projections, the end.

mod crowd;
mod durable;
mod hidden;
mod native;
mod projections;
mod seam;

use crate::harness::{Http, Message};
use serde_json::{Value, json};

/// Type, id and seq of an event.
fn key(event: &Value) -> (String, String, u64) {
    let text = |name: &str| event[name].as_str().unwrap().to_owned();
    (text("stream_type"), text("stream_id"), event["seq"].as_u64().unwrap())
}

fn data(message: &Message) -> &Value {
    message.data.as_ref().unwrap()
}

/// One bulk body: events to streams of two types, with numbers in their payload.
fn lines(numbers: std::ops::Range<u64>, streams: u64) -> Vec<Value> {
    let line = |n: u64| {
        json!({
            "stream_type": if n.is_multiple_of(2) { "Call" } else { "Bill" },
            "stream_id": format!("s{}", n / 2 % streams),
            "event_type": if n.is_multiple_of(5) { "Ended" } else { "Begun" },
            "tenant_id": if n.is_multiple_of(3) { Value::Null } else { json!("acme") },
            "data": { "n": n },
        })
    };
    numbers.map(line).collect()
}

fn append(http: &Http, stream: &str, numbers: std::ops::Range<u64>) {
    let events: Vec<Value> = numbers.map(|n| json!({ "event_type": "E", "data": { "n": n } })).collect();
    http.post(&format!("streams/Call/{stream}"), &json!({ "events": events })).expect(201);
}
