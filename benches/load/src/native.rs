//! A client over the native protocol: batches go out as the archives that the log stores.

use crate::client::{Client, Failure};
use crate::records::{Batch, EVENT_TYPE, Record, STREAM_TYPE};
use std::time::Duration;
use strandline_client::wire::read::{Filter, StreamWanted};
use strandline_client::{
    self as native, Appended, BatchBuilder, BatchBytes, BatchUnit, BulkOutcomes, ClientError, ClusterClient,
    ClusterOptions, EventInput, Expected, OnError, Options, Page, Seq,
};
use strandline_event::{ErrorKind, Micros};

/// Bytes that the server may send ahead of a scan.
const SCAN_WINDOW: u32 = 8 << 20;
/// Before an append that was refused for load is sent again.
const OVERLOAD_WAIT: Duration = Duration::from_millis(20);

/// The way to a store.
#[derive(Clone)]
enum Way {
    /// One node, which sends on what others lead.
    Node(native::Client),
    /// Whichever node leads a stream type.
    Leaders(ClusterClient),
}

impl Way {
    async fn append(&self, batch: BatchBytes, expected: Expected) -> Result<Appended, ClientError> {
        match self {
            Self::Node(client) => client.append(batch, expected).await,
            Self::Leaders(client) => client.append(batch, expected).await,
        }
    }

    async fn append_bulk(&self, batch: BatchBytes) -> Result<BulkOutcomes, ClientError> {
        match self {
            Self::Node(client) => client.append_bulk(&[batch], OnError::Abort).await,
            Self::Leaders(client) => Ok(client.append_bulk(&[batch], OnError::Abort).await),
        }
    }

    async fn read_stream(&self, wanted: &StreamWanted) -> Result<Page, ClientError> {
        match self {
            Self::Node(client) => client.read_stream(wanted).await,
            Self::Leaders(client) => client.read_stream(wanted).await,
        }
    }
}

/// A client of a store; clones share its connections.
#[derive(Clone)]
pub struct Native {
    way: Way,
    stream_type: String,
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
        Ok(Self::of(Way::Node(native::Client::connect(options).await?), STREAM_TYPE.to_owned()))
    }

    /// Connects to a cluster by some of its nodes; appends go to whom these and others name as leaders.
    ///
    /// # Errors
    /// None of them listens, or the store is unknown.
    pub async fn follow<'a>(addresses: impl IntoIterator<Item = &'a str>, store: &str) -> Result<Self, Failure> {
        let mut options = ClusterOptions::new(addresses);
        // no node is lost here: one that has much to do is waited for as by any client
        options.each = Options { store: store.to_owned(), stay: options.each.stay, ..Options::new("") };
        Ok(Self::of(Way::Leaders(ClusterClient::connect(options).await?), STREAM_TYPE.to_owned()))
    }

    /// The same connections for one of several stream types: `Call`, `Call1`, `Call2` and so on.
    #[must_use]
    pub fn with_type(self, number: u32) -> Self {
        Self::of(self.way, type_name(number))
    }

    fn of(way: Way, stream_type: String) -> Self {
        let builder = |unit| BatchBuilder::new(&stream_type, unit);
        let (single, rows) = (builder(BatchUnit::Append), builder(BatchUnit::Rows));
        Self { way, stream_type, overloads: 0, single, rows }
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

fn type_name(number: u32) -> String {
    if number == 0 { STREAM_TYPE.to_owned() } else { format!("{STREAM_TYPE}{number}") }
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
            let answer = self.way.append(self.single.finish_and_clear()?, expected).await;
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
            let mut outcomes = self.way.append_bulk(self.rows.finish_and_clear()?).await;
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
        let page = self.way.read_stream(&StreamWanted::all(&self.stream_type, stream_id)).await?;
        Ok(page.events.len() as u64)
    }

    async fn scan(&mut self, _expected: u64) -> Result<u64, Failure> {
        let Way::Node(client) = &self.way else { return Err("a scan is asked of one node".into()) };
        let (mut scan, mut events) = (client.scan(Filter::default(), SCAN_WINDOW), 0);
        while let Some(part) = scan.next().await? {
            events += part.len() as u64;
        }
        Ok(events)
    }

    fn take_overloads(&mut self) -> u64 {
        std::mem::take(&mut self.overloads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_stream_types_is_the_one_of_all_other_loads() {
        assert_eq!([0, 1, 12].map(type_name), [STREAM_TYPE, "Call1", "Call12"]);
    }
}
