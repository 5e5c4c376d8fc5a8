//! Opens the meta group over its log, in the node's own folder: it belongs to no store. A check only looks at it.

use super::machine::MetaMachine;
use crate::group::{Group, GroupError, GroupParts};
use crate::machine::Machine;
use crate::storage::{Clock, Storage};
use crate::transport::{GroupId, NodeId, Transport};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strandline_event::LogIndex;
use strandline_wal::names::PatternError;
use strandline_wal::{
    Corrupt, Disk, LogConfig, LogIdentity, LogIo, OpenError, OpenLog, Rollover, SegmentPattern, open_log,
    open_read_only,
};

const CUT_OFF: &str = "its beginning was cut off, and the state that was kept then is not there";
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
    let config = log_config(parts.segment_bytes)?;
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
        let what = opened.recovered.corrupt.iter().map(told).collect::<Vec<_>>().join("; ");
        return Err(OpenMetaError::Damaged { dir: parts.dir, what });
    };
    let kept = parts.machine.opened_through().map_or(0, |through| through.number);
    if writer.purged_entry().is_some_and(|purged| purged.number > kept) {
        return Err(OpenMetaError::Damaged { dir: parts.dir, what: CUT_OFF.to_owned() });
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

fn log_config(segment_bytes: u64) -> Result<LogConfig, PatternError> {
    Ok(LogConfig {
        rollover: Rollover { size_bytes: Some(segment_bytes), by_time: false },
        commit_on_sync: false,
        fill_min_bytes: FILL_BYTES,
        fill_max_bytes: FILL_BYTES,
        ..LogConfig::new(SegmentPattern::parse(PATTERN)?)
    })
}

fn told(corrupt: &Corrupt) -> String {
    format!("segment {}, offset {}: {}", corrupt.segment, corrupt.offset, corrupt.what)
}

/// What a check finds in the log of the meta group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LookedMeta {
    /// Damage, a sentence each. Empty: it opens, if it is there.
    pub damage: Vec<String>,
    /// A torn end, which the next start cuts.
    pub torn: Option<String>,
}

/// Looks at the log in `dir` without a change of it. `kept`: the state that is kept beside it, where that can be read.
///
/// # Errors
/// What the file system says about the folder; `NotFound`: there is none.
pub fn look_at_meta(disk: &Arc<dyn Disk>, dir: &Path, kept: Option<&MetaMachine>) -> io::Result<LookedMeta> {
    let config = log_config(SEGMENT_BYTES).map_err(io::Error::other)?;
    let recovered = open_read_only(disk, dir, &config)?.recovered;
    let mut looked = LookedMeta { damage: recovered.corrupt.iter().map(told).collect(), torn: None };
    let state = recovered.state.as_ref();
    let purged = state.filter(|state| state.purged.is_some()).and_then(|state| state.numbers).map_or(0, |of| of.purged);
    let through = kept.map(|kept| kept.opened_through().map_or(0, |through| through.number));
    if through.is_some_and(|through| purged > through) {
        looked.damage.push(CUT_OFF.to_owned());
    }
    looked.torn = recovered.cut.map(|cut| format!("segment {}, offset {}: {}", cut.segment, cut.offset, cut.what));
    Ok(looked)
}
