//! Keys that more than one row has: a second walk tells all places, and whether the rows are equal.
//!
//! Memory: a fingerprint and a place for each row of at most [`KEYS_MAX`] keys; more keys are counted.

use super::Report;
use super::streams::{DoubledSeqs, Ranges};
use crate::commands::{Scope, command_key};
use std::collections::{BTreeMap, HashMap, HashSet};
use strandline_event::hash::bytes_hash;
use strandline_event::{EventId, EventRef, Field};

/// Keys of each kind that are told one by one.
const KEYS_MAX: u64 = 200;
/// Rows of one key whose places are told.
const ROWS_MAX: usize = 4;

/// A row of a key that stands more than once.
struct Row {
    place: String,
    seq: u64,
    stream: String,
    /// Of each field, in the order of the fields.
    fingerprints: Vec<u128>,
}

/// The rows of doubled keys.
pub(super) struct Doubles {
    /// By stream type and stream id.
    seqs: HashMap<(Box<str>, Box<str>), Ranges>,
    ids: HashSet<EventId>,
    by_seq: BTreeMap<(String, u64), Vec<Row>>,
    by_id: BTreeMap<EventId, Vec<Row>>,
    /// Of command ids that are unique in the store, and what their keys are made with.
    commands: HashSet<u128>,
    digest_key: (u64, u64),
    /// A row of each stream.
    by_command: BTreeMap<String, Vec<Row>>,
    /// Keys that are not told one by one.
    more: u64,
}

impl Doubles {
    /// Those whose rows are to be collected; `None`: no key stands twice.
    pub(super) fn of<'a>(
        seqs: Vec<DoubledSeqs>,
        ids: impl Iterator<Item = &'a EventId>,
        (digest_key, commands): ((u64, u64), impl Iterator<Item = u128>),
    ) -> Option<Self> {
        let (mut left, mut more, mut wanted) = (KEYS_MAX, 0, HashMap::new());
        for DoubledSeqs { stream_type, stream_id, ranges } in seqs {
            let mut kept = Vec::new();
            for (first, last) in ranges {
                let taken = left.min(last - first + 1);
                more += last - first + 1 - taken;
                left -= taken;
                kept.extend((taken > 0).then(|| (first, first + taken - 1)));
            }
            if !kept.is_empty() {
                wanted.insert((stream_type, stream_id), kept);
            }
        }
        let mut ids: Vec<EventId> = ids.copied().collect();
        more += (ids.len() as u64).saturating_sub(KEYS_MAX);
        ids.truncate(KEYS_MAX as usize);
        let mut commands: Vec<u128> = commands.collect();
        more += (commands.len() as u64).saturating_sub(KEYS_MAX);
        commands.truncate(KEYS_MAX as usize);
        let some = !wanted.is_empty() || !ids.is_empty() || !commands.is_empty();
        some.then(|| Self {
            seqs: wanted,
            ids: ids.into_iter().collect(),
            by_seq: BTreeMap::new(),
            by_id: BTreeMap::new(),
            commands: commands.into_iter().collect(),
            digest_key,
            by_command: BTreeMap::new(),
            more,
        })
    }

    /// An event of the second walk.
    pub(super) fn add(&mut self, event: &EventRef<'_>, place: &dyn Fn() -> String) {
        let key = (Box::from(event.stream_type), Box::from(event.stream_id));
        let seq = event.seq.0;
        let row = || Row { place: place(), seq, stream: stream(event), fingerprints: fingerprints(event) };
        let ranges = self.seqs.get(&key);
        if ranges.is_some_and(|ranges| ranges.iter().any(|(first, last)| (*first..=*last).contains(&seq))) {
            self.by_seq.entry((stream(event), seq)).or_default().push(row());
        }
        if self.ids.contains(&event.event_id) {
            self.by_id.entry(event.event_id).or_default().push(row());
        }
        if let Some(id) = event.command_id.filter(|id| self.has_command(event, id)) {
            let (rows, row) = (self.by_command.entry(id.to_owned()).or_default(), row());
            if rows.iter().all(|known| known.stream != row.stream) {
                rows.push(row);
            }
        }
    }

    fn has_command(&self, event: &EventRef<'_>, id: &str) -> bool {
        !self.commands.is_empty()
            && self.commands.contains(&command_key(Scope::Store, self.digest_key, event.stream_type, 0, id))
    }

    pub(super) fn finish(self, report: &mut Report) {
        for ((stream, seq), rows) in &self.by_seq {
            let differing = differing(rows);
            let content = match &*differing {
                "" => "the same content".to_owned(),
                fields => format!("different content ({fields})"),
            };
            report.add(stream.clone(), format!("seq {seq} stands twice with {content}: in {}", places(rows, false)));
        }
        for (id, rows) in &self.by_id {
            let first = rows.first().map(|row| (&row.stream, row.seq));
            // of one key: told as that
            if rows.iter().any(|row| Some((&row.stream, row.seq)) != first) {
                report.add(format!("event_id {id}"), format!("more than one event has it: in {}", places(rows, true)));
            }
        }
        for (id, rows) in &self.by_command {
            let what = "more than one stream has it, and it is unique in the store";
            report.add(format!("command_id {id}"), format!("{what}: in {}", places(rows, true)));
        }
        if self.more > 0 {
            report.add("doubles", format!("{} more keys stand twice", self.more));
        }
    }
}

