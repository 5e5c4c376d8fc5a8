//! Call records of 263 bytes, made by patching digits into a text: about as cheap as copying them.
//!
//! A record is a pure function of the seed and its number, and no two are alike, so that nothing compresses better than call
//! records do. Each client of a run owns the streams whose number leaves its own modulo the clients: no two write to one stream.

use crate::heads::Heads;

/// The stream type of the records.
pub const STREAM_TYPE: &str = "Call";
/// Their event type.
pub const EVENT_TYPE: &str = "CallEnded";
/// 2026-11-01T00:00:00Z in microseconds.
const START_US: i64 = 1_793_491_200_000_000;
/// Records happen one second after the other, for this many days; then they begin again.
const DAYS: u64 = 28;
const COMMAND_ID_BYTES: usize = 24;
const HALF_ID_BYTES: usize = COMMAND_ID_BYTES / 2;

/// A command id: hexadecimal digits, unique by seed and number of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandId([u8; COMMAND_ID_BYTES]);

impl CommandId {
    /// Of a record by its number; `of_seed`: the digits of all records of a seed.
    fn new(of_seed: [u8; HALF_ID_BYTES], number: u64) -> Self {
        let mut text = [0; COMMAND_ID_BYTES];
        let (front, back) = text.split_at_mut(HALF_ID_BYTES);
        front.copy_from_slice(&of_seed);
        back.copy_from_slice(&half_id(number));
        Self(text)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        ascii(&self.0)
    }
}

/// The two hexadecimal digits of each byte: found one by one, the digits of an id would cost as much as the rest of its record.
static DIGITS: [[u8; 2]; 256] = digits();

const fn digits() -> [[u8; 2]; 256] {
    let hex = b"0123456789abcdef";
    let (mut all, mut byte) = ([[0; 2]; 256], 0);
    while byte < all.len() {
        all[byte] = [hex[byte >> 4], hex[byte & 15]];
        byte += 1;
    }
    all
}

/// Digits of the lower 48 bits of a number.
fn half_id(number: u64) -> [u8; HALF_ID_BYTES] {
    let mut half = [0; HALF_ID_BYTES];
    let (pairs, _) = half.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(&number.to_be_bytes()[2..]) {
        *pair = DIGITS[usize::from(*byte)];
    }
    half
}

/// One record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Number of its stream.
    pub stream: u32,
    /// Its stream.
    pub stream_id: &'a str,
    /// Its place in the stream.
    pub seq: u64,
    /// Microseconds since 1970.
    pub occurred_at_us: i64,
    /// The whole event as JSON, without a line break: what is stored where a store has one value an event.
    pub line: &'a str,
    /// Its payload alone, a part of the line.
    pub data: &'a str,
    /// The command, where the run has command ids.
    pub command_id: Option<&'a str>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    begin: u32,
    data: u32,
    end: u32,
    stream: u32,
    seq: u64,
    occurred_at_us: i64,
    command_id: Option<CommandId>,
}

/// Records that are appended together. Reused from append to append.
#[derive(Debug, Default)]
pub struct Batch {
    text: Vec<u8>,
    rows: Vec<Row>,
}

impl Batch {
    /// Takes all records out.
    pub fn clear(&mut self) {
        self.text.clear();
        self.rows.clear();
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The records.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.rows.iter().map(|row| {
            let line = ascii(&self.text[row.begin as usize..row.end as usize]);
            Record {
                stream: row.stream,
                stream_id: &line[STREAM_AT..STREAM_AT + STREAM_BYTES],
                seq: row.seq,
                occurred_at_us: row.occurred_at_us,
                data: &line[row.data as usize..line.len() - 1],
                line,
                command_id: row.command_id.as_ref().map(CommandId::as_str),
            }
        })
    }
}

/// Everything that is written here is ASCII.
fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

const HEAD: &[u8] = b"{\"stream_type\":\"Call\",\"stream_id\":\"4917";
const STREAM_AT: usize = HEAD.len() - 4;
const STREAM_BYTES: usize = 12;

/// The stream id of a stream.
#[must_use]
pub fn stream_id(stream: u32) -> String {
    format!("4917{stream:08}")
}

