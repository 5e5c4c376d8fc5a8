//! What the files of a store look like: names, types, order, encodings. Derived once from the configuration.
//!
//! Pure: opens nothing. Two stores with equal keys have equal layouts.

use crate::schema;
use crate::write::{FORMAT_VERSION, PAGE_ROWS, properties};
use arrow::datatypes::SchemaRef;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::schema::types::SchemaDescriptor;
use std::sync::Arc;
use strandline_deql::{FilePattern, Partition, RowGroup, SortOrder, StoreConfig};
use strandline_event::hash::keyed_hash;
use strandline_event::{Field, FieldNames};
use strandline_keys::StoreKeys;

const MB: u64 = 1 << 20;
/// Bytes of a batch before it goes to the encoders.
const BATCH_BYTES: usize = 4 << 20;
/// Rows that a job gathers at once at most: the more, the more of them are neighbours in the log.
pub(crate) const WINDOW_ROWS: usize = 64 << 10;
/// Bytes of them at most.
pub(crate) const WINDOW_BYTES: usize = 16 << 20;

/// How data files of a store are written and found again.
#[derive(Clone)]
pub struct Layout {
    pub(crate) names: FieldNames,
    pub(crate) partition: Partition,
    pub(crate) pattern: FilePattern,
    pub(crate) compression: parquet::basic::Compression,
    pub(crate) dictionary: bool,
    pub(crate) row_group: RowGroup,
    /// `row_group.target_mb` in bytes.
    pub(crate) row_group_bytes: u64,
    pub(crate) stats: Vec<Field>,
    pub(crate) bloom: Vec<Field>,
    pub(crate) bloom_fpp: f64,
    pub(crate) target_file_bytes: u64,
    pub(crate) max_file_bytes: u64,
    pub(crate) max_open_files: usize,
    pub(crate) arrow_schema: SchemaRef,
    pub(crate) parquet_schema: SchemaDescriptor,
    /// Data files are encrypted with keys of these; `None`: they are not.
    pub(crate) keys: Option<Arc<StoreKeys>>,
}

/// Why a configuration gives no layout.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The level is outside the codec's range.
    #[error("durable.compression.level {level} does not suit the codec: {source}")]
    Level {
        /// The level.
        level: u32,
        /// What the codec says.
        source: parquet::errors::ParquetError,
    },
    /// The names give no schema.
    #[error("the column names give no schema: {0}")]
    Schema(parquet::errors::ParquetError),
}

impl Layout {
    /// The layout of a store.
    pub fn new(config: &StoreConfig) -> Result<Self, LayoutError> {
        let names = config.envelope.clone();
        let parquet_schema = schema::parquet(&names).map_err(LayoutError::Schema)?;
        Ok(Self {
            arrow_schema: schema::arrow(&names),
            parquet_schema,
            names,
            partition: config.partition.clone(),
            pattern: config.durable.file_pattern.clone(),
            compression: compression(config)?,
            dictionary: config.durable.dictionary_enabled,
            row_group_bytes: config.row_group.target_mb.saturating_mul(MB),
            row_group: config.row_group.clone(),
            stats: if config.stats.enabled { config.stats.columns.clone() } else { Vec::new() },
            bloom: if config.bloom.enabled { config.bloom.columns.clone() } else { Vec::new() },
            bloom_fpp: config.bloom.fpp,
            max_open_files: usize::try_from(config.compaction.max_open_files).unwrap_or(usize::MAX),
            target_file_bytes: config.compaction.target_file_mb.saturating_mul(MB),
            max_file_bytes: config.compaction.max_file_mb.saturating_mul(MB),
            keys: None,
        })
    }

    /// The same, for files that are encrypted with keys of these.
    #[must_use]
    pub(crate) fn with_keys(self, keys: Option<Arc<StoreKeys>>) -> Self {
        Self { keys, ..self }
    }

    /// A digest of all that decides which files rows become. Equal ones on two nodes: both write the same files of the same rows. Programs of two
    /// versions may say the same in two ways.
    #[must_use]
    pub fn settings(&self) -> u128 {
        let columns = (&self.names, &self.stats, &self.bloom, self.bloom_fpp);
        let files = (&self.partition, &self.pattern, self.target_file_bytes, self.max_file_bytes);
        let pages = (self.compression, self.dictionary, &self.row_group, self.keys.is_some());
        let said = format!("{columns:?} {files:?} {pages:?}");
        keyed_hash(0, 0, &[FORMAT_VERSION.as_bytes(), said.as_bytes()])
    }

