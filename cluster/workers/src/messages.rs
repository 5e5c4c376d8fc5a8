//! All messages of the node. Commands are imperative and answered; facts are past tense and are not.
//!
//! One message a batch, never one an event. Every mailbox is bounded: who sends decides between `try_send`
//! (refuse with "overloaded") and `send` (wait for room).

use crate::append::AppendReply;
use crate::compaction::job::Job;
use crate::error::NodeError;
use crate::metrics::Measured;
use crate::permits::BytePermits;
use crate::readers::ReadRequest;
use crate::registry::StreamTypeEntry;
use crate::replica::ReplicaEvent;
use crate::subscriptions::FollowPage;
use crate::wal_worker::WalWorker;
use actix::{Addr, Message};
use std::sync::Arc;
use strandline_durable::{Expected, MergeOrder, MergeReport, WindowOrder, WindowReport};
use strandline_engine::append::{AppendRequest, FilesCommitted, FilesFailed, Lookup, Settled};
use strandline_engine::compact::{
    CompactError, JobOutcome, MergeOutcome, MergePlan, Partition, Plan, Progress, Trigger,
};
use strandline_engine::read::{AsOf, Filter, GlobalRead, Order, Scan};
use strandline_engine::retention::RetentionStatus;
use strandline_engine::status::{FileStatus, LogStatus, ManifestStatus, TiersStatus, Waiting};
use strandline_engine::store::Store;
use strandline_engine::tenants::TenantScope;
use strandline_event::{BatchBytes, EventId, LogIndex, LogKey, Seq, StampedBatch};
use strandline_wal::{Group, GroupFailed};
use tracing::Span;

// ---- to the owner of a log ----

/// Append a batch. Answered through `reply`, now or when what it depends on is committed.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Append {
    pub(crate) request: AppendRequest,
    pub(crate) reply: AppendReply,
}

/// Append batches of many callers, each judged and answered on its own: one message for all of them.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AppendTogether {
    pub(crate) requests: Vec<(AppendRequest, AppendReply)>,
}

/// Close the open segment. Answered when everything accepted before is durable: the last index of it.
#[derive(Message)]
#[rtype(result = "LogIndex")]
pub(crate) struct Seal;

/// Finish what is in flight. Answered when everything accepted before is durable, or was given back.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct FinishInFlight;

/// As [`FinishInFlight`], and what was given back is stored by others, or never will be under this leadership.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct DecideInFlight;

/// Finish what is in flight, write the clean-stop mark, stop. Answered with the last index.
#[derive(Message)]
#[rtype(result = "LogIndex")]
pub(crate) struct StopLog;

/// Stop now: the disk did not take what is in flight. Who waits for it is told that the outcome is unknown.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Abandon;

/// A manifest holds the log through this index now: let go of what it knows, trim.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Compacted {
    pub(crate) through: LogIndex,
    pub(crate) settled: Arc<dyn Settled>,
}

/// A group is durable, or not. Comes through a channel that cannot be full: a log has one group in flight and one behind it.
pub(crate) enum GroupWritten {
    /// The I/O thread has written and synced it (or the process should be dead).
    Log(Result<Group, GroupFailed>),
    /// The commit thread has committed it, or could not.
    Files(Result<FilesCommitted, FilesFailed>),
    /// The log's group has something to say.
    Replica(ReplicaEvent),
}

// ---- to the hot tier's writer ----

/// Batches of one log were committed, in index order.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Committed {
    pub(crate) log: LogKey,
    pub(crate) batches: Vec<(LogIndex, StampedBatch)>,
}

// ---- to the hot tier's keeper ----

/// Let the oldest batches go until there is room again.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct MakeHotRoom;

/// A manifest was committed: what is below its watermark of this log need not stay.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ManifestCommitted {
    pub(crate) log: LogKey,
    pub(crate) outcome: Arc<JobOutcome>,
}

// ---- to the router of a store ----

/// Give the owner of a log; make the log if there is none.
#[derive(Message)]
#[rtype(result = "Result<Addr<WalWorker>, NodeError>")]
pub(crate) struct OpenLogOf(pub(crate) LogKey);

/// Register a stream type.
#[derive(Message)]
#[rtype(result = "Result<StreamTypeEntry, NodeError>")]
pub(crate) struct RegisterStreamType(pub(crate) StreamTypeEntry);

