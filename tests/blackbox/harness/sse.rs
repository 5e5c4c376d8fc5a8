//! A client of Server-Sent Events, as a browser or any library would be one.

use super::Http;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};

/// One message.
#[derive(Debug, Default, Clone)]
pub(crate) struct Message {
    pub(crate) id: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) data: Option<Value>,
    pub(crate) attempt: u64,
}

/// A stream of messages.
pub(crate) struct Sse {
    lines: BufReader<Box<dyn Read + Send>>,
    /// What a client comes again with.
    pub(crate) last_id: Option<String>,
}

impl Sse {
    /// Opens a stream; a status that is not 200 fails the test.
    pub(crate) fn open(http: &Http, path: &str, last_id: Option<&str>) -> Self {
        Self::try_open(http, path, last_id).unwrap()
    }

    /// The same, where the node may be gone.
    pub(crate) fn try_open(http: &Http, path: &str, last_id: Option<&str>) -> Option<Self> {
        let body = http.stream_of(path, last_id)?;
        Some(Self { lines: BufReader::with_capacity(64 << 10, body), last_id: last_id.map(str::to_owned) })
    }

    /// The next message that is no comment; `None`: the stream is over.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let (mut message, mut line) = (Message::default(), String::new());
        loop {
            line.clear();
            if self.lines.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let text = line.trim_end_matches(['\n', '\r']);
            if let Some((field, value)) = text.split_once(':') {
                let value = value.trim_start_matches(' ');
                match field {
                    "id" => message.id = Some(value.to_owned()),
                    "event" => message.kind = Some(value.to_owned()),
                    "data" => message.data = Some(serde_json::from_str(value).unwrap()),
                    "attempt" => message.attempt = value.parse().unwrap(),
                    _ => {}
                }
            }
            if text.is_empty() {
                if message.id.is_some() {
                    self.last_id.clone_from(&message.id);
                }
                if message.data.is_some() {
                    return Some(message);
                }
                message = Message::default();
            }
        }
    }

    /// The next event of the store; the end of the stream fails the test.
    pub(crate) fn event(&mut self) -> Message {
        loop {
            let message = self.next().expect("the stream goes on");
            if message.kind.is_none() {
                return message;
            }
            assert_ne!(message.kind.as_deref(), Some("end"), "{message:?}");
        }
    }

    /// All events until the server ends the stream, and the code of its end.
    pub(crate) fn rest(&mut self) -> (Vec<Message>, Option<String>) {
        let mut events = Vec::new();
        while let Some(message) = self.next() {
            match message.kind.as_deref() {
                None => events.push(message),
                Some("end") => return (events, message.data.unwrap()["code"].as_str().map(str::to_owned)),
                Some(_) => {}
            }
        }
        (events, None)
    }
}
