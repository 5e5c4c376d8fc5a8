//! What a log learns of batches that are committed already: at a start, and of a group's entries that another node made.
//!
//! Hashes and digests of a batch depend on nothing but the batch and the rules ([`Learned`]), so another thread than the log's may make
//! them. Taking them in goes batch by batch, in order.

use super::{Log, command_records};
use crate::Few;
use crate::append::hashes::Hashes;
use crate::append::rules::Rules;
use crate::append::settle::SettledCommand;
use crate::heads::{Touched, touched_streams};
use strandline_event::{LogIndex, StampedBatch};

/// What there is to learn of a batch.
pub(crate) struct Learned {
    touched: Few<Touched>,
    /// None where nobody checks command ids.
    commands: Vec<SettledCommand>,
}

impl Learned {
    /// Of a batch of a log that judges by these rules.
    pub(crate) fn of(batch: &StampedBatch, rules: &Rules) -> Self {
        let hashes = Hashes::of(batch.view(), rules);
        let touched = touched_streams(batch, hashes.streams().iter().copied());
        Self { touched, commands: command_records(batch, &hashes).collect() }
    }
}

impl Log {
    /// Learns a committed batch from the log file: every one above the watermark, in order, before the first request.
    pub fn replay(&mut self, index: LogIndex, batch: &StampedBatch) {
        if index > self.accepted {
            let learned = Learned::of(batch, &self.rules);
            self.learn(index, batch, &learned);
        }
    }

    /// As [`replay`](Self::replay), where what there is to learn was found out before, by this log's rules.
    pub(crate) fn learn(&mut self, index: LogIndex, batch: &StampedBatch, learned: &Learned) {
        if index <= self.accepted {
            return;
        }
        self.published.ids.write().insert(index, batch);
        self.chunks.insert(batch, index);
        for command in &learned.commands {
            self.commands.insert_stored(command.key, command.record, index);
        }
        self.accepted = index;
        self.advance(index, &learned.touched);
        // last: where another node leads the log it is closed up to there from here on, and a reader who asks no log must know that there is an event
        self.published.clock.observe(batch.stamps().last_ingested_at());
    }
}
