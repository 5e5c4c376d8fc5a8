//! Reads of callers that are limited to tenants. Each is the read of everybody, then a filter: holes are judged on the whole stream.
//!
//! Invariant: nothing that is answered tells an event of another tenant: no row, no seq, no position, no tier that gave
//! only such rows, no sentence about a double. A stream's owner is a hash, which another name may have: where no row of a page says whose the stream is,
//! one is asked for (`named.rs`).

use super::error::ReadError;
use super::global::{GlobalPage, GlobalRead};
use super::looked::Reader;
use super::named::NamedStream;
use super::order::Order;
use super::stream::{Manner, StreamHead, StreamPage, StreamRead};
use super::tiers::TierSet;
use super::{Filter, FoundEvent, Scan};
use crate::append::SettledError;
use crate::store::Store;
use crate::tenants::{TenantScope, Visible};
use std::sync::Arc;
use strandline_durable::ReadStats;
use strandline_event::{EventId, Micros, Position, Seq};

/// Rows that a page has at least where the one before it had none of the caller's.
const LOOKED_ROWS: usize = 1000;
/// Pages of others that one call looks at: other reads come in between.
const LOOKED_PAGES: usize = 16;

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
        let is_theirs = if page.is_empty() && page.head > Seq::ZERO {
            self.says_tenant(scope, read.stream_type, read.stream_id, page.head)?
        } else {
            // heads that were written before they told of several tenants
            page.rows().all(|event| scope.holds(event.tenant_id))
        };
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
        let head = self.stream_head(stream_type, stream_id)?;
        let Some(last) = head.map(|head| head.last_seq) else { return Ok(None) };
        Ok(if self.says_tenant(scope, stream_type, stream_id, last)? { head } else { None })
    }

    /// Whether an event of a stream that ends with `last` says a tenant of the caller's. Of a stream of which retention has left no event its owner is all
    /// that is known, and counts.
    fn says_tenant(
        &self,
        scope: &TenantScope,
        stream_type: &str,
        stream_id: &str,
        last: Seq,
    ) -> Result<bool, ReadError> {
        let (named, stream) = (self.cursors().named(), NamedStream::new(stream_type, stream_id));
        if named.is_of(stream, scope) {
            return Ok(true);
        }
        let (at, order) = (Some(last), Some(Order::Asc));
        let newest = StreamRead { stream_type, stream_id, from_seq: at, to_seq: at, limit: 1, order };
        let mut page = self.read_stream_with(&newest, Manner::internal(self))?;
        if page.is_empty() {
            // retention may have left an older one
            let oldest = StreamRead { from_seq: None, to_seq: None, ..newest };
            page = self.read_stream_with(&oldest, Manner::internal(self))?;
        }
        let Some(event) = page.rows().next() else { return Ok(true) };
        let Some(tenant) = event.tenant_id.filter(|tenant| scope.holds(Some(tenant))) else { return Ok(false) };
        named.keep(stream, tenant);
        Ok(true)
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
        // others of this id may be another tenant's
        self.look_up_among(id, &|event| Visible::new(self, scope).sees(event))
    }

    /// As [`read_global`](Self::read_global), of what the caller sees. `next` is the place of the last row that it is given, or what it asked
    /// behind, and then there was no other row for it among all that is closed at `now`; unless the page [`looks_on`](GlobalPage::looks_on).
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
        let reader = Reader { filter, retirements: self.retirements() };
        let mut asked = GlobalRead { filter: reader.filter.clone(), ..read.clone() };
        let looked = self.cursors().looked();
        asked.after = looked.behind(&reader, read.after).unwrap_or(read.after);
        let until = Position::end_of(self.closed().close());
        let mut pages = 0;
        loop {
            let mut page = self.read_global(&asked, now)?;
            pages += 1;
            let through = page.next;
            // of all that is in the page: a log may have begun since the one before it
            let is_whole = page.keep(&mut Visible::new(self, scope), read.limit)?;
            let is_end = page.at_end || through <= asked.after || through >= until;
            page.looks_on = page.is_empty() && !is_end;
            if page.looks_on && pages < LOOKED_PAGES {
                (asked.after, asked.limit) = (through, asked.limit.max(LOOKED_ROWS));
                continue;
            }
            page.next = page.rows().last().map_or(read.after, |event| event.position());
            if is_whole && through > page.next {
                looked.keep(reader, page.next, through);
            }
            return Ok(page);
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

/// The filter, narrowed to the caller's tenants: files of others are not opened, and how many rows of others lie between bounds no page.
/// `None`: it asks for another tenant.
#[must_use]
pub fn of_tenants(filter: &Filter, scope: &TenantScope) -> Option<Filter> {
    let is_of_another = filter.tenant_id.as_deref().is_some_and(|tenant| !scope.holds(Some(tenant)));
    (!is_of_another).then(|| Filter { tenants: scope.names().to_vec(), ..filter.clone() })
}

impl GlobalPage {
    /// Lets go of what the caller does not see, and of what is more than it asked for: then the page is not whole.
    fn keep(&mut self, visible: &mut Visible, limit: usize) -> Result<bool, ReadError> {
        let (mut kept, mut last, mut is_whole) = (0, None, true);
        self.retain(|event| -> Result<bool, SettledError> {
            if !is_whole || !visible.sees(event)? {
                return Ok(false);
            }
            let position = event.position();
            // rows of one position belong together
            is_whole = kept < limit.max(1) || last == Some(position);
            (kept, last) = (kept + 1, Some(position));
            Ok(is_whole)
        })?;
        let mut tiers = TierSet::NONE;
        self.tiers_of_rows().for_each(|tier| tiers.insert(tier));
        self.tiers = tiers;
        Ok(is_whole)
    }
}
