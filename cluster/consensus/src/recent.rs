//! The newest entries of a log in memory: what was just appended is what replication and `apply` ask for next.
//!
//! A copy: everything in it is on the disk. Bounded by bytes; the oldest go first.

use crate::types::{Content, Entry};
use std::collections::VecDeque;

/// Bytes that are kept; at least one entry is.
const BYTES_MAX: usize = 8 << 20;

/// Entries with contiguous numbers.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    entries: VecDeque<Entry>,
    bytes: usize,
}

fn bytes(entry: &Entry) -> usize {
    let payloads = match &entry.content {
        Content::Payloads(proposal) => proposal.payloads.iter().map(|payload| payload.len()).sum(),
        Content::Blank | Content::Membership(_) => 0,
    };
    64 + payloads
}

impl Recent {
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Entries that were appended behind all others.
    pub(crate) fn extend(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            if self.entries.back().is_some_and(|last| last.log_id.index + 1 != entry.log_id.index) {
                self.clear();
            }
            self.bytes += bytes(&entry);
            self.entries.push_back(entry);
        }
        while self.bytes > BYTES_MAX && self.entries.len() > 1 {
            self.bytes -= self.entries.pop_front().map_or(0, |entry| bytes(&entry));
        }
    }

    /// Entries with this number and all behind it were cut off.
    pub(crate) fn cut_off(&mut self, number: u64) {
        while self.entries.back().is_some_and(|last| last.log_id.index >= number) {
            self.bytes -= self.entries.pop_back().map_or(0, |entry| bytes(&entry));
        }
    }

    /// Entries up to this number are gone.
    pub(crate) fn purge(&mut self, number: u64) {
        while self.entries.front().is_some_and(|first| first.log_id.index <= number) {
            self.bytes -= self.entries.pop_front().map_or(0, |entry| bytes(&entry));
        }
    }

    /// Entries of a range as far as they are about `bytes_max`, at least one; `None`: they are not here, read the log.
    pub(crate) fn range(&self, from: u64, to: u64, bytes_max: usize) -> Option<Vec<Entry>> {
        let first = self.entries.front()?.log_id.index;
        let at = usize::try_from(from.checked_sub(first)?).ok()?;
        if at >= self.entries.len() {
            return None;
        }
        let mut held = 0;
        let taken = self.entries.iter().skip(at).take_while(|entry| {
            let more = held == 0 || held < bytes_max;
            held += bytes(entry);
            more && entry.log_id.index < to
        });
        Some(taken.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::entry::RaftEntry;
    use openraft::testing::log_id;

    fn numbers(entries: Option<Vec<Entry>>) -> Option<Vec<u64>> {
        entries.map(|entries| entries.iter().map(|entry| entry.log_id.index).collect())
    }

    #[test]
    fn it_gives_what_it_holds_and_nothing_else() {
        let mut recent = Recent::default();
        recent.extend((5..10).map(|number| Entry::new_blank(log_id(1, 1, number))).collect());
        assert_eq!(numbers(recent.range(6, 8, usize::MAX)), Some(vec![6, 7]));
        assert_eq!(numbers(recent.range(6, 100, 1)), Some(vec![6]));
        assert_eq!(numbers(recent.range(4, 8, usize::MAX)), None);
        assert_eq!(numbers(recent.range(10, 12, usize::MAX)), None);
        recent.cut_off(8);
        recent.purge(5);
        assert_eq!(numbers(recent.range(6, 100, usize::MAX)), Some(vec![6, 7]));
        // a gap: only what comes behind it is contiguous
        recent.extend(vec![Entry::new_blank(log_id(1, 1, 20))]);
        assert_eq!(numbers(recent.range(20, 21, usize::MAX)), Some(vec![20]));
        assert_eq!(numbers(recent.range(7, 8, usize::MAX)), None);
    }
}