/// Take no new logs any more and give the owners of all logs.
#[derive(Message)]
#[rtype(result = "Vec<(LogKey, Addr<WalWorker>)>")]
pub(crate) struct CloseRouter;

// ---- to the pool of readers: each is asked by `Ask`, its answer stands at its `ReadRequest` ----

/// Ask a reader.
pub(crate) struct Ask<R> {
    pub(crate) request: R,
    /// What a trace shows of it.
    pub(crate) span: Span,
}

impl<R: ReadRequest> Message for Ask<R> {
    type Result = Result<R::Answer, NodeError>;
}

/// Look the client-given event ids of a batch up in the durable tier.
pub(crate) struct CheckIds {
    pub(crate) store: Arc<Store>,
    pub(crate) batch: BatchBytes,
}

/// Compare client-given seqs at or below the head with what is stored.
pub(crate) struct ResolveKnown {
    pub(crate) store: Arc<Store>,
    pub(crate) batch: BatchBytes,
    pub(crate) lookup: Lookup,
}

/// The tenants that the caller is limited to; `None`: it is not.
pub(crate) type Scope = Option<Arc<TenantScope>>;

/// Read a stream.
pub(crate) struct ReadStream {
    pub(crate) store: Arc<Store>,
    pub(crate) query: StreamQuery,
    pub(crate) answers: BytePermits,
    pub(crate) scope: Scope,
}

/// Which part of a stream.
#[derive(Debug, Clone)]
pub struct StreamQuery {
    /// Type of the stream.
    pub stream_type: String,
    /// Id of the stream.
    pub stream_id: String,
    /// First seq wanted.
    pub from_seq: Option<Seq>,
    /// Last seq wanted, inclusive.
    pub to_seq: Option<Seq>,
    /// At most this many events.
    pub limit: usize,
    /// Direction; none: rising, and the events of the page in the store's `read.default_order`.
    pub order: Option<Order>,
    /// As of what it is read, from files alone; none: as of now.
    pub as_of: Option<AsOf>,
}

/// Read the events of a former append again.
pub(crate) struct ReadAppend {
    pub(crate) store: Arc<Store>,
    pub(crate) stream_type: String,
    pub(crate) stream_id: String,
    pub(crate) first_seq: Seq,
    pub(crate) count: u64,
}

/// Give a stream's head.
pub(crate) struct ReadHead {
    pub(crate) store: Arc<Store>,
    pub(crate) stream_type: String,
    pub(crate) stream_id: String,
    pub(crate) scope: Scope,
}

/// Read in global order.
pub(crate) struct ReadGlobal {
    pub(crate) store: Arc<Store>,
    pub(crate) read: GlobalRead,
    pub(crate) answers: BytePermits,
    pub(crate) scope: Scope,
}

/// Read in global order for all who follow: their pages are bounded by the ring and the shelf, not by the account of answers.
pub(crate) struct ReadFeed {
    pub(crate) store: Arc<Store>,
    pub(crate) read: GlobalRead,
}

/// Which rows of a page a follower sees that is limited to tenants.
pub(crate) struct KeepVisible {
    pub(crate) store: Arc<Store>,
    pub(crate) scope: Arc<TenantScope>,
    pub(crate) page: Arc<FollowPage>,
    pub(crate) rows: Vec<u32>,
}

/// Find an event by its id.
pub(crate) struct FindEvent {
    pub(crate) store: Arc<Store>,
    pub(crate) id: EventId,
    pub(crate) scope: Scope,
}

/// Begin a scan of everything.
pub(crate) struct BeginScan {
    pub(crate) store: Arc<Store>,
    pub(crate) filter: Filter,
    pub(crate) scope: Scope,
}

/// Give the next batch of a scan. The scan goes with the message and comes back: a slow client holds no thread.
pub(crate) struct ContinueScan(pub(crate) Box<Scan>);

/// Give batches of a scan until they are about so many bytes.
pub(crate) struct ContinueScanFor(pub(crate) Box<Scan>, pub(crate) usize);

/// Give the numbers of a store.
pub(crate) struct ReadStatus {
    pub(crate) store: Arc<Store>,
    pub(crate) part: StatusPart,
}

/// Which numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StatusPart {
    Tiers,
    Wal,
    /// And of its versions those before this one, so many.
    Manifest(Option<u64>, usize),
    Files,
    Waiting,
    Retention,
}

