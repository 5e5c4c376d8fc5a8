//! Filters of store-wide reads, on a file's bounds and on a row.

use crate::entry::{FileEntry, within};
use arrow::array::{Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use strandline_event::{EventRef, Field, Micros};

/// What a store-wide read asks for; the default asks for everything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RowFilter {
    /// Only this stream type.
    pub stream_type: Option<String>,
    /// Only streams of this id.
    pub stream_id: Option<String>,
    /// Only this event type.
    pub event_type: Option<String>,
    /// Only this tenant.
    pub tenant_id: Option<String>,
    /// Only one of these tenants; none: of any, or of no tenant.
    pub tenants: Vec<String>,
    /// Only events that happened then or later.
    pub occurred_from: Option<Micros>,
    /// Only events that happened before.
    pub occurred_to: Option<Micros>,
}

impl RowFilter {
    /// Whether an event is asked for.
    #[must_use]
    pub fn matches(&self, event: &EventRef<'_>) -> bool {
        self.stream_type.as_deref().is_none_or(|t| t == event.stream_type)
            && self.stream_id.as_deref().is_none_or(|s| s == event.stream_id)
            && self.event_type.as_deref().is_none_or(|t| t == event.event_type)
            && self.is_of(event.tenant_id)
            && self.occurred_from.is_none_or(|from| from <= event.occurred_at)
            && self.occurred_to.is_none_or(|to| event.occurred_at < to)
    }

    /// Whether events of this tenant are asked for.
    fn is_of(&self, tenant: Option<&str>) -> bool {
        self.tenant_id.as_deref().is_none_or(|t| Some(t) == tenant)
            && (self.tenants.is_empty() || tenant.is_some_and(|tenant| self.tenants.iter().any(|t| t == tenant)))
    }

    /// Whether a file may hold such events.
    #[must_use]
    pub fn may_match(&self, file: &FileEntry) -> bool {
        let bounds = &file.bounds;
        let tenant = |t: &String| bounds.tenant_id.as_ref().is_some_and(|b| within(b, t));
        self.stream_type.as_deref().is_none_or(|t| t == file.stream_type)
            && self.stream_id.as_ref().is_none_or(|s| within(&bounds.stream_id, s))
            && self.event_type.as_ref().is_none_or(|t| within(&bounds.event_type, t))
            && self.tenant_id.as_ref().is_none_or(tenant)
            && (self.tenants.is_empty() || self.tenants.iter().any(tenant))
            && self.occurred_from.is_none_or(|from| from <= bounds.occurred_at.1)
            && self.occurred_to.is_none_or(|to| bounds.occurred_at.0 < to)
    }

    /// Why nothing could ever match, whatever is stored: one that is given so was not meant. An end that is the beginning is a range without a moment,
    /// and as good as any.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let texts = [
            ("stream_type", &self.stream_type),
            ("stream_id", &self.stream_id),
            ("event_type", &self.event_type),
            ("tenant_id", &self.tenant_id),
        ];
        if let Some((name, _)) = texts.iter().find(|(_, text)| text.as_deref() == Some("")) {
            return Some(format!(
                "the filter's `{name}` is empty, and no event's is: name one, or leave it out to see all"
            ));
        }
        let (from, to) = (self.occurred_from?, self.occurred_to?);
        let swapped = || format!("the filter begins at {from} and ends before that, at {to}: swap the two moments");
        (from > to).then(swapped)
    }

    /// Whether every row of one stream type matches.
    pub(crate) const fn is_open(&self) -> bool {
        self.stream_id.is_none()
            && self.event_type.is_none()
            && self.tenant_id.is_none()
            && self.tenants.is_empty()
            && self.occurred_from.is_none()
            && self.occurred_to.is_none()
    }

    /// The columns that decide (besides the stream type, which a file has one of), rising.
    pub(crate) fn fields(&self) -> Vec<Field> {
        let mut fields = Vec::new();
        if self.stream_id.is_some() {
            fields.push(Field::StreamId);
        }
        if self.event_type.is_some() {
            fields.push(Field::EventType);
        }
        if self.occurred_from.is_some() || self.occurred_to.is_some() {
            fields.push(Field::OccurredAt);
        }
        if self.tenant_id.is_some() || !self.tenants.is_empty() {
            fields.push(Field::TenantId);
        }
        fields
    }

    /// Whether a row of decoded columns matches; `columns` finds a field's column. `None`: a column is not there.
    pub(crate) fn matches_row(&self, columns: &Decoded<'_>, row: usize) -> Option<bool> {
        if let Some(wanted) = &self.stream_id
            && columns.text(Field::StreamId)?.value(row) != wanted.as_str()
        {
            return Some(false);
        }
        if let Some(wanted) = &self.event_type
            && columns.text(Field::EventType)?.value(row) != wanted.as_str()
        {
            return Some(false);
        }
        if self.tenant_id.is_some() || !self.tenants.is_empty() {
            let tenants = columns.text(Field::TenantId)?;
            if !self.is_of((!tenants.is_null(row)).then(|| tenants.value(row))) {
                return Some(false);
            }
        }
        if self.occurred_from.is_none() && self.occurred_to.is_none() {
            return Some(true);
        }
        let at = Micros(columns.moment(Field::OccurredAt)?.value(row));
        Some(self.occurred_from.is_none_or(|from| from <= at) && self.occurred_to.is_none_or(|to| at < to))
    }
}

/// Some columns of a file, found by field.
pub(crate) struct Decoded<'a> {
    pub(crate) fields: &'a [Field],
    pub(crate) batch: &'a RecordBatch,
}

impl Decoded<'_> {
    pub(crate) fn column<A: Array + 'static>(&self, field: Field) -> Option<&A> {
        let at = self.fields.iter().position(|f| *f == field)?;
        self.batch.columns().get(at)?.as_any().downcast_ref::<A>()
    }

    fn text(&self, field: Field) -> Option<&StringArray> {
        self.column(field)
    }

    fn moment(&self, field: Field) -> Option<&TimestampMicrosecondArray> {
        self.column(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_can_match_is_refused_and_says_what_to_do() {
        let said = |filter: RowFilter| filter.refusal();
        let moment = |at| Some(Micros(at));
        assert_eq!(said(RowFilter::default()), None);
        let of_one = RowFilter { tenant_id: Some("acme".to_owned()), ..RowFilter::default() };
        assert_eq!(said(RowFilter { occurred_from: moment(1), occurred_to: moment(1), ..of_one.clone() }), None);
        assert_eq!(said(RowFilter { occurred_from: moment(1), ..of_one }), None);
        let empty = || Some(String::new());
        for (name, filter) in [
            ("`stream_type`", RowFilter { stream_type: empty(), ..RowFilter::default() }),
            ("`stream_id`", RowFilter { stream_id: empty(), ..RowFilter::default() }),
            ("`event_type`", RowFilter { event_type: empty(), ..RowFilter::default() }),
            ("`tenant_id`", RowFilter { tenant_id: empty(), ..RowFilter::default() }),
            ("swap", RowFilter { occurred_from: moment(2), occurred_to: moment(1), ..RowFilter::default() }),
        ] {
            assert!(said(filter).is_some_and(|why| why.contains(name)), "{name}");
        }
    }
}
