"""Appends to one stream, against the real node."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import httpx
import pytest

from strandline import (
    BadRequest,
    Client,
    CommandConflict,
    EventIdConflict,
    InvalidEvent,
    NewEvent,
    NotFound,
    Store,
    WrongExpectedSeq,
)


def test_an_append_gives_what_a_read_finds(store: Store) -> None:
    moment = datetime(2026, 11, 26, 10, 15, 0, 123456, tzinfo=timezone(timedelta(hours=1)))
    event_id = UUID("0190a6e4-7c1a-7000-8000-00000000abcd")
    given = NewEvent(
        "Placed",
        {"total": 12.5, "text": "ü\u2028\x85𝄞", "none": None},
        metadata=[1, "two"],
        event_id=event_id,
        occurred_at=moment,
        event_version=3,
        correlation_id="co",
        causation_id="ca",
        tenant_id="acme",
    )
    done = store.append("Order", "a/b ü%2F", [given, NewEvent("Paid")], expected_seq="empty")
    assert (done.first_seq, done.last_seq, done.duplicate) == (1, 2, False)
    first, second = store.read("Order", "a/b ü%2F")
    assert (first.event_id, first.data, first.metadata) == (event_id, given.data, given.metadata)
    assert first.occurred_at == moment and first.occurred_at.tzinfo == UTC
    assert (first.event_version, first.correlation_id, first.causation_id, first.tenant_id) == (3, "co", "ca", "acme")
    assert (second.seq, second.data, second.metadata, second.tenant_id) == (2, None, None, None)
    assert second.ingested_at == done.events[1].ingested_at and second.event_id == done.events[1].event_id
    found = store.event(event_id)
    assert found.position is not None and found.stream_id == "a/b ü%2F"


def test_expected_seq_decides_who_was_first(store: Store) -> None:
    store.append("Order", "race", [NewEvent("E")])
    with pytest.raises(WrongExpectedSeq) as refused:
        store.append("Order", "race", [NewEvent("E")], expected_seq="empty")
    assert (refused.value.last_seq, refused.value.status) == (1, 409)
    assert "Next: read the stream" in str(refused.value)
    assert store.append("Order", "race", [NewEvent("E")], expected_seq=1).last_seq == 2


def test_a_command_is_stored_once(client: Client) -> None:
    store = client.store("commands")
    first = store.append("Order", "c", [NewEvent("E", {"n": 1})], expected_seq="empty", command_id="k-1")
    again = store.append("Order", "c", [NewEvent("E", {"n": 1})], expected_seq="empty", command_id="k-1")
    assert again.duplicate and (again.events, again.last_seq) == (first.events, 1)
    with pytest.raises(CommandConflict):
        store.append("Order", "c", [NewEvent("E", {"n": 2})], command_id="k-1")


def test_an_event_id_is_taken_once(store: Store) -> None:
    event = NewEvent("E", event_id=UUID("0190a6e4-7c1a-7000-8000-00000000dcba"))
    store.append("Order", "ids", [event])
    with pytest.raises(EventIdConflict):
        store.append("Order", "ids", [event])


def test_a_dry_run_stores_nothing(store: Store) -> None:
    assert store.append("Order", "dry", [NewEvent("E")], inspect=True).last_seq == 1
    with pytest.raises(NotFound):
        store.head("Order", "dry")


def test_a_store_keeps_its_own_names(client: Client) -> None:
    store = client.store("renamed")
    done = store.append("Call", "s-1", [NewEvent("Ended", {"seconds": 7})], command_id="k")
    assert (done.stream_id, done.events[0].seq) == ("s-1", 1)
    (event,) = store.read("Call", "s-1")
    assert (event.stream_id, event.data, event.event_id) == ("s-1", {"seconds": 7}, done.events[0].event_id)
    table = store.read("Call", "s-1").to_arrow()
    assert {"subscriber_id", "record", "version", "id"} <= set(table.column_names)
    assert store.bulk([("Call", "s-2", NewEvent("Ended", command_id="k-2"))]).appended == 1


def test_what_is_no_event_is_said_before_or_by_the_node(store: Store, client: Client) -> None:
    with pytest.raises(ValueError, match="time zone"):
        NewEvent("E", occurred_at=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="JSON has no NaN"):
        store.append("Order", "bad", [NewEvent("E", float("nan"))])
    with pytest.raises(ValueError, match="surrogate"):
        store.append("Order", "bad", [NewEvent("E", "\ud800")])
    with pytest.raises(TypeError, match="convert it"):
        store.append("Order", "bad", [NewEvent("E", {1, 2})])
    with pytest.raises(InvalidEvent):
        store.append("Order", "bad", [NewEvent("")])
    with pytest.raises(BadRequest):
        store.append("Order", "bad", [])
    with pytest.raises(BadRequest, match="name a store"):
        client.store().head("Order", "bad")
    with pytest.raises(NotFound, match="no store"):
        client.store("nix").head("Order", "bad")


def test_an_argument_of_a_wrong_type_is_told_by_what_it_should_be(store: Store) -> None:
    one: Any = NewEvent("E")
    row: Any = {"event_type": "E"}
    number: Any = 1001
    text: Any = "10"
    pair: Any = ("Order", "typed")
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: store.append("Order", "typed", one), r"in a list, such as \[NewEvent"),
        (lambda: store.append("Order", "typed", [row]), r"events\[0\] is a dict: give NewEvent"),
        (lambda: store.append("Order", number, [one]), "1001 is a int, and names and ids are texts"),
        (lambda: list(store.read(number, "typed")), "give a text, such as '1001'"),
        (lambda: store.head("Order", number), "give a text"),
        (lambda: store.read("Order", "typed", limit=text), "limit='10' is a str: give a whole number"),
        (lambda: store.read("Order", "typed", from_seq=text), "from_seq"),
        (lambda: store.read("Order", "typed", as_of=text), "as_of='10' is a str: give a version of the manifest, or"),
        (lambda: store.read_all(page_size=text), "page_size"),
        (lambda: store.read_all(occurred_from=text), "occurred_from='10' is a str: give a datetime"),
        (lambda: NewEvent("E", occurred_at=text), "occurred_at"),
        (lambda: store.bulk(one), "in a list"),
        (lambda: store.bulk([one]), "a line of NDJSON, and not a NewEvent"),
        (lambda: store.ingest([pair]), "and not a tuple"),
        (lambda: store.ingest(text), "events is one str"),
    ]
    for call, said in calls:
        with pytest.raises(TypeError, match=said):
            call()
    with pytest.raises(NotFound):
        store.head("Order", "typed")


def test_stores_and_stream_types_are_listed(client: Client, store: Store) -> None:
    assert {info.name for info in client.stores()} >= {"plain", "commands"}
    assert client.info()["name"] == "strandline"
    assert store.register("Invoice").registered
    assert store.register("Meter", buckets=4).buckets == 4
    with pytest.raises(TypeError, match="buckets='4' is a str: give a whole number"):
        store.register("Other", buckets="4")  # type: ignore[arg-type]
    assert "Invoice" in {known.name for known in store.stream_types()}
    config = store.config()
    assert len(config.keys) == 84 and "durable.path" in config.set


def test_threads_share_a_client(store: Store) -> None:
    def append(thread: int) -> int:
        return sum(store.append("Order", f"thread-{thread}", [NewEvent("E")]).last_seq for _ in range(10))

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(append, range(8))) == [55] * 8


def test_admin_routes_may_be_at_an_address_of_their_own() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(f"{request.url.host} {request.url.path}")
        plain = {"name": "s", "config": {}, "set": [], "not_active_yet": [], "warnings": [], "paused": True}
        return httpx.Response(200, json=plain)

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        Client("http://data/", admin_url="http://operators", http=http).store("s").admin.pause()
    assert seen == ["data /v1/stores/s", "operators /admin/v1/stores/s/compaction/pause"]
