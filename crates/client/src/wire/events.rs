//! Events of an answer: batches as they stand in the log where that is what was read, columns of the same archive otherwise.
//! See PROTOCOL.md, section 7.

use crate::wire::error::WireError;
use crate::wire::fields::{Reader, Writer};
use crate::wire::header::ALIGN;
use strandline_event::{
    BatchBuilder, BatchBytes, BatchUnit, EventInput, EventRef, InvalidEvent, Micros, SharedBytes, StampedBatch, limits,
};

const STAMPED: u8 = 1;
const COLUMNS: u8 = 2;
/// Bytes of texts after which a block of columns is closed.
const BLOCK_BYTES: usize = 4 << 20;

/// Collects events into blocks at the end of a body.
#[derive(Debug, Default)]
pub struct EventsWriter {
    open: Option<Columns>,
}

#[derive(Debug)]
struct Columns {
    stream_type: String,
    builder: BatchBuilder,
    ingested_at: Vec<i64>,
    bytes: usize,
}

impl EventsWriter {
    /// Adds an event.
    ///
    /// # Errors
    /// An event that no batch can hold; none that a store holds is one.
    pub fn push(&mut self, out: &mut Writer, event: &EventRef<'_>) -> Result<(), InvalidEvent> {
        let full = |open: &Columns| {
            open.stream_type != event.stream_type
                || open.bytes > BLOCK_BYTES
                || open.ingested_at.len() >= limits::BATCH_ROWS_MAX
        };
        if self.open.as_ref().is_some_and(full) {
            self.finish(out)?;
        }
        let open = self.open.get_or_insert_with(|| Columns {
            stream_type: event.stream_type.to_owned(),
            builder: BatchBuilder::new(event.stream_type, BatchUnit::Rows),
            ingested_at: Vec::new(),
            bytes: 0,
        });
        open.builder.push(&EventInput {
            stream_id: event.stream_id,
            event_type: event.event_type,
            event_id: Some(event.event_id),
            seq: Some(event.seq),
            event_version: event.event_version,
            occurred_at: Some(event.occurred_at),
            data: event.data,
            metadata: event.metadata,
            command_id: event.command_id,
            correlation_id: event.correlation_id,
            causation_id: event.causation_id,
            tenant_id: event.tenant_id,
        })?;
        open.ingested_at.push(event.ingested_at.0);
        open.bytes += event.data.len() + event.metadata.map_or(0, str::len);
        Ok(())
    }

    /// Adds a whole batch as it stands in the log.
    ///
    /// # Errors
    /// As [`push`](Self::push), of what was pushed before.
    pub fn stamped(&mut self, out: &mut Writer, batch: &StampedBatch) -> Result<(), InvalidEvent> {
        self.finish(out)?;
        block(out, STAMPED, batch.rows(), batch.size_bytes());
        batch.payload_parts().into_iter().for_each(|part| out.bytes(part));
        out.align();
        Ok(())
    }

    /// Writes what is still open.
    ///
    /// # Errors
    /// The block is too large to be archived; it is closed long before.
    pub fn finish(&mut self, out: &mut Writer) -> Result<(), InvalidEvent> {
        let Some(Columns { builder, ingested_at, .. }) = self.open.take() else { return Ok(()) };
        let batch = builder.finish().map_err(|_| InvalidEvent::BatchFull)?;
        let times = (ingested_at.len() * 8).next_multiple_of(ALIGN);
        block(out, COLUMNS, ingested_at.len(), times + batch.bytes().len());
        ingested_at.iter().for_each(|at| out.i64(*at));
        out.align();
        out.bytes(batch.bytes());
        out.align();
        Ok(())
    }
}

fn block(out: &mut Writer, form: u8, rows: usize, bytes: usize) {
    out.align();
    out.u32(rows as u32);
    out.u8(form);
    out.zeros(3);
    out.u32(bytes as u32);
    out.zeros(4);
}

/// Events of an answer, read in place. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Events {
    blocks: Vec<Block>,
    rows: usize,
}

