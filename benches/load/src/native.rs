//! A client over the native protocol: batches go out as the archives that the log stores.

use crate::client::{Client, Failure};
use crate::records::{Batch, EVENT_TYPE, Record, STREAM_TYPE};
use std::time::Duration;
use strandline_client::wire::read::{Filter, StreamWanted};
use strandline_client::{
    self as native, BatchBuilder, BatchUnit, ClientError, EventInput, Expected, OnError, Options, Seq,
};
use strandline_event::{ErrorKind, Micros};

/// Bytes that the server may send ahead of a scan.
const SCAN_WINDOW: u32 = 8 << 20;
/// Before an append that was refused for load is sent again.
const OVERLOAD_WAIT: Duration = Duration::from_millis(20);

/// A client of a store; clones share its connection.
#[derive(Clone)]
pub struct Native {
    client: native::Client,
    overloads: u64,
    /// Of single appends, and of batches: each is used again and again.
    single: BatchBuilder,
    rows: BatchBuilder,
}

impl Native {
    /// Connects to a node (`127.0.0.1:7071`) for one of its stores.
    ///
    /// # Errors
    /// Nobody listens there, or the store is unknown.
    pub async fn connect(address: &str, store: &str) -> Result<Self, Failure> {
        let options = Options { store: store.to_owned(), ..Options::new(address) };
        let builder = |unit| BatchBuilder::new(STREAM_TYPE, unit);
        let (single, rows) = (builder(BatchUnit::Append), builder(BatchUnit::Rows));
        Ok(Self { client: native::Client::connect(options).await?, overloads: 0, single, rows })
    }

    /// Whether an append is to be sent again; waits before that.
    async fn again<T>(&mut self, answer: Result<T, ClientError>) -> Result<Option<T>, Failure> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.kind() == Some(ErrorKind::Overloaded) => {
                self.overloads += 1;
                tokio::time::sleep(OVERLOAD_WAIT).await;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn input<'a>(record: &Record<'a>) -> EventInput<'a> {
    EventInput {
        stream_id: record.stream_id,
        event_type: EVENT_TYPE,
        event_version: Some(1),
        occurred_at: Some(Micros(record.occurred_at_us)),
        data: record.data,
        command_id: record.command_id,
        ..EventInput::default()
    }
}

impl Client for Native {
    async fn append(&mut self, record: Record<'_>) -> Result<(), Failure> {
        let expected = if record.seq == 1 { Expected::Empty } else { Expected::At(Seq(record.seq - 1)) };
        loop {
            self.single.push(&input(&record))?;
            let answer = self.client.append(self.single.finish_and_clear()?, expected).await;
            match self.again(answer).await? {
                Some(appended) if appended.first_seq() == Seq(record.seq) && !appended.is_known() => return Ok(()),
                Some(appended) => return Err(format!("an append became seq {}", appended.first_seq()).into()),
                None => {}
            }
        }
    }

    async fn append_batch(&mut self, batch: &Batch) -> Result<(), Failure> {
        loop {
            for record in batch.records() {
                self.rows.push(&EventInput { seq: Some(Seq(record.seq)), ..input(&record) })?;
            }
            let mut outcomes = self.client.append_bulk(&[self.rows.finish_and_clear()?], OnError::Abort).await;
            // one stream type, one outcome: its refusal for load is one of the whole
            if let Ok(parts) = &mut outcomes
                && let Some(Err(refused)) = parts.pop_if(|part| part.is_err())
            {
                outcomes = Err(refused.into());
            }
            if let Some(parts) = self.again(outcomes).await? {
                let appended: u64 = parts.into_iter().flatten().map(|part| part.appended).sum();
                if appended == batch.len() as u64 {
                    return Ok(());
                }
                return Err(format!("{appended} events of {} were appended", batch.len()).into());
            }
        }
    }

    async fn read_stream(&mut self, stream_id: &str) -> Result<u64, Failure> {
        let page = self.client.read_stream(&StreamWanted::all(STREAM_TYPE, stream_id)).await?;
        Ok(page.events.len() as u64)
    }

    async fn scan(&mut self, _expected: u64) -> Result<u64, Failure> {
        let (mut scan, mut events) = (self.client.scan(Filter::default(), SCAN_WINDOW), 0);
        while let Some(part) = scan.next().await? {
            events += part.len() as u64;
        }
        Ok(events)
    }

    fn take_overloads(&mut self) -> u64 {
        std::mem::take(&mut self.overloads)
    }
}
