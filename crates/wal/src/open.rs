//! Opens a log: recovers it, carries out what recovery decided, and makes the writer and the view. A log that is not there
//! is born.
//!
//! Order: the last segment is synced before it is judged; it is truncated at the cut, and that is synced, before the log
//! goes on in a new segment. A log that is damaged opens for reading only, and nothing in its folder changes.

use crate::config::LogConfig;
use crate::disk::Disk;
use crate::files::{FileSizes, LogFiles};
use crate::membership::Membership;
use crate::names::{FIRST_SPARE_NAME, SPARE_NAME};
use crate::num::{LeaderId, LogId, Vote};
use crate::recovery::{Kept, Mode, Recovered, Recovery, recover};
use crate::segment::Segment;
use crate::state::{Before, Numbers, State};
use crate::view::{LogView, SharedView};
use crate::writer::{LogWriter, Start};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strandline_event::{LogIndex, Micros};

/// Whose log it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogIdentity {
    /// Stream type.
    pub stream_type: String,
    /// Bucket.
    pub bucket: u32,
    /// Node, for ever.
    pub node: u64,
}

impl std::fmt::Display for LogIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "stream type `{}`, bucket {}, of node {:016x}", self.stream_type, self.bucket, self.node)
    }
}

/// What opening needs.
pub struct OpenLog {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The log's own folder (`log_folder_name` below wal.path).
    pub dir: PathBuf,
    /// How it is written.
    pub config: LogConfig,
    /// Whose log it must be, or becomes.
    pub identity: LogIdentity,
    /// Random number, used if the log is born now.
    pub birth: u64,
    /// A log that is born now has the frames of a group of one member. `false`: it is empty, and its node is told everything by the
    /// group that it joins.
    pub founds: bool,
    /// Segments wholly below this entry are not read now (they are checked when they are read). `ZERO` reads all.
    pub check_from: LogIndex,
    /// Everything up to here that the log does not hold is durable elsewhere (or was given up). A log that ends below it goes
    /// on above it, so that no index is used twice; what it still holds stays readable. `ZERO` for a log that is whole.
    pub begin_above: LogIndex,
    /// The time.
    pub now: Micros,
}

/// An open log.
pub struct OpenedLog {
    /// The writer; `None` if the log is damaged: it can be read, not written. A log that was born now has its first group
    /// pending: take it to the disk.
    pub writer: Option<LogWriter>,
    /// What readers see.
    pub view: SharedView,
    /// What recovery found.
    pub recovered: Recovered,
}

/// Why a log does not open at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder holds the log of something else.
    #[error(
        "{} holds the log of {found}, not of {wanted}: put the right folder there (wal.path); if this node has lost its id, \
         write that of the log ({:016x}) into the file `node-id` of its data directory", .dir.display(), .found.node
    )]
    Identity {
        /// The folder.
        dir: PathBuf,
        /// Whose log is there.
        found: LogIdentity,
        /// Whose log was asked for.
        wanted: LogIdentity,
    },
    /// What the file system says.
    #[error("the log in {} cannot be opened: {error}", .dir.display())]
    Io {
        /// The folder.
        dir: PathBuf,
        /// The error.
        #[source]
        error: io::Error,
    },
}

/// Opens a log, or bears it.
///
/// # Errors
/// `Identity` if the folder is another log's; `Io` if the folder cannot be listed, synced or cleaned up: end the process then,
/// a sync that failed must not be tried again. Damage inside segments is no error: it is in `recovered.corrupt`.
pub fn open_log(args: OpenLog) -> Result<OpenedLog, OpenError> {
    let dir = args.dir.clone();
    let io = |error| OpenError::Io { dir: dir.clone(), error };
    args.disk.create_dir_all(&args.dir).map_err(io)?;
    let mode = Mode { write: true, check_from: args.check_from, keys: args.config.keys.as_deref() };
    let mut recovery = recover(&*args.disk, &args.dir, &args.config.pattern, mode).map_err(io)?;
    if let Some(state) = &recovery.report.state {
        check_identity(&args, state)?;
    }
    if !recovery.report.corrupt.is_empty() {
        return Ok(read_only(&args.disk, recovery));
    }
    if args.begin_above > LogIndex::ZERO {
        // the next segment's state says both where the log ended and where it goes on
        recovery.next_index = recovery.next_index.max(args.begin_above.next());
    }
    truncate(&recovery).map_err(io)?;
    let is_born = recovery.kept.is_empty();
    let leftovers = std::mem::take(&mut recovery.leftovers);
    let (disk, fsync) = (Arc::clone(&args.disk), args.config.fsync);
    let opened = writable(args, recovery);
    if let (true, Some(writer)) = (is_born, &opened.writer) {
        // refused here, nobody has been promised anything yet; and before anything goes: see `FIRST_SPARE_NAME`
        writer.start.files.prepare().map_err(io)?;
    }
    // what a log begins with stays; without syncs also what says that nothing of it may be durable
    let stays: &[&str] = match (is_born, fsync) {
        (true, _) => &[FIRST_SPARE_NAME, SPARE_NAME],
        (false, false) => &[FIRST_SPARE_NAME],
        (false, true) => &[],
    };
    clear(&*disk, &dir, stays, &leftovers).map_err(io)?;
    Ok(opened)
}

