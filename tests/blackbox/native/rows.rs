//! Hundreds of single appends of all kinds at once over one client, which go as rows of few frames: each is answered as what it is, and what is answered
//! with yes is there once.

use super::{connect, runtime};
use crate::harness::Store;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use strandline_client::{
    Appended, BatchBuilder, BatchBytes, BatchUnit, Client, EventInput, Expected, Seq, StreamWanted,
};
use strandline_event::{ErrorKind, EventId};

const COUNT: u64 = 300;

/// An append of one event; every six share a command and a stream between three of them.
struct Sent {
    number: u64,
    stream_id: String,
    data: String,
    command: Option<String>,
    tenant: Option<&'static str>,
    expected: Expected,
}

/// Events by stream and seq.
pub(crate) type There = BTreeMap<(String, u64), (EventId, String)>;

/// How many appends ended how.
#[derive(Default)]
pub(crate) struct Ends {
    pub(crate) done: u64,
    /// By the owner of the log: broken JSON never comes so far.
    pub(crate) refused: u64,
    pub(crate) stored: u64,
}

impl Sent {
    fn new(number: u64) -> Self {
        let (first, tenant) = (number - number % 6, if number % 12 < 6 { "a" } else { "b" });
        let plain = |stream_id: String| Self {
            number,
            stream_id,
            data: number.to_string(),
            command: None,
            tenant: None,
            expected: Expected::Any,
        };
        let commanded = |data: &str, expected: Expected| Self {
            data: data.to_owned(),
            command: Some(format!("c{first}")),
            expected,
            ..plain(format!("own{first}"))
        };
        match number % 6 {
            0 => plain("shared".to_owned()),
            1 => commanded("1", Expected::Empty),
            2 => commanded("1", Expected::Any),
            3 => commanded("2", Expected::Any),
            4 if number % 12 == 4 => Self { data: "{".to_owned(), ..plain("broken".to_owned()) },
            4 => Self { expected: Expected::At(Seq(9_999)), ..plain("shared".to_owned()) },
            _ => Self { tenant: Some(tenant), ..plain(format!("of-{tenant}")) },
        }
    }

    fn batch(&self) -> BatchBytes {
        let mut batch = BatchBuilder::new("Mixed", BatchUnit::Append);
        let event = EventInput {
            stream_id: &self.stream_id,
            event_type: "E",
            data: &self.data,
            command_id: self.command.as_deref(),
            tenant_id: self.tenant,
            ..EventInput::default()
        };
        batch.push(&event).unwrap();
        batch.finish().unwrap()
    }

    /// The only refusal that it may meet.
    fn refusal(&self) -> Option<ErrorKind> {
        match self.number % 6 {
            1..=3 => Some(ErrorKind::CommandConflict),
            4 if self.number % 12 == 4 => Some(ErrorKind::BadRequest),
            4 => Some(ErrorKind::WrongExpectedSeq),
            _ => None,
        }
    }
}

/// Every event that any of them may have stored.
pub(crate) async fn there(client: &Client) -> There {
    assert_eq!(client.head("Mixed", "broken").await.unwrap(), None);
    let own = (0..COUNT).step_by(6).map(|first| format!("own{first}"));
    let mut there = BTreeMap::new();
    for stream_id in ["shared", "of-a", "of-b"].map(str::to_owned).into_iter().chain(own) {
        let page = client.read_stream(&StreamWanted::all("Mixed", &stream_id)).await.unwrap();
        assert!(page.facts.contiguous && page.facts.next_seq.is_none(), "{stream_id}");
        let events = page.events.iter();
        there.extend(events.map(|event| ((stream_id.clone(), event.seq.0), (event.event_id, event.data.to_owned()))));
    }
    there
}

/// Sends all at once and holds each answer to what is there afterwards.
pub(crate) async fn mixed(client: &Client) -> (There, Ends) {
    let all: Vec<Sent> = (0..COUNT).map(Sent::new).collect();
    let outcomes = join_all(all.iter().map(|one| client.append(one.batch(), one.expected))).await;
    let (there, mut ends) = (there(client).await, Ends::default());
    for (one, outcome) in all.iter().zip(outcomes) {
        let (event_id, seq) = match &outcome {
            Err(error) => {
                assert!(one.refusal().is_some() && error.kind() == one.refusal(), "{}: {error}", one.number);
                ends.refused += u64::from(error.kind() != Some(ErrorKind::BadRequest));
                continue;
            }
            Ok(Appended::One(event)) => (Some(event.event_id), event.seq),
            Ok(Appended::Stored(stamps)) => (Some(stamps.made_id(0)), stamps.seq(0)),
            Ok(Appended::Known(known)) => (known[0].event_id, known[0].seq),
        };
        let is_known = outcome.is_ok_and(|appended| appended.is_known());
        (ends.done, ends.stored) = (ends.done + 1, ends.stored + u64::from(!is_known));
        let (id, data) = &there[&(one.stream_id.clone(), seq.0)];
        assert_eq!((Some(*id), data), (event_id, &one.data), "{}", one.number);
    }
    // of three that share a command one is stored, and all else that may be
    assert_eq!((there.len() as u64, ends.stored), (COUNT / 2, COUNT / 2));
    (there, ends)
}

#[test]
fn hundreds_of_single_appends_at_once_are_answered_stored_and_counted_each() {
    let store = Store::new(&["id.command_id.unique_scope = 'stream'"]);
    let server = store.start();
    let (was_there, ends) = runtime().block_on(async {
        let client = connect(&server).await;
        mixed(&client).await
    });
    let metrics = server.http().get("/metrics").text();
    let counts = ["appends", "appends_refused", "events"].map(|what| {
        let name = format!("strandline_{what}_total ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse::<u64>().unwrap()
    });
    assert_eq!(counts, [ends.done, ends.refused, ends.stored]);
    server.kill();
    let server = store.start();
    assert_eq!(runtime().block_on(async { there(&connect(&server).await).await }), was_there);
    server.stop();
    store.assert_clean();
}
