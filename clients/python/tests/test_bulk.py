"""Bulk bodies and loads in chunks, against the real node."""

import json
from collections.abc import Iterator

import pytest
from conftest import Through
from losing import cut, error, lose, say

from strandline import IngestStopped, InvalidEvent, NewEvent, OutcomeUnknown, PartlyStored, Store


def events(stream: str, count: int) -> Iterator[tuple[str, str, NewEvent]]:
    return (("Sensor", f"{stream}-{n % 3}", NewEvent("Measured", {"n": n})) for n in range(count))


def test_a_refused_line_keeps_the_body_out_or_is_listed(store: Store) -> None:
    body = [("Sensor", "b", NewEvent("E")), ("Sensor", "b", NewEvent(""))]
    with pytest.raises(InvalidEvent) as refused:
        store.bulk(body)
    assert refused.value.details["line"] == 2
    result = store.bulk(body, on_error="skip")
    assert (result.appended, [row.line for row in result.rejected]) == (1, [2])


def test_lines_of_ndjson_are_taken_as_they_are(store: Store) -> None:
    line = json.dumps({"stream_type": "Sensor", "stream_id": "raw", "event_type": "E", "data": 1.50})
    assert store.bulk([line, line.encode() + b"\n"]).appended == 2
    with pytest.raises(ValueError, match="one line"):
        store.bulk(["{\n}"])


def test_a_load_is_stored_once_though_answers_are_lost(through: Through, store: Store) -> None:
    client, transport = through("POST", lose, cut, error(503, "unavailable", retry_after="0"), lose)
    loaded = client.store("plain").ingest(events("lost", 25_000))
    assert (loaded.chunks, loaded.appended + loaded.duplicates) == (3, 25_000)
    assert len(transport.requests) == 3 + 4
    numbers = [request.headers["x-strandline-chunk-number"] for request in transport.requests]
    assert numbers == ["1", "1", "1", "1", "1", "2", "3"]
    assert sum(store.head("Sensor", f"lost-{n}").last_seq for n in range(3)) == 25_000
    assert [event.data["n"] for event in store.read("Sensor", "lost-1")] == list(range(1, 25_000, 3))


def test_a_load_that_stopped_goes_on_by_its_mark(through: Through, store: Store) -> None:
    client, _ = through("POST", lose, error(507, "disk_full"))
    with pytest.raises(IngestStopped) as stopped:
        client.store("plain").ingest(events("stop", 25_000))
    # the first chunk's second try met the full disk: whether its first one is stored is what the mark settles
    assert (stopped.value.lines, stopped.value.chunk) == (0, 1)
    assert stopped.value.mark in stopped.value.next
    loaded = store.ingest(events("stop", 25_000), mark=stopped.value.mark)
    assert (loaded.duplicates, loaded.appended) == (10_000, 15_000)
    with pytest.raises(ValueError, match="32 hex digits"):
        store.ingest(events("stop", 1), mark="yesterday")


def test_a_refused_event_is_named_by_its_place_in_the_load(store: Store) -> None:
    broken = [("Sensor", "named", NewEvent("E" if n != 12_345 else "")) for n in range(15_000)]
    with pytest.raises(IngestStopped, match="event 12346, in chunk 2") as stopped:
        store.ingest(broken)
    assert stopped.value.lines == 10_000 and isinstance(stopped.value.__cause__, InvalidEvent)
    loaded = store.ingest(broken, mark=stopped.value.mark, on_error="skip")
    assert (loaded.duplicates, loaded.appended, [row.line for row in loaded.rejected]) == (10_000, 4_999, [12_346])


def test_a_body_without_commands_is_never_sent_twice(through: Through, store: Store) -> None:
    client, transport = through("POST", lose)
    with pytest.raises(OutcomeUnknown):
        client.store("plain").bulk(events("once", 30))
    assert len(transport.requests) == 1
    assert store.head("Sensor", "once-0").last_seq == 10


def test_a_body_of_commands_is_sent_again(through: Through) -> None:
    client, transport = through("POST", lose)
    body = [("Sensor", "com", NewEvent("E", n, command_id=f"c-{n}")) for n in range(5)]
    result = client.store("commands").bulk(body)
    assert (result.duplicates, result.appended, len(transport.requests)) == (5, 0, 2)


def part(code: str) -> dict[str, object]:
    one = {"stream_type": "S", "code": code, "error": "so"}
    streams = [{**one, "stream_id": name, "stored": name == "a"} for name in "ab"]
    return {"appended": 1, "duplicates": 0, "rejected": [], "streams": streams}


def test_a_part_that_may_pass_is_sent_again_and_another_is_an_error(through: Through) -> None:
    client, transport = through("POST", say(207, part("overloaded")))
    assert client.store("plain").ingest(events("part", 3)).appended == 3
    assert len(transport.requests) == 2
    client, _ = through("POST", say(207, part("seq_conflict")))
    with pytest.raises(PartlyStored) as partly:
        client.store("plain").bulk(events("part", 3))
    assert [stream.stored for stream in partly.value.result.streams] == [True, False]


def test_of_a_part_that_nobody_knows_it_is_not_said_that_it_is_not_stored(through: Through) -> None:
    answer = part("unavailable")
    answer["streams"] = [{"stream_type": "S", "stream_id": name, "stored": {"a": True}.get(name)} for name in "ab"]
    client, _ = through("POST", say(207, answer))
    with pytest.raises(PartlyStored, match=r"1 of 2 streams .* of 1 nobody knows") as partly:
        client.store("plain").bulk(events("part", 3))
    assert [stream.stored for stream in partly.value.result.streams] == [True, None]
