//! `subscribe`: follows the store over Server-Sent Events, one JSON line an event, and comes again where the connection breaks.
//!
//! With `--durable` the server keeps the position: an event is acknowledged when its line is written, so what a reader of our output
//! has seen is never asked for again, and what it has not seen comes again.

use crate::cli::Subscribe;
use crate::client::{Client, Request, encode};
use crate::exit::Failure;
use crate::out;
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read};
use std::time::{Duration, Instant};

/// Pause before the next attempt.
const PAUSE: Duration = Duration::from_millis(500);
/// Events that are acknowledged together.
const ACK_EVERY: usize = 100;

pub(crate) fn run(options: &Subscribe) -> Result<(), Failure> {
    let client = Client::new(&options.on)?;
    let mut following = Following {
        options,
        client,
        last: options.after.clone(),
        consumer: None,
        left: options.limit,
        unacked: 0,
        is_type_told: false,
    };
    if let Some(name) = &options.durable {
        following.make(name)?;
    }
    following.run()
}

struct Following<'a> {
    options: &'a Subscribe,
    client: Client,
    /// The last position that was given.
    last: Option<String>,
    /// Who we are to a named subscription.
    consumer: Option<String>,
    left: Option<u64>,
    /// Events that were printed and are not acknowledged.
    unacked: usize,
    /// Whether it was looked up that the stream type is known.
    is_type_told: bool,
}

/// How a connection ended.
enum Ended {
    /// As it was asked for.
    Done,
    /// It broke, or the server wants us to come again.
    Again(Failure),
}

/// One message of the stream.
#[derive(Default)]
struct Message {
    id: Option<String>,
    kind: Option<String>,
    data: String,
}