#[derive(Clone, Debug)]
enum Block {
    Stamped(StampedBatch),
    Columns { ingested_at: SharedBytes, batch: BatchBytes },
}

impl Events {
    /// Reads all blocks up to the end of a body.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn read(body: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut events = Self::default();
        body.align()?;
        while body.left() > 0 {
            let rows = body.u32()? as usize;
            let form = body.u8()?;
            body.zeros(3)?;
            let bytes = body.u32()? as usize;
            body.zeros(4)?;
            let payload = body.shared(bytes)?;
            body.align()?;
            let block = Block::read(form, &payload, rows)?;
            events.rows += rows;
            events.blocks.push(block);
        }
        Ok(events)
    }

    /// Number of events.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The events, in the order of the answer.
    pub fn iter(&self) -> impl Iterator<Item = EventRef<'_>> {
        self.blocks.iter().flat_map(|block| (0..block.rows()).map(move |row| block.row(row)))
    }
}

impl Block {
    fn read(form: u8, payload: &SharedBytes, rows: usize) -> Result<Self, WireError> {
        let block = match form {
            STAMPED => Self::stamped(payload)?,
            COLUMNS => {
                let times = rows.checked_mul(8).ok_or(WireError::Body("too many rows"))?.next_multiple_of(ALIGN);
                let mut fields = Reader::new(payload);
                let ingested_at = fields.shared(times)?;
                let batch = BatchBytes::validate(fields.shared(fields.left())?)?;
                Self::Columns { ingested_at, batch }
            }
            _ => return Err(WireError::Body("a block of events of an unknown form")),
        };
        if block.rows() != rows || !block.is_complete() {
            return Err(WireError::Body("a block of events with another number of rows, or without their ids"));
        }
        Ok(block)
    }

    fn stamped(payload: &SharedBytes) -> Result<Self, WireError> {
        use strandline_event::stamped::PayloadError;
        StampedBatch::from_payload(payload).map(Self::Stamped).map_err(|error| match error {
            PayloadError::Stamps(error) => error.into(),
            PayloadError::Batch(error) => error.into(),
            PayloadError::Rows => WireError::Body("stamps of another number of rows"),
        })
    }

    /// Whether every row of columns has what the server fills in.
    fn is_complete(&self) -> bool {
        use strandline_event::batch::flags;
        const ALL: u16 = flags::EVENT_ID | flags::SEQ | flags::OCCURRED_AT;
        match self {
            Self::Stamped(_) => true,
            Self::Columns { batch, .. } => (0..self.rows()).all(|row| batch.view().flags(row) & ALL == ALL),
        }
    }

    fn rows(&self) -> usize {
        match self {
            Self::Stamped(batch) => batch.rows(),
            Self::Columns { batch, .. } => batch.view().rows(),
        }
    }

    fn row(&self, row: usize) -> EventRef<'_> {
        let (ingested_at, batch) = match self {
            Self::Stamped(batch) => return batch.row(row),
            Self::Columns { ingested_at, batch } => (ingested_at, batch.view()),
        };
        let at = ingested_at.get(row * 8..).and_then(|rest| rest.first_chunk::<8>());
        let ingested_at = Micros(at.map_or(0, |at| i64::from_le_bytes(*at)));
        EventRef {
            event_id: batch.given_event_id(row).unwrap_or_default(),
            stream_type: batch.stream_type(),
            stream_id: batch.stream(batch.stream_of(row)),
            seq: batch.given_seq(row).unwrap_or_default(),
            event_type: batch.event_type(row),
            event_version: batch.event_version(row),
            occurred_at: batch.given_occurred_at(row).unwrap_or(ingested_at),
            ingested_at,
            data: batch.data(row),
            metadata: batch.metadata(row),
            command_id: batch.command_id(row),
            correlation_id: batch.correlation_id(row),
            causation_id: batch.causation_id(row),
            tenant_id: batch.tenant_id(row),
        }
    }
}
