//! Generated call-detail records: the load of `bench` and a part of `demo`.
//!
//! About 263 bytes an event as NDJSON, more where the store demands fields that are optional elsewhere. A record is a pure
//! function of the seed and its number, so a run can be repeated.

use crate::random::Random;
use std::fmt::Write as _;
use strandline_event::{EventInput, Field, FieldNames, Micros};

/// The stream type of the records.
pub(crate) const STREAM_TYPE: &str = "Call";
const EVENT_TYPE: &str = "CallEnded";
/// 2026-11-01T00:00:00Z.
const MONTH_BEGAN_S: i64 = 1_793_491_200;
/// Days of the month that records are of.
const MONTH_S: u64 = 28 * 86_400;

/// What a store wants of its records.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Its names of the fields.
    pub(crate) names: FieldNames,
    /// Fields that it demands though others do not; each gets a text.
    pub(crate) demanded: Vec<Field>,
}

/// Writes records of a number of subscribers, one NDJSON line each.
#[derive(Debug)]
pub(crate) struct Calls {
    random: Random,
    first_stream: u64,
    streams: u64,
    second: u64,
    /// The fields' names as JSON keys with a colon: stream type, stream id, event type, version, moment, data.
    keys: [String; 6],
    /// Keys of what the store demands.
    demanded: Vec<String>,
    seed: u64,
}

impl Calls {
    /// Records of `streams` subscribers (at least 1), numbered from `first_stream`.
    pub(crate) fn new(seed: u64, first_stream: u64, streams: u64, wanted: &Wanted) -> Self {
        const FIELDS: [Field; 6] = [
            Field::StreamType,
            Field::StreamId,
            Field::EventType,
            Field::EventVersion,
            Field::OccurredAt,
            Field::Payload,
        ];
        let key = |field: Field| format!("{}:", serde_json::json!(wanted.names.get(field)));
        let demanded = wanted.demanded.iter().map(|field| key(*field)).collect();
        let (random, streams) = (Random::new(seed), streams.max(1));
        Self { random, first_stream, streams, second: 0, keys: FIELDS.map(key), demanded, seed }
    }

    /// The stream id of a subscriber.
    pub(crate) fn stream_id(number: u64) -> String {
        format!("4917{number:08}")
    }

    /// The next record.
    pub(crate) fn record(&mut self) -> Record {
        let caller = self.first_stream + self.random.below(self.streams);
        let callee = self.random.below(100_000_000);
        let seconds = self.random.below(3_600);
        let cell = self.random.below(65_536);
        let imsi = self.random.below(10_000_000_000);
        self.second += 1;
        let data = format!(
            "{{\"callee\":\"4917{callee:08}\",\"seconds\":{seconds},\"cell\":\"{cell:04x}\",\"imsi\":\"26201{imsi:010}\",\"leg\":1,\
             \"network\":\"5G\",\"cause\":16,\"price\":{}.{:02}}}",
            seconds / 600,
            seconds % 100,
        );
        let mark = format!("bench-{}-{}", self.seed, self.second);
        Record { stream_id: Self::stream_id(caller), second: self.second % MONTH_S, data, mark }
    }

    /// Appends one record and a line break to `out`.
    pub(crate) fn line(&mut self, out: &mut String) {
        let record = self.record();
        let [stream_type, stream_id, event_type, version, occurred_at, payload] = &self.keys;
        let second = record.second;
        let (hour, minute, day) = (second / 3_600 % 24, second / 60 % 60, 1 + second / 86_400);
        // writing to a String cannot fail
        let _ = write!(
            out,
            "{{{stream_type}\"{STREAM_TYPE}\",{stream_id}\"{}\",{event_type}\"{EVENT_TYPE}\",{version}1,\
             {occurred_at}\"2026-11-{day:02}T{hour:02}:{minute:02}:{:02}Z\",{payload}{}",
            record.stream_id,
            second % 60,
            record.data,
        );
        for key in &self.demanded {
            let _ = write!(out, ",{key}\"{}\"", record.mark);
        }
        out.push_str("}\n");
    }
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    /// The subscriber.
    pub(crate) stream_id: String,
    /// Seconds after the start of the month.
    second: u64,
    /// What happened, JSON.
    pub(crate) data: String,
    /// A text of its own, for fields that the store demands.
    mark: String,
}

impl Record {
    /// As an event; `demanded`: fields that the store demands.
    pub(crate) fn event(&self, demanded: &[Field]) -> EventInput<'_> {
        let text = |field: Field| demanded.contains(&field).then_some(self.mark.as_str());
        EventInput {
            stream_id: &self.stream_id,
            event_type: EVENT_TYPE,
            event_version: Some(1),
            occurred_at: Some(Micros((MONTH_BEGAN_S + self.second as i64) * 1_000_000)),
            data: &self.data,
            command_id: text(Field::CommandId),
            correlation_id: text(Field::CorrelationId),
            tenant_id: text(Field::TenantId),
            ..EventInput::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_repeat_for_a_seed_and_are_json_of_about_263_bytes() {
        let lines = |seed| {
            let (mut calls, mut text) = (Calls::new(seed, 10, 5, &Wanted::default()), String::new());
            (0..100).for_each(|_| calls.line(&mut text));
            text
        };
        assert_eq!(lines(7), lines(7));
        assert_ne!(lines(7), lines(8));
        for line in lines(7).lines() {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(event["stream_type"], STREAM_TYPE);
            assert!((255..=271).contains(&line.len()), "{} {line}", line.len());
        }
    }
    #[test]
    fn a_record_is_the_same_event_on_both_ways() {
        let (mut lines, mut records) =
            (Calls::new(4, 0, 9, &Wanted::default()), Calls::new(4, 0, 9, &Wanted::default()));
        for _ in 0..100 {
            let mut line = String::new();
            lines.line(&mut line);
            let (line, record): (serde_json::Value, _) = (serde_json::from_str(&line).unwrap(), records.record());
            let event = record.event(&[]);
            assert_eq!(
                (line["stream_id"].as_str().unwrap(), &line["event_type"]),
                (event.stream_id, &EVENT_TYPE.into())
            );
            let occurred_at = strandline_event::time::parse_rfc3339(line["occurred_at"].as_str().unwrap());
            assert_eq!(occurred_at, event.occurred_at);
            assert_eq!(line["data"], serde_json::from_str::<serde_json::Value>(event.data).unwrap());
        }
    }

    #[test]
    fn a_store_that_names_and_demands_fields_gets_them() {
        let mut wanted = Wanted { demanded: vec![Field::CommandId, Field::TenantId], ..Wanted::default() };
        wanted.names.set(Field::TenantId, "operator");
        wanted.names.set(Field::Payload, "cdr");
        let (mut calls, mut text) = (Calls::new(3, 0, 1, &wanted), String::new());
        (0..2).for_each(|_| calls.line(&mut text));
        let events: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(events.iter().all(|e| e["cdr"]["leg"] == 1 && e["operator"].is_string()), "{text}");
        assert_ne!(events[0]["command_id"], events[1]["command_id"], "each record is a command of its own");
    }
}
