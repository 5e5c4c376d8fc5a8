//! Rows of other programs as events to be appended: Arrow IPC (stream or file) and Parquet.
//!
//! Columns are found by the configured names, in any order; what is not there was not given. Texts may be Utf8,
//! LargeUtf8, Utf8View or dictionaries of them; integers of any width; moments of any unit (without a zone: UTC) or RFC 3339 texts;
//! ids 16 bytes or text. An `ingested_at` column is left out of account, which [`InputBatches::left_out`] says: the store gives its own. What one row has
//! wrong is wrong with that row ([`RowError`]). Arrow's validation stays on.
//!
//! A stream may come from anybody: no length that it claims is believed before the bytes are there, and what unpacks to
//! much more than it is (dictionaries, views, columns of nothing) is refused by [`BATCH_ROWS_MAX`] and [`TEXT_BYTES_MAX`].

use super::IpcError;
use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt64Array,
};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use strandline_event::limits::BATCH_ROWS_MAX;
use strandline_event::{EventId, EventInput, Field, FieldNames, Micros, Seq};

const FILE_MAGIC: &[u8] = b"ARROW1";
const PARQUET_BATCH_ROWS: usize = 4096;
/// Bytes of one column's texts in one batch.
const TEXT_BYTES_MAX: usize = 256 << 20;

pub(super) type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// A stream whose bytes are all here. Allocates nothing that the bytes do not pay for.
struct Pushed {
    decoder: StreamDecoder,
    rest: Buffer,
    first: Option<RecordBatch>,
}

impl Pushed {
    fn decode(&mut self) -> Option<Result<RecordBatch, ArrowError>> {
        match self.decoder.decode(&mut self.rest) {
            Ok(Some(batch)) => Some(Ok(batch)),
            Ok(None) => self.decoder.finish().err().map(Err),
            Err(error) => Some(Err(error)),
        }
    }
}

impl Iterator for Pushed {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.first.take().map(Ok).or_else(|| self.decode())
    }
}

/// Rows from outside as they came: what they unpack to is known before they are unpacked.
pub struct PackedBatch {
    names: FieldNames,
    batch: RecordBatch,
}

impl PackedBatch {
    /// Bytes of texts that unpacking makes: those of dictionaries and views, each row's own.
    #[must_use]
    pub fn unpacks_to(&self) -> usize {
        self.batch.columns().iter().map(text_bytes).fold(0, usize::saturating_add)
    }

    /// Unpacks them.
    pub fn open(self) -> Result<InputBatch, IpcError> {
        InputBatch::new(&self.names, &self.batch)
    }
}

/// Batches of rows from outside. Ends after the first error.
pub struct InputBatches {
    names: FieldNames,
    leaves_out: bool,
    batches: Option<Batches>,
}

impl InputBatches {
    /// Reads an Arrow IPC stream, or an Arrow IPC file (told apart by its first bytes).
    pub fn from_ipc(names: &FieldNames, bytes: Bytes) -> Result<Self, IpcError> {
        if bytes.starts_with(FILE_MAGIC) {
            let (schema, batches) = super::file::batches(Buffer::from(bytes))?;
            return Self::new(names, &schema, batches);
        }
        let mut stream = Pushed { decoder: StreamDecoder::new(), rest: Buffer::from(bytes), first: None };
        // gives the schema as well
        stream.first = stream.decode().transpose()?;
        let schema = stream.decoder.schema().ok_or(IpcError::NoSchema)?;
        Self::new(names, &schema, Box::new(stream))
    }

    /// The name of a column that is there and says nothing: when an event was ingested is the store's to say.
    #[must_use]
    pub fn left_out(&self) -> Option<&str> {
        self.leaves_out.then(|| self.names.get(Field::IngestedAt))
    }

