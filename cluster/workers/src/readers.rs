//! The readers: a pool of threads that may block on files, and the gate in front of it.
//!
//! Invariant: at most `limit` requests are queued or running; one more is refused, never parked.

use crate::clock;
use crate::error::NodeError;
use crate::messages::{
    Ask, BeginScan, CheckIds, ContinueScan, ContinueScanFor, FindEvent, KeepVisible, PlanJobs, Plans, ReadAppend,
    ReadGlobal, ReadHead, ReadStatus, ReadStream, ResolveKnown, StatusPart, StoreStatus,
};
use crate::permits::{BytePermits, Permitted};
use crate::spans;
use crate::wiring::{Alive, AliveMark};
use actix::{Actor, Addr, Handler, SyncArbiter, SyncContext};
use arc_swap::ArcSwapOption;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use strandline_engine::append::{IdsChecked, Known};
use strandline_engine::compact::{self, Trigger};
use strandline_engine::read::{
    FoundEvent, GlobalPage, PAGE_BYTES_MAX, ReadError, ReadStats, Scan, ScanBatch, StreamHead, StreamPage, StreamRead,
};
use strandline_engine::tenants::Visible;
use strandline_engine::{retention, status};
use tokio::sync::Semaphore;

/// Access to the pool. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Readers {
    /// None once the node has stopped, whoever still holds a handle.
    pool: Arc<ArcSwapOption<Addr<ReaderWorker>>>,
    gate: Arc<Semaphore>,
    limit: usize,
}

impl Readers {
    /// Starts the threads; must be called on an actix system.
    pub(crate) fn start(threads: usize, limit: usize, alive: &Alive) -> Self {
        let alive = alive.clone();
        let pool = SyncArbiter::start(threads, move || ReaderWorker { _alive: alive.mark() });
        Self { pool: Arc::new(ArcSwapOption::from_pointee(pool)), gate: Arc::new(Semaphore::new(limit)), limit }
    }

    /// Requests that are queued or run, and how many there may be.
    pub(crate) fn in_flight(&self) -> (usize, usize) {
        (self.limit.saturating_sub(self.gate.available_permits()), self.limit)
    }

    /// Takes no more requests; the threads end when they have answered what they have.
    pub(crate) fn close(&self) {
        self.pool.store(None);
    }

    async fn send<R: ReadRequest>(&self, request: R) -> Result<R::Answer, NodeError> {
        let Some(pool) = self.pool.load_full() else { return Err(NodeError::Draining) };
        pool.send(Ask { request, span: spans::read_work() }).await?
    }

    /// Sends a request and waits for its answer. Refused at once when the gate is full.
    pub(crate) async fn ask<R: ReadRequest>(&self, request: R) -> Result<R::Answer, NodeError> {
        let Ok(_place) = self.gate.try_acquire() else {
            return Err(NodeError::Overloaded("too many reads are in flight: try again"));
        };
        self.send(request).await
    }

    /// The same for a request that has begun and must not be refused half way: waits for a place.
    pub(crate) async fn wait<R: ReadRequest>(&self, request: R) -> Result<R::Answer, NodeError> {
        let _place = self.gate.acquire().await.map_err(|_| NodeError::Draining)?;
        self.send(request).await
    }
}

/// What a reader can be asked for.
pub(crate) trait ReadRequest: Send + 'static {
    /// What it answers.
    type Answer: Send + 'static;

    /// Does it, in a thread that may block.
    fn run(self) -> Self::Answer;
}

/// One reader.
pub(crate) struct ReaderWorker {
    _alive: AliveMark,
}

impl Actor for ReaderWorker {
    type Context = SyncContext<Self>;
}

impl<R: ReadRequest> Handler<Ask<R>> for ReaderWorker {
    type Result = Result<R::Answer, NodeError>;