fn check_identity(args: &OpenLog, state: &State) -> Result<(), OpenError> {
    let found = LogIdentity { stream_type: state.stream_type.clone(), bucket: state.bucket, node: state.node };
    if found == args.identity {
        return Ok(());
    }
    Err(OpenError::Identity { dir: args.dir.clone(), found, wanted: args.identity.clone() })
}

/// Segments end where the log ends in them, synced.
fn truncate(recovery: &Recovery) -> io::Result<()> {
    let as_is = usize::from(recovery.end_needs_proof);
    let settled = recovery.kept.len().saturating_sub(as_is);
    // of a replicated log the last file keeps its size until the next segment states its end: a shorter one was cut by somebody
    let settled = if is_replicated(recovery) { settled.min(recovery.kept.len().saturating_sub(1)) } else { settled };
    for kept in &recovery.kept[..settled] {
        if kept.file.len()? > kept.facts.end {
            kept.file.set_len(kept.facts.end)?;
            kept.file.sync_data()?;
        }
    }
    Ok(())
}

fn is_replicated(recovery: &Recovery) -> bool {
    recovery.report.state.as_ref().is_some_and(|state| state.numbers.is_some())
}

/// Makes the folder hold nothing but the log, and files of these names.
fn clear(disk: &dyn Disk, dir: &Path, stays: &[&str], leftovers: &[PathBuf]) -> io::Result<()> {
    let stay = |path: &Path| stays.iter().any(|name| dir.join(name) == path);
    for path in leftovers.iter().filter(|path| !stay(path)) {
        disk.remove(path)?;
    }
    disk.sync_dir(dir)
}

fn segment_of(disk: &Arc<dyn Disk>, kept: Kept, log_id: u64, sealed: bool) -> Arc<Segment> {
    let facts = crate::segment::Facts { sealed, ..kept.facts };
    let first = (kept.first_index, kept.first_number);
    let segment = Segment::new(Arc::clone(disk), kept.path, kept.number, log_id, first, facts, kept.seal);
    Arc::new(segment)
}

fn view_of(segments: &[Arc<Segment>], last: Option<LogId>, committed: Option<LogId>) -> LogView {
    let older = segments[..segments.len().saturating_sub(1)].into();
    let tail = segments.last().map(|s| (Arc::clone(s), s.facts(|f| f.end)));
    let index = |id: Option<LogId>| id.map_or(LogIndex::ZERO, |id| id.index);
    LogView { older, tail, last: index(last).min(index(committed)) }
}

fn read_only(disk: &Arc<dyn Disk>, recovery: Recovery) -> OpenedLog {
    let log_id = recovery.log_id.unwrap_or_default();
    let segments: Vec<_> = recovery.kept.into_iter().map(|kept| segment_of(disk, kept, log_id, false)).collect();
    let view = SharedView::new(view_of(&segments, recovery.report.last, recovery.report.last));
    OpenedLog { writer: None, view, recovered: recovery.report }
}

