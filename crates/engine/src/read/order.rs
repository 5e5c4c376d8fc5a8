//! The order of a stream read.
//!
//! A page is always chosen by seq. A read that names no order gives the rows of its page by `read.default_order`, rising,
//! ties by seq; in a stream the default, (stream_id, seq), is the order of seq.

use strandline_event::Field;

/// By seq, rising or falling.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// First event first.
    #[default]
    Asc,
    /// Last event first.
    Desc,
}

/// The fields that rows of one stream are to be sorted by; `None`: they are in that order once they are sorted by seq.
pub(super) fn beyond_seq(fields: &[Field]) -> Option<&[Field]> {
    // the same in every row of a stream
    let same = |field: &&Field| matches!(field, Field::StreamType | Field::StreamId);
    match fields.iter().find(|field| !same(field)) {
        None | Some(Field::Seq) => None,
        Some(_) => Some(fields),
    }
}
