"""What operators take out of a store: retention and what comes back of it, redaction, erasure; in asyncio too."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
from conftest import Node

from strandline import AsyncClient, Client, Forbidden, NewEvent, Store

OLD, NEW = datetime(2001, 3, 4, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
DAY = {"dt": "2001-03-04"}


def seqs(store: Store) -> list[int]:
    return [event.seq for event in store.read("Gone", "a")]


def test_retention_is_run_told_and_taken_back(client: Client) -> None:
    store = client.store("retaining")
    store.append("Gone", "a", [NewEvent("E", occurred_at=OLD), NewEvent("E", occurred_at=NEW)])
    store.admin.compact("Gone", wait=True)
    before = store.admin.retention()
    assert (before.enabled, before.durable_days, before.delete_mode) == (True, 3650, "tombstone")
    assert OLD < before.before < NEW and DAY in [file.partition for file in before.candidates]
    run = store.admin.retain()
    assert (run.kind, run.trigger, run.error) == ("retention", "hand", None) and run.events >= 1
    assert seqs(store) == [2]
    after = store.admin.retention()
    (went,) = [file for file in after.tombstones if file.partition == DAY]
    assert (went.stream_type, went.rows, went.newest) == ("Gone", 1, OLD) and went.at < went.until
    assert run.id in [one.id for one in after.runs]
    back = store.admin.restore(DAY)
    assert (back.kind, back.events, back.error) == ("restore", 1, None)
    assert seqs(store) == [1, 2]
    store.admin.retain()
    assert store.admin.restore("dt=2001-03-04").files == 1 and seqs(store) == [1, 2]


def test_one_payload_is_redacted_where_the_statement_allows_it(client: Client, store: Store) -> None:
    mutable = client.store("mutable")
    (told,) = mutable.append("Person", "p", [NewEvent("E", {"name": "Ada"})]).events
    assert told.event_id is not None
    redacted = mutable.admin.redact(told.event_id, reason="asked for")
    (one,) = redacted.events
    assert (redacted.already, redacted.not_known_to) == (False, ())
    assert (one.event_id, one.stream_type, one.stream_id, one.seq) == (told.event_id, "Person", "p", 1)
    assert one.reason == "asked for" and one.who
    assert mutable.event(told.event_id).data == {"redacted": True}
    again = mutable.admin.redact(str(told.event_id))
    assert again.already and again.events == redacted.events == mutable.admin.redactions()
    with pytest.raises(Forbidden, match=r"strict\.immutable_events") as refused:
        store.admin.redact(told.event_id)
    assert "a key of the store's statement, then no token helps" in refused.value.next


def test_who_erases_names_a_subject_and_gets_receipts() -> None:
    said: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(
                200, json={"name": "s", "config": {}, "set": [], "not_active_yet": [], "warnings": []}
            )
        said.append((request.url.path, request.headers["content-type"], json.loads(request.content)))
        moment = {"at": "2026-11-27T10:00:00Z", "who": "ops", "events": 3, "already": False}
        receipt = {"stream_type": "Person", "subject": "stream", "name": "p", **moment}
        return httpx.Response(200, json={"erased": [receipt], "not_known_to": [2]})

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        erased = Client("http://data/", http=http).store("s").admin.erase(stream_id="p", stream_type="Person")
    wish = {"stream_id": "p", "stream_type": "Person"}
    assert said == [("/admin/v1/stores/s/erase", "application/json", wish)]
    (receipt,) = erased.receipts
    assert (receipt.name, receipt.events, receipt.already, erased.not_known_to) == ("p", 3, False, (2,))


async def in_asyncio(url: str) -> None:
    async with AsyncClient(url) as client:
        retaining, mutable = client.store("retaining").admin, client.store("mutable")
        assert (await retaining.retention()).enabled
        assert (await retaining.retain()).error is None and (await retaining.restore()).kind == "restore"
        (told,) = (await mutable.append("Person", "async", [NewEvent("E", 1)])).events
        assert isinstance(told.event_id, UUID)
        redacted = (await mutable.admin.redact(told.event_id)).events
        assert redacted[0] in await mutable.admin.redactions()
        with pytest.raises(Forbidden):
            await client.store("plain").admin.redact(told.event_id)


def test_the_same_in_asyncio(node: Node) -> None:
    asyncio.run(in_asyncio(node.url))
