//! Arrow IPC: events out as a stream with the configured names, rows of other programs in.
//!
//! The columns have the types of the data files (see `schema`).

mod decode;
mod file;

pub use decode::{InputBatch, InputBatches, PackedBatch, RowError};

use crate::columns::{EventColumns, SeqTooLarge};
use crate::schema;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use strandline_event::{ErrorKind, EventRef, FieldNames};

/// Rows and bytes of a record batch at most.
const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: usize = 8 << 20;

/// Why Arrow data could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum IpcError {
    /// The bytes are not what they should be.
    #[error("{0}")]
    Arrow(#[source] ArrowError),
    /// Its buffers are compressed. The reader would believe what they say to unpack to before the bytes are there, and goes on beyond it.
    #[error(
        "its buffers are compressed ({0}), which is not taken: send uncompressed Arrow IPC (in pyarrow: \
         `pyarrow.ipc.IpcWriteOptions(compression=None)`, and of a Feather file `compression=\"uncompressed\"`)"
    )]
    Compressed(String),
    /// The file is no Parquet file.
    #[error("{0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// A row that the columns cannot hold.
    #[error(transparent)]
    Seq(#[from] SeqTooLarge),
    /// A column that no event has.
    #[error("unknown column `{name}`; {meant}")]
    UnknownColumn {
        /// The column.
        name: String,
        /// What the store calls this field, or all of them.
        meant: String,
    },
    /// Two columns of one name: nobody can tell which one is meant.
    #[error("column `{0}` is given twice")]
    Twice(String),
    /// A column of a type that cannot be taken.
    #[error("column `{name}` has type {found}; {expected} is expected")]
    Type {
        /// The column.
        name: String,
        /// Its type.
        found: String,
        /// What is expected.
        expected: &'static str,
    },
    /// The stream ends before it says what its columns are.
    #[error("there is no schema")]
    NoSchema,
    /// A record batch with more rows than one append can have.
    #[error("a record batch has {0} rows; at most 1048576 are taken")]
    TooManyRows(usize),
    /// A column that unpacks to more than is taken.
    #[error("column `{0}` unpacks to more than 256 MiB in one record batch: send smaller batches")]
    TooLarge(String),
    /// A column that must be there.
    #[error("column `{0}` is missing")]
    Missing(String),
    /// A row that is no event.
    #[error(transparent)]
    Row(#[from] RowError),
}

impl From<ArrowError> for IpcError {
    fn from(error: ArrowError) -> Self {
        // what a reader that was built without codecs says
        if let ArrowError::InvalidArgumentError(text) = &error
            && let Some((codec, _)) = text.split_once(" IPC decompression requires")
        {
            return Self::Compressed(codec.to_owned());
        }
        Self::Arrow(error)
    }
}

impl IpcError {
    /// What it means to the one who called.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Arrow(_)
            | Self::Compressed(_)
            | Self::Parquet(_)
            | Self::UnknownColumn { .. }
            | Self::Twice(_)
            | Self::Type { .. }
            | Self::NoSchema
            | Self::Missing(_) => ErrorKind::BadRequest,
            Self::TooManyRows(_) | Self::TooLarge(_) => ErrorKind::TooLarge,
            Self::Seq(_) | Self::Row(_) => ErrorKind::InvalidEvent,
        }
    }
}

/// Writes an Arrow IPC stream piece by piece.
pub struct Encoder {
    columns: EventColumns,
    writer: StreamWriter<Vec<u8>>,
}

impl Encoder {
    /// Begins a stream; the schema is in the first piece.
    pub fn new(names: &FieldNames) -> Result<Self, IpcError> {
        let schema = schema::arrow(names);
        let writer = StreamWriter::try_new(Vec::new(), &schema)?;
        Ok(Self { columns: EventColumns::new(schema), writer })
    }

    /// Adds an event.
    pub fn push(&mut self, event: &EventRef<'_>) -> Result<(), IpcError> {
        self.columns.push(event)?;
        if self.columns.rows() >= BATCH_ROWS || self.columns.bytes() >= BATCH_BYTES {
            self.encode()?;
        }
        Ok(())
    }

    /// Takes the bytes that are ready.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.writer.get_mut())
    }

    /// Ends the stream; the last bytes.
    pub fn finish(mut self) -> Result<Vec<u8>, IpcError> {
        self.encode()?;
        self.writer.finish()?;
        Ok(self.take())
    }

    fn encode(&mut self) -> Result<(), IpcError> {
        if self.columns.rows() > 0 {
            let batch = self.columns.take()?;
            self.writer.write(&batch)?;
        }
        Ok(())
    }
}

/// A whole stream at once.
pub fn encode<'a>(names: &FieldNames, rows: impl Iterator<Item = EventRef<'a>>) -> Result<Vec<u8>, IpcError> {
    let mut encoder = Encoder::new(names)?;
    for event in rows {
        encoder.push(&event)?;
    }
    encoder.finish()
}

#[cfg(test)]
mod tests;
