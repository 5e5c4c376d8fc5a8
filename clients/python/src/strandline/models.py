"""What goes in and comes out: events, and what a node says about them. All are values that nobody changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from . import _given
from . import _json as j
from ._names import Names

ExpectedSeq = int | Literal["empty", "any"]
Order = Literal["asc", "desc"]
OnError = Literal["abort", "skip"]


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to append; what is None is left to the store, or absent.

    `data` and `metadata` are anything that JSON holds. `command_id` is for bulk and ingest; `append` has an argument.
    """

    event_type: str
    data: Any = None
    metadata: Any = field(default=None, kw_only=True)
    event_id: UUID | None = field(default=None, kw_only=True)
    seq: int | None = field(default=None, kw_only=True)
    event_version: int | None = field(default=None, kw_only=True)
    occurred_at: datetime | None = field(default=None, kw_only=True)
    command_id: str | None = field(default=None, kw_only=True)
    correlation_id: str | None = field(default=None, kw_only=True)
    causation_id: str | None = field(default=None, kw_only=True)
    tenant_id: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """A moment without a time zone is no moment."""
        _given.moment(occurred_at=self.occurred_at)
        if self.occurred_at is not None and self.occurred_at.tzinfo is None:
            raise ValueError(f"occurred_at {self.occurred_at} has no time zone: give it one, e.g. datetime.now(UTC)")

    def row(self, names: Names, place: tuple[str, str] | None = None) -> dict[str, Any]:
        """The event as JSON, with the store's names; `place` is its stream type and stream id."""
        given: dict[str, Any] = {
            "event_type": self.event_type,
            "data": self.data,
            "metadata": self.metadata,
            "event_id": None if self.event_id is None else str(self.event_id),
            "seq": self.seq,
            "event_version": self.event_version,
            "occurred_at": None if self.occurred_at is None else self.occurred_at.astimezone(UTC).isoformat(),
            "command_id": self.command_id,
            "correlation_id": self.correlation_id,
            "causation_id": self.causation_id,
            "tenant_id": self.tenant_id,
        }
        if place is not None:
            given |= {"stream_type": place[0], "stream_id": place[1]}
        return {names[name]: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Event:
    """A stored event. `position` is its place in the global order; a read of one stream does not tell it."""

    event_id: UUID
    stream_type: str
    stream_id: str
    seq: int
    event_type: str
    event_version: int | None
    occurred_at: datetime
    ingested_at: datetime
    data: Any
    metadata: Any
    command_id: str | None
    correlation_id: str | None
    causation_id: str | None
    tenant_id: str | None
    position: str | None = None

    @classmethod
    def of(cls, row: j.Object, names: Names) -> Event:
        """From an answer of a store with these names."""
        texts = ("command_id", "correlation_id", "causation_id", "tenant_id")
        return cls(
            event_id=j.uuid(row, names["event_id"]),
            stream_type=j.text(row, names["stream_type"]),
            stream_id=j.text(row, names["stream_id"]),
            seq=j.whole(row, names["seq"]),
            event_type=j.text(row, names["event_type"]),
            event_version=j.maybe(j.whole, row, names["event_version"]),
            occurred_at=j.moment(row, names["occurred_at"]),
            ingested_at=j.moment(row, names["ingested_at"]),
            data=row.get(names["data"]),
            metadata=row.get(names["metadata"]),
            position=j.maybe(j.text, row, "position"),
            **{name: j.maybe(j.text, row, names[name]) for name in texts},
        )


@dataclass(frozen=True, slots=True)
class AppendedEvent:
    """What the store gave an event; None: the first answer again, of an event that retention removed meanwhile."""

    seq: int
    event_id: UUID | None
    ingested_at: datetime | None


@dataclass(frozen=True, slots=True)
class Appended:
    """An append that is stored; `duplicate`: it was before, by its command id. Of a dry run: what would be."""

    stream_type: str
    stream_id: str
    first_seq: int
    last_seq: int
    events: tuple[AppendedEvent, ...]
    duplicate: bool

    @classmethod
    def of(cls, row: j.Object, names: Names) -> Appended:
        """From an answer."""
        one = names["seq"], names["event_id"], names["ingested_at"]
        events = (
            AppendedEvent(j.whole(event, one[0]), j.maybe(j.uuid, event, one[1]), j.maybe(j.moment, event, one[2]))
            for event in j.rows(row, "events")
        )
        place = j.text(row, names["stream_type"]), j.text(row, names["stream_id"])
        return cls(*place, j.whole(row, "first_seq"), j.whole(row, "last_seq"), tuple(events), j.flag(row, "duplicate"))


@dataclass(frozen=True, slots=True)
class Rejected:
    """A refused line, counted from 1."""

    line: int
    code: str
    error: str


@dataclass(frozen=True, slots=True)
class StreamOutcome:
    """What became of one stream of a body that is stored in part; `stored` is none where nobody knows."""

    stream_type: str
    stream_id: str
    stored: bool | None
    code: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of a bulk body; `streams` only where a part of it is stored."""

    appended: int
    duplicates: int
    rejected: tuple[Rejected, ...]
    streams: tuple[StreamOutcome, ...] = ()

    @classmethod
    def of(cls, row: j.Object, names: Names) -> BulkResult:
        """From an answer."""
        rejected = (
            Rejected(j.whole(r, "line"), j.text(r, "code"), j.text(r, "error")) for r in j.rows(row, "rejected")
        )
        streams = (
            StreamOutcome(
                j.text(r, names["stream_type"]),
                j.text(r, names["stream_id"]),
                j.maybe(j.flag, r, "stored"),
                j.maybe(j.text, r, "code"),
                j.maybe(j.text, r, "error"),
            )
            for r in (j.rows(row, "streams") if "streams" in row else [])
        )
        return cls(j.whole(row, "appended"), j.whole(row, "duplicates"), tuple(rejected), tuple(streams))


@dataclass(frozen=True, slots=True)
class Loaded:
    """A load that is done. `duplicates` were stored before; a rejected line is counted over the whole load."""

    mark: str
    chunks: int
    appended: int
    duplicates: int
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """First and last seq of a stream."""

    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class SeqRange:
    """Seqs from one to another, both included."""

    from_seq: int
    to_seq: int

    @classmethod
    def all_of(cls, row: j.Object, key: str) -> tuple[SeqRange, ...]:
        """From a list in an answer."""
        return tuple(cls(j.whole(r, "from_seq"), j.whole(r, "to_seq")) for r in j.rows(row, key))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a read proved: every seq of the range was looked at. 0 to 0: there was nothing to look at."""

    from_seq: int
    to_seq: int
    contiguous: bool
    missing: tuple[SeqRange, ...]
    retired: tuple[SeqRange, ...]

    @classmethod
    def of(cls, row: j.Object) -> Verdict:
        """From an answer."""
        ranges = SeqRange.all_of(row, "missing"), SeqRange.all_of(row, "retired")
        return cls(j.whole(row, "from_seq"), j.whole(row, "to_seq"), j.flag(row, "contiguous"), *ranges)


@dataclass(frozen=True, slots=True)
class Page:
    """Some events of a stream in a row, with what was proved of them; `next_seq` None: nothing is left."""

    events: tuple[Event, ...]
    last_seq: int
    next_seq: int | None
    verdict: Verdict
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, row: j.Object, names: Names) -> Page:
        """From an answer."""
        events = tuple(Event.of(event, names) for event in j.rows(row, "events"))
        verdict, warnings = Verdict.of(j.child(row, "verdict")), tuple(j.texts(row, "warnings"))
        return cls(events, j.whole(row, "last_seq"), j.maybe(j.whole, row, "next_seq"), verdict, warnings)


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """A store of the node."""

    name: str
    stream_types: tuple[str, ...]
    tiers: tuple[str, ...]
    durable_path: str

    @classmethod
    def of(cls, row: j.Object) -> StoreInfo:
        """From an answer."""
        lists = tuple(j.texts(row, "stream_types")), tuple(j.texts(row, "tiers"))
        return cls(j.text(row, "name"), *lists, j.text(row, "durable_path"))


@dataclass(frozen=True, slots=True)
class StreamType:
    """A stream type, registered or in use."""

    name: str
    buckets: int
    erasable: str
    registered: bool

    @classmethod
    def of(cls, row: j.Object) -> StreamType:
        """From an answer."""
        return cls(j.text(row, "name"), j.whole(row, "buckets"), j.text(row, "erasable"), j.flag(row, "registered"))


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """A store's statement: every key with its effective value, which ones are set, and what has no effect yet."""

    name: str
    keys: Mapping[str, Any]
    set: tuple[str, ...]
    not_active_yet: Mapping[str, str]
    warnings: Mapping[str, str]

    @classmethod
    def of(cls, row: j.Object) -> StoreConfig:
        """From an answer."""
        reasons = [
            {j.text(r, "key"): j.text(r, "reason") for r in j.rows(row, key)} for key in ("not_active_yet", "warnings")
        ]
        return cls(j.text(row, "name"), j.child(row, "config"), tuple(j.texts(row, "set")), *reasons)
