//! Strategies: stores, events and requests out of small pools, so that they meet each other often.

use crate::model::{Append, Event};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use strandline_deql::StoreConfig;
use strandline_engine::append::{Expected, OnError};
use strandline_event::{BatchUnit, Chunk, EventId, IdPrefix, Micros, Seq};

/// What a client's seq is, relative to the head when it is sent.
#[derive(Clone, Copy, Debug)]
pub enum SeqChoice {
    /// None.
    None,
    /// So far after the head (0: the next one), row by row.
    After(u64),
    /// An absolute one.
    At(u64),
}

/// What the stream is expected at.
#[derive(Clone, Copy, Debug)]
pub enum ExpectedChoice {
    /// Anything.
    Any,
    /// Empty.
    Empty,
    /// So many below the head (0: right).
    Below(u64),
}

/// A request before the heads are known.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The request; seqs and expectation are filled in by [`Draft::aim`].
    pub append: Append,
    seq: SeqChoice,
    expected: ExpectedChoice,
}

impl Draft {
    /// Fills in seqs and expectation by the heads as they are.
    #[must_use]
    pub fn aim(&self, head: impl Fn(&str) -> Seq) -> Append {
        let mut append = self.append.clone();
        let mut given = std::collections::HashMap::<String, u64>::new();
        for event in &mut append.events {
            let before = given.entry(event.stream_id.clone()).or_insert(0);
            event.seq = match self.seq {
                SeqChoice::None => None,
                SeqChoice::After(skip) => Some(Seq(head(&event.stream_id).0 + 1 + skip + *before)),
                SeqChoice::At(seq) => Some(Seq(seq + *before)),
            };
            *before += 1;
        }
        if append.unit == BatchUnit::Append {
            let head = append.events.first().map_or(Seq::ZERO, |e| head(&e.stream_id));
            append.expected = match self.expected {
                ExpectedChoice::Any => Expected::Any,
                ExpectedChoice::Empty => Expected::Empty,
                ExpectedChoice::Below(by) => Expected::At(Seq(head.0.saturating_sub(by))),
            };
        }
        append
    }
}

/// An id out of a small pool; some of the wrong version.
pub fn event_id() -> impl Strategy<Value = EventId> {
    prop_oneof![
        9 => (0u32..6).prop_map(|n| IdPrefix::v7(Micros(1_000_000), 77).id(n)),
        1 => (0u32..3).prop_map(|n| IdPrefix::v4(99 << 40).id(n)),
    ]
}

fn text(pool: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(pool).prop_map(str::to_owned)
}

/// An event of one of three streams.
pub fn event(with_ids: bool) -> impl Strategy<Value = Event> {
    let ids = weighted(if with_ids { 0.3 } else { 0.01 }, event_id());
    let main = (text(&["a", "b", "ü/ ~"]), text(&["Opened", "Closed"]), ids, weighted(0.2, 0u32..2));
    let rest = (
        weighted(0.3, (0i64..5).prop_map(|n| Micros(n * 86_400_000_000 - 7))),
        text(&["{}", "{\"n\": 1}", "[ 1,\n2 ]"]),
        weighted(0.2, text(&["{}", "null"])),
        weighted(0.4, text(&["c1", "c2", "c3", "c4", "c5"])),
        weighted(0.8, text(&["", "k"])),
        weighted(0.8, text(&["UA", "DL"])),
    );
    (main, rest).prop_map(|((stream_id, event_type, event_id, event_version), rest)| {
        let (occurred_at, data, metadata, command_id, correlation_id, tenant_id) = rest;
        Event {
            stream_id,
            event_type,
            event_id,
            seq: None,
            event_version,
            occurred_at,
            data,
            metadata,
            command_id,
            correlation_id,
            causation_id: None,
            tenant_id,
        }
    })
}

fn seq_choice() -> impl Strategy<Value = SeqChoice> {
    prop_oneof![
        5 => Just(SeqChoice::None),
        3 => Just(SeqChoice::After(0)),
        1 => (1u64..4).prop_map(SeqChoice::After),
        2 => (1u64..12).prop_map(SeqChoice::At),
        1 => Just(SeqChoice::At(i64::MAX as u64)),
    ]
}