    /// Reads a Parquet file.
    pub fn from_parquet(names: &FieldNames, file: File) -> Result<Self, IpcError> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(PARQUET_BATCH_ROWS);
        let schema = builder.schema().clone();
        let reader = builder.build()?;
        Self::new(names, &schema, Box::new(reader))
    }

    fn new(names: &FieldNames, schema: &SchemaRef, batches: Batches) -> Result<Self, IpcError> {
        for (n, column) in schema.fields().iter().enumerate() {
            if names.field(column.name()).is_none() {
                return Err(unknown(names, column.name()));
            }
            if schema.fields()[..n].iter().any(|other| other.name() == column.name()) {
                return Err(IpcError::Twice(column.name().clone()));
            }
        }
        for field in [Field::StreamId, Field::EventType] {
            if schema.column_with_name(names.get(field)).is_none() {
                return Err(IpcError::Missing(names.get(field).to_owned()));
            }
        }
        let leaves_out = schema.column_with_name(names.get(Field::IngestedAt)).is_some();
        Ok(Self { names: names.clone(), leaves_out, batches: Some(batches) })
    }

    /// The next batch, for who bounds what it unpacks to. What follows an error has no meaning.
    pub fn next_packed(&mut self) -> Option<Result<PackedBatch, IpcError>> {
        let next = self.batches.as_mut()?.next()?;
        let batch = next.map_err(IpcError::from).and_then(|batch| match batch.num_rows() {
            rows if rows > BATCH_ROWS_MAX => Err(IpcError::TooManyRows(rows)),
            _ => Ok(PackedBatch { names: self.names.clone(), batch }),
        });
        if batch.is_err() {
            self.batches = None;
        }
        Some(batch)
    }
}

impl Iterator for InputBatches {
    type Item = Result<InputBatch, IpcError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.next_packed()?.and_then(PackedBatch::open);
        if batch.is_err() {
            self.batches = None;
        }
        Some(batch)
    }
}

enum Ids {
    Bytes(FixedSizeBinaryArray),
    Texts(Cast<StringArray>),
}

/// Why a row is no event.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{name}` {what}")]
pub struct RowError {
    /// The column, which is the field's name.
    pub name: String,
    /// What is wrong with its value.
    pub what: &'static str,
}

/// A column as the type that its field has. What could not be made one is null, and was given.
struct Cast<A> {
    values: A,
    given: Option<NullBuffer>,
}

impl<A: Array> Cast<A> {
    /// `Some`: the row has a value. Errors: it was given one that is none.
    fn at(column: Option<&Self>, row: usize, lost: impl FnOnce() -> RowError) -> Result<Option<&A>, RowError> {
        let Some(Self { values, given }) = column.filter(|column| row < column.values.len()) else { return Ok(None) };
        if values.is_valid(row) {
            return Ok(Some(values));
        }
        let was_given = given.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        if was_given { Err(lost()) } else { Ok(None) }
    }
}

/// A batch of rows from outside.
pub struct InputBatch {
    names: FieldNames,
    rows: usize,
    ids: Option<Ids>,
    seqs: Option<Cast<UInt64Array>>,
    versions: Option<Cast<Int64Array>>,
    occurred: Option<Cast<TimestampMicrosecondArray>>,
    texts: [Option<StringArray>; 14],
}

impl InputBatch {
    fn new(names: &FieldNames, batch: &RecordBatch) -> Result<Self, IpcError> {
        let mut out = Self {
            names: names.clone(),
            rows: batch.num_rows(),
            ids: None,
            seqs: None,
            versions: None,
            occurred: None,
            texts: [const { None }; 14],
        };
        for field in Field::ALL {
            if let Some(column) = batch.column_by_name(names.get(field)) {
                out.take(field, column)?;
            }
        }
        Ok(out)
    }

