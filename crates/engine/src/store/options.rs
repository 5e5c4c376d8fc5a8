//! What opening a store needs, and why it may fail.

use super::{Grace, Witness};
use crate::read::ReadError;
use std::path::PathBuf;
use std::sync::Arc;
use strandline_deql::StoreConfig;
use strandline_durable::Provider;
use strandline_event::{ErrorKind, LogIndex, LogKey, Micros};
use strandline_wal::Disk;

/// What opening a store needs.
pub struct OpenOptions {
    /// The store.
    pub config: StoreConfig,
    /// The disk of its log.
    pub disk: Arc<dyn Disk>,
    /// The node, given once and kept for ever.
    pub node: u64,
    /// The time.
    pub now: Micros,
    /// Random bits, new at every start.
    pub entropy: u128,
    /// Random bits of their own, told nobody: of a new store they are the key of its digests.
    pub secret: u128,
    /// Go on without a log that is lost: what only it held is given up.
    pub accept_lost_log: bool,
    /// How long files stay that no reader should need.
    pub grace: Grace,
    /// A folder of this process alone, for local copies of sorted runs that are on an object store; none: they are kept in memory.
    pub scratch: Option<PathBuf>,
    /// Who wraps the keys of the store; none: it is not encrypted.
    pub keys: Provider,
    /// What the node keeps in its own folder of having served the store; none: nothing there says so.
    pub served: Option<PathBuf>,
}

