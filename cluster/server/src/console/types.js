// What the routes answer, for the checker of types; nothing runs here. Only what the console shows is named.

/**
 * @typedef {{ bytes: number, events: number, oldest: string | null, newest: string | null }} Tier
 * @typedef {{ inmemory: Tier | null, wal: Tier | null, durable: Tier }} Tiers
 *
 * @typedef {{ stream_type: string, bucket: number, sealed_segments: number, segments_waiting: number, bytes_waiting: number,
 *   events_waiting: number, oldest_waiting: string | null, watermark: number }} Waiting
 * @typedef {{ id: string, kind: "compact" | "merge", stream_type: string, bucket: number,
 *   partition: Record<string, string | null> | null, trigger: string, asked_at: string, started_at: string | null, phase: string, rows_done: number,
 *   rows_total: number, eta_s?: number | null, ended_at?: string, duration_ms?: number, inputs?: number, input_bytes?: number, output_bytes?: number,
 *   rows?: number, files?: number, error?: string | null, cancelled?: boolean,
 *   ended_in?: string | null }} Job
 * @typedef {{ enabled: boolean, schedule: string, trigger: string[], next_tick: string | null, paused: boolean,
 *   share_percent: number, last_run: string | null, stream_types: Waiting[], running: Job[], jobs: Job[] }} Compaction
 * @typedef {{ stream_type: string, bucket: number, from_exclusive: number, through: number, segments: number, bytes: number,
 *   events: number }} PlannedJob
 * @typedef {{ stream_type: string, bucket: number, partition: Record<string, string | null>, files: string[], bytes: number,
 *   events: number }} PlannedMerge
 * @typedef {{ jobs: PlannedJob[], merges: PlannedMerge[], following: PlannedMerge[] }} Plan
 *
 * @typedef {{ path: string, stream_type: string, partition: Record<string, string | null>, rows: number, row_groups: number,
 *   bytes: number, min: Record<string, unknown>, max: Record<string, unknown> }} DataFile
 * @typedef {{ version: number, epoch: number, job_id: string, committed_at: string, files: number, rows: number,
 *   bytes: number }} Version
 * @typedef {{ version: number, epoch: number, committed_at: string, files: number, rows: number, bytes: number,
 *   replaced: { files: number, bytes: number },
 *   logs: { stream_type: string, bucket: number, compacted_through: number }[], history: Version[] }} Manifest
 * @typedef {{ name: string, bytes: number, first_index: number, last_index: number | null, sealed: boolean,
 *   newest: string | null }} Segment
 * @typedef {{ stream_type: string, bucket: number, first_index: number, last_index: number, watermark: number,
 *   refuses_writes: string | null, segments: Segment[] }} Log
 * @typedef {{ enabled: boolean, durable_days: number, delete_mode: string, before: string, candidates: DataFile[],
 *   tombstones: (DataFile & { until: string })[] }} Retention
 *
 * @typedef {{ position: string, at: string, attempts: number, reason: string, replayed: boolean, event_id?: string | null,
 *   stream_type?: string | null, stream_id?: string | null, seq?: number | null }} Parked
 * @typedef {{ name: string, mode: "async" | "sync", filter: Record<string, string>, attempts_max: number, ack_within_s: number,
 *   created_at: string, position: string, lag_s: number, consumers: number, in_flight: number, waiting: number,
 *   last_error?: { at: string, code: string, error: string } | null }} SubscriptionFacts
 * @typedef {SubscriptionFacts & { parked: number }} SubscriptionNumbers
 * @typedef {SubscriptionFacts & { parked: Parked[] }} Subscription
 *
 * @typedef {{ id: number, state: "joining" | "member" | "draining" | "removed", roles: string, address: string, http: string,
 *   native: string | null, votes_in: number, follows: number, leads: number, away_since: string | null }} Member
 * @typedef {{ name: string, store: string | null, stream_type: string | null, bucket: number | null, voters: number[],
 *   learners: number[], leaving: number[], settled: boolean, waits_for: { node: number, why: string } | null, epoch: number,
 *   shall_lead: number | null, compactor: number | null, here: boolean, leader: number | null, term: number | null, applied: number | null,
 *   lag: Record<string, number> | null }} Shard
 * @typedef {{ name: string, version: number, compactor: number | null,
 *   compacts_as: "compactor" | "member" | "stand-in" | null }} ClusterStore
 * @typedef {{ cluster: string, node: number, replication: number | null, followers: "all" | "needed" | "fewest" | null, members: Member[], shards: Shard[],
 *   stores: ClusterStore[] }} Cluster
 *
 * @typedef {{ from_seq: number, to_seq: number }} SeqRange
 * @typedef {{ tier: string, rows: number }} TierRun
 * @typedef {{ last_seq: number, next_seq: number | null, warnings: string[], tiers: TierRun[],
 *   verdict: { from_seq: number, to_seq: number, contiguous: boolean, missing: SeqRange[], retired: SeqRange[] } }} PageFacts
 */

/**
 * What a view is given, and what it gives back.
 *
 * @typedef {{
 *   api: import("./api.js").Api,
 *   sampler: import("./sampler.js").Sampler,
 *   store: string,
 *   config: Record<string, unknown>,
 *   parameters: URLSearchParams,
 *   say: (text: string) => void,
 *   attempt: (action: () => Promise<void>) => void,
 *   go: (view: string, parameters: Record<string, string>) => void,
 *   admin: (rest: string) => string,
 *   data: (rest: string) => string,
 * }} Context
 * @typedef {{ refresh: () => Promise<void> }} View
 * @typedef {{ name: string, title: string, mount: (host: HTMLElement, context: Context) => View }} ViewKind
 */

export {};
