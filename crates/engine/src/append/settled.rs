//! What left memory: heads, commands and chunk marks at or below the watermark.

use crate::commands::{CommandRecord, Scope};
use crate::heads::HeadRecord;
use strandline_durable::Snapshot;
use strandline_event::{ErrorKind, LogKey};

/// The runs cannot be trusted: the log must refuse writes rather than guess.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct SettledError(pub String);

impl SettledError {
    /// What it means to the client.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Integrity
    }
}

/// One manifest's records of one log. Lookups are a page read or two, and mostly none (filters).
pub trait Settled: Send + Sync {
    /// The head of a stream.
    fn head(&self, stream: u128) -> Result<Option<HeadRecord>, SettledError>;
    /// Whether its heads are those of a version: what it says of a stream, the version says, and need not be asked.
    fn has_heads_of(&self, _version: &Snapshot, _log: &LogKey) -> bool {
        false
    }
    /// A command.
    fn command(&self, key: u128) -> Result<Option<CommandRecord>, SettledError>;
    /// `false`: it has no command.
    fn may_have_commands(&self) -> bool {
        true
    }
    /// Before many commands are asked for: what each look waits for is waited for at the same time.
    fn look_ahead(&self, _commands: &mut dyn Iterator<Item = u128>) {}
    /// The same for heads of streams that are mostly there.
    fn look_ahead_heads(&self, _streams: &[u128]) {}
    /// Number of records of heads; a stream may have several.
    fn head_records(&self) -> usize {
        0
    }
    /// The number under a mark of a chunk or of a refused row, see [`marks_of`](crate::chunks::marks_of); under the digest of
    /// a file: its highest chunk, as manifests of version 1 kept it.
    fn chunk(&self, digest: &[u8; 16]) -> Result<Option<u64>, SettledError>;
    /// Why the log must refuse every append, whatever a lookup would say: heads, or commands that are checked, cannot be read.
    fn refuses(&self, _commands: Scope) -> Option<SettledError> {
        None
    }
}

/// A log of which nothing was compacted.
#[derive(Clone, Copy, Debug, Default)]
pub struct NothingSettled;

impl Settled for NothingSettled {
    fn head(&self, _: u128) -> Result<Option<HeadRecord>, SettledError> {
        Ok(None)
    }

    fn command(&self, _: u128) -> Result<Option<CommandRecord>, SettledError> {
        Ok(None)
    }

    fn may_have_commands(&self) -> bool {
        false
    }

    fn chunk(&self, _: &[u8; 16]) -> Result<Option<u64>, SettledError> {
        Ok(None)
    }
}
