//! Generated call-detail records: the load of `bench` and a part of `demo`.
//!
//! About 263 bytes an event as NDJSON, more where the store demands fields that are optional elsewhere. A record is a pure
//! function of the seed and its number, so a run can be repeated.

use crate::random::Random;
use std::fmt::Write as _;
use strandline_event::{Field, FieldNames};

/// The stream type of the records.
pub(crate) const STREAM_TYPE: &str = "Call";

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

    /// Appends one record and a line break to `out`.
    pub(crate) fn line(&mut self, out: &mut String) {
        let caller = self.first_stream + self.random.below(self.streams);
        let callee = self.random.below(100_000_000);
        let seconds = self.random.below(3_600);
        let cell = self.random.below(65_536);
        let imsi = self.random.below(10_000_000_000);
        self.second += 1;
        let (hour, minute, second) = (self.second / 3_600 % 24, self.second / 60 % 60, self.second % 60);
        let day = 1 + self.second / 86_400 % 28;
        let [stream_type, stream_id, event_type, version, occurred_at, payload] = &self.keys;
        // writing to a String cannot fail
        let _ = write!(
            out,
            "{{{stream_type}\"{STREAM_TYPE}\",{stream_id}\"{}\",{event_type}\"CallEnded\",{version}1,\
             {occurred_at}\"2026-11-{day:02}T{hour:02}:{minute:02}:{second:02}Z\",{payload}{{\"callee\":\"4917{callee:08}\",\
             \"seconds\":{seconds},\"cell\":\"{cell:04x}\",\"imsi\":\"26201{imsi:010}\",\"leg\":1,\
             \"network\":\"5G\",\"cause\":16,\"price\":{}.{:02}}}",
            Self::stream_id(caller),
            seconds / 600,
            seconds % 100,
        );
        for key in &self.demanded {
            let _ = write!(out, ",{key}\"bench-{}-{}\"", self.seed, self.second);
        }
        out.push_str("}\n");
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