/// The records of one client.
#[derive(Debug)]
pub struct Calls {
    seed: u64,
    state: u64,
    number: u64,
    client: u32,
    clients: u32,
    own: u32,
    first_stream: u32,
    heads: Heads,
    /// Digits that all ids of the seed begin with, where the run has command ids.
    command_ids: Option<[u8; HALF_ID_BYTES]>,
}

impl Calls {
    /// Records of one of some clients (from 0) over its share of the streams.
    #[must_use]
    pub fn new(seed: u64, client: u32, clients: u32, heads: &Heads) -> Self {
        let own = (heads.streams() / clients).max(1);
        // no sum: the seeds of two loads may lie side by side
        let (seed, heads) = (mixed(mixed(seed) ^ u64::from(client)), heads.clone());
        Self { seed, state: mixed(seed), number: 0, client, clients, own, first_stream: 0, heads, command_ids: None }
    }

    /// The same with a command id an event.
    #[must_use]
    pub fn with_command_ids(mut self) -> Self {
        self.command_ids = Some(half_id(mixed(self.seed) >> 16));
        self
    }

    /// The same over streams whose ids begin at another number.
    #[must_use]
    pub const fn from_stream(mut self, first: u32) -> Self {
        self.first_stream = first;
        self
    }

    /// Adds a record of one of the client's streams.
    pub fn add(&mut self, batch: &mut Batch) {
        let stream = (self.client + self.clients * self.below(u64::from(self.own)) as u32) % self.heads.streams();
        self.add_to(stream, batch);
    }

    /// Adds a record of a stream that only this client writes to now.
    pub fn add_to(&mut self, stream: u32, batch: &mut Batch) {
        let second = self.number % (DAYS * 86_400);
        self.number += 1;
        let out = &mut batch.text;
        let begin = out.len();
        out.extend_from_slice(HEAD);
        fixed(out, u64::from(self.first_stream + stream), 8);
        out.extend_from_slice(b"\",\"event_type\":\"CallEnded\",\"event_version\":1,\"occurred_at\":\"2026-11-");
        fixed(out, 1 + second / 86_400, 2);
        for (mark, value) in [(b'T', second / 3_600 % 24), (b':', second / 60 % 60), (b':', second % 60)] {
            out.push(mark);
            fixed(out, value, 2);
        }
        out.extend_from_slice(b"Z\",\"data\":");
        let data = out.len() - begin;
        self.payload(out);
        out.push(b'}');
        batch.rows.push(Row {
            begin: begin as u32,
            data: data as u32,
            end: batch.text.len() as u32,
            stream: self.first_stream + stream,
            seq: self.heads.next(stream),
            occurred_at_us: START_US + second as i64 * 1_000_000,
            command_id: self.command_ids.map(|of_seed| CommandId::new(of_seed, self.number)),
        });
    }

    fn payload(&mut self, out: &mut Vec<u8>) {
        let (callee, seconds) = (self.below(100_000_000), self.below(3_600));
        let (cell, imsi) = (self.below(65_536), self.below(10_000_000_000));
        out.extend_from_slice(b"{\"callee\":\"4917");
        fixed(out, callee, 8);
        out.extend_from_slice(b"\",\"seconds\":");
        number(out, seconds);
        out.extend_from_slice(b",\"cell\":\"");
        for shift in [12, 8, 4, 0] {
            out.push(b"0123456789abcdef"[(cell >> shift & 15) as usize]);
        }
        out.extend_from_slice(b"\",\"imsi\":\"26201");
        fixed(out, imsi, 10);
        out.extend_from_slice(b"\",\"leg\":1,\"network\":\"5G\",\"cause\":16,\"price\":");
        number(out, seconds / 600);
        out.push(b'.');
        fixed(out, seconds % 100, 2);
        out.push(b'}');
    }

    /// A number below a bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        ((u128::from(mixed(self.state)) * u128::from(bound)) >> 64) as u64
    }
}

