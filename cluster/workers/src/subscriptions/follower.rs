//! One follower: from its place, slice by slice, as its connection asks.

use super::feed::{Feed, Next, Reader};
use super::page::FollowPage;
use crate::error::NodeError;
use crate::messages::{KeepVisible, Scope};
use std::sync::Arc;
use std::time::Duration;
use strandline_engine::read::{Filter, of_tenants};
use strandline_engine::subscribe::Cursor;
use strandline_engine::tenants::TenantScope;
use strandline_event::{EventRef, Position, StampedBatch};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Bytes of events of one slice, about; one event is given however large.
const SLICE_BYTES: usize = 64 << 10;

/// What comes next.
pub enum Followed {
    /// Events.
    Events(Slice),
    /// Events of a dry run; none of them is stored.
    Inspected(StampedBatch),
    /// Nothing for a while; whether everything that is there was given.
    Quiet {
        /// Nothing is left.
        at_end: bool,
    },
    /// The node stops, or holds not every log any more.
    End,
}

/// Some rows of a page. To be used at once: it keeps the page alive.
pub struct Slice {
    page: Arc<FollowPage>,
    rows: Vec<u32>,
}

impl Slice {
    /// The events.
    pub fn events(&self) -> impl ExactSizeIterator<Item = EventRef<'_>> {
        let rows = self.page.rows();
        // rows were taken from this page
        self.rows.iter().map(move |row| rows.row(*row as usize).unwrap_or_else(|| broken_row()))
    }

    /// Appends the texts of the first events; events of a page are encoded once for all who follow, so `encode` must be the same for all.
    pub fn texts(&self, out: &mut Vec<u8>, count: usize, encode: impl Fn(&mut Vec<u8>, &EventRef<'_>)) {
        let texts = self.page.texts(encode);
        for row in self.rows.iter().take(count) {
            out.extend_from_slice(texts.row(*row));
        }
    }
}

fn broken_row() -> ! {
    strandline_event::invariant::broken("a slice names a row that its page does not hold")
}

/// A follower. Dropping it ends it.
pub struct Follower {
    reader: Reader,
    cursor: Cursor,
    grown: watch::Receiver<u64>,
    notices: u64,
    limits: Option<Limits>,
}

/// Of a follower that is limited to tenants.
struct Limits {
    scope: Arc<TenantScope>,
    /// It asks for another tenant: it is given nothing.
    nothing: bool,
    /// The last place that it may know: what it asked behind, the moment shortly before it began at the end, or of an event that it was given.
    told: Option<Position>,
}

impl Follower {
    pub(crate) fn new(
        feed: &Arc<Feed>,
        filter: Filter,
        after: Option<Position>,
        scope: Scope,
    ) -> Result<Self, NodeError> {
        let narrowed = scope.as_ref().map(|scope| of_tenants(&filter, scope));
        let nothing = matches!(narrowed, Some(None));
        let reader = feed.reader(narrowed.flatten().unwrap_or(filter))?;
        // before the end is looked up: nothing that comes lies at or before it
        let mark = scope.as_ref().and_then(|_| feed.mark());
        let cursor = Cursor::new(after.unwrap_or_else(|| feed.end()));
        let limits = scope.map(|scope| Limits { scope, nothing, told: after.or(mark) });
        Ok(Self { cursor, grown: feed.grown(), notices: feed.last_notice(), reader, limits })
    }

