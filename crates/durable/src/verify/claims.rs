//! What a row group claims of one column (statistics, page index, bloom filter), against every row.
//!
//! A claim that is wider than it must be is no fault: readers only open more. One that leaves a row out hides it.

use crate::partition::text;
use crate::read::{DataFile, ReadError};
use parquet::bloom_filter::Sbbf;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;
use strandline_event::{EventRef, Field};

/// The claims of a column in a row group, and how far its rows have come.
pub(super) struct Claims {
    field: Field,
    statistics: Option<Statistics>,
    filter: Option<Sbbf>,
    pages: Option<Pages>,
    row: i64,
    nulls: u64,
}

/// The pages of a column chunk.
struct Pages {
    index: ColumnIndexMetaData,
    /// The row of the group with which each begins.
    starts: Vec<i64>,
    page: usize,
}

impl Claims {
    /// Those of every column that has any.
    pub(super) fn of_group(file: &DataFile, group: usize) -> Result<Vec<Self>, ReadError> {
        let meta = file.meta.parquet();
        let columns = meta.row_groups().get(group).map_or(&[][..], |g| g.columns());
        let mut out = Vec::new();
        for (field, column) in Field::ALL.into_iter().zip(columns) {
            let (statistics, filter) = (column.statistics().cloned(), file.filter(group, field)?);
            let places = file.places(group, field)?;
            let pages = file.bounds(group, field)?.cloned().zip(places).map(|(index, places)| Pages {
                index,
                starts: places.page_locations().iter().map(|page| page.first_row_index).collect(),
                page: 0,
            });
            if let Some(pages) = pages.as_ref().filter(|pages| pages.index.num_pages() != pages.starts.len() as u64) {
                let what = format!("the page index of {} has {} pages", field.default_name(), pages.index.num_pages());
                return Err(file.damaged(format!("{what}, the chunk has {}", pages.starts.len())));
            }
            if statistics.is_some() || filter.is_some() || pages.is_some() {
                out.push(Self { field, statistics, filter, pages, row: 0, nulls: 0 });
            }
        }
        Ok(out)
    }

    /// What is wrong with the next row.
    pub(super) fn check(&mut self, event: &EventRef<'_>) -> Vec<String> {
        let name = self.field.default_name();
        let value = Value::of(event, self.field);
        let in_page = self.pages.as_mut().is_none_or(|pages| pages.hold(self.row, value.as_ref()));
        self.row += 1;
        let mut wrong = Vec::new();
        if !in_page {
            wrong.push(format!("its {name} lies outside what the page index says of the page"));
        }
        let Some(value) = value else {
            self.nulls += 1;
            return wrong;
        };
        if self.statistics.as_ref().is_some_and(|s| !value.lies_within(s)) {
            wrong.push(format!("its {name} lies outside the statistics of the row group"));
        }
        if self.filter.as_ref().is_some_and(|filter| !value.is_in(filter)) {
            wrong.push(format!("its {name} is not in the bloom filter of the row group"));
        }
        wrong
    }

    /// What is wrong once all rows were seen.
    pub(super) fn end(&self) -> Option<String> {
        let said = self.statistics.as_ref()?.null_count_opt()?;
        let name = self.field.default_name();
        (said != self.nulls).then(|| format!("its statistics say {said} nulls of {name}, there are {}", self.nulls))
    }
}

impl Pages {
    /// Whether the page of a row may hold its value.
    fn hold(&mut self, row: i64, value: Option<&Value<'_>>) -> bool {
        while self.starts.get(self.page + 1).is_some_and(|start| *start <= row) {
            self.page += 1;
        }
        let Some(value) = value else { return true };
        let page = self.page;
        if self.index.is_null_page(page) {
            return false;
        }
        match (value, &self.index) {
            (
                Value::Bytes(_) | Value::Id(_),
                ColumnIndexMetaData::BYTE_ARRAY(index) | ColumnIndexMetaData::FIXED_LEN_BYTE_ARRAY(index),
            ) => value.bytes_within(index.min_value(page), index.max_value(page)),
            (Value::Long(value), ColumnIndexMetaData::INT64(index)) => {
                index.min_value(page).is_none_or(|m| m <= value) && index.max_value(page).is_none_or(|m| value <= m)
            }
            (Value::Unsigned(value), ColumnIndexMetaData::INT32(index)) => {
                index.min_value(page).is_none_or(|m| m.cast_unsigned() <= *value)
                    && index.max_value(page).is_none_or(|m| *value <= m.cast_unsigned())
            }
            _ => false,
        }
    }
}

/// A value as statistics and filters know it.
enum Value<'a> {
    Bytes(&'a [u8]),
    Id([u8; 16]),
    Long(i64),
    Unsigned(u32),
}

impl<'a> Value<'a> {
    fn of(event: &EventRef<'a>, field: Field) -> Option<Self> {
        Some(match field {
            Field::EventId => Self::Id(event.event_id.0),
            Field::Seq => Self::Long(event.seq.0.cast_signed()),
            Field::OccurredAt => Self::Long(event.occurred_at.0),
            Field::IngestedAt => Self::Long(event.ingested_at.0),
            Field::EventVersion => Self::Unsigned(event.event_version?),
            _ => Self::Bytes(text(event, field)?.as_bytes()),
        })
    }

    fn bytes_within(&self, min: Option<&[u8]>, max: Option<&[u8]>) -> bool {
        let value = match self {
            Self::Bytes(value) => value,
            Self::Id(value) => &value[..],
            Self::Long(_) | Self::Unsigned(_) => return false,
        };
        min.is_none_or(|m| m <= value) && max.is_none_or(|m| value <= m)
    }

    fn lies_within(&self, statistics: &Statistics) -> bool {
        let (min, max) = (statistics.min_bytes_opt(), statistics.max_bytes_opt());
        let long = |bytes: &[u8]| bytes.try_into().map(i64::from_le_bytes).ok();
        let unsigned = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).ok();
        match self {
            Self::Bytes(_) | Self::Id(_) => self.bytes_within(min, max),
            Self::Long(value) => {
                min.and_then(long).is_none_or(|m| m <= *value) && max.and_then(long).is_none_or(|m| *value <= m)
            }
            Self::Unsigned(value) => {
                min.and_then(unsigned).is_none_or(|m| m <= *value) && max.and_then(unsigned).is_none_or(|m| *value <= m)
            }
        }
    }

    fn is_in(&self, filter: &Sbbf) -> bool {
        match self {
            Self::Bytes(value) => filter.check(*value),
            Self::Id(value) => filter.check(&value[..]),
            Self::Long(value) => filter.check(value),
            Self::Unsigned(value) => filter.check(&value.cast_signed()),
        }
    }
}