/// The output step of SplitMix64.
const fn mixed(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

fn fixed(out: &mut Vec<u8>, mut value: u64, digits: usize) {
    let begin = out.len();
    out.resize(begin + digits, b'0');
    for place in out[begin..].iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn number(out: &mut Vec<u8>, value: u64) {
    let digits = value.checked_ilog10().map_or(1, |log| log as usize + 1);
    fixed(out, value, digits);
}

/// Decimal digits of a number, for who writes requests of its own.
pub fn decimal(out: &mut Vec<u8>, value: u64) {
    number(out, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn batch(client: u32, clients: u32, heads: &Heads, count: usize) -> Batch {
        let (mut calls, mut batch) = (Calls::new(7, client, clients, heads).with_command_ids(), Batch::default());
        (0..count).for_each(|_| calls.add(&mut batch));
        batch
    }

    #[test]
    fn records_have_263_bytes_and_name_their_stream() {
        let batch = batch(0, 1, &Heads::new(50), 1_000);
        let bytes: usize = batch.records().map(|record| record.line.len() + 1).sum();
        assert!((260..=266).contains(&(bytes / 1_000)), "{bytes}");
        for record in batch.records() {
            assert_eq!(record.stream_id, stream_id(record.stream));
            assert!(record.line.contains(&format!("\"stream_id\":\"{}\"", record.stream_id)), "{}", record.line);
            assert!(record.line.ends_with(&format!("\"data\":{}}}", record.data)), "{}", record.line);
            assert!(record.data.starts_with("{\"callee\":\"4917") && record.data.ends_with('}'), "{}", record.data);
        }
    }

    #[test]
    fn records_repeat_for_a_seed_and_no_two_are_alike() {
        let lines = || -> Vec<String> {
            batch(0, 1, &Heads::new(50), 500).records().map(|record| record.line.to_owned()).collect()
        };
        assert_eq!(lines(), lines());
        assert_eq!(lines().into_iter().collect::<BTreeSet<_>>().len(), 500);
    }

    #[test]
    fn no_record_and_no_command_of_one_load_is_one_of_another() {
        let heads = Heads::new(64);
        let (mut batch, mut count) = (Batch::default(), 0);
        for seed in [0, 1, 2, !0, !1, !2] {
            for client in 0..4 {
                let mut calls = Calls::new(seed, client, 4, &heads).with_command_ids();
                (0..100).for_each(|_| calls.add(&mut batch));
                count += 100;
            }
        }
        let payloads: BTreeSet<&str> = batch.records().map(|record| record.data).collect();
        let commands: BTreeSet<Option<&str>> = batch.records().map(|record| record.command_id).collect();
        assert_eq!((payloads.len(), commands.len()), (count, count));
    }

    #[test]
    fn each_stream_has_one_client_and_seqs_without_holes() {
        let heads = Heads::new(100);
        let batches: Vec<Batch> = (0..8).map(|client| batch(client, 8, &heads, 2_000)).collect();
        let mut next = vec![1; 100];
        for (client, batch) in (0..).zip(&batches) {
            for record in batch.records() {
                assert_eq!(record.stream % 8, client);
                assert_eq!(record.seq, next[record.stream as usize]);
                next[record.stream as usize] += 1;
            }
        }
        assert_eq!(heads.events(), 16_000);
    }

    #[test]
    fn a_command_id_has_the_digits_of_its_seed_and_its_number() {
        for number in [0, 1, 0x0123_4567_89ab, 0xfedc_ba98_7654, u64::MAX] {
            let id = CommandId::new(half_id(0x00c0_ffee_0009), number);
            assert_eq!(id.as_str(), format!("00c0ffee0009{:012x}", number & 0xffff_ffff_ffff));
        }
    }

    #[test]
    fn command_ids_are_unique() {
        let heads = Heads::new(64);
        let batches: Vec<Batch> = (0..4).map(|client| batch(client, 4, &heads, 1_000)).collect();
        let ids = batches.iter().flat_map(Batch::records).map(|r| r.command_id.map(str::to_owned));
        assert_eq!(ids.collect::<BTreeSet<_>>().len(), 4_000);
    }

    #[test]
    fn the_moment_is_the_one_of_the_line() {
        let heads = Heads::new(4);
        let (mut calls, mut batch) = (Calls::new(1, 0, 1, &heads), Batch::default());
        calls.number = 86_400 + 3_600 + 61;
        calls.add(&mut batch);
        let record = batch.records().next().unwrap();
        assert!(record.line.contains("\"occurred_at\":\"2026-11-02T01:01:01Z\""), "{}", record.line);
        let moment = strandline_event::time::parse_rfc3339("2026-11-02T01:01:01Z").unwrap();
        assert_eq!(moment.0, record.occurred_at_us);
    }
}