    /// What to resume from: valid for ever. Who is limited to tenants is told no place of an event that it does not see: where it began at the
    /// end a moment of the clock, a second earlier, behind which events may come that were there; `None`, while a log is not closed so far.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.limits.as_ref().map_or(Some(self.cursor.at()), |limits| limits.told)
    }

    /// What it asks for.
    #[must_use]
    pub const fn filter(&self) -> &Filter {
        &self.reader.filter
    }

    /// What comes next, or [`Followed::Quiet`] after so long.
    ///
    /// # Errors
    /// Damage; the statement was replaced by one that sends no notifications. The follower is over then.
    pub async fn next(&mut self, quiet_after: Duration) -> Result<Followed, NodeError> {
        let quiet_at = Instant::now() + quiet_after;
        loop {
            match self.reader.feed.check() {
                Err(NodeError::Draining) => return Ok(Followed::End),
                checked => checked?,
            }
            if !self.reader.feed.is_whole() {
                return Ok(Followed::End);
            }
            self.grown.borrow_and_update();
            // who is limited to tenants is told of no dry run: it is judged by a stream's owner, which a dry run has not
            if self.limits.is_none()
                && let Some((number, batch)) = self.reader.feed.notice_after(self.notices)
            {
                self.notices = number;
                return Ok(Followed::Inspected(batch));
            }
            let next = self.reader.next(self.cursor.through()).await?;
            match next {
                // it may have been read beside a log that began meanwhile, and not here
                Next::Page(..) if !self.reader.feed.is_whole() => return Ok(Followed::End),
                Next::Page(page, end) => {
                    let slice = self.cut(page, end).await?;
                    if !slice.rows.is_empty() {
                        self.reader.feed.following.given.add(slice.rows.len() as u64);
                        return Ok(Followed::Events(slice));
                    }
                    // a filter that drops much: the connection is told that it lives
                    if Instant::now() >= quiet_at {
                        return Ok(Followed::Quiet { at_end: false });
                    }
                }
                Next::AtEnd => {
                    if timeout_at(quiet_at, self.grown.changed()).await.is_err() {
                        return self.what_is_newer().await;
                    }
                }
            }
        }
    }

    /// The end that is read for all may lie before what was acknowledged by now: who is told that there is nothing more has looked.
    async fn what_is_newer(&mut self) -> Result<Followed, NodeError> {
        let is_nowhere = self.limits.as_ref().is_some_and(|limits| limits.told.is_none());
        let mark = is_nowhere.then(|| self.reader.feed.mark()).flatten();
        let next = self.reader.history(self.cursor.through()).await?;
        if !self.reader.feed.is_whole() {
            return Ok(Followed::End);
        }
        if let Next::Page(page, end) = next {
            let slice = self.cut(page, end).await?;
            if !slice.rows.is_empty() {
                self.reader.feed.following.given.add(slice.rows.len() as u64);
                return Ok(Followed::Events(slice));
            }
        }
        if let Some(limits) = &mut self.limits
            && limits.told.is_none()
        {
            let through = self.cursor.through();
            limits.told = mark.filter(|mark| through >= *mark);
        }
        Ok(Followed::Quiet { at_end: true })
    }

    /// The next rows of a page that the filter keeps, and the limits. Who gives this up (a connection that has something else to do first) is given
    /// the same rows again.
    async fn cut(&mut self, page: Arc<FollowPage>, end: Position) -> Result<Slice, NodeError> {
        let mut cursor = self.cursor;
        let (mut rows, is_over) = cursor.take(page.rows(), end, &self.reader.filter, SLICE_BYTES);
        if let Some(limits) = &mut self.limits {
            rows.retain(|row| {
                let event = page.rows().row(*row as usize);
                !limits.nothing && event.is_some_and(|event| limits.scope.holds(event.tenant_id))
            });
            if !rows.is_empty() {
                let (store, scope) = (Arc::clone(self.reader.feed.store()), Arc::clone(&limits.scope));
                let ask = KeepVisible { store, scope, page: Arc::clone(&page), rows };
                rows = self.reader.feed.readers().wait(ask).await??;
            }
            let last = rows.last().and_then(|row| page.rows().row(*row as usize));
            limits.told = last.map(|event| event.position()).or(limits.told);
        }
        // nothing is waited for any more
        self.cursor = cursor;
        if is_over {
            self.reader.finished();
        }
        Ok(Slice { page, rows })
    }
}
