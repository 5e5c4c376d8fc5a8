//! What left memory, in plain maps: stands for the runs of the durable tier.

use crate::r#gen::store;
use std::collections::HashMap;
use strandline_durable::{Layout, Sorter};
use strandline_engine::append::settle::SettleBuilder;
use strandline_engine::append::{Rules, Settled, SettledError};
use strandline_engine::commands::CommandRecord;
use strandline_engine::heads::HeadRecord;
use strandline_event::StampedBatch;

/// Records of all jobs so far.
#[derive(Clone, Debug, Default)]
pub struct MapSettled {
    heads: HashMap<u128, HeadRecord>,
    commands: HashMap<u128, CommandRecord>,
    chunks: HashMap<[u8; 16], u64>,
}

impl MapSettled {
    /// Takes in what a job of these batches records beside its files.
    #[allow(clippy::expect_used)]
    pub fn add_job(&mut self, rules: &Rules, batches: &[StampedBatch]) {
        let layout = Layout::new(&store("memory://test", "")).expect("a layout of a store of tests");
        let (mut sorter, mut builder) = (Sorter::new(&layout), SettleBuilder::new(rules));
        for batch in batches {
            sorter.add(batch);
            builder.add(batch);
        }
        let streams = sorter.finish(batches).streams;
        let records = builder.finish(streams, &*self).expect("maps can be read");
        self.heads.extend(records.heads);
        self.commands.extend(records.commands.into_iter().map(|command| (command.key, command.record)));
        self.chunks.extend(records.chunks);
    }
}

impl Settled for MapSettled {
    fn head(&self, stream: u128) -> Result<Option<HeadRecord>, SettledError> {
        Ok(self.heads.get(&stream).copied())
    }

    fn command(&self, key: u128) -> Result<Option<CommandRecord>, SettledError> {
        Ok(self.commands.get(&key).copied())
    }

    fn may_have_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    fn chunk(&self, digest: &[u8; 16]) -> Result<Option<u64>, SettledError> {
        Ok(self.chunks.get(digest).copied())
    }
}
