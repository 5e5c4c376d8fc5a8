"""The client for programs that wait. Its methods are those of `aio`, word by word."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from uuid import UUID

import httpx

from . import _admin, _http, _read, _store, _subscribe, _write
from . import _json as j
from ._steps import Answer, Came, NoAnswer, Operation, Request, Wait, ask, get
from .errors import Interrupted
from .models import (
    Appended,
    BulkResult,
    Event,
    ExpectedSeq,
    Head,
    Loaded,
    NewEvent,
    OnError,
    Order,
    StoreConfig,
    StoreInfo,
    StreamType,
)
from .operators import Compaction, CompactionRun, DataFile, Plan, Tiers
from .readings import Follow, GlobalRead, Scan, StreamRead
from .removal import Erased, Redacted, Redaction, Retention, RetentionRun, redactions
from .subscriptions import NamedSubscription, Subscription

if TYPE_CHECKING:
    from typing import Unpack

T = TypeVar("T")


class Client:
    """A node, by the address of its HTTP listener."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:7070",
        *,
        others: Sequence[str] = (),
        admin_url: str | None = None,
        token: str | None = None,
        ca: str | None = None,
        timeout: float = _http.TIMEOUT_S,
        patience: float = _http.PATIENCE_S,
        http: httpx.Client | None = None,
    ) -> None:
        """`others`: further nodes of its cluster; `ca`: file of trusted authorities.

        `timeout`: seconds without a byte; `patience`: seconds of trying again.
        """
        self._settings = _http.Settings.of(url, others, admin_url, token, ca, timeout, patience)
        self._at = 0
        self._owned = http is None
        self._http = self._own() if http is None else http
        self._streams: set[httpx.Client] = set()

    def _own(self) -> httpx.Client:
        return httpx.Client(**self._settings.of_own())  # type: ignore[arg-type]

    def close(self) -> None:
        """Closes its connections (not those of an `http` that was given)."""
        if self._owned:
            self._http.close()
            for http in tuple(self._streams):
                http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def store(self, name: str | None = None) -> Store:
        """A store by its name; without one, the only store of the node. Nothing is asked yet."""
        return Store(self, _store.StoreState(name, self._settings.patience_s))

    def stores(self) -> list[StoreInfo]:
        """All stores of the node."""
        return self.run(_store.stores(self._settings.patience_s))

    def info(self) -> dict[str, Any]:
        """What the node is: name, version, started_at, stores, native, recovery."""
        return self.run(get("info", patience=self._settings.patience_s))

    def run(self, operation: Operation[T]) -> T:
        """Takes the steps of an operation."""
        return self._take(operation, self._send)

    def _take(self, operation: Operation[T], send: Callable[[Request], Answer | NoAnswer]) -> T:
        came: Came = None
        while True:
            try:
                step = operation.send(came)
            except StopIteration as done:
                value: T = done.value
                return value
            if isinstance(step, Wait):
                time.sleep(step.seconds)
                came = None
            else:
                at = self._at
                came = send(step)
                # several threads or tasks that meet the same silence go on one node together
                if _http.elsewhere(came) and self._at == at:
                    self._at = at + 1

    def _send(self, request: Request) -> Answer | NoAnswer:
        try:
            return _http.answer(self._http.send(self._build(request)))
        except httpx.TransportError as error:
            return _http.no_answer(error)

    def _build(self, request: Request) -> httpx.Request:
        return self._http.build_request(**self._settings.request(request, self._at))  # type: ignore[arg-type]

    @contextmanager
    def stream(self, request: Request) -> Iterator[Iterator[bytes]]:
        """The pieces of an answer as they come; one that breaks off is `Interrupted`."""
        held: list[httpx.Response] = []
        http = self._of_stream()

        def send(request: Request) -> Answer | NoAnswer:
            try:
                response = http.send(self._build(request), stream=True)
                if response.is_success:
                    held.append(response)
                    return Answer(response.status_code, {}, b"")
                response.read()
                return _http.answer(response)
            except httpx.TransportError as error:
                return _http.no_answer(error)

        try:
            self._take(ask(request, self._settings.patience_s), send)
            yield _pieces(held[0])
        finally:
            for response in held:
                response.close()
            if self._owned:
                http.close()
                self._streams.discard(http)

    def _of_stream(self) -> httpx.Client:
        """What an answer comes by that its reader may give up."""
        # who is given up may be collected in the middle of another request, which holds the lock of its connections,
        # and closing waits for a lock: so each has connections, and a lock, of its own
        if not self._owned or self._http.is_closed:
            return self._http
        http = self._own()
        self._streams.add(http)
        return http


