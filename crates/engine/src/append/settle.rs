//! What a compaction job writes beside its data files: heads, commands and chunk marks of its batches.
//!
//! Invariant: what [`Settled`] says after the job's commit is what the log said before it.

use crate::append::hashes::Hashes;
use crate::append::log::command_records;
use crate::append::rules::Rules;
use crate::append::settled::{Settled, SettledError};
use crate::commands::{CommandRecord, Scope};
use crate::heads::HeadRecord;
use crate::tenants::joined;
use strandline_durable::StreamSeen;
use strandline_event::{Micros, Seq, StampedBatch};

/// Collects the records of a job's batches, which come in log order. Its heads come from whoever puts its rows in order, who looks at all
/// streams anyway.
pub struct SettleBuilder<'a> {
    rules: &'a Rules,
    commands: Vec<SettledCommand>,
    chunks: Vec<([u8; 16], u64)>,
    last_ingested_at: Option<Micros>,
}

/// A command of a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SettledCommand {
    /// Its key.
    pub key: u128,
    /// Hash of the stream its events went to.
    pub stream: u128,
    /// What is known of it.
    pub record: CommandRecord,
}

/// The records of a job; heads and commands sorted by their key.
#[derive(Clone, Debug, Default)]
pub struct SettledRecords {
    /// Stream hash -> head.
    pub heads: Vec<(u128, HeadRecord)>,
    /// For each of `heads`: the first seq of the stream in the job itself.
    pub first_seqs: Vec<Seq>,
    /// Its commands.
    pub commands: Vec<SettledCommand>,
    /// Marks of chunks and of their refused rows.
    pub chunks: Vec<([u8; 16], u64)>,
    /// The newest moment.
    pub last_ingested_at: Option<Micros>,
}

impl<'a> SettleBuilder<'a> {
    /// No batch yet.
    #[must_use]
    pub fn new(rules: &'a Rules) -> Self {
        Self { rules, commands: Vec::new(), chunks: Vec::new(), last_ingested_at: None }
    }

    /// The next batch of the log.
    pub fn add(&mut self, batch: &StampedBatch) {
        if self.rules.scope != Scope::None {
            let hashes = Hashes::of(batch.view(), self.rules);
            self.commands.extend(command_records(batch, &hashes));
        }
        self.chunks.extend(crate::chunks::marks_of(batch, self.rules.digest_key));
        self.last_ingested_at = self.last_ingested_at.max(Some(batch.stamps().last_ingested_at()));
    }

    /// The records, with the heads of the job's streams, each once. A stream that `older` knows keeps its first seq and owner.
    pub fn finish(self, mut streams: Vec<StreamSeen>, older: &dyn Settled) -> Result<SettledRecords, SettledError> {
        streams.sort_unstable_by_key(|seen| seen.stream);
        let first_seqs = streams.iter().map(|seen| seen.first_seq).collect();
        let mut heads = Vec::with_capacity(streams.len());
        for StreamSeen { stream, first_seq, last_seq, tenant } in streams {
            let head = match older.head(stream)? {
                Some(HeadRecord { first_seq, tenant: owner, .. }) => {
                    HeadRecord { last_seq, first_seq, tenant: joined(owner, tenant) }
                }
                None => HeadRecord { last_seq, first_seq, tenant },
            };
            heads.push((stream, head));
        }
        let mut commands = self.commands;
        // stable: of two with one key (a scope that was none before) the first stays
        commands.sort_by_key(|command| command.key);
        commands.dedup_by_key(|command| command.key);
        Ok(SettledRecords { heads, first_seqs, commands, chunks: self.chunks, last_ingested_at: self.last_ingested_at })
    }
}