    fn take(&mut self, field: Field, column: &ArrayRef) -> Result<(), IpcError> {
        let name = self.names.get(field);
        match field {
            Field::IngestedAt => {}
            Field::EventId => self.ids = Some(ids(name, column)?),
            Field::Seq => self.seqs = Some(cast(name, column, &DataType::UInt64, "an integer")?),
            Field::EventVersion => self.versions = Some(cast(name, column, &DataType::Int64, "an integer")?),
            Field::OccurredAt => {
                // named zones need a database of zones: the offset says the same
                let target = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
                self.occurred = Some(cast(name, column, &target, "a timestamp")?);
            }
            // from text to text nothing is lost
            _ => self.texts[field as usize] = Some(cast(name, column, &DataType::Utf8, "text")?.values),
        }
        Ok(())
    }

    /// Number of rows.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// The stream type of a row, where it is given.
    #[must_use]
    pub fn stream_type(&self, row: usize) -> Option<&str> {
        self.text(Field::StreamType, row)
    }

    /// A row as an event to be appended; mandatory texts that are not there are empty, which a batch refuses by name. The caller checks that data and
    /// metadata are JSON.
    pub fn input(&self, row: usize) -> Result<EventInput<'_>, RowError> {
        Ok(EventInput {
            stream_id: self.text(Field::StreamId, row).unwrap_or(""),
            event_type: self.text(Field::EventType, row).unwrap_or(""),
            event_id: self.event_id(row)?,
            seq: self.seq(row)?,
            event_version: self.version(row)?,
            occurred_at: self.occurred_at(row)?,
            data: self.text(Field::Payload, row).unwrap_or(""),
            metadata: self.text(Field::Metadata, row),
            command_id: self.text(Field::CommandId, row),
            correlation_id: self.text(Field::CorrelationId, row),
            causation_id: self.text(Field::CausationId, row),
            tenant_id: self.text(Field::TenantId, row),
        })
    }

    fn wrong(&self, field: Field, what: &'static str) -> RowError {
        RowError { name: self.names.get(field).to_owned(), what }
    }

    fn text(&self, field: Field, row: usize) -> Option<&str> {
        valid(self.texts[field as usize].as_ref(), row).map(|c| c.value(row))
    }

    fn event_id(&self, row: usize) -> Result<Option<EventId>, RowError> {
        let no_id = || {
            self.wrong(Field::EventId, "is no UUID; write it like 0190a6e4-7c1a-7000-8000-000000000000, or as 16 bytes")
        };
        match &self.ids {
            Some(Ids::Bytes(ids)) if row < ids.len() && ids.is_valid(row) => {
                Ok(ids.value(row).try_into().ok().map(EventId))
            }
            Some(Ids::Texts(ids)) => match Cast::at(Some(ids), row, no_id)? {
                Some(ids) => EventId::parse(ids.value(row)).map(Some).ok_or_else(no_id),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    fn seq(&self, row: usize) -> Result<Option<Seq>, RowError> {
        let lost = || self.wrong(Field::Seq, "is no whole number from 1");
        Ok(Cast::at(self.seqs.as_ref(), row, lost)?.map(|column| Seq(column.value(row))))
    }

    fn version(&self, row: usize) -> Result<Option<u32>, RowError> {
        let wrong = || self.wrong(Field::EventVersion, "is no whole number from 0 to 4294967295");
        let Some(column) = Cast::at(self.versions.as_ref(), row, wrong)? else { return Ok(None) };
        u32::try_from(column.value(row)).map(Some).map_err(|_| wrong())
    }

    fn occurred_at(&self, row: usize) -> Result<Option<Micros>, RowError> {
        let lost = || {
            self.wrong(
                Field::OccurredAt,
                "is no moment of years 1 to 9999; give a timestamp, or a text like 2026-11-23T10:15:00.123456Z",
            )
        };
        Ok(Cast::at(self.occurred.as_ref(), row, lost)?.map(|column| Micros(column.value(row))))
    }
}

fn valid<A: Array>(column: Option<&A>, row: usize) -> Option<&A> {
    column.filter(|c| row < c.len() && c.is_valid(row))
}

fn ids(name: &str, column: &ArrayRef) -> Result<Ids, IpcError> {
    match column.data_type() {
        DataType::FixedSizeBinary(16) => {
            cast(name, column, &DataType::FixedSizeBinary(16), "16 bytes").map(|ids| Ids::Bytes(ids.values))
        }
        DataType::FixedSizeBinary(_) => Err(wrong_type(name, column, "16 bytes or text")),
        _ => cast(name, column, &DataType::Utf8, "16 bytes or text").map(Ids::Texts),
    }
}

fn unknown(names: &FieldNames, column: &str) -> IpcError {
    let meant = match Field::ALL.into_iter().find(|field| field.default_name() == column) {
        Some(field) => format!("did you mean `{}`?", names.get(field)),
        None => {
            let fields = Field::ALL.into_iter().filter(|field| *field != Field::IngestedAt);
            let known: Vec<String> = fields.map(|field| format!("`{}`", names.get(field))).collect();
            format!("the columns are {}", known.join(", "))
        }
    };
    IpcError::UnknownColumn { name: column.to_owned(), meant }
}

fn wrong_type(name: &str, column: &ArrayRef, expected: &'static str) -> IpcError {
    IpcError::Type { name: name.to_owned(), found: column.data_type().to_string(), expected }
}

fn cast<A: Array + Clone + 'static>(
    name: &str,
    column: &ArrayRef,
    target: &DataType,
    expected: &'static str,
) -> Result<Cast<A>, IpcError> {
    if !suits(column.data_type(), target) {
        return Err(wrong_type(name, column, expected));
    }
    if text_bytes(column) > TEXT_BYTES_MAX {
        return Err(IpcError::TooLarge(name.to_owned()));
    }
    // what cannot be one becomes null, so that its row can be named
    let cast = cast_with_options(column, target, &CastOptions { safe: true, ..CastOptions::default() })?;
    let values = cast.as_any().downcast_ref::<A>().cloned().ok_or_else(|| wrong_type(name, column, expected))?;
    Ok(Cast { values, given: column.logical_nulls() })
}

/// Bytes of the texts of a column when each row has its own; 0 where a cast cannot make more than there is.
fn text_bytes(column: &ArrayRef) -> usize {
    if let Some(dictionary) = column.as_any_dictionary_opt() {
        let values = dictionary.values();
        let len = |row: &usize| text_len(values, *row);
        // a dictionary of dictionaries is unpacked twice: its values are counted as well
        return dictionary.normalized_keys().iter().map(len).fold(text_bytes(values), usize::saturating_add);
    }
    match column.as_string_view_opt() {
        Some(views) => (0..views.len()).map(|row| text_len(column, row)).fold(0, usize::saturating_add),
        None => 0,
    }
}

fn text_len(values: &ArrayRef, row: usize) -> usize {
    if row >= values.len() {
        return 0;
    }
    match values.data_type() {
        DataType::Utf8 => values.as_string::<i32>().value(row).len(),
        DataType::LargeUtf8 => values.as_string::<i64>().value(row).len(),
        DataType::Utf8View => values.as_string_view().value(row).len(),
        DataType::Dictionary(..) => {
            let inner = values.as_any_dictionary();
            inner.normalized_keys().get(row).map_or(0, |row| text_len(inner.values(), *row))
        }
        _ => 0,
    }
}

/// Whether a column may stand for a field: a cast exists and loses no meaning.
fn suits(from: &DataType, to: &DataType) -> bool {
    let text = |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    match (from, to) {
        (DataType::Null, _) => true,
        (DataType::Dictionary(_, values), _) => suits(values, to),
        (from, DataType::Utf8) => text(from),
        (from, DataType::UInt64 | DataType::Int64) => from.is_integer(),
        (from, DataType::Timestamp(..)) => text(from) || matches!(from, DataType::Timestamp(..)),
        (from, to) => from == to,
    }
}
