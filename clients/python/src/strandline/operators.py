"""What operators see of a store: compaction, tiers, files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from . import _json as j


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended. `inputs`: segments of the log that it read of, or data files that it replaced.

    `ended_in`: the phase in which it failed or was cancelled; None: it came to its end, or ended between two parts.
    """

    ended_at: datetime
    duration_ms: int
    inputs: int
    input_bytes: int
    output_bytes: int
    rows: int
    files: int
    cancelled: bool
    ended_in: str | None


@dataclass(frozen=True, slots=True)
class Job:
    """A compaction (`kind` compact) or a merge; `end` None: it runs. `error`: why it failed.

    `phase` of one that has ended: done, failed or cancelled.
    `eta_s`: about how many seconds its phase still takes; None while nobody can say.
    `asked_at`: when it was asked for; None: the node is older than that.
    `started_at`: when its turn came; None: it waits.
    """

    id: str
    kind: str
    stream_type: str
    bucket: int
    partition: Mapping[str, str | None] | None
    trigger: str
    asked_at: datetime | None
    started_at: datetime | None
    phase: str
    rows_done: int
    rows_total: int
    eta_s: float | None
    end: JobEnd | None
    error: str | None

    @classmethod
    def of(cls, row: j.Object) -> Job:
        """From an answer."""
        numbers = ("duration_ms", "inputs", "input_bytes", "output_bytes", "rows", "files")
        end = None
        if "ended_at" in row:
            given = {key: j.whole(row, key) for key in numbers}
            end = JobEnd(
                ended_at=j.moment(row, "ended_at"),
                cancelled=j.flag(row, "cancelled"),
                ended_in=j.maybe(j.text, row, "ended_in"),
                **given,
            )
        return cls(
            id=j.text(row, "id"),
            kind=j.text(row, "kind"),
            stream_type=j.text(row, "stream_type"),
            bucket=j.whole(row, "bucket"),
            partition=j.maybe(j.child, row, "partition"),
            trigger=j.text(row, "trigger"),
            asked_at=j.maybe(j.moment, row, "asked_at"),
            started_at=j.maybe(j.moment, row, "started_at"),
            phase=j.text(row, "phase"),
            rows_done=j.whole(row, "rows_done"),
            rows_total=j.whole(row, "rows_total"),
            eta_s=j.maybe(j.number, row, "eta_s"),
            end=end,
            error=j.maybe(j.text, row, "error"),
        )


@dataclass(frozen=True, slots=True)
class Waiting:
    """What of a stream type is in the log and not in files yet."""

    stream_type: str
    bucket: int
    sealed_segments: int
    segments_waiting: int
    bytes_waiting: int
    events_waiting: int
    oldest_waiting: datetime | None
    watermark: int

    @classmethod
    def of(cls, row: j.Object) -> Waiting:
        """From an answer."""
        numbers = ("bucket", "sealed_segments", "segments_waiting", "bytes_waiting", "events_waiting", "watermark")
        given = {key: j.whole(row, key) for key in numbers}
        return cls(
            stream_type=j.text(row, "stream_type"), oldest_waiting=j.maybe(j.moment, row, "oldest_waiting"), **given
        )


@dataclass(frozen=True, slots=True)
class Compaction:
    """Schedule, what waits, what runs, and the last 100 jobs."""

    enabled: bool
    schedule: str
    trigger: tuple[str, ...]
    next_tick: datetime | None
    paused: bool
    share_percent: int
    last_run: datetime | None
    stream_types: list[Waiting]
    running: list[Job]
    jobs: list[Job]

    @classmethod
    def of(cls, row: j.Object) -> Compaction:
        """From an answer."""
        return cls(
            j.flag(row, "enabled"),
            j.text(row, "schedule"),
            tuple(j.texts(row, "trigger")),
            j.maybe(j.moment, row, "next_tick"),
            j.flag(row, "paused"),
            j.whole(row, "share_percent"),
            j.maybe(j.moment, row, "last_run"),
            [Waiting.of(one) for one in j.rows(row, "stream_types")],
            [Job.of(job) for job in j.rows(row, "running")],
            [Job.of(job) for job in j.rows(row, "jobs")],
        )


