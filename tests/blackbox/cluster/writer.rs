//! A client of the cluster that owns its streams: it knows what was acknowledged, and asks other nodes again, with the same command id, for what
//! it never heard of.

use crate::harness::{Answer, Http, Random};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const STREAM_TYPES: [&str; 2] = ["Call", "Order"];
/// An append that is not answered by then never will be.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node that stands still is left after this time.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A client.
pub(super) struct Writer {
    nodes: Vec<Http>,
    at: usize,
    random: Random,
    number: u64,
    commands: u64,
    /// Data of the events of each stream, in order.
    pub(super) streams: Vec<Vec<Value>>,
    /// The longest time that an append took.
    pub(super) longest: Duration,
    /// Acknowledged appends: path, body, first seq.
    kept: Vec<(String, Value, u64)>,
}

impl Writer {
    pub(super) fn new(number: u64, urls: &[String], seed: u64) -> Self {
        let nodes = urls.iter().map(|url| Http::patient_for(url, ANSWER_WITHIN)).collect();
        let streams = vec![Vec::new(); 4];
        let random = Random(seed ^ number);
        let at = usize::try_from(number).unwrap() % urls.len();
        Self { nodes, at, random, number, commands: 0, streams, longest: Duration::ZERO, kept: Vec::new() }
    }

    fn name(&self, stream: usize) -> (&'static str, String) {
        (STREAM_TYPES[stream % STREAM_TYPES.len()], format!("w{}-s{stream}", self.number))
    }

    /// One append, until it is acknowledged.
    pub(super) fn append(&mut self) {
        let stream = usize::try_from(self.random.below(self.streams.len() as u64)).unwrap();
        let (stream_type, id) = self.name(stream);
        let path = format!("streams/{stream_type}/{id}");
        let head = self.streams[stream].len() as u64;
        self.commands += 1;
        let data: Vec<Value> = (0..=self.random.below(3))
            .map(|n| json!({ "writer": self.number, "command": self.commands, "n": n }))
            .collect();
        let events: Vec<Value> = data.iter().map(|data| json!({ "event_type": "E", "data": data })).collect();
        let mut body = json!({ "events": events, "command_id": format!("w{}-c{}", self.number, self.commands) });
        if self.random.below(2) == 0 {
            body["expected_seq"] = if head == 0 { json!("empty") } else { json!(head) };
        }
        let began = Instant::now();
        let answer = self.send(&path, &body);
        self.longest = self.longest.max(began.elapsed());
        assert_eq!(answer["first_seq"], head + 1, "nothing was lost and nothing is there twice: {answer}");
        self.streams[stream].extend(data);
        if self.kept.len() < 200 {
            self.kept.push((path, body, head + 1));
        }
    }

    fn send(&mut self, path: &str, body: &Value) -> Value {
        let began = Instant::now();
        loop {
            let sent = self.nodes[self.at].try_post(path, "application/json", body.to_string().as_bytes());
            match sent {
                Ok(answer) if answer.status < 300 => return answer.json(),
                // refused for now, or nobody knows: the same command again
                Ok(Answer { status: 503 | 429, .. }) | Err(_) => {}
                Ok(answer) => panic!("{path}: {}: {}", answer.status, answer.text()),
            }
            assert!(began.elapsed() < PATIENCE, "no node takes an append");
            self.at = (self.at + 1) % self.nodes.len();
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A retry of what was acknowledged gives its first answer.
    pub(super) fn ask_again(&mut self) {
        for _ in 0..self.kept.len().min(10) {
            let kept = usize::try_from(self.random.below(self.kept.len() as u64)).unwrap();
            let (path, body, first) = self.kept[kept].clone();
            let again = self.send(&path, &body);
            assert_eq!((&again["duplicate"], &again["first_seq"]), (&json!(true), &json!(first)), "{again}");
        }
    }

    /// Events that must be there.
    pub(super) fn events(&self) -> u64 {
        self.streams.iter().map(|s| s.len() as u64).sum()
    }

    /// What a node shows, whatever it has to ask for it, is what was acknowledged.
    pub(super) fn compare(&self, http: &Http) {
        for (stream, wanted) in self.streams.iter().enumerate().filter(|(_, wanted)| !wanted.is_empty()) {
            let (stream_type, id) = self.name(stream);
            let found = http.stream(stream_type, &id);
            let seqs: Vec<u64> = found.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
            assert_eq!(seqs, (1..=wanted.len() as u64).collect::<Vec<_>>(), "seqs of {id}");
            assert!(found.iter().map(|event| &event["data"]).eq(wanted), "data of {id}");
        }
    }

    /// The events of each stream as a node has them by itself.
    pub(super) fn local(&self, http: &Http) -> Vec<Value> {
        let page = |stream: usize| {
            let (stream_type, id) = self.name(stream);
            let page = http.get(&format!("streams/{stream_type}/{id}?consistency=local&limit=10000"));
            if page.status == 200 { page.json()["events"].clone() } else { json!([]) }
        };
        (0..self.streams.len()).map(page).collect()
    }

    /// Whether a node has all of it by itself.
    pub(super) fn is_local(&self, http: &Http) -> bool {
        let found = self.local(http);
        found
            .iter()
            .zip(&self.streams)
            .all(|(found, wanted)| found.as_array().unwrap().iter().map(|e| &e["data"]).eq(wanted))
    }
}
