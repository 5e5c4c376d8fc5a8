//! What a range of a log becomes in the durable tier: data files, and the commit that names them. The one place that
//! knows it, for jobs and for stores without a log.

use crate::append::settle::SettledRecords;
use std::ops::ControlFlow;
use strandline_durable::{
    ChunkMark, CommandRecord, Commit, DurableTier, FileEntry, HeadRecord, JobSpec, Layout, RowRef, Rows, Veiled,
    WriteError,
};
use strandline_event::{LogIndex, LogKey, Micros, StampedBatch};

/// A range (from_exclusive, through] of a log under one job.
#[derive(Clone, Copy)]
pub(super) struct Output<'a> {
    pub(super) durable: &'a DurableTier,
    /// How its rows were sorted and its files are written, whatever statement replaces the store's meanwhile.
    pub(super) layout: &'a Layout,
    pub(super) job_id: u128,
    pub(super) now: Micros,
    pub(super) log: &'a LogKey,
    pub(super) from_exclusive: LogIndex,
    pub(super) through: LogIndex,
    pub(super) made_for: MadeFor,
}

/// Who waits for the files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MadeFor {
    /// A job, one of those that share `compaction.max_open_files`.
    Job,
    /// A job that another process commits.
    Another,
    /// Appends of a store without a log, which wait for no job.
    Appends,
}

impl Output<'_> {
    /// Writes the data files aside, in the order that a [`strandline_durable::Sorter`] gave.
    pub(super) fn write(
        &self,
        batches: &[StampedBatch],
        order: &[RowRef],
        on_rows: &mut (dyn FnMut(u64) -> ControlFlow<()> + Send),
    ) -> Result<Vec<FileEntry>, WriteError> {
        let spec = JobSpec {
            job_id: self.job_id,
            log: self.log.clone(),
            from_exclusive: self.from_exclusive,
            through: self.through,
        };
        let veil = self.durable.veil();
        if veil.is_empty() {
            return self.write_rows(&spec, batches, order, on_rows);
        }
        // what is redacted while the job runs a merge takes out of its files
        let veiled: Vec<_> = batches.iter().map(|batch| Veiled::new(veil, batch)).collect();
        self.write_rows(&spec, &veiled, order, on_rows)
    }

    fn write_rows<B: Rows>(
        &self,
        spec: &JobSpec,
        batches: &[B],
        order: &[RowRef],
        on_rows: &mut (dyn FnMut(u64) -> ControlFlow<()> + Send),
    ) -> Result<Vec<FileEntry>, WriteError> {
        let (durable, layout) = (self.durable, self.layout);
        match self.made_for {
            MadeFor::Job => durable.write_files(layout, spec, batches, order, on_rows),
            MadeFor::Another => durable.write_files_for_another(layout, spec, batches, order, on_rows),
            MadeFor::Appends => durable.write_files_of_appends(layout, spec, batches, order, on_rows),
        }
    }

    /// The commit that makes them true.
    pub(super) fn commit(&self, records: SettledRecords, files: Vec<FileEntry>) -> Commit {
        // the first seq of the job itself: the manifest checks it against the head that it has, and keeps that one's first
        let heads = records.heads.into_iter().zip(records.first_seqs).map(|((stream, h), first_seq)| HeadRecord {
            stream,
            last_seq: h.last_seq,
            first_seq,
            owner_tenant: h.tenant,
        });
        let commands = records.commands.into_iter().map(|c| CommandRecord {
            key: c.key,
            digest: c.record.digest,
            first_seq: c.record.first_seq,
            count: c.record.count,
            ingested_at: c.record.ingested_at,
            stream: c.stream,
        });
        let chunks = records.chunks.into_iter().map(|(digest, number)| ChunkMark { digest, number, at: self.now });
        Commit {
            job_id: self.job_id,
            at: self.now,
            log: self.log.clone(),
            from_exclusive: self.from_exclusive,
            through: self.through,
            last_ingested_at: records.last_ingested_at.unwrap_or(Micros::MIN),
            files,
            heads: heads.collect(),
            commands: commands.collect(),
            chunks: chunks.collect(),
        }
    }
}