/// Why a store does not open, or a log of it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log is not on a local disk.
    #[error("store `{store}` has a log that is not on a local disk: set wal.path to a folder")]
    NoLogFolder {
        /// Its name.
        store: String,
    },
    /// A replica without the log that it had.
    #[error(
        "the log of `{log}` that was in {} is gone: a node without its log must not vote. Put it back, or remove this node's data \
         directory, join again under a new --node-id, and `replace` this node by the new one", .dir.display()
    )]
    ReplicaGone {
        /// The log.
        log: LogKey,
        /// Its folder.
        dir: PathBuf,
    },
    /// `wal.segment_pattern` is none.
    #[error("wal.segment_pattern: {0}")]
    SegmentPattern(strandline_wal::names::PatternError),
    /// The declaration changes what is on disk.
    #[error(
        "store `{store}` was made with {}, which cannot be changed: put the old values back (for the built-in store, its data folder \
         where it was), or load the events into a store with another name",
        .was.join(", ")
    )]
    ConfigChanged {
        /// Its name.
        store: String,
        /// The keys with the values that they had.
        was: Vec<String>,
    },
    /// The declaration in the manifest cannot be compared with this one.
    #[error(
        "the declaration that manifest version {version} of store `{store}` holds cannot be read, so nobody can tell whether \
         this one changes what is on disk: {why}\nstart the store with the version of Strandline that wrote it"
    )]
    DeclarationUnreadable {
        /// Its name.
        store: String,
        /// The manifest's version.
        version: u64,
        /// What is wrong with the text.
        why: String,
    },
    /// durable.path belongs to another store.
    #[error("durable.path of store `{wanted}` holds store `{found}`: give each store a path of its own")]
    OtherStore {
        /// The declared name.
        wanted: String,
        /// The name in the manifest.
        found: String,
    },
    /// A log that held events which are nowhere else is missing or shorter than the manifest knows.
    #[error(
        "the log of `{log}` in {} ends at index {has}, but it had reached {knows}, and only {durable} is durable: events \
         may be lost. Put the log folder back, or start with --accept-lost-log to go on without them", .dir.display()
    )]
    LostLog {
        /// Which log.
        log: LogKey,
        /// Its folder.
        dir: PathBuf,
        /// Index that the manifest knows of.
        knows: LogIndex,
        /// Last index that is there.
        has: LogIndex,
        /// The watermark.
        durable: LogIndex,
    },
    /// A log is not there, and nobody knows where it ended.
    #[error(
        "the log of `{log}` in {} is not there, and the node that wrote it last did not stop in order (or still runs: stop it first): \
         it may have held events above index {durable} that are nowhere else. Put the log folder back, or start with \
         --accept-lost-log to go on without them", .dir.display()
    )]
    LogGone {
        /// Which log.
        log: LogKey,
        /// Its folder.
        dir: PathBuf,
        /// The watermark.
        durable: LogIndex,
    },
    /// The folder of the logs is empty, or another one than before, and nobody knows what it held.
    #[error(
        "there is no log in {}, and the node that served the store last did not stop in order (or still runs: stop it first): its \
         logs may have held events that are nowhere else. Put the folder back (wal.path), or start with --accept-lost-log to go on \
         without them",
        .dir.display()
    )]
    LogsGone {
        /// The folder.
        dir: PathBuf,
    },
    /// The logs are an older copy, or others than the last owner wrote.
    #[error(
        "the logs in {} are not those that the last owner of the store wrote (its epoch is {epoch}, they are of {}), and it did not \
         stop in order (or still runs: stop it first): this is an older copy of the folder, or another one, and lacks what was \
         acknowledged since. Put the right folder back (wal.path), or start with --accept-lost-log to go on with what is here \
         (`strandline verify` names what these logs hold and the store does not)",
        .dir.display(), .found.map_or_else(|| "none".to_owned(), |found| found.to_string())
    )]
    LogsOld {
        /// The folder.
        dir: PathBuf,
        /// The epoch of the last owner.
        epoch: u64,
        /// The newest epoch whose owner wrote here.
        found: Option<u64>,
    },
    /// Another node owned the store last.
    #[error(
        "the last owner of the store was node {owner}, which did not stop in order (or still runs: stop it first), and this is node \
         {node}: the logs in {} may lack what that one acknowledged. Start that node, or put its file `node-id` back into this data \
         directory if it was lost; or start with --accept-lost-log to go on with what is here", .dir.display()
    )]
    LogsOfAnother {
        /// The folder.
        dir: PathBuf,
        /// Who.
        owner: String,
        /// Who asks.
        node: String,
    },
    /// The folder of the logs belongs to another store.
    #[error(
        "the logs in {} are those of another store (its id is {found}, this one's is {wanted}): two stores have their wal.path \
         exchanged, or the folder was put in the wrong place. Give the store its own wal.path, or an empty folder", .dir.display()
    )]
    LogsOfOtherStore {
        /// The folder.
        dir: PathBuf,
        /// The id of the store that wrote it.
        found: String,
        /// The id of the store that asks.
        wanted: String,
    },
    /// There is no store, but there was one: its files are somewhere else, and a new one would take its place.
    #[error(
        "there is no manifest in {manifests} and no data file in {files}, but {}: is the disk of durable.path mounted? Put the \
         files and manifests back; or, to begin a new store{}, remove `{mark}` there", .witness.told(.dir), .witness.left()
    )]
    FilesGone {
        /// Where the manifests must be.
        manifests: String,
        /// Where the files must be.
        files: String,
        /// Who says that there were some.
        witness: Witness,
        /// The folder of the logs, or what the node keeps of the store.
        dir: PathBuf,
        /// What says it there.
        mark: String,
    },
    /// A log holds more than the store had when it was closed in order.
    #[error(
        "the log of `{log}` in {} ends at index {has}, but the store was stopped in order when that log had reached {knows} and \
         {durable} was durable: this is not the log that was closed then, or manifests were rolled back. Put the right \
         folder (wal.path) and the manifests back, or move this folder away", .dir.display()
    )]
    LogBeyond {
        /// Which log.
        log: LogKey,
        /// Its folder.
        dir: PathBuf,
        /// Index at which it was closed.
        knows: LogIndex,
        /// Last index that is there.
        has: LogIndex,
        /// The watermark.
        durable: LogIndex,
    },
    /// The manifest is older than the log: what was trimmed from the log is in no data file that the manifest names.
    #[error(
        "the log of `{log}` begins at index {first}, but the manifest ends at {durable}: the manifests were rolled back or \
         lost. Put durable.commit.manifest_path back as it was"
    )]
    ManifestBehind {
        /// Which log.
        log: LogKey,
        /// First index in the log.
        first: LogIndex,
        /// The watermark.
        durable: LogIndex,
    },
    /// There is such a log already.
    #[error("the log of `{0}` is open already")]
    LogExists(LogKey),
    /// The log.
    #[error("the log of `{log}`: {error}")]
    Wal {
        /// Which log.
        log: LogKey,
        /// Why.
        error: Box<strandline_wal::OpenError>,
    },
    /// The folder of the logs.
    #[error("the log folder {}: {error}", .dir.display())]
    WalFolder {
        /// The folder.
        dir: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Data files and manifests.
    #[error(transparent)]
    Durable(#[from] strandline_durable::OpenError),
    /// A commit that opening needs.
    #[error(transparent)]
    Commit(#[from] strandline_durable::CommitError),
    /// What is left of a lost log cannot be made durable.
    #[error(transparent)]
    Rescue(#[from] crate::compact::CompactError),
    /// The log cannot be replayed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl OpenError {
    /// What it means to the one who called.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoLogFolder { .. } => ErrorKind::NotSupported,
            Self::SegmentPattern(_) | Self::ConfigChanged { .. } | Self::OtherStore { .. } | Self::LogExists(_) => {
                ErrorKind::BadRequest
            }
            Self::LostLog { .. }
            | Self::LogGone { .. }
            | Self::LogsGone { .. }
            | Self::LogsOld { .. }
            | Self::LogsOfAnother { .. }
            | Self::LogsOfOtherStore { .. }
            | Self::FilesGone { .. }
            | Self::LogBeyond { .. }
            | Self::ManifestBehind { .. }
            | Self::ReplicaGone { .. }
            | Self::DeclarationUnreadable { .. } => ErrorKind::Integrity,
            Self::Wal { error, .. } => match &**error {
                strandline_wal::OpenError::Io { error, .. } if strandline_wal::files::is_full(error) => {
                    ErrorKind::DiskFull
                }
                _ => ErrorKind::Io,
            },
            Self::WalFolder { error, .. } if strandline_wal::files::is_full(error) => ErrorKind::DiskFull,
            Self::WalFolder { .. } => ErrorKind::Io,
            Self::Durable(error) => error.kind(),
            Self::Commit(error) => error.kind(),
            Self::Rescue(error) => error.kind(),
            Self::Read(error) => error.kind(),
        }
    }
}
