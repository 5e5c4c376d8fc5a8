//! Opens the meta group over its log, in the node's own folder: it belongs to no store.

use crate::group::{Group, GroupError, GroupParts};
use crate::machine::Machine;
use crate::storage::{Clock, Storage};
use crate::transport::{GroupId, NodeId, Transport};
use std::path::PathBuf;
use std::sync::Arc;
use strandline_event::LogIndex;
use strandline_wal::names::PatternError;
use strandline_wal::{Disk, LogConfig, LogIdentity, LogIo, OpenError, OpenLog, Rollover, SegmentPattern, open_log};

/// Names of the log's segments.
const PATTERN: &str = "meta-{segment}.wal";
/// Commands are few and small: bytes of a segment, so about a thousand of them. One that is full and applied goes.
pub const SEGMENT_BYTES: u64 = 4 << 20;
const FILL_BYTES: u64 = 64 << 10;

/// What the meta group is opened with.
pub struct MetaParts {
    /// The folder of its log.
    pub dir: PathBuf,
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// Its thread.
    pub io: Arc<dyn LogIo>,
    /// This node.
    pub node: NodeId,
    /// This node makes the cluster: a log that is born now is that of a group of one.
    pub founds: bool,
    /// Random bits, used if the log is born now.
    pub birth: u64,
    /// Bytes of a segment of the log.
    pub segment_bytes: u64,
    /// The time.
    pub clock: Clock,
    /// Its state.
    pub machine: Arc<dyn Machine>,
    /// The way to its other members.
    pub transport: Arc<dyn Transport>,
}

/// Why the meta group does not run here.
#[derive(Debug, thiserror::Error)]
pub enum OpenMetaError {
    /// Its log does not open.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// Its log is damaged.
    #[error(
        "the log of the meta group in {} is damaged: {what}. A node without its log must not vote: remove its data directory, join \
         again under a new --node-id, and `replace` this node by the new one", .dir.display()
    )]
    Damaged {
        /// Where.
        dir: PathBuf,
        /// What is damaged.
        what: String,
    },
    /// The group does not start.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// Never: the pattern is a constant.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

/// Opens it.
///
/// # Errors
/// [`OpenMetaError`].
pub async fn open_meta(parts: MetaParts) -> Result<Arc<Group>, OpenMetaError> {
    let config = LogConfig {
        rollover: Rollover { size_bytes: Some(parts.segment_bytes), by_time: false },
        commit_on_sync: false,
        fill_min_bytes: FILL_BYTES,
        fill_max_bytes: FILL_BYTES,
        ..LogConfig::new(SegmentPattern::parse(PATTERN)?)
    };
    let opened = open_log(OpenLog {
        disk: parts.disk,
        dir: parts.dir.clone(),
        config,
        identity: LogIdentity { stream_type: "meta".to_owned(), bucket: 0, node: parts.node },
        birth: parts.birth,
        founds: parts.founds,
        check_from: LogIndex::ZERO,
        begin_above: LogIndex::ZERO,
        now: (parts.clock)(),
    })?;
    let Some(writer) = opened.writer else {
        let what = opened
            .recovered
            .corrupt
            .iter()
            .map(|c| format!("segment {}, offset {}: {}", c.segment, c.offset, c.what))
            .collect::<Vec<_>>()
            .join("; ");
        return Err(OpenMetaError::Damaged { dir: parts.dir, what });
    };
    let kept = parts.machine.opened_through().map_or(0, |through| through.number);
    if writer.purged_entry().is_some_and(|purged| purged.number > kept) {
        let what = "its beginning was cut off, and the state that was kept then is not there".to_owned();
        return Err(OpenMetaError::Damaged { dir: parts.dir, what });
    }
    let group = GroupParts {
        id: GroupId::Meta,
        node: parts.node,
        storage: Storage::new(writer, parts.io, parts.clock),
        machine: parts.machine,
        transport: parts.transport,
    };
    Ok(Group::open(group).await?)
}