    /// A panic over bytes that nobody foresaw fails the one request: a reader changes nothing that others see.
    fn handle(&mut self, message: Ask<R>, _: &mut Self::Context) -> Self::Result {
        let Ask { request, span } = message;
        catch_unwind(AssertUnwindSafe(|| span.in_scope(|| request.run()))).map_err(|_| {
            tracing::error!("a read panicked; the request failed, the node goes on");
            NodeError::Defect
        })
    }
}

/// Reads a page where a whole one could find room, and takes a permit for its bytes before it leaves this thread: what is
/// not counted yet is at most one page a thread.
fn permitted<P>(
    answers: &BytePermits,
    read: impl FnOnce() -> Result<P, ReadError>,
    bytes: impl FnOnce(&P) -> usize,
) -> Result<Permitted<P>, NodeError> {
    let full =
        NodeError::Overloaded("too many bytes of answers wait for their clients: try again, or ask for a smaller page");
    if !answers.has_room_for(PAGE_BYTES_MAX) {
        return Err(full);
    }
    let page = read()?;
    match answers.take(bytes(&page)) {
        Some(permit) => Ok(Permitted::new(page, permit)),
        None => Err(full),
    }
}

impl ReadRequest for ReadStream {
    type Answer = Result<Permitted<StreamPage>, NodeError>;

    fn run(self) -> Self::Answer {
        let q = &self.query;
        let read = StreamRead {
            stream_type: &q.stream_type,
            stream_id: &q.stream_id,
            from_seq: q.from_seq,
            to_seq: q.to_seq,
            limit: q.limit,
            order: q.order,
        };
        let answer = || match (&self.scope, q.as_of) {
            (Some(scope), _) => self.store.read_stream_for(scope, &read),
            (None, Some(as_of)) => self.store.read_stream_as_of(&read, as_of),
            (None, None) => self.store.read_stream(&read),
        };
        permitted(&self.answers, answer, |page| page.bytes())
    }
}

impl ReadRequest for ReadAppend {
    type Answer = Result<StreamPage, ReadError>;

    fn run(self) -> Self::Answer {
        self.store.rows_of_append(&self.stream_type, &self.stream_id, self.first_seq, self.count)
    }
}

impl ReadRequest for ReadHead {
    type Answer = Result<Option<StreamHead>, ReadError>;

    fn run(self) -> Self::Answer {
        match &self.scope {
            Some(scope) => self.store.stream_head_for(scope, &self.stream_type, &self.stream_id),
            None => self.store.stream_head(&self.stream_type, &self.stream_id),
        }
    }
}

impl ReadRequest for ReadGlobal {
    type Answer = Result<Permitted<GlobalPage>, NodeError>;

    fn run(self) -> Self::Answer {
        let read = || match &self.scope {
            Some(scope) => self.store.read_global_for(scope, &self.read, crate::clock::now()),
            None => self.store.read_global(&self.read, crate::clock::now()),
        };
        permitted(&self.answers, read, |page: &GlobalPage| page.bytes())
    }
}

impl ReadRequest for FindEvent {
    type Answer = Result<(Option<FoundEvent>, ReadStats), ReadError>;

    fn run(self) -> Self::Answer {
        match &self.scope {
            Some(scope) => self.store.look_up_event_for(scope, self.id),
            None => self.store.look_up_event(self.id),
        }
    }
}

impl ReadRequest for BeginScan {
    type Answer = Result<Box<Scan>, ReadError>;

    fn run(self) -> Self::Answer {
        let scan = match &self.scope {
            Some(scope) => self.store.scan_for(scope, &self.filter),
            None => self.store.scan(&self.filter),
        };
        scan.map(Box::new)
    }
}

impl ReadRequest for ContinueScan {
    type Answer = (Box<Scan>, Option<Result<ScanBatch, ReadError>>);

    fn run(self) -> Self::Answer {
        let mut scan = self.0;
        let next = scan.next();
        (scan, next)
    }
}

