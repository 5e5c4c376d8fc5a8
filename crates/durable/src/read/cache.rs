//! Decoded footers, page indexes and filters, kept up to a bound in bytes; the least used goes first.

use super::meta::FileMeta;
use foldhash::fast::FixedState;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// A bounded cache by file name (names are never used twice).
pub(crate) struct FileCache {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    files: HashMap<String, (Arc<FileMeta>, u64, usize), FixedState>,
    clock: u64,
    bytes: usize,
}

impl FileCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default() }
    }

    pub(crate) fn get(&self, path: &str) -> Option<Arc<FileMeta>> {
        let mut state = self.state.lock();
        state.clock += 1;
        let now = state.clock;
        let (meta, used, _) = state.files.get_mut(path)?;
        *used = now;
        Some(Arc::clone(meta))
    }

    pub(crate) fn put(&self, path: &str, meta: &Arc<FileMeta>) {
        let cost = meta.cost_bytes();
        let mut state = self.state.lock();
        state.clock += 1;
        let now = state.clock;
        if let Some((_, _, old)) = state.files.insert(path.to_owned(), (Arc::clone(meta), now, cost)) {
            state.bytes -= old;
        }
        state.bytes += cost;
        if state.bytes > self.bytes_max {
            state.shrink(self.bytes_max);
        }
    }
}

impl State {
    /// Throws the least used out until a quarter is free: so the sort is paid once in many puts.
    fn shrink(&mut self, bytes_max: usize) {
        let mut by_use: Vec<(u64, String)> =
            self.files.iter().map(|(path, (_, used, _))| (*used, path.clone())).collect();
        by_use.sort_unstable();
        for (_, path) in by_use {
            if self.bytes <= bytes_max / 4 * 3 {
                break;
            }
            if let Some((_, _, cost)) = self.files.remove(&path) {
                self.bytes -= cost;
            }
        }
    }
}