fn writable(args: OpenLog, recovery: Recovery) -> OpenedLog {
    let report = recovery.report;
    let log_id = recovery.log_id.unwrap_or(args.birth);
    let as_is = recovery.end_needs_proof || report.state.as_ref().is_some_and(|state| state.numbers.is_some());
    let sealed = |number| !(as_is && report.segments.last() == Some(&number));
    let segments: Vec<_> = recovery
        .kept
        .into_iter()
        .map(|kept| (sealed(kept.number), kept))
        .map(|(sealed, kept)| segment_of(&args.disk, kept, log_id, sealed))
        .collect();
    let state_is_known = report.state.is_some();
    let mut state = report.state.clone().unwrap_or_else(|| birth_state(&args.identity));
    if !state_is_known && args.begin_above > LogIndex::ZERO {
        state.purged = Some(LogId { leader: LeaderId::default(), index: args.begin_above });
    }
    if let Some(tail) = segments.last() {
        let end = tail.facts(|f| f.end);
        let (last, last_time) = (report.last, report.last_time);
        let (segment, has_tags) = (tail.number(), tail.has_tags());
        state.before = Some(Before { segment, end, last, last_time, has_tags });
    }
    if !args.config.commit_on_sync && state.numbers.is_none() {
        // the log of a node alone: each entry has one frame
        let number = |id: Option<LogId>| id.map_or(0, |id| id.index.0);
        let (committed, purged) = (number(state.committed), number(state.purged));
        let membership = state.membership_id.index.0;
        state.numbers = Some(Numbers { committed, purged, membership, ..Numbers::default() });
    }
    if args.config.commit_on_sync {
        // whatever survived is durable, and there is nobody else to ask
        state.committed = report.last;
    }
    let view = SharedView::new(view_of(&segments, report.last, state.committed));
    let files = LogFiles::new(Arc::clone(&args.disk), &args.dir, sizes(&args.config), args.config.fsync);
    let start = Start {
        config: args.config,
        disk: args.disk,
        dir: args.dir,
        files: Arc::new(files),
        log_id,
        state,
        segments,
        next_index: recovery.next_index,
        joined: recovery.joined,
        next_group: recovery.next_group,
        next_segment: recovery.next_segment,
        last: report.last,
        last_time: report.last_time,
    };
    let mut writer = LogWriter::new(start, view.clone());
    if args.founds {
        bear(&mut writer, args.identity.node, args.now);
    }
    OpenedLog { writer: Some(writer), view, recovered: report }
}

fn birth_state(identity: &LogIdentity) -> State {
    State {
        node: identity.node,
        bucket: identity.bucket,
        stream_type: identity.stream_type.clone(),
        vote: Vote::default(),
        committed: None,
        purged: None,
        membership_id: LogId::default(),
        membership: Membership::default(),
        before: None,
        numbers: None,
        key: None,
    }
}

/// The frames that the log of a group of one member begins with, so that replication can open it as it is. A birth that was
/// torn is completed.
fn bear(writer: &mut LogWriter, node: u64, now: Micros) {
    let leader = LeaderId { term: 1, node };
    let unset = (writer.state().membership.voters.is_empty(), writer.state().vote.leader.term == 0);
    let mut born = Ok(());
    if unset.0 {
        born = writer.push_membership(Membership::one(node), LeaderId::default(), now).map(drop);
    }
    if unset.1 {
        // the blank entry behind it has an index, so it cannot be taken away either
        born = born.and_then(|()| writer.append_vote(Vote { leader, committed: true }, now).map(drop));
    }
    if unset.0 || unset.1 || writer.start.next_index <= LogIndex::FIRST {
        born = born.and_then(|()| writer.push_blank(leader, now).map(drop));
    }
    if born.is_err() {
        strandline_event::invariant::broken("the frames of a log's birth are over a limit");
    }
}

fn sizes(config: &LogConfig) -> FileSizes {
    FileSizes {
        segment_bytes: config.segment_bytes(),
        fill_min_bytes: config.fill_min_bytes,
        fill_max_bytes: config.fill_max_bytes,
        low_water_bytes: config.low_water_bytes,
    }
}

/// Opens a log to read it offline: nothing in the folder changes, whatever is found.
///
/// # Errors
/// What the file system says about the folder.
pub fn open_read_only(disk: &Arc<dyn Disk>, dir: &Path, config: &LogConfig) -> io::Result<OpenedLog> {
    let mode = Mode { write: false, check_from: LogIndex::ZERO, keys: config.keys.as_deref() };
    Ok(read_only(disk, recover(&**disk, dir, &config.pattern, mode)?))
}

/// Recovers a log for reading only: nothing in the folder changes.
pub(crate) fn look(disk: &dyn Disk, dir: &Path, config: &LogConfig) -> io::Result<Recovered> {
    let mode = Mode { write: false, check_from: LogIndex::ZERO, keys: config.keys.as_deref() };
    recover(disk, dir, &config.pattern, mode).map(|recovery| recovery.report)
}
