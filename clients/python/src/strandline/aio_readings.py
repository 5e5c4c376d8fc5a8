"""What reads give in asyncio: asynchronous iterators over events, pages and record batches, and tables of all of it.

A reading is read once, from its beginning to where its reader stops.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, TypeVar

from . import _frames, _read
from ._steps import ARROW, NDJSON, Operation
from ._store import StoreState
from .errors import Interrupted
from .models import Event, Page, Verdict
from .readings import events_of

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from .aio import AsyncClient

T = TypeVar("T")


class _Tables(ABC):
    """All of a reading at once."""

    @abstractmethod
    async def to_arrow(self) -> pa.Table:
        """A table; `data` and `metadata` hold the JSON text. Needs the extra `arrow`."""

    async def to_pandas(self) -> pd.DataFrame:
        """The same for pandas. Needs the extra `pandas`."""
        return _frames.pandas_of(await self.to_arrow())

    async def to_polars(self) -> pl.DataFrame:
        """The same for Polars. Needs the extra `polars`."""
        return _frames.polars_of(await self.to_arrow())


async def _each(client: AsyncClient, ask: Callable[[], Operation[T | None]]) -> AsyncIterator[T]:
    while (one := await client.run(ask())) is not None:
        yield one


class AsyncStreamRead(_Tables):
    """A stream, page by page."""

    def __init__(self, client: AsyncClient, plan: _read.StreamPlan) -> None:
        """By `AsyncStore.read`."""
        self._client, self._plan = client, plan

    @property
    def verdict(self) -> Verdict | None:
        """What was proved of what was read so far."""
        return self._plan.verdict

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the node said besides, of what was read so far; each was a `StrandlineWarning` too."""
        return self._plan.warnings

    async def __aiter__(self) -> AsyncIterator[Event]:
        async for page in self.pages():
            for event in page.events:
                yield event

    def pages(self) -> AsyncIterator[Page]:
        """The pages as they come."""
        return _each(self._client, self._plan.page)

    async def to_arrow(self) -> pa.Table:
        """A table of the rest; where it breaks off, who asks again gets all of it. Needs the extra `arrow`."""
        return await self._client.run(self._plan.whole())


class AsyncGlobalRead(_Tables):
    """Events in global order, page by page."""

    def __init__(self, client: AsyncClient, plan: _read.GlobalPlan) -> None:
        """By `AsyncStore.read_all`."""
        self._client, self._plan, self._position = client, plan, plan.position

    @property
    def position(self) -> str | None:
        """Behind the last event that was given: the `after` of a later reading. None: nothing was."""
        return self._position

    async def __aiter__(self) -> AsyncIterator[Event]:
        async for page in _each(self._client, self._plan.page):
            for event in page:
                self._position = event.position
                yield event
            self._position = self._plan.position

    async def to_arrow(self) -> pa.Table:
        """A table of the rest; where it breaks off, who asks again gets all of it. Needs the extra `arrow`."""
        table = await self._client.run(self._plan.whole())
        self._position = self._plan.position
        return table


class AsyncFollow:
    """Events in global order, without an end."""

    def __init__(self, client: AsyncClient, plan: _read.GlobalPlan, poll: float, idle: float | None) -> None:
        """By `AsyncStore.follow`."""
        self._read, self._plan, self._poll, self._idle = AsyncGlobalRead(client, plan), plan, poll, idle

    @property
    def position(self) -> str | None:
        """Behind the last event that was given: the `after` of the next start."""
        return self._read.position

    async def __aiter__(self) -> AsyncIterator[Event]:
        last = time.monotonic()
        while True:
            asked = time.monotonic()
            async for event in self._read:
                yield event
                last = time.monotonic()
            # asked when the time was over, and nothing came
            if self._idle is not None and asked - last >= self._idle:
                return
            await asyncio.sleep(self._poll)
            self._plan.ask_again()


class AsyncScan(_Tables):
    """Everything, in storage order, as fast as it is taken."""

    def __init__(self, client: AsyncClient, state: StoreState, filters: _read.Filters) -> None:
        """By `AsyncStore.scan`."""
        self._client, self._state, self._filters = client, state, filters

    async def __aiter__(self) -> AsyncIterator[Event]:
        names = (await self._client.run(self._state.facts())).names
        lines = _frames.Lines()
        async with self._client.stream(
            await self._client.run(_read.scan(self._state, NDJSON, self._filters))
        ) as pieces:
            async for piece in pieces:
                for event in events_of(lines.feed(piece), names):
                    yield event
        if not lines.is_whole():
            raise Interrupted("the scan broke off within a line")

    async def to_arrow(self) -> pa.Table:
        """A table of everything. Needs the extra `arrow`."""
        async with self._client.stream(await self._client.run(_read.scan(self._state, ARROW, self._filters))) as pieces:
            return _frames.table_of(b"".join([piece async for piece in pieces]))
