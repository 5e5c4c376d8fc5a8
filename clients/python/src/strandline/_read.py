"""Reads: what is asked for next, and what of it is held to its verdict. One plan is one reading."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Generic, TypedDict, TypeVar
from uuid import UUID

from . import _given
from . import _json as j
from ._frames import concat, table_of
from ._steps import ARROW, JSON, Answer, Operation, Repeat, Request, ask, get, path, query
from ._store import StoreState
from ._verdict import Check
from ._warn import warn
from .errors import Interrupted, StrandlineWarning, UnexpectedAnswer
from .models import Event, Head, Order, Page, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

PAGE_SIZE = 1000
# of a table, whose pages cost less
TABLE_PAGE_SIZE = 50_000


class Filters(TypedDict, total=False):
    """What of the whole store is wanted; moments: at or after, before."""

    stream_type: str | None
    event_type: str | None
    tenant_id: str | None
    occurred_from: datetime | None
    occurred_to: datetime | None


def filter_query(filters: Filters) -> dict[str, str]:
    """As parameters of a route."""
    moments = {name: _moment(name, filters.get(name)) for name in ("occurred_from", "occurred_to")}
    return query(**{**filters, **moments})


def _moment(name: str, moment: object) -> str | None:
    _given.moment(**{name: moment})
    if not isinstance(moment, datetime):
        return None
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone: give it one, e.g. datetime.now(UTC)")
    return moment.astimezone(UTC).isoformat()


@dataclass(frozen=True, slots=True)
class StreamWish:
    """What of a stream is wanted."""

    place: tuple[str, str]
    from_seq: int | None
    to_seq: int | None
    limit: int | None
    order: Order
    as_of: int | datetime | None
    allow_holes: bool
    page_size: int | None


def _some(limit: int | None) -> int | None:
    _given.whole(limit=limit)
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit}: ask for 1 event or more, or leave it out for all")
    return limit


Place = TypeVar("Place")


class _Tables(ABC, Generic[Place]):
    """What readings have in common: all that is left as one table."""

    def __init__(self) -> None:
        self._came: list[pa.Table] = []

    @abstractmethod
    def table(self) -> Operation[pa.Table | None]:
        """The next page as a table; None: there is none."""

    @abstractmethod
    def _place(self) -> Place:
        """Where the next page begins."""

    @abstractmethod
    def _return_to(self, place: Place) -> None:
        """Read on from there."""

    def whole(self) -> Operation[pa.Table]:
        """What is left as one table. Where it breaks off, what came is kept; asked again, it goes on behind that."""
        if not self._came:
            self._begun = self._place()
        while (table := (yield from self.table())) is not None:
            self._came.append(table)
        whole = concat(self._came)
        self._came.clear()
        return whole

    def _go_back(self) -> None:
        """Pages go on where a table began that broke off: nobody was given what came of it."""
        if self._came:
            self._came.clear()
            self._return_to(self._begun)


class StreamPlan(_Tables[tuple[int | None, int | None, int | None, Verdict | None]]):
    """A reading of one stream, page by page or table by table."""

    def __init__(self, state: StoreState, wish: StreamWish, *, is_quiet: bool = False) -> None:
        """Nothing is read yet."""
        super().__init__()
        _given.whole(from_seq=wish.from_seq, to_seq=wish.to_seq, page_size=wish.page_size)
        _given.as_of(wish.as_of)
        self._state, self._wish = state, wish
        self._from, self._to, self._left = wish.from_seq, wish.to_seq, _some(wish.limit)
        self._as_of = _moment("as_of", wish.as_of) if isinstance(wish.as_of, datetime) else wish.as_of
        self._done = False
        self._check = Check(f"{wish.place[0]}/{wish.place[1]}", wish.order, wish.allow_holes)
        self._is_quiet, self._warnings = is_quiet, list[str]()

    @property
    def verdict(self) -> Verdict | None:
        """Of what was read so far."""
        return self._check.verdict

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the node said besides, of what was read so far."""
        return tuple(self._warnings)

    def page(self) -> Operation[Page | None]:
        """The next page; None: there is none."""
        self._go_back()
        if self._done:
            return None
        facts = yield from self._state.facts()
        answer = yield from self._ask(JSON, PAGE_SIZE)
        page = Page.of(j.parse(answer.body), facts.names)
        self._take([event.seq for event in page.events], page.verdict, page.next_seq, page.warnings)
        return page

    def table(self) -> Operation[pa.Table | None]:
        """The next page as a table; None: there is none."""
        if self._done:
            return None
        facts = yield from self._state.facts()
        answer = yield from self._ask(ARROW, TABLE_PAGE_SIZE)
        table = table_of(answer.body)
        seqs = [int(seq) for seq in table.column(facts.names["seq"]).to_pylist() if seq is not None]
        next_seq = _number(answer.headers, "x-strandline-next-seq")
        verdict = yield from self._proof(seqs, _number(answer.headers, "x-strandline-last-seq") or 0, next_seq)
        said = answer.headers.get("x-strandline-warning")
        self._take(seqs, verdict, next_seq, [] if said is None else [said])
        return table

    def _place(self) -> tuple[int | None, int | None, int | None, Verdict | None]:
        return self._from, self._to, self._left, self._check.verdict

    def _return_to(self, place: tuple[int | None, int | None, int | None, Verdict | None]) -> None:
        self._from, self._to, self._left, self._check.verdict = place
        self._done = False

    def _take(self, seqs: Sequence[int], verdict: Verdict, next_seq: int | None, said: Iterable[str]) -> None:
        """A page is read once it is whole and heard of: where a warning is raised, who goes on gets this page."""
        before = self._check.verdict
        self._check.page(seqs, verdict, next_seq)
        try:
            self._hear(said)
        except StrandlineWarning:
            self._check.verdict = before
            raise
        self._go_on(len(seqs), next_seq)

    def _hear(self, said: Iterable[str]) -> None:
        """Each page may say the same; it is heard once."""
        for one in said:
            if one not in self._warnings:
                self._warnings.append(one)
                warn([] if self._is_quiet else [one])

    def _ask(self, accept: str, page_size: int) -> Operation[Answer]:
        facts, wish = (yield from self._state.facts()), self._wish
        limit = min(n for n in (wish.page_size or page_size, self._left) if n is not None)
        asked = query(from_seq=self._from, to_seq=self._to, limit=limit, order=wish.order, as_of=self._as_of)
        route = path("v1", "stores", facts.name, "streams", *wish.place)
        return (yield from ask(Request("GET", route, Repeat.SAFE, asked, {"accept": accept}), self._state.patience))

    def _go_on(self, rows: int, next_seq: int | None) -> None:
        if self._left is not None:
            self._left -= rows
        self._done = next_seq is None or self._left == 0
        if self._wish.order == "asc":
            self._from = next_seq
        else:
            self._to = next_seq

    def _proof(self, seqs: list[int], last_seq: int, next_seq: int | None) -> Operation[Verdict]:
        """The verdict of a table, whose answer has none: where a seq is absent, the node is asked for it."""
        head = max([last_seq, *seqs[:1], *seqs[-1:]])
        low, high = max(self._from or 1, 1), min(self._to or head, head)
        if next_seq is not None:
            low, high = (low, next_seq - 1) if self._wish.order == "asc" else (next_seq + 1, high)
        if low > high:
            return Verdict(0, 0, True, (), ())
        if len(seqs) == high - low + 1 and {seqs[0], seqs[-1]} == {low, high}:
            return Verdict(low, high, True, (), ())
        again = StreamWish(self._wish.place, low, high, None, "asc", self._wish.as_of, True, None)
        plan, found = StreamPlan(self._state, again, is_quiet=True), list[int]()
        while (page := (yield from plan.page())) is not None:
            found += (event.seq for event in page.events)
        if plan.verdict is None or found != sorted(seqs):
            raise Interrupted(f"stream {self._check.stream} changed while it was read, as by retention")
        return plan.verdict


