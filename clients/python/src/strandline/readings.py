"""What reads give in programs that wait: iterators over events, pages and record batches, and tables of all of it.

A reading is read once, from its beginning to where its reader stops.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from . import _frames, _read
from . import _json as j
from ._names import Names
from ._steps import ARROW, NDJSON, Operation
from ._store import StoreState
from .errors import Interrupted, refused
from .models import Event, Page, Verdict

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from .client import Client

T = TypeVar("T")


class _Tables(ABC):
    """All of a reading at once."""

    @abstractmethod
    def to_arrow(self) -> pa.Table:
        """A table; `data` and `metadata` hold the JSON text. Needs the extra `arrow`."""

    def to_pandas(self) -> pd.DataFrame:
        """The same for pandas. Needs the extra `pandas`."""
        return _frames.pandas_of(self.to_arrow())

    def to_polars(self) -> pl.DataFrame:
        """The same for Polars. Needs the extra `polars`."""
        return _frames.polars_of(self.to_arrow())


def _each(client: Client, ask: Callable[[], Operation[T | None]]) -> Iterator[T]:
    while (one := client.run(ask())) is not None:
        yield one


class StreamRead(_Tables):
    """A stream, page by page."""

    def __init__(self, client: Client, plan: _read.StreamPlan) -> None:
        """By `Store.read`."""
        self._client, self._plan = client, plan

    @property
    def verdict(self) -> Verdict | None:
        """What was proved of what was read so far."""
        return self._plan.verdict

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the node said besides, of what was read so far; each was a `StrandlineWarning` too."""
        return self._plan.warnings

    def __iter__(self) -> Iterator[Event]:
        for page in self.pages():
            yield from page.events

    def pages(self) -> Iterator[Page]:
        """The pages as they come."""
        return _each(self._client, self._plan.page)

    def to_arrow(self) -> pa.Table:
        """A table of the rest; where it breaks off, who asks again gets all of it. Needs the extra `arrow`."""
        return self._client.run(self._plan.whole())


class GlobalRead(_Tables):
    """Events in global order, page by page."""

    def __init__(self, client: Client, plan: _read.GlobalPlan) -> None:
        """By `Store.read_all`."""
        self._client, self._plan, self._position = client, plan, plan.position

    @property
    def position(self) -> str | None:
        """Behind the last event that was given: the `after` of a later reading. None: nothing was."""
        return self._position

    def __iter__(self) -> Iterator[Event]:
        for page in _each(self._client, self._plan.page):
            for event in page:
                self._position = event.position
                yield event
            self._position = self._plan.position

    def to_arrow(self) -> pa.Table:
        """A table of the rest; where it breaks off, who asks again gets all of it. Needs the extra `arrow`."""
        table = self._client.run(self._plan.whole())
        self._position = self._plan.position
        return table


class Follow:
    """Events in global order, without an end."""

    def __init__(self, client: Client, plan: _read.GlobalPlan, poll: float, idle: float | None) -> None:
        """By `Store.follow`."""
        self._read, self._plan, self._poll, self._idle = GlobalRead(client, plan), plan, poll, idle

    @property
    def position(self) -> str | None:
        """Behind the last event that was given: the `after` of the next start."""
        return self._read.position

    def __iter__(self) -> Iterator[Event]:
        last = time.monotonic()
        while True:
            asked = time.monotonic()
            for event in self._read:
                yield event
                last = time.monotonic()
            # asked when the time was over, and nothing came
            if self._idle is not None and asked - last >= self._idle:
                return
            time.sleep(self._poll)
            self._plan.ask_again()


class Scan(_Tables):
    """Everything, in storage order, as fast as it is taken."""

    def __init__(self, client: Client, state: StoreState, filters: _read.Filters) -> None:
        """By `Store.scan`."""
        self._client, self._state, self._filters = client, state, filters

    def __iter__(self) -> Iterator[Event]:
        names = self._client.run(self._state.facts()).names
        lines = _frames.Lines()
        with self._client.stream(self._client.run(_read.scan(self._state, NDJSON, self._filters))) as pieces:
            for piece in pieces:
                yield from events_of(lines.feed(piece), names)
        if not lines.is_whole():
            raise Interrupted("the scan broke off within a line")

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Record batches as they come, in bounded memory. Needs the extra `arrow`."""
        with self._client.stream(self._client.run(_read.scan(self._state, ARROW, self._filters))) as pieces:
            yield from _frames.batches_of(pieces)

    def to_arrow(self) -> pa.Table:
        """A table of everything. Needs the extra `arrow`."""
        with self._client.stream(self._client.run(_read.scan(self._state, ARROW, self._filters))) as pieces:
            return _frames.table_of(b"".join(pieces))


def events_of(lines: list[bytes], names: Names) -> Iterator[Event]:
    """Events of lines of NDJSON; what a last line says of why the answer ends early is raised."""
    for line in lines:
        if line:
            row = j.parse(line)
            if names["event_id"] not in row and "error" in row and "code" in row:
                raise refused(500, row)
            yield Event.of(row, names)
