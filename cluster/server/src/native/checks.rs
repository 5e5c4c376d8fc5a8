//! What a batch from outside must keep before it is handed to the node: what HTTP's decoder would have refused.
//!
//! The archive has been validated by then, so it can be read; this is about what stands in it.

use crate::decode::event::unreadable;
use crate::decode::json;
use serde::de::IgnoredAny;
use strandline_client::Refused;
use strandline_event::foreign::{ForeignError, check_foreign};
use strandline_event::{BatchView, ErrorKind, Field, FieldNames};

/// Checks streams, limits and JSON of a batch.
pub(super) fn check(batch: BatchView<'_>, names: &FieldNames) -> Result<(), Refused> {
    check_limits(batch, names)?;
    check_payloads(batch, names)
}

/// Checks streams and limits: what a client that makes batches itself knows before.
pub(super) fn check_limits(batch: BatchView<'_>, names: &FieldNames) -> Result<(), Refused> {
    check_foreign(batch).map_err(|error| foreign(&error, names))
}

/// Checks JSON.
pub(super) fn check_payloads(batch: BatchView<'_>, names: &FieldNames) -> Result<(), Refused> {
    for row in 0..batch.rows() {
        check_json(names.get(Field::Payload), batch.data(row), row)?;
        if let Some(metadata) = batch.metadata(row) {
            check_json(names.get(Field::Metadata), metadata, row)?;
        }
    }
    Ok(())
}

fn check_json(name: &str, text: &str, row: usize) -> Result<(), Refused> {
    // broken JSON is one thing, by whatever way it comes; JSON that most readers refuse is another
    let (kind, refused) = match serde_json::from_str::<IgnoredAny>(text) {
        Err(error) => (ErrorKind::BadRequest, format!("broken JSON in `{name}`: {error}{}", json::hint(&error, text))),
        Ok(IgnoredAny) => match unreadable(name, text) {
            None => return Ok(()),
            Some(refused) => (ErrorKind::InvalidEvent, refused),
        },
    };
    Err(Refused { row: Some(row as u32), ..Refused::new(kind, refused) })
}

fn foreign(error: &ForeignError, names: &FieldNames) -> Refused {
    match error {
        ForeignError::Row { row, why } => {
            let answer = json::invalid(why, names);
            Refused { row: Some(*row), ..Refused::new(answer.kind(), answer.message()) }
        }
        ForeignError::StreamType(why) => {
            let answer = json::invalid(why, names);
            Refused::new(answer.kind(), answer.message())
        }
        ForeignError::Streams => Refused::new(ErrorKind::BadRequest, error.to_string()),
        ForeignError::AppendTooLong => Refused::new(ErrorKind::TooLarge, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_event::texts::Texts;
    use strandline_event::{BatchBytes, EventBatch};

    fn texts(all: &[&str]) -> Texts {
        let mut texts = Texts::default();
        all.iter().for_each(|text| texts.push(text));
        texts
    }

    fn judged(streams: &[&str], data: &[&str]) -> Result<(), (String, Option<u32>)> {
        let rows = data.len();
        let batch = EventBatch {
            stream_type: "T".to_owned(),
            streams: texts(streams),
            stream_of: (0..rows as u32).map(|row| row.min(streams.len() as u32 - 1)).collect(),
            flags: vec![0; rows],
            event_types: texts(&vec!["E"; rows]),
            data: texts(data),
            ..EventBatch::default()
        };
        let batch = BatchBytes::archive(&batch).unwrap();
        check(batch.view(), &FieldNames::default()).map_err(|refused| (refused.code, refused.row))
    }

    #[test]
    fn what_no_builder_of_ours_makes_is_refused() {
        assert_eq!(judged(&["a", "b"], &["{}", "1"]), Ok(()));
        assert_eq!(judged(&["a", "a"], &["{}", "1"]), Err(("bad_request".to_owned(), None)));
        for data in ["", "{", "1,\"seq\":2", "nul"] {
            assert_eq!(judged(&["a"], &["{}", data]), Err(("bad_request".to_owned(), Some(1))), "{data}");
        }
        assert_eq!(judged(&[""], &["{}"]), Err(("invalid_event".to_owned(), Some(0))));
    }
}
