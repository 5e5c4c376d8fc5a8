//! A client that owns some streams, knows what was acknowledged, and asks again for what it never heard of.

use super::STREAM_TYPES;
use crate::harness::{Answer, Http, Random};
use serde_json::{Value, json};

/// Acknowledged appends that are kept for asking again.
const KEPT_MAX: usize = 300;

/// One append, as it is sent each time.
#[derive(Clone)]
struct Append {
    /// Index of the stream and data of its events, in order.
    events: Vec<(usize, Value)>,
    bulk: bool,
    path: String,
    body: String,
}

/// A client; its streams are its own.
pub(crate) struct Client {
    random: Random,
    bulk: bool,
    /// Stream type and id of each stream.
    names: Vec<(&'static str, String)>,
    /// Data of the events of each stream, in order: what must be there.
    streams: Vec<Vec<Value>>,
    /// The append whose answer never came.
    unknown: Option<Append>,
    /// Appends with their first answers.
    kept: Vec<(Append, Value)>,
    commands: u64,
    number: u64,
}

impl Client {
    pub(crate) fn new(number: u64, bulk: bool, seed: u64) -> Self {
        let streams = if bulk { 21 } else { 6 };
        let names = (0..streams).map(|i| (STREAM_TYPES[i % STREAM_TYPES.len()], format!("c{number}-s{i}"))).collect();
        let streams = vec![Vec::new(); streams];
        Self { random: Random(seed), bulk, names, streams, unknown: None, kept: Vec::new(), commands: 0, number }
    }

    /// Events that must be there.
    pub(crate) fn events(&self) -> u64 {
        self.streams.iter().map(|s| s.len() as u64).sum()
    }

    /// Events that must be there, by stream.
    pub(crate) fn counts(&self) -> Vec<(String, u64)> {
        let names = self.names.iter().map(|(stream_type, id)| format!("{stream_type}/{id}"));
        let all = names.zip(self.streams.iter().map(|s| s.len() as u64));
        all.filter(|(_, count)| *count > 0).collect()
    }

    /// Appends until the node is gone.
    pub(crate) fn load(&mut self, http: &Http) {
        while self.unknown.is_none() {
            let append = if self.bulk { self.next_bulk() } else { self.next_append() };
            self.send(http, append);
        }
    }

    /// Asks again for the append whose answer never came; now its outcome is known.
    pub(crate) fn settle(&mut self, http: &Http) {
        if let Some(append) = self.unknown.take() {
            self.send(http, append);
            assert!(self.unknown.is_none(), "the node is up and must answer");
        }
    }

    /// A retry of any acknowledged append gives its first answer and stores nothing.
    pub(crate) fn ask_again(&mut self, http: &Http) {
        for _ in 0..self.kept.len().min(5) {
            let (append, first) = &self.kept[self.random.below(self.kept.len() as u64) as usize];
            let again = post(http, append).unwrap();
            if append.bulk {
                let json = again.expect(201);
                assert_eq!(
                    (&json["appended"], &json["duplicates"]),
                    (&json!(0), &json!(append.events.len())),
                    "{json}"
                );
                continue;
            }
            let mut json = again.expect(200);
            assert_eq!(json["duplicate"], true, "{json}");
            json["duplicate"] = first["duplicate"].clone();
            assert_eq!(&json, first, "the first answer comes again");
        }
    }

    /// Compares what the node has with what must be there: the newest events, or all of them.
    pub(crate) fn compare(&self, http: &Http, whole: bool) {
        for (name, wanted) in self.names.iter().zip(&self.streams) {
            if wanted.is_empty() {
                continue;
            }
            let from = if whole { 0 } else { wanted.len().saturating_sub(200) };
            let (stream_type, id) = name;
            let found = if whole { http.stream(stream_type, id) } else { tail(http, name, from) };
            let seqs: Vec<u64> = found.iter().map(|e| e["seq"].as_u64().unwrap()).collect();
            let wanted_seqs: Vec<u64> = (from as u64 + 1..=wanted.len() as u64).collect();
            assert_eq!(seqs, wanted_seqs, "seqs of {name:?}");
            let data: Vec<&Value> = found.iter().map(|e| &e["data"]).collect();
            assert!(data.iter().copied().eq(&wanted[from..]), "data of {name:?}");
        }
    }