impl Following<'_> {
    /// Makes the named subscription; one that is there stays as it is, and must ask for the same where the command says what.
    fn make(&mut self, name: &str) -> Result<(), Failure> {
        let path = self.client.store_path(&["subscriptions", name])?;
        let there = self.client.send(&Request { path: path.clone(), ..Request::default() })?;
        let filters = self.filters().into_iter().map(|(key, value)| (key.to_owned(), json!(value)));
        let filters = Value::Object(filters.collect());
        if there.status != 404 {
            let there = there.ok()?.json();
            let says_any = !self.filters().is_empty();
            if says_any && filters != there["filter"] {
                return Err(other_filter(name, &there["filter"]));
            }
            let notes = kept_notes(name, &there["filter"], says_any, self.options.after.is_some());
            notes.iter().for_each(|note| out::note(note));
            return Ok(());
        }
        let wish = json!({ "filter": filters, "after": self.options.after });
        let body = wish.to_string();
        let request =
            Request { path, body: Some(body.as_bytes()), content_type: "application/json", ..Request::default() };
        let made = self.client.send(&request)?.ok()?.json();
        for warning in made["warnings"].as_array().into_iter().flatten() {
            out::note(&format!("strandline: {}", out::escaped(warning.as_str().unwrap_or_default())));
            // the same need not be said of what is asked for
            self.is_type_told = true;
        }
        Ok(())
    }

    fn filters(&self) -> Vec<(&'static str, &str)> {
        let Subscribe { stream_type, stream_id, event_type, tenant_id, occurred_from, occurred_to, .. } = self.options;
        let all = [
            ("stream_type", stream_type),
            ("stream_id", stream_id),
            ("event_type", event_type),
            ("tenant_id", tenant_id),
            ("occurred_from", occurred_from),
            ("occurred_to", occurred_to),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }

    fn run(mut self) -> Result<(), Failure> {
        let patience = Duration::from_secs(self.options.patience);
        let mut silent_since: Option<Instant> = None;
        loop {
            let before = self.last.clone();
            let failure = match self.connection() {
                Ok(Ended::Done) => return self.acknowledge(),
                Ok(Ended::Again(failure)) => failure,
                // what of the lines was read before nobody is there to say
                Err(Failure::PipeClosed) => return Err(Failure::PipeClosed),
                Err(failure) => {
                    // what was printed before it need not come again; the command ends for the first reason
                    let _ = self.acknowledge();
                    return Err(failure);
                }
            };
            // what was printed and could not be acknowledged comes again
            (self.unacked, self.consumer) = (0, None);
            if self.last != before {
                silent_since = None;
            }
            let is_new = silent_since.is_none();
            if silent_since.get_or_insert_with(Instant::now).elapsed() >= patience {
                return Err(failure);
            }
            if is_new {
                out::note(&format!("strandline: {}; trying again", failure.text().unwrap_or_default()));
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn path(&self) -> Result<String, Failure> {
        let mut query: Vec<(&str, String)> = Vec::new();
        let path = match &self.options.durable {
            Some(name) => self.client.store_path(&["subscriptions", name, "events"])?,
            None => {
                query.extend(self.filters().into_iter().map(|(name, value)| (name, value.to_owned())));
                query.extend(self.last.iter().map(|last| ("after", last.clone())));
                self.client.store_path(&["subscribe"])?
            }
        };
        query.extend(self.left.iter().map(|left| ("limit", left.to_string())));
        query.extend(self.options.idle.iter().map(|idle| ("idle_s", idle.to_string())));
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        Ok(format!("{path}?{}", query.join("&")))
    }

    /// The outer error ends the command.
    fn connection(&mut self) -> Result<Ended, Failure> {
        let request = Request {
            path: self.path()?,
            accept: Some("text/event-stream"),
            answer_within: Some(Duration::from_secs(self.options.patience.max(1))),
            ..Request::default()
        };
        let body = match self.client.open(&request) {
            Ok(Ok(body)) => body,
            Ok(Err(failure @ Failure::Server(_))) | Err(failure) => return Ok(Ended::Again(failure)),
            Ok(Err(failure)) => return Err(failure),
        };
        self.tell_of_type();
        self.messages(body)
    }

    /// A stream type that nobody knows may come yet: it is waited for, and said once.
    fn tell_of_type(&mut self) {
        let wanted = self.options.stream_type.as_deref().filter(|_| !self.is_type_told);
        self.is_type_told = true;
        let Some(name) = wanted else { return };
        // events come without this answer too
        let types = self.client.store_path(&["stream-types"]).and_then(|path| self.client.get(&path));
        let types = types.map(|answer| answer.json()).unwrap_or_default();
        let Some(known) = types["stream_types"].as_array() else { return };
        if !known.iter().any(|entry| entry["name"] == name) {
            let name = out::escaped(name);
            out::note(&format!(
                "strandline: nobody has registered a stream type '{name}': its events are shown from the first on"
            ));
        }
    }

    fn messages(&mut self, body: impl Read) -> Result<Ended, Failure> {
        let broke = |error: &io::Error| Ended::Again(Failure::Server(format!("the stream of events broke: {error}")));
        let mut lines = BufReader::with_capacity(256 << 10, body);
        let (mut message, mut line) = (Message::default(), Vec::new());
        loop {
            line.clear();
            match lines.read_until(b'\n', &mut line) {
                Err(error) => return Ok(broke(&error)),
                Ok(0) => return Ok(broke(&io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\n', '\r']);
            if !text.is_empty() {
                message.add(text);
                continue;
            }
            if let Some(ended) = self.take(std::mem::take(&mut message))? {
                return Ok(ended);
            }
            let waits = lines.buffer().is_empty();
            if self.unacked >= ACK_EVERY || (waits && self.unacked > 0) {
                self.acknowledge()?;
            }
        }
    }

    fn take(&mut self, message: Message) -> Result<Option<Ended>, Failure> {
        let data = || serde_json::from_str::<Value>(&message.data).unwrap_or_default();
        match message.kind.as_deref() {
            Some("consumer") => self.consumer = data()["consumer"].as_str().map(str::to_owned),
            Some("end") => return self.ended(&data()).map(Some),
            _ => {}
        }
        if message.kind.is_none() && !message.data.is_empty() {
            out::line(&message.data)?;
            // a dry run has no place
            if message.id.is_some() {
                self.unacked += 1;
                self.left = self.left.map(|left| left.saturating_sub(1));
            }
        }
        if message.id.is_some() {
            self.last = message.id;
        }
        Ok(None)
    }

    fn ended(&self, why: &Value) -> Result<Ended, Failure> {
        let text = format!(
            "{} ({})",
            out::escaped(why["error"].as_str().unwrap_or_default()),
            out::escaped(why["code"].as_str().unwrap_or("?"))
        );
        match why["code"].as_str() {
            Some("limit" | "idle") => Ok(Ended::Done),
            Some("unavailable" | "overloaded") => Ok(Ended::Again(Failure::Server(text))),
            Some("notifications_disabled" | "deleted") => Err(Failure::No(text)),
            _ => Err(Failure::Server(text)),
        }
    }

    /// What is printed need not come again.
    fn acknowledge(&mut self) -> Result<(), Failure> {
        let (Some(name), Some(position)) = (&self.options.durable, &self.last) else { return Ok(()) };
        if self.unacked == 0 {
            return Ok(());
        }
        let path = self.client.store_path(&["subscriptions", name, "ack"])?;
        let body = json!({ "position": position, "consumer": self.consumer }).to_string();
        let request =
            Request { path, body: Some(body.as_bytes()), content_type: "application/json", ..Request::default() };
        let answered = match self.client.send(&request) {
            // who gives its events was started anew, and another consumer has this one: it comes again there. Of one that was deleted the stream says so
            Ok(answer) if answer.status == 404 => return Ok(()),
            answered => answered.and_then(crate::client::Answer::ok),
        };
        match answered {
            Ok(_) => self.unacked = 0,
            // the stream says the same in a moment
            Err(Failure::Server(_)) => {}
            Err(failure) => return Err(failure),
        }
        Ok(())
    }
}

/// What of a subscription that is there already is not as the command may have meant it.
fn kept_notes(name: &str, kept: &Value, says_filters: bool, says_after: bool) -> Vec<String> {
    let (name, filter) = (out::escaped(name), kept.to_string());
    let has_filter = kept.as_object().is_some_and(|kept| !kept.is_empty());
    let of_filter = (has_filter && !says_filters).then(|| {
        let filter = out::escaped(&filter);
        format!(
            "strandline: the subscription '{name}' is there already, and gives only what its own filter takes: {filter}"
        )
    });
    let of_place = says_after.then(|| {
        format!("strandline: the subscription '{name}' is there already: it goes on from where it stands, whatever --after says")
    });
    of_filter.into_iter().chain(of_place).collect()
}

fn other_filter(name: &str, kept: &Value) -> Failure {
    let kept = kept.to_string();
    let (name, kept) = (out::escaped(name), out::escaped(&kept));
    Failure::No(format!(
        "there is a subscription '{name}' with another filter, {kept}: leave the filters out, or choose another name (subscription_conflict)"
    ))
}

impl Message {
    fn add(&mut self, line: &str) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = Some(value.to_owned()),
            "event" => self.kind = Some(value.to_owned()),
            "data" => self.data.push_str(value),
            // a comment, or a field that is not ours
            _ => {}
        }
    }
}