impl ReadRequest for ContinueScanFor {
    type Answer = (Box<Scan>, Vec<Result<ScanBatch, ReadError>>);

    fn run(self) -> Self::Answer {
        let Self(mut scan, bytes_wanted) = self;
        let (mut batches, mut bytes) = (Vec::new(), 0);
        while bytes < bytes_wanted {
            let Some(next) = scan.next() else { break };
            bytes += next.as_ref().map_or(bytes_wanted, ScanBatch::bytes);
            batches.push(next);
        }
        (scan, batches)
    }
}

impl ReadRequest for KeepVisible {
    type Answer = Result<Vec<u32>, ReadError>;

    fn run(self) -> Self::Answer {
        let mut visible = Visible::new(&self.store, &self.scope);
        let mut seen = Vec::with_capacity(self.rows.len());
        for row in self.rows {
            if let Some(event) = self.page.rows().row(row as usize)
                && visible.sees(&event)?
            {
                seen.push(row);
            }
        }
        Ok(seen)
    }
}

impl ReadRequest for ReadStatus {
    type Answer = Result<StoreStatus, NodeError>;

    fn run(self) -> Self::Answer {
        Ok(match self.part {
            StatusPart::Tiers => StoreStatus::Tiers(status::tiers(&self.store)),
            StatusPart::Wal => StoreStatus::Wal(status::wal(&self.store)),
            StatusPart::Manifest(before, limit) => StoreStatus::Manifest(status::manifest(&self.store, before, limit)?),
            StatusPart::Files => StoreStatus::Files(status::files(&self.store)),
            StatusPart::Waiting => StoreStatus::Waiting(status::waiting(&self.store)),
            StatusPart::Retention => StoreStatus::Retention(retention::status(&self.store, crate::clock::now())),
        })
    }
}

impl ReadRequest for PlanJobs {
    type Answer = Result<Plans, NodeError>;

    fn run(self) -> Self::Answer {
        let wanted = self.stream_type.as_deref();
        let mut logs = self.store.logs();
        logs.retain(|log| wanted.is_none_or(|name| *name == *log.key.stream_type));
        let mut jobs = Vec::new();
        for log in &logs {
            jobs.extend(compact::plan(&self.store, &log.key)?);
        }
        let merges = compact::plan_merges(&self.store, wanted, Trigger::Hand, clock::now())?;
        if let Some(name) = wanted.filter(|_| logs.is_empty()) {
            return Err(NodeError::UnknownStreamType { store: self.store.name().to_owned(), name: name.to_owned() });
        }
        let following = compact::plan_following(&self.store, &jobs, &merges)?;
        Ok(Plans { jobs, merges, following })
    }
}

impl ReadRequest for CheckIds {
    type Answer = Result<IdsChecked, ReadError>;

    fn run(self) -> Self::Answer {
        let view = self.batch.view();
        // of one owner by now
        self.store.check_ids(&self.store.owner_of(view.stream_type(), view.stream(0)), view)
    }
}

impl ReadRequest for ResolveKnown {
    type Answer = Result<Known, ReadError>;

    fn run(self) -> Self::Answer {
        self.store.resolve(self.batch.view(), &self.lookup)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_not_read_where_answers_wait_already_and_is_counted_as_soon_as_it_is_there() {
        let answers = BytePermits::new(1000);
        let page = permitted(&answers, || Ok(()), |()| 800).unwrap();
        assert_eq!(answers.in_flight_bytes(), 800);
        let mut reads = 0;
        let read = || {
            reads += 1;
            Ok(())
        };
        let refused = permitted(&answers, read, |()| 1).err();
        assert!(matches!(refused, Some(NodeError::Overloaded(_))) && reads == 0);
        drop(page.into_permit());
        assert!(matches!(permitted(&answers, || Ok(()), |()| 1001).err(), Some(NodeError::Overloaded(_))));
        assert_eq!(answers.in_flight_bytes(), 0);
    }
}
