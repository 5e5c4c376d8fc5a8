"""Subscriptions without I/O: what is asked for, what messages of an event stream say, when it goes on and ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Unpack, cast
from uuid import UUID

from . import _json as j
from ._frames import Lines
from ._names import Names
from ._read import Filters, filter_query
from ._steps import JSON, Operation, Repeat, Request, ask, path, query
from ._store import StoreState
from .errors import UnexpectedAnswer, refused
from .models import Event

Mode = Literal["async", "sync"]
EVENTS = "text/event-stream"
# of a stream that broke or was ended by a node that stops
PAUSE_S = 0.2
AGAIN = {"unavailable", "overloaded"}
ASKED_FOR = {"limit", "idle"}


class SubscribeFilters(Filters, total=False):
    """As of other readings, and one stream id."""

    stream_id: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event of a named subscription; `attempt` counts from 1."""

    event: Event
    attempt: int

    @property
    def position(self) -> str:
        """What is acknowledged."""
        if self.event.position is None:
            raise UnexpectedAnswer("an event of a subscription comes without its position")
        return self.event.position


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event that failed too often, and waits to be replayed.

    Its stream is told of the oldest 100 by `status`; None: it was not looked up, or is there no more. `unread`: why the
    lookup failed.
    """

    position: str
    at: datetime
    attempts: int
    reason: str
    replayed: bool
    event_id: UUID | None = None
    stream_type: str | None = None
    stream_id: str | None = None
    seq: int | None = None
    unread: str | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionTrouble:
    """Why the events of a named subscription cannot be read, and when that was met last."""

    at: datetime
    code: str
    error: str

    @classmethod
    def of(cls, row: j.Object) -> SubscriptionTrouble:
        """From an answer."""
        return cls(j.moment(row, "at"), j.text(row, "code"), j.text(row, "error"))


@dataclass(frozen=True, slots=True)
class SubscriptionStatus:
    """A named subscription as it is now. Everything up to `position` is acknowledged, parked, or not asked for.

    `filter`: what it was made for; `create` takes the same names. `last_error`: while its events cannot be read.
    """

    name: str
    mode: str
    filter: SubscribeFilters
    created_at: datetime
    position: str
    lag_s: float
    consumers: int
    in_flight: int
    waiting: int
    attempts_max: int
    ack_within_s: float
    parked: tuple[ParkedEvent, ...]
    last_error: SubscriptionTrouble | None = None

    @classmethod
    def of(cls, row: j.Object, names: Names) -> SubscriptionStatus:
        """From an answer."""
        parked = (
            ParkedEvent(
                j.text(one, "position"),
                j.moment(one, "at"),
                j.whole(one, "attempts"),
                j.text(one, "reason"),
                j.flag(one, "replayed"),
                j.maybe(j.uuid, one, names["event_id"]),
                j.maybe(j.text, one, names["stream_type"]),
                j.maybe(j.text, one, names["stream_id"]),
                j.maybe(j.whole, one, names["seq"]),
                j.maybe(j.text, one, "unread"),
            )
            for one in j.rows(row, "parked")
        )
        return cls(
            name=j.text(row, "name"),
            mode=j.text(row, "mode"),
            filter=_filters(j.child(row, "filter")),
            created_at=j.moment(row, "created_at"),
            position=j.text(row, "position"),
            lag_s=float(row.get("lag_s", 0)),
            consumers=j.whole(row, "consumers"),
            in_flight=j.whole(row, "in_flight"),
            waiting=j.whole(row, "waiting"),
            attempts_max=j.whole(row, "attempts_max"),
            ack_within_s=j.number(row, "ack_within_s"),
            parked=tuple(parked),
            last_error=None if row.get("last_error") is None else SubscriptionTrouble.of(j.child(row, "last_error")),
        )


def _filters(row: j.Object) -> SubscribeFilters:
    moments = {name: j.moment(row, name) for name in ("occurred_from", "occurred_to") if name in row}
    return cast(SubscribeFilters, {**row, **moments})


class Messages:
    """One event stream on one connection."""

    def __init__(self, names: Names) -> None:
        """Nothing has come."""
        self._names, self._lines = names, Lines()
        self._fields: dict[str, str] = {}
        self.last_id: str | None = None
        self.consumer: str | None = None
        self.end: j.Object | None = None

    def feed(self, piece: bytes) -> list[Delivery]:
        """The events that end in this piece; those of dry runs have no place, and are not given."""
        found = []
        for line in self._lines.feed(piece):
            if line:
                name, _, value = line.decode().partition(":")
                self._fields[name] = value.removeprefix(" ")
            else:
                fields, self._fields = self._fields, {}
                found += self._message(fields)
        return found

    def _message(self, fields: Mapping[str, str]) -> list[Delivery]:
        kind, data = fields.get("event"), fields.get("data")
        if kind == "consumer" and data is not None:
            self.consumer = j.text(j.parse(data.encode()), "consumer")
        elif kind == "end" and data is not None:
            self.end = j.parse(data.encode())
        elif kind is None and data is not None and "id" in fields:
            row = j.parse(data.encode())
            return [Delivery(Event.of(row, self._names), int(fields.get("attempt", "1")))]
        elif "id" in fields:
            # nothing that was asked for came since, and this far was looked
            self.last_id = fields["id"]
        return []


class FollowPlan:
    """A subscription over as many connections as it takes. `position` is what the next one goes on behind."""

    def __init__(
        self, state: StoreState, name: str | None, after: str | None, idle: int | None, filters: SubscribeFilters
    ) -> None:
        """Nothing is asked yet; with a `name` of a named one, whose position the server keeps."""
        self.position, self.consumer = after, None if name is None else ""
        self._state, self._name, self._idle = state, name, idle
        self._filters = filter_query(filters)
        self._messages: Messages | None = None

    def request(self) -> Operation[Request]:
        """The request of the next connection."""
        facts = yield from self._state.facts()
        self._messages = Messages(facts.names)
        if self._name is None:
            route, asked = ["subscribe"], query(after=self.position, idle_s=self._idle) | self._filters
        else:
            route, asked = ["subscriptions", self._name, "events"], query(idle_s=self._idle)
        place = path("v1", "stores", facts.name, *route)
        return Request("GET", place, Repeat.SAFE, asked, {"accept": EVENTS})

    def feed(self, piece: bytes) -> list[Delivery]:
        """The events that end in this piece of the answer."""
        messages = self._messages
        if messages is None:
            raise AssertionError("a piece belongs to a request")
        found = messages.feed(piece)
        self.consumer = messages.consumer
        if messages.last_id is not None:
            self.position, messages.last_id = messages.last_id, None
        return found

    def goes_on(self) -> bool:
        """Whether another connection goes on where one is over. A refusal is raised."""
        end = None if self._messages is None else self._messages.end
        if end is None or end.get("code") in AGAIN:
            return True
        if end.get("code") in ASKED_FOR:
            return False
        if end.get("code") == "deleted":
            raise refused(404, {**end, "code": "not_found", "details": {}})
        raise refused(409 if end.get("code") == "notifications_disabled" else 500, {**end, "details": {}})


class Wishes:
    """What is asked of a named subscription."""

    def __init__(self, state: StoreState, name: str) -> None:
        """Nothing is asked yet."""
        self.state, self.name = state, name

    def create(
        self,
        mode: Mode,
        after: str | None,
        attempts_max: int | None,
        ack_within: float | None,
        **filters: Unpack[SubscribeFilters],
    ) -> Operation[SubscriptionStatus]:
        """Makes it; the same again is as good as once."""
        wish = {"mode": mode, "after": after, "attempts_max": attempts_max, "ack_within_s": ack_within}
        given: dict[str, object] = {name: value for name, value in wish.items() if value is not None}
        return (yield from self._told(self._ask("POST", body={**given, "filter": filter_query(filters)})))

    def status(self) -> Operation[SubscriptionStatus]:
        """As it is now."""
        return (yield from self._told(self._ask("GET")))

    def _told(self, asked: Operation[j.Object]) -> Operation[SubscriptionStatus]:
        facts = yield from self.state.facts()
        return SubscriptionStatus.of((yield from asked), facts.names)

    def delete(self) -> Operation[None]:
        """Ends it and forgets its position."""
        yield from self._ask("DELETE", repeat=Repeat.NEVER)

    def ack(self, position: str, consumer: str | None, only: bool) -> Operation[int]:
        """An event, and what the consumer was given before it."""
        body = {"position": position, "consumer": consumer, "only": only}
        return j.whole((yield from self._ask("POST", "ack", body=body)), "acknowledged")

    def failed(self, action: str, position: str, reason: str | None) -> Operation[None]:
        """An event is given back, or set aside."""
        yield from self._ask("POST", action, body={"position": position, "reason": reason}, repeat=Repeat.NEVER)

    def replay(self, position: str | None) -> Operation[int]:
        """Parked events are given again."""
        return j.whole((yield from self._ask("POST", "replay", body={"position": position})), "replayed")

    def _ask(
        self,
        method: str,
        *action: str,
        body: Mapping[str, object] | None = None,
        repeat: Repeat = Repeat.SAFE,
    ) -> Operation[j.Object]:
        facts = yield from self.state.facts()
        route = path("v1", "stores", facts.name, "subscriptions", self.name, *action)
        headers, sent = ({}, None) if body is None else ({"content-type": JSON}, j.dump(dict(body)))
        request = Request(method, route, repeat, headers=headers, body=sent)
        return j.parse((yield from ask(request, self.state.patience)).body)
