"""What operators take out of a store: retention and what comes back, redaction of an event, erasure of a subject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from . import _json as j


@dataclass(frozen=True, slots=True)
class RetentionRun:
    """A run of retention (`kind` retention), or of what took tombstones back (restore). `error`: why it ended early."""

    id: str
    kind: str
    trigger: str
    started_at: datetime
    ended_at: datetime
    files: int
    events: int
    bytes: int
    ranges: int
    commits: int
    error: str | None

    @classmethod
    def of(cls, row: j.Object) -> RetentionRun:
        """From an answer."""
        numbers = {key: j.whole(row, key) for key in ("files", "events", "bytes", "ranges", "commits")}
        return cls(
            id=j.text(row, "id"),
            kind=j.text(row, "kind"),
            trigger=j.text(row, "trigger"),
            started_at=j.moment(row, "started_at"),
            ended_at=j.moment(row, "ended_at"),
            error=j.maybe(j.text, row, "error"),
            **numbers,
        )


@dataclass(frozen=True, slots=True)
class OldFile:
    """A data file that is old enough. `newest`: when the newest event in it happened."""

    path: str
    stream_type: str
    partition: Mapping[str, str | None]
    rows: int
    bytes: int
    newest: datetime

    @classmethod
    def of(cls, row: j.Object) -> OldFile:
        """From an answer."""
        return cls(**_file(row))


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A data file that no read shows any more, since `at`. It can be restored `until` then."""

    path: str
    stream_type: str
    partition: Mapping[str, str | None]
    rows: int
    bytes: int
    newest: datetime
    at: datetime
    until: datetime

    @classmethod
    def of(cls, row: j.Object) -> Tombstone:
        """From an answer."""
        return cls(**_file(row), at=j.moment(row, "at"), until=j.moment(row, "until"))


def _file(row: j.Object) -> dict[str, Any]:
    return {
        "path": j.text(row, "path"),
        "stream_type": j.text(row, "stream_type"),
        "partition": j.child(row, "partition"),
        "rows": j.whole(row, "rows"),
        "bytes": j.whole(row, "bytes"),
        "newest": j.moment(row, "newest"),
    }


@dataclass(frozen=True, slots=True)
class Retention:
    """What happened before `before` goes: the candidates with the next run. A tombstone can be restored."""

    enabled: bool
    durable_days: int
    delete_mode: str
    before: datetime
    candidates: list[OldFile]
    tombstones: list[Tombstone]
    runs: list[RetentionRun]

    @classmethod
    def of(cls, row: j.Object) -> Retention:
        """From an answer."""
        return cls(
            j.flag(row, "enabled"),
            j.whole(row, "durable_days"),
            j.text(row, "delete_mode"),
            j.moment(row, "before"),
            [OldFile.of(one) for one in j.rows(row, "candidates")],
            [Tombstone.of(one) for one in j.rows(row, "tombstones")],
            [RetentionRun.of(one) for one in j.rows(row, "runs")],
        )


@dataclass(frozen=True, slots=True)
class Redaction:
    """An event whose payload was taken away: who said so, when, and why."""

    event_id: UUID
    stream_type: str
    stream_id: str
    seq: int
    at: datetime
    who: str
    reason: str | None

    @classmethod
    def of(cls, row: j.Object) -> Redaction:
        """From an answer."""
        return cls(
            j.uuid(row, "event_id"),
            j.text(row, "stream_type"),
            j.text(row, "stream_id"),
            j.whole(row, "seq"),
            j.moment(row, "at"),
            j.text(row, "who"),
            j.maybe(j.text, row, "reason"),
        )


@dataclass(frozen=True, slots=True)
class Redacted:
    """The events of the id; `already`: they were so before. `not_known_to`: nodes that may show the text a while."""

    events: list[Redaction]
    already: bool
    not_known_to: tuple[int, ...]

    @classmethod
    def of(cls, row: j.Object) -> Redacted:
        """From an answer."""
        return cls(redactions(row), j.flag(row, "already"), _nodes(row))


def redactions(row: j.Object) -> list[Redaction]:
    """The list of an answer."""
    return [Redaction.of(one) for one in j.rows(row, "redacted")]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A subject (`subject` stream or tenant) whose keys are destroyed; `events` 0: not counted."""

    stream_type: str
    subject: str
    name: str
    at: datetime
    who: str
    events: int
    already: bool

    @classmethod
    def of(cls, row: j.Object) -> Receipt:
        """From an answer."""
        return cls(
            j.text(row, "stream_type"),
            j.text(row, "subject"),
            j.text(row, "name"),
            j.moment(row, "at"),
            j.text(row, "who"),
            j.whole(row, "events"),
            j.flag(row, "already"),
        )


@dataclass(frozen=True, slots=True)
class Erased:
    """A receipt for each stream type. `not_known_to`: nodes that may show the text a while."""

    receipts: list[Receipt]
    not_known_to: tuple[int, ...]

    @classmethod
    def of(cls, row: j.Object) -> Erased:
        """From an answer."""
        return cls([Receipt.of(one) for one in j.rows(row, "erased")], _nodes(row))


def _nodes(row: j.Object) -> tuple[int, ...]:
    # left out where there is none
    listed = row.get("not_known_to")
    return tuple(int(node) for node in listed) if isinstance(listed, list) else ()