fn stream(event: &EventRef<'_>) -> String {
    format!("stream `{}` of `{}`", event.stream_id, event.stream_type)
}

/// Where the rows of a key stand.
fn places(rows: &[Row], with_key: bool) -> String {
    let one = |row: &Row| match with_key {
        true => format!("{} (seq {} of {})", row.place, row.seq, row.stream),
        false => row.place.clone(),
    };
    let shown: Vec<String> = rows.iter().take(ROWS_MAX).map(one).collect();
    let more = rows.len().saturating_sub(ROWS_MAX);
    let end = if more > 0 { format!(", and in {more} more places") } else { String::new() };
    shown.join(", and in ") + &end
}

/// The fields in which the rows of a key differ.
fn differing(rows: &[Row]) -> String {
    let differs =
        |n: usize| rows.iter().any(|row| row.fingerprints.get(n) != rows.first().and_then(|r| r.fingerprints.get(n)));
    let fields = Field::ALL.into_iter().enumerate().filter(|(n, _)| differs(*n));
    fields.map(|(_, field)| field.default_name()).collect::<Vec<_>>().join(", ")
}

fn fingerprints(event: &EventRef<'_>) -> Vec<u128> {
    Field::ALL.into_iter().map(|field| fingerprint(event, field)).collect()
}

/// Of a field; null is like no value.
fn fingerprint(event: &EventRef<'_>, field: Field) -> u128 {
    let text = |text: Option<&str>| text.map_or(0, |text| bytes_hash(text.as_bytes()));
    match field {
        Field::EventId => bytes_hash(&event.event_id.0),
        Field::Seq => u128::from(event.seq.0),
        Field::EventVersion => event.event_version.map_or(0, |version| u128::from(version) + 1),
        Field::OccurredAt => bytes_hash(&event.occurred_at.0.to_le_bytes()),
        Field::IngestedAt => bytes_hash(&event.ingested_at.0.to_le_bytes()),
        Field::StreamType => text(Some(event.stream_type)),
        Field::StreamId => text(Some(event.stream_id)),
        Field::EventType => text(Some(event.event_type)),
        Field::Payload => text(Some(event.data)),
        Field::Metadata => text(event.metadata),
        Field::CommandId => text(event.command_id),
        Field::CorrelationId => text(event.correlation_id),
        Field::CausationId => text(event.causation_id),
        Field::TenantId => text(event.tenant_id),
    }
}
