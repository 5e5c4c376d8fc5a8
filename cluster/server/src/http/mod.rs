//! What every route needs: the path, the query, the body, the answer. Knows nothing of events.

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod call;
pub(crate) mod head;
pub(crate) mod paced;
pub(crate) mod path;
pub(crate) mod query;