    /// The configured column names.
    #[must_use]
    pub const fn names(&self) -> &FieldNames {
        &self.names
    }

    /// The order of rows in a file.
    #[must_use]
    pub fn sort_by(&self) -> &[Field] {
        &self.row_group.sort_by
    }

    /// How the encoder is told to write a file: schema, encodings, statistics, filters. `rows_max`: at most so many rows will
    /// come (bounds the memory of the filters while writing).
    #[must_use]
    pub fn encoder(&self, rows_max: u64) -> (SchemaRef, ArrowWriterOptions) {
        self.encoder_with(rows_max, None)
    }

    /// The same; `encryption`: the key of the file.
    pub(crate) fn encoder_with(
        &self,
        rows_max: u64,
        encryption: Option<Arc<FileEncryptionProperties>>,
    ) -> (SchemaRef, ArrowWriterOptions) {
        let options = ArrowWriterOptions::new()
            .with_properties(properties(self, rows_max, encryption))
            // Polars takes JSON columns for text only where the Arrow schema says so
            .with_skip_arrow_metadata(false)
            .with_parquet_schema(self.parquet_schema.clone());
        (Arc::clone(&self.arrow_schema), options)
    }

    /// So many rows and bytes are one batch for the encoders.
    pub(crate) fn is_batch(&self, rows: usize, bytes: usize) -> bool {
        self.fills(rows, bytes, (PAGE_ROWS, BATCH_BYTES))
    }

    /// The same, with these most rows and bytes, of which a small row group or file allows fewer.
    fn fills(&self, rows: usize, bytes: usize, (rows_max, bytes_max): (usize, usize)) -> bool {
        rows >= rows_max || bytes >= self.bytes_within(bytes_max)
    }

    fn bytes_within(&self, most: usize) -> usize {
        let least = self.max_file_bytes.min(self.row_group_bytes);
        usize::try_from(least / 8).unwrap_or(most).min(most)
    }

    /// Rows of at least so many bytes that are gathered at once at most.
    pub(crate) fn window_rows(&self, row_bytes: usize) -> usize {
        // the row that fills a window stands in it
        (self.bytes_within(WINDOW_BYTES) / row_bytes.max(1) + 1).min(WINDOW_ROWS)
    }

    /// A large row does not stand in one batch with small ones before it: together they may be more than a row group.
    pub(crate) const fn splits_before(&self, batch_bytes: usize, row_bytes: usize) -> bool {
        (batch_bytes + row_bytes) as u64 > self.row_group_bytes
    }

    /// How many of these rows are one batch for the encoders: one at least.
    pub(crate) fn rows_of_batch(&self, row_bytes: &[usize]) -> usize {
        self.rows_within(row_bytes, (PAGE_ROWS, BATCH_BYTES))
    }

    /// How many of these rows are gathered at once: one at least.
    pub(crate) fn rows_of_window(&self, row_bytes: &[usize]) -> usize {
        self.rows_within(row_bytes, (WINDOW_ROWS, WINDOW_BYTES))
    }

    fn rows_within(&self, row_bytes: &[usize], most: (usize, usize)) -> usize {
        let mut bytes = 0;
        for (rows, row) in row_bytes.iter().enumerate() {
            if rows > 0 && self.splits_before(bytes, *row) {
                return rows;
            }
            bytes += row;
            if self.fills(rows + 1, bytes, most) {
                return rows + 1;
            }
        }
        row_bytes.len()
    }

    /// Whether the order is falling.
    #[must_use]
    pub fn descending(&self) -> bool {
        self.row_group.sort_order == SortOrder::Desc
    }
}

fn compression(config: &StoreConfig) -> Result<parquet::basic::Compression, LayoutError> {
    use parquet::basic::{BrotliLevel, Compression as Codec, GzipLevel, ZstdLevel};
    use strandline_deql::Compression;
    let level = config.durable.compression_level.unwrap_or_default();
    let wrap = |source| LayoutError::Level { level, source };
    Ok(match config.durable.compression {
        Compression::None => Codec::UNCOMPRESSED,
        Compression::Snappy => Codec::SNAPPY,
        Compression::Lz4 => Codec::LZ4_RAW,
        Compression::Gzip => Codec::GZIP(GzipLevel::try_new(level).map_err(wrap)?),
        Compression::Brotli => Codec::BROTLI(BrotliLevel::try_new(level).map_err(wrap)?),
        Compression::Zstd => Codec::ZSTD(ZstdLevel::try_new(level.cast_signed()).map_err(wrap)?),
    })
}