def _pieces(response: httpx.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_bytes()
    except httpx.TransportError as error:
        raise Interrupted(f"the answer broke off: {error}") from error


class Store:
    """A store of a node."""

    def __init__(self, client: Client, state: _store.StoreState) -> None:
        """By `Client.store`."""
        self._client, self._state = client, state
        self.admin = Admin(client, state)

    def append(
        self,
        stream_type: str,
        stream_id: str,
        events: Sequence[NewEvent],
        *,
        expected_seq: ExpectedSeq = "any",
        command_id: str | None = None,
        inspect: bool = False,
    ) -> Appended:
        """Appends to one stream, all of it or nothing. `expected_seq`: its last seq, "empty" or "any"."""
        place, given = (stream_type, stream_id), _write.listed(events)
        wish = _write.append(
            self._state, place, given, expected_seq=expected_seq, command_id=command_id, inspect=inspect
        )
        return self._client.run(wish)

    def bulk(self, events: Iterable[_write.Addressed], *, on_error: OnError = "abort") -> BulkResult:
        """One body of events of many streams, up to 64 MiB."""
        return self._client.run(_write.bulk(self._state, events, on_error=on_error))

    def ingest(
        self, events: Iterable[_write.Addressed], *, on_error: OnError = "abort", mark: str | None = None
    ) -> Loaded:
        """As many events as there are, each stored once. `mark`: of a load that stopped, with the same events."""
        return self._client.run(_write.ingest(self._state, events, on_error=on_error, mark=mark))

    def read(
        self,
        stream_type: str,
        stream_id: str,
        *,
        from_seq: int | None = None,
        to_seq: int | None = None,
        limit: int | None = None,
        order: Order = "asc",
        as_of: int | datetime | None = None,
        allow_holes: bool = False,
        page_size: int | None = None,
    ) -> StreamRead:
        """A stream, or a part of it. `limit`: events in all; `as_of`: a version of the manifest, or a moment."""
        place = stream_type, stream_id
        wish = _read.StreamWish(place, from_seq, to_seq, limit, order, as_of, allow_holes, page_size)
        return StreamRead(self._client, _read.StreamPlan(self._state, wish))

    def read_all(
        self,
        *,
        after: str | None = None,
        limit: int | None = None,
        page_size: int | None = None,
        **filters: Unpack[_read.Filters],
    ) -> GlobalRead:
        """The whole store in global order, behind a position."""
        return GlobalRead(self._client, _read.GlobalPlan(self._state, after, limit, page_size, filters))

    def follow(
        self,
        *,
        after: str | None = None,
        poll: float = 0.5,
        idle: float | None = None,
        page_size: int | None = None,
        **filters: Unpack[_read.Filters],
    ) -> Follow:
        """The same without an end: asks every `poll` seconds; ends after `idle` seconds without an event."""
        return Follow(self._client, _read.GlobalPlan(self._state, after, None, page_size, filters), poll, idle)

    def subscribe(
        self, *, after: str | None = None, idle: int | None = None, **filters: Unpack[_subscribe.SubscribeFilters]
    ) -> Subscription:
        """The same, told by the node as events are committed. `idle`: ends after so many seconds without one."""
        return Subscription(self._client, _subscribe.FollowPlan(self._state, None, after, idle, filters))

    def subscription(self, name: str) -> NamedSubscription:
        """A subscription whose position the server keeps, by its name. Nothing is asked yet."""
        return NamedSubscription(self._client, _subscribe.Wishes(self._state, name))

    def scan(self, **filters: Unpack[_read.Filters]) -> Scan:
        """Everything, each event once, in storage order: the fast way to read it all."""
        return Scan(self._client, self._state, filters)

    def head(self, stream_type: str, stream_id: str) -> Head:
        """First and last seq of a stream."""
        return self._client.run(_read.head(self._state, (stream_type, stream_id)))

    def event(self, event_id: UUID | str) -> Event:
        """One event by its id."""
        return self._client.run(_read.event(self._state, event_id))

    def config(self) -> StoreConfig:
        """The statement: every key with its effective value."""
        return self._client.run(self._state.config())

    def stream_types(self) -> list[StreamType]:
        """Stream types, registered or in use."""
        return self._client.run(_store.stream_types(self._state))

    def register(self, name: str, *, buckets: int | None = None) -> StreamType:
        """Registers a stream type, of one bucket (log) or of several; once more is as good as once."""
        return self._client.run(_store.register(self._state, name, buckets))


class Admin:
    """What operators do with a store."""

    def __init__(self, client: Client, state: _store.StoreState) -> None:
        """By `Store.admin`."""
        self._client, self._state = client, state

    def compaction(self) -> Compaction:
        """Schedule, what waits, what runs, and the last 100 jobs."""
        return Compaction.of(self._client.run(_admin.look(self._state, "compaction")))

    def compact(self, stream_type: str | None = None, *, wait: bool = False) -> CompactionRun:
        """Seals and compacts now, then merges. `wait`: until the jobs have ended, however long that takes."""
        wish = _admin.do(self._state, "compaction", "run", patient=wait, wait=wait, stream_type=stream_type)
        return CompactionRun.of(self._client.run(wish))

    def pause(self) -> None:
        """Starts no job by schedule or size, until `resume`."""
        self._client.run(_admin.do(self._state, "compaction", "pause"))

    def resume(self) -> None:
        """Starts jobs by schedule and size again."""
        self._client.run(_admin.do(self._state, "compaction", "resume"))

    def cancel(self) -> int:
        """Asks running jobs to end before their commit; how many."""
        return j.whole(self._client.run(_admin.do(self._state, "compaction", "cancel")), "cancelled")

    def plan(self, stream_type: str | None = None) -> Plan:
        """What a run would do now."""
        return Plan.of(self._client.run(_admin.look(self._state, "compaction", "plan", stream_type=stream_type)))

    def tiers(self) -> Tiers:
        """What each tier holds."""
        return Tiers.of(self._client.run(_admin.look(self._state, "tiers")))

    def files(self) -> list[DataFile]:
        """The live data files: the exact set, also where a folder holds others."""
        return [DataFile.of(row) for row in j.rows(self._client.run(_admin.look(self._state, "files")), "files")]

    def retention(self) -> Retention:
        """What retention would take, what it took and can be restored, and its runs."""
        return Retention.of(self._client.run(_admin.look(self._state, "retention")))

    def retain(self) -> RetentionRun:
        """Applies retention now."""
        return RetentionRun.of(self._client.run(_admin.do(self._state, "retention", "run")))

    def restore(self, partition: Mapping[str, str | None] | str | None = None) -> RetentionRun:
        """Takes tombstones back: all, or those of a partition, as `DataFile.partition` or as its folders."""
        wish = _admin.say(self._state, "restore", wish={"partition": partition})
        return RetentionRun.of(self._client.run(wish))

    def redact(self, event_id: UUID | str, *, reason: str | None = None) -> Redacted:
        """Takes an event's payload away, where the store's statement allows it; the event and its seq stay."""
        wish = _admin.say(self._state, "redact", wish={"event_id": str(event_id), "reason": reason})
        return Redacted.of(self._client.run(wish))

    def redactions(self) -> list[Redaction]:
        """What was redacted."""
        return redactions(self._client.run(_admin.look(self._state, "redact")))

    def erase(
        self, *, stream_id: str | None = None, tenant_id: str | None = None, stream_type: str | None = None
    ) -> Erased:
        """Destroys the keys of a stream or of a tenant, in all erasable stream types or in one, for ever."""
        wish = {"stream_id": stream_id, "tenant_id": tenant_id, "stream_type": stream_type}
        return Erased.of(self._client.run(_admin.say(self._state, "erase", wish=wish)))
