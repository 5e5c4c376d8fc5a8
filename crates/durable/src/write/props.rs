//! Which encoding, statistics and filters each column gets.
//!
//! Exactly the configured columns have min/max with a column index and a bloom filter. The offset index
//! (where pages begin, no values) is written for all columns while `stats.enabled` holds, so that a reader can skip
//! pages of `data` too; with `stats.enabled = false` there is none.

use crate::layout::Layout;
use crate::schema::is_nullable;
use parquet::basic::Encoding;
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{BloomFilterPosition, EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use std::sync::Arc;
use strandline_event::Field;

/// Rows of a data page at most: what a lookup decodes to reach one row.
pub(crate) const PAGE_ROWS: usize = 8192;
/// Bytes of a data page at most, about, before compression: what a lookup unpacks to reach one row. Pages of 1 MiB would be some
/// percent smaller and twenty times as dear to look into.
pub(super) const PAGE_BYTES: usize = 64 << 10;
/// Values between two looks at the page's size; small, since one value may have 1 MiB.
const WRITE_BATCH_ROWS: usize = 256;

/// Properties of a file. `rows_max`: at most so many rows will come (bounds the memory of the filters while writing).
pub(crate) fn properties(
    layout: &Layout,
    rows_max: u64,
    encryption: Option<Arc<FileEncryptionProperties>>,
) -> WriterProperties {
    let group = &layout.row_group;
    let mut builder = WriterProperties::builder()
        .set_created_by(format!("strandline {}", env!("CARGO_PKG_VERSION")))
        .set_compression(layout.compression)
        .set_max_row_group_row_count(Some(clamp(group.max_rows)))
        .set_max_row_group_bytes(Some(clamp(layout.row_group_bytes)))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_write_batch_size(WRITE_BATCH_ROWS)
        // among the checked blocks, not in the tail: a lookup reads the one filter that it asks, not those of all ids
        .set_bloom_filter_position(BloomFilterPosition::AfterRowGroup)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(layout.stats.is_empty())
        .set_dictionary_enabled(false)
        .set_sorting_columns(Some(sorting(layout)));
    if let Some(encryption) = encryption {
        builder = builder.with_file_encryption_properties(encryption);
    }
    for field in Field::ALL {
        builder = column(builder, layout, field, rows_max.min(group.max_rows));
    }
    builder.build()
}

fn column(
    mut builder: WriterPropertiesBuilder,
    layout: &Layout,
    field: Field,
    rows_max: u64,
) -> WriterPropertiesBuilder {
    let path = ColumnPath::new(vec![layout.names.get(field).to_owned()]);
    if let Some(encoding) = encoding(field) {
        builder = builder.set_column_encoding(path.clone(), encoding);
    }
    builder = builder.set_column_dictionary_enabled(path.clone(), layout.dictionary && has_dictionary(field));
    if layout.stats.contains(&field) {
        builder = builder.set_column_statistics_enabled(path.clone(), EnabledStatistics::Page);
    }
    // into an encrypted file the crate would write them as they are: there we write our own (`filters.rs`)
    if layout.bloom.contains(&field) && layout.keys.is_none() {
        // sized for the most there can be; folded to the real distinct count when the row group ends
        builder = builder
            .set_column_bloom_filter_enabled(path.clone(), true)
            .set_column_bloom_filter_fpp(path.clone(), layout.bloom_fpp)
            .set_column_bloom_filter_max_ndv(path, rows_max.max(1));
    }
    builder
}

const fn encoding(field: Field) -> Option<Encoding> {
    match field {
        Field::Seq | Field::OccurredAt | Field::IngestedAt => Some(Encoding::DELTA_BINARY_PACKED),
        Field::StreamId => Some(Encoding::DELTA_BYTE_ARRAY),
        _ => Some(Encoding::PLAIN),
    }
}

/// Fields with few distinct values. The others would fill a dictionary only to give it up.
const fn has_dictionary(field: Field) -> bool {
    matches!(
        field,
        Field::StreamType
            | Field::EventType
            | Field::EventVersion
            | Field::TenantId
            | Field::Metadata
            | Field::CorrelationId
            | Field::CausationId
    )
}

fn sorting(layout: &Layout) -> Vec<SortingColumn> {
    let descending = layout.descending();
    let columns = layout.sort_by().iter().map(|field| SortingColumn {
        column_idx: *field as i32,
        descending,
        // null is the largest value: last when rising, first when falling
        nulls_first: descending && is_nullable(*field),
    });
    columns.collect()
}

fn clamp(n: u64) -> usize {
    usize::try_from(n.max(1)).unwrap_or(usize::MAX)
}