fn chunk() -> impl Strategy<Value = Option<Chunk>> {
    weighted(0.2, (0u8..2, 1u64..5).prop_map(|(d, number)| Chunk { digest: [d; 16], number }))
}

/// A bulk body.
pub fn bulk(stream_type: &'static str, with_ids: bool) -> impl Strategy<Value = Draft> {
    let skip = any::<bool>().prop_map(|skip| if skip { OnError::Skip } else { OnError::Abort });
    (vec(event(with_ids), 1..7), seq_choice(), skip, prop::bool::weighted(0.1), chunk()).prop_map(
        move |(events, seq, on_error, inspect, chunk)| Draft {
            append: Append {
                stream_type: stream_type.to_owned(),
                unit: BatchUnit::Rows,
                events,
                expected: Expected::Any,
                on_error,
                inspect,
                chunk,
            },
            seq,
            expected: ExpectedChoice::Any,
        },
    )
}

/// An append to one stream; rarely with events of another, or of another command.
pub fn stream_append(stream_type: &'static str, with_ids: bool) -> impl Strategy<Value = Draft> {
    let expected = prop_oneof![
        4 => Just(ExpectedChoice::Any),
        2 => Just(ExpectedChoice::Empty),
        4 => Just(ExpectedChoice::Below(0)),
        1 => Just(ExpectedChoice::Below(1)),
    ];
    let odd = prop::bool::weighted(0.05);
    (vec(event(with_ids), 1..5), seq_choice(), expected, prop::bool::weighted(0.1), odd).prop_map(
        move |(mut events, seq, expected, inspect, odd)| {
            let (stream, command) = (events[0].stream_id.clone(), events[0].command_id.clone());
            for event in events.iter_mut().filter(|_| !odd) {
                event.stream_id.clone_from(&stream);
                event.command_id.clone_from(&command);
            }
            let append = Append {
                stream_type: stream_type.to_owned(),
                unit: BatchUnit::Append,
                events,
                expected: Expected::Any,
                on_error: OnError::Abort,
                inspect,
                chunk: None,
            };
            Draft { append, seq, expected }
        },
    )
}

/// Any request.
pub fn draft(stream_type: &'static str) -> impl Strategy<Value = Draft> {
    any::<bool>().prop_flat_map(move |with_ids| {
        prop_oneof![bulk(stream_type, with_ids).boxed(), stream_append(stream_type, with_ids).boxed()]
    })
}

/// Settings of the statement that change what an append may do.
pub fn rule_settings() -> impl Strategy<Value = String> {
    let scope = select(&["none", "stream", "stream_type", "store"][..]);
    let flag = || prop::bool::weighted(0.2);
    (scope, prop::bool::weighted(0.6), flag(), flag(), flag(), flag()).prop_map(
        |(scope, monotonic, version, tenant, enforce, correlation)| {
            let partition = if enforce { ", partition.by = ('tenant_id'), partition.enforce = true" } else { "" };
            format!(
                "id.command_id.unique_scope = '{scope}', read.require_monotonic_seq = {monotonic}, \
                 strict.event_version_required = {version}, strict.tenant_required = {tenant}, \
                 id.correlation_id.optional = {}{partition}, strict.immutable_events = false",
                !correlation
            )
        },
    )
}

/// A store with these settings beside the mandatory ones.
///
/// # Panics
/// When the statement is not valid.
#[must_use]
#[allow(clippy::panic)]
pub fn store(durable_path: &str, settings: &str) -> StoreConfig {
    let comma = if settings.is_empty() { "" } else { ", " };
    let text = format!(
        "CREATE EVENTSTORE test WITH (durable.type = 'parquet', durable.path = '{durable_path}'{comma}{settings});"
    );
    match strandline_deql::parse_file("test.deql", &text) {
        Ok(mut declared) if declared.stores.len() == 1 => declared.stores.remove(0).config,
        Ok(_) => panic!("not one store: {text}"),
        Err(errors) => panic!("{errors}"),
    }
}
