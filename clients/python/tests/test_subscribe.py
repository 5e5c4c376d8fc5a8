"""Subscriptions as iterators: history and live, filters, named ones with what their consumers say; in asyncio too."""

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from conftest import Node

from strandline import AsyncClient, Client, NewEvent, NotFound, Store, SubscriptionConflict


def fill(store: Store, stream_type: str, count: int) -> None:
    store.append(stream_type, "a", [NewEvent("E", n) for n in range(count)])


def test_history_then_what_comes(store: Store) -> None:
    fill(store, "Sub", 5)
    following = store.subscribe(stream_type="Sub")
    events = iter(following)
    assert [next(events).data for _ in range(5)] == [0, 1, 2, 3, 4]
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(lambda: [next(events).data for _ in range(2)])
        store.append("Sub", "b", [NewEvent("E", 5), NewEvent("E", 6)])
        assert coming.result(60) == [5, 6]
    kept = following.position
    store.append("Sub", "b", [NewEvent("E", 7)])
    assert [event.data for event in store.subscribe(after=kept, stream_type="Sub", idle=0)] == [7]
    assert [event.data for event in store.subscribe(stream_type="Sub", stream_id="b", idle=0)] == [5, 6, 7]
    assert list(store.subscribe(after="end", stream_type="Sub", idle=0)) == []


def test_what_happened_in_a_time_is_told_alone(store: Store) -> None:
    day = datetime(2026, 3, 1, tzinfo=UTC)
    store.append("Timed", "a", [NewEvent("E", n, occurred_at=day + timedelta(hours=n)) for n in range(6)])
    begin, end = day + timedelta(hours=2), day + timedelta(hours=4)
    plain = store.subscribe(stream_type="Timed", occurred_from=begin, occurred_to=end, idle=0)
    assert [event.data for event in plain] == [2, 3]
    assert [event.data for event in store.scan(stream_type="Timed", occurred_from=end)] == [4, 5]
    named = store.subscription("timed")
    made = named.create(stream_type="Timed", occurred_from=begin, occurred_to=end, ack_within=7.5)
    assert dict(made.filter) == {"stream_type": "Timed", "occurred_from": begin, "occurred_to": end}
    assert made.ack_within_s == 7.5 and abs(datetime.now(UTC) - made.created_at) < timedelta(hours=1)
    assert [one.event.data for one in named.consume(idle=1)] == [2, 3]
    named.delete()


def test_a_named_one_keeps_its_place(store: Store, node: Node) -> None:
    fill(store, "Named", 4)
    named = store.subscription("py/ü")
    made = named.create(stream_type="Named", attempts_max=2)
    assert (made.mode, made.attempts_max, made.parked, made.last_error) == ("async", 2, (), None)
    assert named.create(stream_type="Named", attempts_max=2).name == "py/ü"
    with pytest.raises(SubscriptionConflict):
        named.create(stream_type="Other")
    consumer = named.consume()
    events = iter(consumer)
    given = [next(events) for _ in range(4)]
    assert [one.event.data for one in given] == [0, 1, 2, 3]
    assert consumer.ack(given[1]) == 2 and consumer.ack(given[1]) == 0
    consumer.retry(given[2], "not yet")
    again = [next(events) for _ in range(2)]
    assert [(one.event.data, one.attempt) for one in again] == [(2, 2), (3, 1)]
    consumer.retry(again[0], "never")
    consumer.park(again[1])
    status = named.status()
    assert [(one.attempts, one.reason) for one in status.parked] == [(2, "never"), (1, "no reason was given")]
    places = [(one.event.event_id, one.event.stream_type, one.event.stream_id, one.event.seq) for one in given[2:]]
    assert [(one.event_id, one.stream_type, one.stream_id, one.seq) for one in status.parked] == places
    assert named.replay() == 2
    both = [next(events) for _ in range(2)]
    assert [consumer.ack(one, only=True) for one in both] == [1, 1]
    assert named.status().parked == () and named.status().in_flight == 0
    with Client(node.url) as other:
        fill(store, "Named", 1)
        later = other.store("plain").subscription("py/ü").consume(idle=1)
        assert len([later.ack(one) for one in later]) <= 1
    named.delete()
    with pytest.raises(NotFound):
        named.status()


def test_who_consumes_one_that_is_deleted_is_told_so(store: Store) -> None:
    fill(store, "Gone", 1)
    named = store.subscription("gone")
    named.create(stream_type="Gone")
    events = iter(named.consume())
    assert next(events).event.data == 0
    named.delete()
    with pytest.raises(NotFound, match="was deleted"):
        next(events)


def test_one_that_is_given_up_is_collected_in_the_middle_of_a_request_too(store: Store) -> None:
    fill(store, "GivenUp", 2)
    events = iter(store.subscribe(stream_type="GivenUp"))
    assert next(events).data == 0
    # nothing but the collector finds it
    cycle: list[object] = [events]
    cycle.append(cycle)
    del events, cycle
    # what every request of the client holds for a moment
    lock = store._client._http._transport._pool._optional_thread_lock  # type: ignore[attr-defined]

    def collect() -> None:
        with lock:
            gc.collect()

    collecting = threading.Thread(target=collect, daemon=True)
    collecting.start()
    collecting.join(30)
    assert not collecting.is_alive()
    fill(store, "GivenUp", 1)


def test_a_client_that_is_closed_follows_nothing_any_more(node: Node) -> None:
    client = Client(node.url)
    store = client.store("plain")
    fill(store, "Closing", 1)
    events = iter(store.subscribe(stream_type="Closing"))
    assert next(events).data == 0
    client.close()
    with pytest.raises(RuntimeError):
        next(events)


async def in_asyncio(url: str) -> None:
    async with AsyncClient(url) as client:
        store = client.store("plain")
        await store.append("AsyncSub", "a", [NewEvent("E", n) for n in range(3)])
        assert [event.data async for event in store.subscribe(stream_type="AsyncSub", idle=0)] == [0, 1, 2]
        named = store.subscription("async")
        await named.create(stream_type="AsyncSub")
        consumer = named.consume(idle=1)
        seen = []
        async for one in consumer:
            seen.append(one.event.data)
            await consumer.ack(one)
        assert seen == [0, 1, 2] and (await named.status()).in_flight == 0
        await named.delete()


def test_the_same_in_asyncio(node: Node) -> None:
    asyncio.run(in_asyncio(node.url))