def _number(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name)
    if text is not None and not text.isdecimal():
        raise UnexpectedAnswer(f"header {name} should be a whole number, and is {text!r}")
    return None if text is None else int(text)


class GlobalPlan(_Tables[tuple[str | None, int | None]]):
    """A reading of the whole store in global order. `position` is where the next one may go on."""

    def __init__(
        self, state: StoreState, after: str | None, limit: int | None, page_size: int | None, filters: Filters
    ) -> None:
        """Nothing is read yet."""
        super().__init__()
        _given.whole(page_size=page_size)
        self.position = after
        self._state, self._page_size, self._filters = state, page_size, filter_query(filters)
        self._left, self._done = _some(limit), False

    def page(self) -> Operation[list[Event] | None]:
        """The next events, which may be none while there are more; None: that is all there is now."""
        self._go_back()
        if self._done:
            return None
        facts = yield from self._state.facts()
        answer = yield from self._ask(JSON, PAGE_SIZE)
        body = j.parse(answer.body)
        events = [Event.of(row, facts.names) for row in j.rows(body, "events")]
        self._go_on(len(events), j.text(body, "next"))
        return events

    def table(self) -> Operation[pa.Table | None]:
        """The same as a table."""
        if self._done:
            return None
        answer = yield from self._ask(ARROW, TABLE_PAGE_SIZE)
        table = table_of(answer.body)
        position = answer.headers.get("x-strandline-next")
        if position is None:
            raise UnexpectedAnswer("a page of events comes without the header x-strandline-next")
        self._go_on(table.num_rows, position)
        return table

    def _place(self) -> tuple[str | None, int | None]:
        return self.position, self._left

    def _return_to(self, place: tuple[str | None, int | None]) -> None:
        (self.position, self._left), self._done = place, False

    def ask_again(self) -> None:
        """What was all is no longer: time has passed."""
        self._done = self._left == 0

    def _ask(self, accept: str, page_size: int) -> Operation[Answer]:
        facts = yield from self._state.facts()
        limit = min(n for n in (self._page_size or page_size, self._left) if n is not None)
        asked = query(after=self.position, limit=limit) | self._filters
        request = Request("GET", path("v1", "stores", facts.name, "events"), Repeat.SAFE, asked, {"accept": accept})
        return (yield from ask(request, self._state.patience))

    def _go_on(self, rows: int, position: str) -> None:
        if self._left is not None:
            self._left -= rows
        # a filter may leave a page empty that has others behind it
        self._done = self._left == 0 or (rows == 0 and position == self.position)
        self.position = position


def scan(state: StoreState, accept: str, filters: Filters) -> Operation[Request]:
    """The request of a scan, whose answer is a stream."""
    facts = yield from state.facts()
    route = path("v1", "stores", facts.name, "scan")
    return Request("GET", route, Repeat.SAFE, filter_query(filters), {"accept": accept})


def head(state: StoreState, place: tuple[str, str]) -> Operation[Head]:
    """First and last seq of a stream."""
    facts = yield from state.facts()
    row = yield from get("v1", "stores", facts.name, "streams", *place, "head", patience=state.patience)
    return Head(j.whole(row, "first_seq"), j.whole(row, "last_seq"))


def event(state: StoreState, event_id: UUID | str) -> Operation[Event]:
    """One event by its id."""
    facts = yield from state.facts()
    row = yield from get("v1", "stores", facts.name, "events", str(event_id), patience=state.patience)
    found = Event.of(j.child(row, "event"), facts.names)
    warn(j.texts(row, "warnings") if "warnings" in row else [])
    return found