    fn send(&mut self, http: &Http, append: Append) {
        match post(http, &append) {
            Ok(answer) if answer.status < 300 => self.acknowledged(append, &answer),
            // a node that is killed answers nothing: whoever answers lives, and has no reason to refuse
            Ok(answer) => panic!("a living node answered {}: {}", answer.status, answer.text()),
            // the connection broke: the outcome is unknown
            Err(_) => self.unknown = Some(append),
        }
    }

    fn acknowledged(&mut self, append: Append, answer: &Answer) {
        let json = answer.json();
        if append.bulk {
            let known = json["appended"].as_u64().unwrap() + json["duplicates"].as_u64().unwrap();
            assert_eq!((answer.status, known), (201, append.events.len() as u64), "{json}");
            assert_eq!(json["rejected"], json!([]), "{json}");
        } else {
            let (stream, count) = (append.events[0].0, append.events.len() as u64);
            let first = self.streams[stream].len() as u64 + 1;
            assert_eq!((&json["first_seq"], &json["last_seq"]), (&json!(first), &json!(first + count - 1)), "{json}");
        }
        for (stream, data) in &append.events {
            self.streams[*stream].push(data.clone());
        }
        let slot = self.random.below(KEPT_MAX as u64) as usize;
        match self.kept.get_mut(slot) {
            Some(kept) => *kept = (append, json),
            None => self.kept.push((append, json)),
        }
    }

    fn next_append(&mut self) -> Append {
        let stream = self.random.below(self.names.len() as u64) as usize;
        let events: Vec<(usize, Value)> = (0..1 + self.random.below(8)).map(|_| (stream, self.data())).collect();
        let head = self.streams[stream].len();
        let body = json!({
            "events": events.iter().map(|(_, data)| json!({"event_type": "Moved", "data": data})).collect::<Vec<_>>(),
            "expected_seq": if head == 0 { json!("empty") } else { json!(head) },
            "command_id": self.command(),
        });
        let (stream_type, id) = &self.names[stream];
        let path = format!("streams/{stream_type}/{id}");
        Append { events, bulk: false, path, body: body.to_string() }
    }

    fn next_bulk(&mut self) -> Append {
        let mut body = String::new();
        let mut events = Vec::new();
        for _ in 0..20 + self.random.below(200) {
            let stream = self.random.below(self.names.len() as u64) as usize;
            let data = self.data();
            let command = self.command();
            let (stream_type, id) = &self.names[stream];
            let line = json!({"stream_type": stream_type, "stream_id": id, "event_type": "Moved", "data": data, "command_id": command});
            body.push_str(&format!("{line}\n"));
            events.push((stream, data));
        }
        Append { events, bulk: true, path: "events".to_owned(), body }
    }

    fn command(&mut self) -> String {
        self.commands += 1;
        format!("c{}-{}", self.number, self.commands)
    }

    fn data(&mut self) -> Value {
        let filler: String = (0..10 + self.random.below(90)).map(|_| format!("{:x}", self.random.next())).collect();
        json!({"amount": self.random.below(1_000_000), "filler": filler})
    }
}

fn tail(http: &Http, (stream_type, id): &(&str, String), from: usize) -> Vec<Value> {
    let page = http.get(&format!("streams/{stream_type}/{id}?limit=10000&from_seq={}", from + 1)).expect(200);
    page["events"].as_array().unwrap().clone()
}

fn post(http: &Http, append: &Append) -> Result<Answer, ureq::Error> {
    let kind = if append.bulk { "application/x-ndjson" } else { "application/json" };
    loop {
        let answer = http.try_post(&append.path, kind, append.body.as_bytes())?;
        if answer.status != 429 {
            return Ok(answer);
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
