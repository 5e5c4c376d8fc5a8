"""The asynchronous client: the same operations, and the same method for each of the other one's."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from conftest import Node
from losing import Losing, lose, say, served, unplugged

from strandline import (
    AsyncClient,
    AsyncStore,
    Client,
    Interrupted,
    NewEvent,
    OutcomeUnknown,
    Store,
    StrandlineWarning,
    Unreachable,
    aio,
    client,
)


class AsyncLosing(httpx.AsyncBaseTransport):
    """The same as `Losing`, which waits."""

    def __init__(self, inner: Losing) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = self._inner.handle_request(request)
        return httpx.Response(response.status_code, headers=response.headers, content=response.read())

    async def aclose(self) -> None:
        self._inner.close()


async def everything(url: str) -> None:
    async with AsyncClient(url) as client:
        store = client.store("plain")
        done = await store.append("Async", "a", [NewEvent("E", n) for n in range(25)], expected_seq="empty")
        read = store.read("Async", "a", page_size=10)
        assert [event.data async for event in read] == list(range(25))
        assert read.verdict is not None and read.verdict.to_seq == done.last_seq
        assert [len(page.events) async for page in store.read("Async", "a", page_size=20).pages()] == [20, 5]
        assert (await store.read("Async", "a", page_size=10).to_arrow()).num_rows == 25
        assert len(await store.scan(stream_type="Async").to_pandas()) == 25
        assert (await store.read_all(stream_type="Async", page_size=10).to_polars()).height == 25
        assert len([event async for event in store.scan(stream_type="Async")]) == 25
        following = store.follow(stream_type="Async", poll=0.01, idle=0.05)
        assert len([event async for event in following]) == 25
        await store.append("Async", "a", [NewEvent("E", 25)])
        rest = store.read_all(after=following.position, stream_type="Async")
        assert [event.data async for event in rest] == [25]
        bodies = [[("Async", f"l-{k}", NewEvent("E"))] * 100 for k in range(4)]
        loads = (store.ingest(body) for body in bodies)
        assert [loaded.appended for loaded in await asyncio.gather(*loads)] == [100] * 4
        assert (await store.bulk([("Async", "b", NewEvent("E"))])).appended == 1
        assert (await store.head("Async", "l-3")).last_seq == 100
        assert (await store.event(done.events[0].event_id or "")).seq == 1
        assert {info.name for info in await client.stores()} >= {"plain"}
        assert (await store.register("Async")).registered and (await client.info())["name"] == "strandline"
        assert len((await store.config()).keys) == 84 and len(await store.stream_types()) >= 1


async def operators(url: str) -> None:
    async with AsyncClient(url) as client:
        admin = client.store("plain").admin
        assert all(job.error is None for job in (await admin.compact("Async", wait=True)).ended)
        await admin.pause()
        assert (await admin.compaction()).paused
        await admin.resume()
        assert await admin.cancel() == 0
        assert (await admin.tiers()).durable.events >= 25 and len(await admin.files()) >= 1
        assert isinstance((await admin.plan()).jobs, list)


async def in_doubt(url: str) -> None:
    inner = Losing("POST", lose, served, lose)
    async with httpx.AsyncClient(transport=AsyncLosing(inner)) as http:
        known = AsyncClient(url, http=http).store("commands")
        assert (await known.append("Async", "d", [NewEvent("E")], command_id="c")).duplicate
        with pytest.raises(OutcomeUnknown):
            await AsyncClient(url, http=http).store("plain").append("Async", "d", [NewEvent("E")])


async def broken(url: str) -> None:
    class Pieces(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            yield b""
            raise httpx.ReadError("cut by the test")

    class Half(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/scan"):
                return httpx.Response(200, stream=Pieces())
            store = {"name": "plain", "config": {}, "set": [], "not_active_yet": [], "warnings": []}
            return httpx.Response(200, json=store)

    async with httpx.AsyncClient(transport=Half()) as http:
        with pytest.raises(Interrupted):
            [event async for event in AsyncClient(url, http=http).store("plain").scan()]


async def cut(url: str) -> None:
    # the statement, a page and one that does not come; the two others; the same in global order
    inner = Losing("GET", served, served, unplugged, served, served, served, unplugged)
    async with httpx.AsyncClient(transport=AsyncLosing(inner)) as http:
        store = AsyncClient(url, patience=0, http=http).store("plain")
        await store.append("AsyncCut", "c", [NewEvent("E")] * 25)
        read, whole = store.read("AsyncCut", "c", page_size=10), store.read_all(stream_type="AsyncCut", page_size=10)
        with pytest.raises(Unreachable):
            await read.to_arrow()
        assert (await read.to_arrow()).column("seq").to_pylist() == list(range(1, 26))
        with pytest.raises(Unreachable):
            await whole.to_arrow()
        assert (await whole.to_arrow()).column("seq").to_pylist() == list(range(1, 26))


async def warned(url: str) -> None:
    store = {"name": "plain", "config": {}, "set": [], "not_active_yet": [], "warnings": []}
    verdict = {"from_seq": 0, "to_seq": 0, "contiguous": True, "missing": [], "retired": []}
    page = {"events": [], "last_seq": 0, "next_seq": None, "verdict": verdict, "warnings": ["said by the test"]}
    inner = Losing("GET", say(200, store), say(200, page))
    async with httpx.AsyncClient(transport=AsyncLosing(inner)) as http:
        read = AsyncClient(url, http=http).store("plain").read("Async", "w")
        with pytest.warns(StrandlineWarning, match="said by the test") as told:
            assert [event async for event in read] == []
        assert read.warnings == ("said by the test",) and told[0].filename == __file__


@pytest.mark.parametrize("what", [everything, operators, in_doubt, broken, cut, warned])
def test_the_asynchronous_client(node: Node, what: Callable[[str], Any]) -> None:
    asyncio.run(what(node.url))


PAIRS = [(Client, AsyncClient), (Store, AsyncStore), (client.Admin, aio.AsyncAdmin)]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_both_clients_have_the_same_methods(one: type, other: type) -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(made).parameters) for name, made in found if not name.startswith("_")}

    assert methods(one) == methods(other)