@dataclass(frozen=True, slots=True)
class CompactionRun:
    """A run by hand: the ids of its jobs; where its end was waited for, how they and the merges behind them ended."""

    jobs: list[str]
    ended: list[Job]

    @classmethod
    def of(cls, row: j.Object) -> CompactionRun:
        """From an answer."""
        return cls(j.texts(row, "jobs"), [Job.of(job) for job in (j.rows(row, "ended") if "ended" in row else [])])


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A range of a log that a run would move now."""

    stream_type: str
    bucket: int
    segments: int
    bytes: int
    events: int


@dataclass(frozen=True, slots=True)
class PlannedMerge:
    """Files of a partition that would become fewer."""

    stream_type: str
    bucket: int
    partition: Mapping[str, str | None]
    files: tuple[str, ...]
    bytes: int
    events: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do now. `following`: merges that follow where a job writes into their partition."""

    jobs: list[PlannedJob]
    merges: list[PlannedMerge]
    following: list[PlannedMerge]

    @classmethod
    def of(cls, row: j.Object) -> Plan:
        """From an answer."""

        def common(one: j.Object) -> dict[str, Any]:
            return {"stream_type": j.text(one, "stream_type")} | {
                n: j.whole(one, n) for n in ("bucket", "bytes", "events")
            }

        def merges(key: str) -> list[PlannedMerge]:
            return [
                PlannedMerge(partition=j.child(one, "partition"), files=tuple(j.texts(one, "files")), **common(one))
                for one in j.rows(row, key)
            ]

        jobs = [PlannedJob(segments=j.whole(one, "segments"), **common(one)) for one in j.rows(row, "jobs")]
        # an older node does not say what follows
        return cls(jobs, merges("merges"), merges("following") if "following" in row else [])


@dataclass(frozen=True, slots=True)
class Tier:
    """What a tier holds."""

    bytes: int
    events: int
    oldest: datetime | None
    newest: datetime | None

    @classmethod
    def of(cls, row: j.Object, key: str) -> Tier:
        """From a part of an answer."""
        tier = j.child(row, key)
        moments = j.maybe(j.moment, tier, "oldest"), j.maybe(j.moment, tier, "newest")
        return cls(j.whole(tier, "bytes"), j.whole(tier, "events"), *moments)


@dataclass(frozen=True, slots=True)
class Tiers:
    """The tiers; None: the store has none of that kind."""

    inmemory: Tier | None
    wal: Tier | None
    durable: Tier

    @classmethod
    def of(cls, row: j.Object) -> Tiers:
        """From an answer."""
        return cls(j.maybe(Tier.of, row, "inmemory"), j.maybe(Tier.of, row, "wal"), Tier.of(row, "durable"))


@dataclass(frozen=True, slots=True)
class DataFile:
    """A live Parquet file: at `local_path` of the node's machine, or at `url`. `min` and `max` are by column."""

    path: str
    local_path: str | None
    url: str | None
    stream_type: str
    partition: Mapping[str, str | None]
    rows: int
    row_groups: int
    bytes: int
    min: Mapping[str, Any]
    max: Mapping[str, Any]

    @classmethod
    def of(cls, row: j.Object) -> DataFile:
        """From an answer."""
        return cls(
            path=j.text(row, "path"),
            local_path=j.maybe(j.text, row, "local_path"),
            url=j.maybe(j.text, row, "url"),
            stream_type=j.text(row, "stream_type"),
            partition=j.child(row, "partition"),
            rows=j.whole(row, "rows"),
            row_groups=j.whole(row, "row_groups"),
            bytes=j.whole(row, "bytes"),
            min=j.child(row, "min"),
            max=j.child(row, "max"),
        )
