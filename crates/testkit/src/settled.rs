//! What left memory, in plain maps: stands for the runs of the durable tier.

use std::collections::HashMap;
use strandline_engine::append::settle::SettledRecords;
use strandline_engine::append::{Settled, SettledError};
use strandline_engine::commands::CommandRecord;
use strandline_engine::heads::HeadRecord;

/// Records of all jobs so far.
#[derive(Clone, Debug, Default)]
pub struct MapSettled {
    heads: HashMap<u128, HeadRecord>,
    commands: HashMap<u128, CommandRecord>,
    chunks: HashMap<[u8; 16], u64>,
}

impl MapSettled {
    /// Takes a job's records in.
    pub fn add(&mut self, records: SettledRecords) {
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

    fn chunk(&self, digest: &[u8; 16]) -> Result<Option<u64>, SettledError> {
        Ok(self.chunks.get(digest).copied())
    }
}
