//! Reads of callers that are limited to tenants. Each is the read of everybody, then a filter: holes are judged on the whole stream.
//!
//! Invariant: nothing that is answered tells an event of another tenant: no row, no seq, no id in a position, no tier that gave
//! only such rows, no sentence about a double. (That time passed in the store can be seen.)

use super::error::ReadError;
use super::global::{GlobalPage, GlobalRead};
use super::stream::{StreamHead, StreamPage, StreamRead};
use super::tiers::TierSet;
use super::{Filter, FoundEvent, Scan};
use crate::store::Store;
use crate::tenants::{TenantScope, Visible};
use std::sync::Arc;
use strandline_durable::ReadStats;
use strandline_event::{EventId, Micros, Position};

/// Pages that one request reads while none of their rows is the caller's.
const PAGES_MAX: usize = 64;

impl Store {
    /// As [`read_stream`](Self::read_stream); a stream that is not the caller's does not exist.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read_stream_for(&self, scope: &TenantScope, read: &StreamRead<'_>) -> Result<StreamPage, ReadError> {
        if !self.sees_stream(scope, read.stream_type, read.stream_id)? {
            return Ok(StreamPage::none());
        }
        let page = self.read_stream(read)?;
        // heads that were written before they told of several tenants
        let is_theirs = page.rows().all(|event| scope.holds(event.tenant_id));
        Ok(if is_theirs { page } else { StreamPage::none() })
    }

    /// As [`stream_head`](Self::stream_head); a stream that is not the caller's does not exist.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn stream_head_for(
        &self,
        scope: &TenantScope,
        stream_type: &str,
        stream_id: &str,
    ) -> Result<Option<StreamHead>, ReadError> {
        if !self.sees_stream(scope, stream_type, stream_id)? {
            return Ok(None);
        }
        self.stream_head(stream_type, stream_id)
    }

    /// As [`look_up_event`](Self::look_up_event); an event that the caller does not see does not exist.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn look_up_event_for(
        &self,
        scope: &Arc<TenantScope>,
        id: EventId,
    ) -> Result<(Option<FoundEvent>, ReadStats), ReadError> {
        let (found, stats) = self.look_up_event(id)?;
        let Some(mut found) = found else { return Ok((None, stats)) };
        // others of this id may be another tenant's
        found.warnings.clear();
        let is_seen = Visible::new(self, scope).sees(&found.event())?;
        Ok((is_seen.then_some(found), stats))
    }

    /// As [`read_global`](Self::read_global), of what the caller sees.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read_global_for(
        &self,
        scope: &Arc<TenantScope>,
        read: &GlobalRead,
        now: Micros,
    ) -> Result<GlobalPage, ReadError> {
        let Some(filter) = of_tenants(&read.filter, scope) else { return Ok(GlobalPage::none(read.after)) };
        let mut visible = Visible::new(self, scope);
        let mut asked = GlobalRead { filter, ..read.clone() };
        let mut pages_left = PAGES_MAX;
        loop {
            let mut page = self.read_global(&asked, now)?;
            page.keep(&mut visible)?;
            pages_left -= 1;
            if !page.is_empty() || page.at_end || pages_left == 0 || page.next <= asked.after {
                page.next = told(&page, read.after);
                return Ok(page);
            }
            asked.after = page.next;
        }
    }

    /// As [`scan`](Self::scan), of what the caller sees.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn scan_for(&self, scope: &Arc<TenantScope>, filter: &Filter) -> Result<Scan, ReadError> {
        match of_tenants(filter, scope) {
            Some(filter) => Ok(self.scan(&filter)?.seen_by(Visible::new(self, scope))),
            None => Ok(self.scan(filter)?.emptied()),
        }
    }
}

/// The filter, narrowed where the caller has one tenant: files of others are not opened then. `None`: it asks for another tenant.
#[must_use]
pub fn of_tenants(filter: &Filter, scope: &TenantScope) -> Option<Filter> {
    match &filter.tenant_id {
        Some(tenant) if !scope.holds(Some(tenant)) => None,
        Some(_) => Some(filter.clone()),
        None => Some(Filter { tenant_id: scope.only().map(str::to_owned), ..filter.clone() }),
    }
}

/// Where the caller goes on: behind the last row that it was given, or right before the moment up to which there is none for it. The
/// place of the event that was looked at last would tell that event's id.
fn told(page: &GlobalPage, after: Position) -> Position {
    let last = page.rows().last().map(|event| event.position());
    if last == Some(page.next) {
        return page.next;
    }
    let before = Position::end_of(page.next.ingested_at.plus_us(-1));
    last.unwrap_or(after).max(after).max(before.min(page.next))
}

impl GlobalPage {
    fn keep(&mut self, visible: &mut Visible) -> Result<(), ReadError> {
        self.retain(|event| visible.sees(event))?;
        let mut tiers = TierSet::NONE;
        self.tiers_of_rows().for_each(|tier| tiers.insert(tier));
        self.tiers = tiers;
        Ok(())
    }
}
