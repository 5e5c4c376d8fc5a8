//! A page that many followers may give events from.
//!
//! Invariant: what is hidden when a text is asked for is not in it. Rows show that by themselves; texts were made earlier, so they know how much was hidden
//! then, and are made anew when it is more by now. Rows that went under a tombstone, or came back, cannot be seen in a page: it is given no more.

use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;
use strandline_engine::read::GlobalPage;
use strandline_engine::store::Store;
use strandline_event::EventRef;

/// Writes an event as connections send it; the same for all consumers of a store, whose texts are shared.
pub type Encode = Arc<dyn Fn(&mut Vec<u8>, &EventRef<'_>) + Send + Sync>;

/// What a store kept from its readers at some moment; more or other by now where two of them differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Withheld {
    hidden: u64,
    retirements: u64,
}

impl Withheld {
    /// As of now: what is read or written afterwards shows at least that.
    pub(super) fn by(store: &Store) -> Self {
        Self { hidden: store.hidden(), retirements: store.retirements() }
    }
}

/// Rows of the global order, and their texts once somebody needed them.
pub struct FollowPage {
    store: Arc<Store>,
    rows: GlobalPage,
    retirements: u64,
    texts: Mutex<Option<Arc<Texts>>>,
}

/// The texts of all rows of a page.
pub(super) struct Texts {
    withheld: Withheld,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl FollowPage {
    /// `retirements` is what the store said before the rows were read.
    pub(crate) const fn new(store: Arc<Store>, retirements: u64, rows: GlobalPage) -> Self {
        Self { store, rows, retirements, texts: Mutex::new(None) }
    }

    /// The rows.
    #[must_use]
    pub const fn rows(&self) -> &GlobalPage {
        &self.rows
    }

    /// How often rows had gone under tombstones or come back when it was read.
    pub(super) const fn retirements(&self) -> u64 {
        self.retirements
    }

    /// Whether a read would give the same rows now.
    pub(super) fn is_current(&self) -> bool {
        self.retirements == self.store.retirements()
    }

    /// The texts. All rows are encoded by the first who asks, with what all others would take as well.
    pub(super) fn texts(&self, encode: impl Fn(&mut Vec<u8>, &EventRef<'_>)) -> Arc<Texts> {
        let mut made = self.texts.lock();
        // asked before the rows are looked at: what is hidden meanwhile makes the next one encode again
        let withheld = Withheld { hidden: self.store.hidden(), retirements: self.retirements };
        if let Some(texts) = made.as_ref().filter(|texts| texts.withheld == withheld) {
            return Arc::clone(texts);
        }
        let mut texts = Texts { withheld, bytes: Vec::new(), ends: Vec::with_capacity(self.rows.len()) };
        for event in self.rows.rows() {
            encode(&mut texts.bytes, &event);
            texts.ends.push(texts.bytes.len());
        }
        Arc::clone(made.insert(Arc::new(texts)))
    }
}

impl Texts {
    /// What was kept from readers when they were made.
    pub(super) const fn withheld(&self) -> Withheld {
        self.withheld
    }

    /// The text of a row.
    pub(super) fn row(&self, row: u32) -> &[u8] {
        let row = row as usize;
        let start = row.checked_sub(1).and_then(|before| self.ends.get(before).copied()).unwrap_or(0);
        let range: Range<usize> = start..self.ends.get(row).copied().unwrap_or(start);
        self.bytes.get(range).unwrap_or_default()
    }
}
