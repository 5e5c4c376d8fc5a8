//! How long files stay that no reader should need any more.

const DAY_SECONDS: u64 = 24 * 3600;

/// Grace periods of a store: options of the node, no keys of the statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grace {
    /// Replaced files, and files that no manifest names: they may belong to a reader of another process, or to an owner that
    /// is just being replaced. Sorted runs wait ten minutes at most: who has a version open has its runs.
    pub files_seconds: u64,
    /// Files under a tombstone: so long they can be brought back.
    pub tombstone_seconds: u64,
}

impl Default for Grace {
    fn default() -> Self {
        Self { files_seconds: DAY_SECONDS, tombstone_seconds: 7 * DAY_SECONDS }
    }
}
