//! A page that many followers may give events from.

use std::ops::Range;
use std::sync::{Arc, OnceLock};
use strandline_engine::read::GlobalPage;
use strandline_event::EventRef;

/// Writes an event as connections send it; the same for all consumers of a store, whose texts are shared.
pub type Encode = Arc<dyn Fn(&mut Vec<u8>, &EventRef<'_>) + Send + Sync>;

/// Rows of the global order, and their texts once somebody needed them.
pub struct FollowPage {
    rows: GlobalPage,
    texts: OnceLock<Texts>,
}

struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl FollowPage {
    pub(super) const fn new(rows: GlobalPage) -> Self {
        Self { rows, texts: OnceLock::new() }
    }

    /// The rows.
    #[must_use]
    pub const fn rows(&self) -> &GlobalPage {
        &self.rows
    }

    /// The text of a row. All rows are encoded by the first who asks, with what all others would take as well.
    pub fn text(&self, row: u32, encode: impl Fn(&mut Vec<u8>, &EventRef<'_>)) -> &[u8] {
        let texts = self.texts.get_or_init(|| {
            let mut texts = Texts { bytes: Vec::new(), ends: Vec::with_capacity(self.rows.len()) };
            for event in self.rows.rows() {
                encode(&mut texts.bytes, &event);
                texts.ends.push(texts.bytes.len());
            }
            texts
        });
        let row = row as usize;
        let start = row.checked_sub(1).and_then(|before| texts.ends.get(before).copied()).unwrap_or(0);
        let range: Range<usize> = start..texts.ends.get(row).copied().unwrap_or(start);
        texts.bytes.get(range).unwrap_or_default()
    }
}