/// Numbers of a store.
#[derive(Debug)]
pub(crate) enum StoreStatus {
    Tiers(TiersStatus),
    Wal(Vec<LogStatus>),
    Manifest(ManifestStatus),
    Files(Vec<FileStatus>),
    Waiting(Vec<Waiting>),
    Retention(RetentionStatus),
}

/// Say what a run of compaction by hand would do, over all logs or one stream type's.
pub(crate) struct PlanJobs {
    pub(crate) store: Arc<Store>,
    pub(crate) stream_type: Option<String>,
}

/// What a run by hand would do now.
pub struct Plans {
    /// The ranges of logs that it would move.
    pub jobs: Vec<Plan>,
    /// The first merge of each partition. What the jobs write may make more of them.
    pub merges: Vec<MergePlan>,
    /// Those that follow where a job writes into their partition, with the files that are there now.
    pub following: Vec<MergePlan>,
}

// ---- to the compaction supervisor ----

/// Start jobs for these logs (all that are due, where none is named). Answered with the jobs, at once.
#[derive(Message)]
#[rtype(result = "Result<Vec<Arc<Job>>, NodeError>")]
pub(crate) struct RunCompaction {
    pub(crate) store: Arc<str>,
    pub(crate) stream_type: Option<String>,
    pub(crate) trigger: Trigger,
}

/// Merge what holds the text of redacted events of a stream type, and nothing else. Nobody waits for its end.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct RewriteRedacted {
    pub(crate) store: Arc<str>,
    pub(crate) stream_type: Arc<str>,
}

/// Start no job by schedule or size until told otherwise (or do again), also after a restart. A run by hand still goes.
#[derive(Message)]
#[rtype(result = "Result<(), NodeError>")]
pub(crate) struct PauseCompaction {
    pub(crate) store: Arc<str>,
    pub(crate) paused: bool,
}

/// Ask running jobs to end before their commit. Answered with how many were asked.
#[derive(Message)]
#[rtype(result = "usize")]
pub(crate) struct CancelCompaction {
    pub(crate) store: Option<Arc<str>>,
}

/// Look at the stores now: a statement was replaced. Answered when the schedule is the new one's.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct LookNow;

/// Start nothing new, cancel what runs; answered when nothing runs.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StopCompaction;

// ---- to the compaction workers ----

/// A window whose files another node has written.
pub(crate) struct Handed {
    pub(crate) plan: Plan,
    pub(crate) report: WindowReport,
    /// Nobody sweeps them meanwhile.
    pub(crate) expected: Expected,
}

/// Plan and run one bounded job, or commit what was handed over of it. `None`: nothing to do.
#[derive(Message)]
#[rtype(result = "Result<Option<JobOutcome>, CompactError>")]
pub(crate) struct RunJob {
    pub(crate) store: Arc<Store>,
    pub(crate) log: LogKey,
    pub(crate) job_id: u128,
    pub(crate) handed: Option<Handed>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) measured: Arc<Measured>,
    /// What a trace shows of the job.
    pub(crate) span: Span,
}

/// Plan and run one merge of a partition. `None`: nothing to do.
#[derive(Message)]
#[rtype(result = "Result<Option<MergeOutcome>, CompactError>")]
pub(crate) struct RunMerge {
    pub(crate) store: Arc<Store>,
    pub(crate) partition: Partition,
    pub(crate) trigger: Trigger,
    pub(crate) job_id: u128,
    pub(crate) progress: Arc<Progress>,
    pub(crate) measured: Arc<Measured>,
    /// What a trace shows of the job.
    pub(crate) span: Span,
}

/// Do a merge that another node has ordered; it is committed there.
#[derive(Message)]
#[rtype(result = "Result<MergeReport, CompactError>")]
pub(crate) struct HelpMerge {
    pub(crate) store: Arc<Store>,
    pub(crate) order: MergeOrder,
    pub(crate) progress: Arc<Progress>,
    pub(crate) measured: Arc<Measured>,
    /// What a trace shows of the job.
    pub(crate) span: Span,
}

/// Write the files of a window that another node has ordered; it commits them.
#[derive(Message)]
#[rtype(result = "Result<WindowReport, CompactError>")]
pub(crate) struct HelpWindow {
    pub(crate) store: Arc<Store>,
    pub(crate) order: WindowOrder,
    pub(crate) progress: Arc<Progress>,
    pub(crate) measured: Arc<Measured>,
    /// What a trace shows of the job.
    pub(crate) span: Span,
}

/// End an actor that has nothing to finish.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Stop;
