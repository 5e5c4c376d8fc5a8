//! What no owner can find by itself: rows in a file of another bucket than their stream's, which no reader of the stream would open, and
//! command ids that two streams have though they are unique in the store (in a cluster those of data files alone: a replica's log may end with
//! what its group has given up).
//!
//! Memory: where ids are unique in the store, 32 bytes for each command of a pass, besides the ids of its events.

use super::Report;
use super::ids::IdPasses;
use crate::append::Rules;
use crate::commands::{Scope, command_key};
use std::collections::{BTreeMap, BTreeSet};
use strandline_durable::Snapshot;
use strandline_event::hash::keyed_hash;
use strandline_event::{EventRef, LogKey, bucket_of_stream};

/// Rows that are named for each log; more are counted.
const SHOWN: usize = 5;
/// Command ids of two streams that are looked for in the second walk.
const LISTED_MAX: usize = 10_000;

/// Rows of one log that are not its: those to show, and how many there are.
type Misplaced = (Vec<(String, String)>, u64);

/// Looks at what lies where.
pub(super) struct Owners<'a> {
    /// Stream types of several buckets, as far as the manifest says it.
    buckets: Option<&'a BTreeMap<String, u32>>,
    misplaced: BTreeMap<LogKey, Misplaced>,
    /// Of commands, where they are unique in the store.
    digest_key: Option<(u64, u64)>,
    /// Of the pass: command and stream.
    commands: Vec<(u128, u128)>,
    doubles: BTreeSet<u128>,
}

impl<'a> Owners<'a> {
    pub(super) fn new(rules: &Rules, snapshot: Option<&'a Snapshot>) -> Self {
        Self {
            buckets: snapshot.map(|snapshot| &snapshot.manifest().buckets),
            misplaced: BTreeMap::new(),
            digest_key: (rules.scope == Scope::Store).then_some(rules.digest_key),
            commands: Vec::new(),
            doubles: BTreeSet::new(),
        }
    }

    /// Event ids of one pass: fewer where commands are collected beside them.
    pub(super) fn ids_of_pass(&self, ids: u64) -> u64 {
        if self.digest_key.is_some() { ids / 3 } else { ids }
    }

    /// An event of a data file of a log, once.
    pub(super) fn add_row(&mut self, event: &EventRef<'_>, log: &LogKey, place: &dyn Fn() -> String) {
        let Some(buckets) = self.buckets.and_then(|types| types.get(event.stream_type)) else { return };
        let bucket = bucket_of_stream(event.stream_id, *buckets);
        if bucket == log.bucket {
            return;
        }
        let (shown, count) = self.misplaced.entry(log.clone()).or_default();
        *count += 1;
        if shown.len() < SHOWN {
            let (stream_id, here) = (event.stream_id, log.bucket);
            shown.push((
                place(),
                format!("its stream `{stream_id}` belongs to bucket {bucket}, the file to bucket {here}"),
            ));
        }
    }

    /// An event, in each pass.
    pub(super) fn add_command(&mut self, event: &EventRef<'_>, ids: &IdPasses) {
        let Some((digest_key, id)) = self.digest_key.zip(event.command_id) else { return };
        let key = command_key(Scope::Store, digest_key, event.stream_type, 0, id);
        if !ids.is_of_pass(key) {
            return;
        }
        let stream = keyed_hash(0, 0, &[event.stream_type.as_bytes(), event.stream_id.as_bytes()]);
        // the events of one append stand behind one another
        if self.commands.last() != Some(&(key, stream)) {
            self.commands.push((key, stream));
        }
    }

    /// Compares what the pass collected.
    pub(super) fn end_pass(&mut self) {
        self.commands.sort_unstable();
        let twice = self.commands.windows(2).filter(|pair| pair[0].0 == pair[1].0 && pair[0].1 != pair[1].1);
        for pair in twice {
            if self.doubles.len() < LISTED_MAX {
                self.doubles.insert(pair[0].0);
            }
        }
        self.commands.clear();
    }

    /// Keys of the command ids that two streams have.
    pub(super) fn doubles(&self) -> impl Iterator<Item = u128> {
        self.doubles.iter().copied()
    }

    pub(super) fn finish(self, report: &mut Report) {
        for (log, (shown, count)) in self.misplaced {
            let more = count - shown.len() as u64;
            shown.into_iter().for_each(|(place, what)| report.add(place, what));
            if more > 0 {
                report.add(format!("files of `{log}`"), format!("{more} more rows belong to other buckets"));
            }
        }
    }
}
