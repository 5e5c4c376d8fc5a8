//! A stream read that asks neither the log nor a file, because memory holds everything that it wants, whatever a compaction moved
//! meanwhile.
//!
//! Invariant: what is given from memory alone is what the tiers below would have given, at the moment when memory was asked.

use super::error::ReadError;
use super::stream::{Found, has_all};
use super::tiers::TierSet;
use crate::store::{LogShared, Setting, Store};
use crate::view::retired::Retired;
use crate::view::tail::{HotPart, LogTail, StreamWanted};
use std::sync::Arc;

impl Store {
    /// Everything that is wanted, if memory holds all of it. The end of a damaged log is for the tiers below to tell.
    pub(super) fn all_in_memory(
        &self,
        setting: &Setting,
        shared: &Arc<LogShared>,
        wanted: &StreamWanted<'_>,
        tiers: TierSet,
    ) -> Result<Option<(Found, Retired)>, ReadError> {
        let Some(hot) = setting.hot_for_all(tiers).filter(|_| shared.refuses_writes().is_none()) else {
            return Ok(None);
        };
        // what was acknowledged before is in memory, unless it was let go: taken before memory is asked
        let committed = shared.published().committed();
        let part = hot.stream(&shared.key, wanted.hash, &wanted.seq_range());
        // memory does not know what retention took out meanwhile
        let retired = self.retired_of(&shared.key, wanted.hash, Some(&self.durable().pin()))?;
        if part.range.through < committed || !retired.is_nothing() {
            return Ok(None);
        }
        let tail = LogTail::new(Arc::clone(shared), None, Some(Arc::clone(hot)), None);
        let (rows, _) = tail.stream(wanted, HotPart { rows: part.rows, range: part.range })?;
        if !has_all(wanted, &rows) {
            return Ok(None);
        }
        let mut found = Found::under(self.durable().veil());
        found.tail(rows);
        Ok(Some((found, retired)))
    }
}
