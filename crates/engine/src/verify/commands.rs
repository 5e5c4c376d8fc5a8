//! Command ids of data files: each must have its record, or a retry of the command would be stored a second time.

use super::Report;
use crate::append::Rules;
use crate::commands::{Scope, command_key};
use std::collections::BTreeMap;
use strandline_durable::Snapshot;
use strandline_event::hash::stream_hash;
use strandline_event::{EventRef, LogKey};

/// Commands that are named for each stream type; more are counted.
const SHOWN: usize = 5;

/// Compares the events of files with the command records of a manifest.
pub(super) struct CommandCheck<'a> {
    rules: &'a Rules,
    snapshot: &'a Snapshot,
    /// By log: sentences to show, and how many there are.
    wrong: BTreeMap<LogKey, (Vec<String>, u64)>,
    /// The command of the event before, which is often the same.
    last: Option<u128>,
}

impl<'a> CommandCheck<'a> {
    pub(super) fn new(rules: &'a Rules, snapshot: &'a Snapshot) -> Self {
        Self { rules, snapshot, wrong: BTreeMap::new(), last: None }
    }

    /// An event of a data file of a log.
    pub(super) fn add(&mut self, event: &EventRef<'_>, log: &LogKey) {
        let Some(id) = event.command_id.filter(|_| self.rules.scope != Scope::None) else { return };
        let stream = stream_hash(event.stream_id);
        let key = command_key(self.rules.scope, self.rules.digest_key, event.stream_type, stream, id);
        if self.last.replace(key) == Some(key) {
            return;
        }
        let what = match self.snapshot.command(log, key) {
            Ok(Some(record)) if record.stream == stream && record.first_seq <= event.seq => return,
            Ok(Some(record)) => format!("says seq {} on, of another place", record.first_seq),
            Ok(None) => "is missing".to_owned(),
            // a run that cannot be read is named where the runs are checked
            Err(_) => return,
        };
        let (shown, count) = self.wrong.entry(log.clone()).or_default();
        *count += 1;
        if shown.len() < SHOWN {
            let (seq, stream_id) = (event.seq, event.stream_id);
            shown.push(format!("the record of command '{id}' (seq {seq} of stream `{stream_id}`) {what}"));
        }
    }

    pub(super) fn finish(self, report: &mut Report) {
        for (log, (shown, count)) in self.wrong {
            let more = count - shown.len() as u64;
            shown.into_iter().for_each(|what| report.add(format!("commands of `{log}`"), what));
            if more > 0 {
                report.add(format!("commands of `{log}`"), format!("{more} more records are missing or wrong"));
            }
        }
    }
}
