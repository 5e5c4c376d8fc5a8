"""Reads: pages, verdicts, tables, the global order, the scan."""

import warnings
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import httpx
import pyarrow
import pyarrow.ipc
import pytest
from conftest import Node, Through
from losing import Losing, say, served, unplugged

from strandline import (
    Client,
    Damaged,
    Event,
    HolesFound,
    IntegrityError,
    Interrupted,
    NewEvent,
    NotFound,
    SeqRange,
    Store,
    StrandlineWarning,
    Unreachable,
)
from strandline.operators import Job, Plan
from strandline.readings import StreamRead


def fill(store: Store, stream: str, count: int) -> None:
    store.append("Read", stream, [NewEvent("E", {"n": n, "text": "a\u2028b"}) for n in range(1, count + 1)])


def with_rows(answer: httpx.Response, rows: list[int]) -> httpx.Response:
    """These rows of a table, as if they were all."""
    table = pyarrow.ipc.open_stream(answer.content).read_all().take(rows)
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    headers = {name: value for name, value in answer.headers.items() if name.startswith("x-")}
    return httpx.Response(200, headers=headers, content=sink.getvalue().to_pybytes())


def test_pages_fit_together_both_ways(store: Store) -> None:
    fill(store, "pages", 25)
    read = store.read("Read", "pages", page_size=10)
    assert [len(page.events) for page in read.pages()] == [10, 10, 5]
    assert read.verdict is not None
    assert (read.verdict.from_seq, read.verdict.to_seq, read.verdict.contiguous) == (1, 25, True)
    down = store.read("Read", "pages", order="desc", page_size=10, from_seq=3, to_seq=24)
    assert [event.seq for event in down] == list(range(24, 2, -1))
    assert down.verdict is not None and (down.verdict.from_seq, down.verdict.to_seq) == (3, 24)
    some = store.read("Read", "pages", from_seq=5, limit=12, page_size=5)
    assert [event.seq for event in some] == list(range(5, 17))
    beyond = store.read("Read", "pages", from_seq=100)
    assert (list(beyond), beyond.verdict is not None) == ([], True)
    with pytest.raises(NotFound):
        list(store.read("Read", "nobody"))
    with pytest.raises(ValueError, match="limit=0"):
        store.read("Read", "pages", limit=0)


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_tables_hold_what_pages_hold(store: Store, order: Any) -> None:
    fill(store, f"table-{order}", 25)
    stream = f"table-{order}"
    expected = [event.seq for event in store.read("Read", stream, order=order)]
    read = store.read("Read", stream, order=order, page_size=10)
    table = read.to_arrow()
    assert table.column("seq").to_pylist() == expected
    assert read.verdict is not None and (read.verdict.from_seq, read.verdict.to_seq) == (1, 25)
    assert store.read("Read", stream, order=order).to_pandas()["seq"].tolist() == expected
    assert store.read("Read", stream, order=order, limit=3).to_polars()["seq"].to_list() == expected[:3]
    with pytest.raises(ValueError, match="at its end"):
        read.to_arrow()


def test_what_retention_took_is_retired_in_pages_and_tables(node: Node, client: Client) -> None:
    store = client.store("retaining")
    old, new = datetime(2001, 2, 3, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
    moments = [new, old, old, new, old, new]
    store.append("Read", "kept", [NewEvent("E", occurred_at=moment) for moment in moments])
    assert [job.error for job in store.admin.compact(wait=True).ended] == [None]
    httpx.post(f"{node.url}/admin/v1/stores/retaining/retention/run").raise_for_status()
    expected = (SeqRange(2, 3), SeqRange(5, 5))
    pages, table = store.read("Read", "kept", page_size=2), store.read("Read", "kept")
    assert [event.seq for event in pages] == table.to_arrow().column("seq").to_pylist() == [1, 4, 6]
    for read in (pages, table):
        assert read.verdict is not None and read.verdict.contiguous and read.verdict.retired == expected


def test_seqs_that_clients_skipped_are_no_holes(client: Client) -> None:
    store = client.store("skipping")
    store.append("Read", "skip", [NewEvent("E", seq=1), NewEvent("E", seq=5)])
    for read in (store.read("Read", "skip"), store.read("Read", "skip")):
        assert [event.seq for event in read] == [1, 5]
        assert read.verdict is not None and not read.verdict.contiguous and read.verdict.missing == ()
    assert store.read("Read", "skip").to_arrow().num_rows == 2


def test_a_row_that_is_lost_on_the_way_is_found(node: Node, through: Through, store: Store) -> None:
    fill(store, "lost", 5)
    with httpx.Client() as http:
        page, config = (http.get(f"{node.url}/v1/stores/plain{route}").json() for route in ("/streams/Read/lost", ""))

    def reading(change: Callable[[dict[str, Any]], object], **options: Any) -> list[int]:
        changed = deepcopy(page)
        change(changed)
        client, _ = through("GET", say(200, config), say(200, changed))
        return [event.seq for event in client.store("plain").read("Read", "lost", **options)]

    assert reading(lambda page: None) == [1, 2, 3, 4, 5]
    wrong: list[Callable[[dict[str, Any]], object]] = [
        lambda page: page["events"].pop(2),
        lambda page: page["events"].pop(),
        lambda page: page["events"].append(page["events"][0]),
        lambda page: page["events"].insert(0, page["events"][4]),
        lambda page: page["verdict"].update(to_seq=6),
        lambda page: page["verdict"].update(to_seq=4),
        lambda page: page["verdict"].update(retired=[{"from_seq": 2, "to_seq": 2}]),
        lambda page: page.update(next_seq=8),
    ]
    for change in wrong:
        with pytest.raises(IntegrityError):
            reading(change)

    def hole(page: dict[str, Any]) -> None:
        page["events"].pop(2)
        page["verdict"].update(contiguous=False, missing=[{"from_seq": 3, "to_seq": 3}])

    with pytest.raises(HolesFound, match="missing are 3-3") as found:
        reading(hole)
    assert found.value.verdict.missing == (SeqRange(3, 3),)
    assert reading(hole, allow_holes=True) == [1, 2, 4, 5]
    assert page["verdict"]["contiguous"]


def test_who_reads_on_behind_holes_is_told_again_until_they_are_gone(through: Through, store: Store) -> None:
    fill(store, "holes", 5)

    def hole(request: httpx.Request, serve: Callable[[], httpx.Response]) -> httpx.Response:
        answer = serve()
        if "arrow" in request.headers["accept"]:
            return with_rows(answer, [1])
        page = answer.json()
        page["events"].pop(0)
        page["verdict"].update(contiguous=False, missing=[{"from_seq": 3, "to_seq": 3}])
        return httpx.Response(200, json=page)

    def reading(*fates: Any) -> StreamRead:
        # the statement and the first page come as they are
        client, _ = through("GET", served, served, *fates)
        return client.store("plain").read("Read", "holes", page_size=2)

    def told(read: StreamRead, ask: Callable[[StreamRead], object]) -> None:
        for _ in range(2):
            with pytest.raises(HolesFound, match="missing are 3-3") as found:
                ask(read)
            verdict = found.value.verdict
            assert (verdict.from_seq, verdict.to_seq, verdict.missing) == (1, 4, (SeqRange(3, 3),))
            assert read.verdict is not None and (read.verdict.to_seq, read.verdict.contiguous) == (2, True)

    pages = reading(hole, hole)
    told(pages, list)
    assert [event.seq for event in pages] == [3, 4, 5]
    # of a table the node is asked each time for the verdict of the page
    table = reading(hole, hole, hole, hole)
    told(table, StreamRead.to_arrow)
    assert table.to_arrow().column("seq").to_pylist() == [1, 2, 3, 4, 5]
    for read in (pages, table):
        assert read.verdict is not None and read.verdict.contiguous and read.verdict.missing == ()
        assert (read.verdict.from_seq, read.verdict.to_seq) == (1, 5)


def test_what_a_node_says_besides_is_a_warning_at_the_line_that_reads(
    node: Node, through: Through, store: Store
) -> None:
    fill(store, "told", 3)
    with httpx.Client() as http:
        page, config = (http.get(f"{node.url}/v1/stores/plain{route}").json() for route in ("/streams/Read/told", ""))
    said = ["tiers were left out", "a copy differs"]

    def reading(*fates: Any) -> Store:
        client, _ = through("GET", say(200, config), *fates)
        return client.store("plain")

    def warned(request: httpx.Request, serve: Callable[[], httpx.Response]) -> httpx.Response:
        answer = serve()
        answer.headers["x-strandline-warning"] = "; ".join(said)
        return answer

    read = reading(say(200, {**page, "warnings": [*said, said[0]]})).read("Read", "told")
    assert read.warnings == ()
    with pytest.warns(StrandlineWarning) as told:
        assert [event.seq for event in read] == [1, 2, 3]
    assert read.warnings == tuple(said), "each once"
    assert [(str(one.message), one.filename) for one in told] == [(one, __file__) for one in said]

    read = reading(warned, warned).read("Read", "told", page_size=2)
    with pytest.warns(StrandlineWarning, match="left out; a copy") as told:
        assert read.to_arrow().num_rows == 3
    assert (read.warnings, len(told), told[0].filename) == (("; ".join(said),), 1, __file__)

    row = page["events"][0]
    by_id = reading(say(200, {"event": row, "warnings": said[1:]}))
    with pytest.warns(StrandlineWarning, match="a copy differs"):
        assert by_id.event(row["event_id"]).seq == 1

    # raised, each once, it costs no page
    heard = reading(*3 * [say(200, {**page, "warnings": said})]).read("Read", "told")
    # it is said of the second page of a table, when the first one has come
    tables = reading(served, warned, warned).read("Read", "told", page_size=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", StrandlineWarning)
        for one in said:
            with pytest.raises(StrandlineWarning, match=one):
                list(heard)
            assert heard.verdict is None
        assert [event.seq for event in heard] == [1, 2, 3]
        with pytest.raises(StrandlineWarning, match="left out; a copy"):
            tables.to_arrow()
        assert tables.to_arrow().num_rows == 3
    assert (heard.warnings, tables.warnings) == (tuple(said), ("; ".join(said),))


def test_the_global_order_goes_on_at_a_position(store: Store) -> None:
    for n in range(12):
        store.append("Ordered", f"s-{n % 5}", [NewEvent("Even" if n % 2 == 0 else "Odd", n, tenant_id=f"t-{n % 3}")])
    whole = store.read_all(stream_type="Ordered", page_size=5)
    assert [event.data for event in whole] == list(range(12))
    begun = store.read_all(stream_type="Ordered", page_size=5)
    assert [event.data for event in islice(begun, 7)] == list(range(7))
    assert [event.data for event in store.read_all(after=begun.position, stream_type="Ordered")] == list(range(7, 12))
    odd = store.read_all(stream_type="Ordered", event_type="Odd", tenant_id="t-1", page_size=1)
    assert [event.data for event in odd] == [1, 7]
    assert list(store.read_all(stream_type="Ordered", occurred_to=datetime(2001, 1, 1, tzinfo=UTC))) == []
    assert store.read_all(stream_type="Ordered", page_size=5).to_arrow().num_rows == 12
    assert store.read_all(stream_type="Ordered", limit=7).to_polars().height == 7


def test_a_table_that_breaks_off_is_asked_for_again_and_lacks_nothing(through: Through, store: Store) -> None:
    fill(store, "cut", 25)
    opened = list[Losing]()

    def reading() -> Store:
        client, transport = through("GET", served, served, served, unplugged, patience=0)
        opened.append(transport)
        return client.store("plain")

    read = reading().read("Read", "cut", page_size=10)
    with pytest.raises(Unreachable):
        read.to_arrow()
    assert read.verdict is not None and (read.verdict.from_seq, read.verdict.to_seq) == (1, 20)
    assert read.to_arrow().column("seq").to_pylist() == list(range(1, 26))
    assert read.verdict.to_seq == 25
    # the pages that had come were not asked for again: the statement, three pages, and the one that did not come
    assert len(opened[0].requests) == 5
    with pytest.raises(ValueError, match="at its end"):
        read.to_arrow()

    # in global order as well, which stays where it was until the table is given
    whole = reading().read_all(stream_type="Read", page_size=10)
    with pytest.raises(Unreachable):
        whole.to_arrow()
    position = whole.position
    expected = [(event.stream_id, event.seq) for event in store.read_all(stream_type="Read")]
    table = whole.to_arrow()
    assert list(zip(*(table.column(one).to_pylist() for one in ("stream_id", "seq")), strict=True)) == expected
    assert position is None and whole.position is not None

    # who reads pages instead begins where the table had begun
    down = reading().read("Read", "cut", order="desc", page_size=10, limit=24)
    with pytest.raises(Unreachable):
        down.to_arrow()
    assert [event.seq for event in down] == list(range(25, 1, -1))
    assert down.verdict is not None and (down.verdict.from_seq, down.verdict.to_seq) == (2, 25)
    events = reading().read_all(stream_type="Read", page_size=10)
    with pytest.raises(Unreachable):
        events.to_arrow()
    assert [(event.stream_id, event.seq) for event in events] == expected


def test_who_follows_misses_nothing(store: Store) -> None:
    store.append("Followed", "f", [NewEvent("E", 0)])
    following = store.follow(stream_type="Followed", poll=0.01, idle=0.2)
    seen = []
    for event in following:
        seen.append(event.data)
        if len(seen) < 6:
            store.append("Followed", "f", [NewEvent("E", len(seen))])
    assert seen == [0, 1, 2, 3, 4, 5]
    store.append("Followed", "f", [NewEvent("E", 6)])
    later = store.follow(after=following.position, stream_type="Followed", idle=0)
    assert [event.data for event in later] == [6]


def test_who_follows_sees_what_comes_after_a_pause(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.append("Paused", "p", [NewEvent("E", 0)])
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        assert len(pauses) < 10
        pauses.append(seconds)
        store.append("Paused", "p", [NewEvent("E", len(pauses))])

    monkeypatch.setattr("strandline.readings.time.sleep", pause)
    following = iter(store.follow(stream_type="Paused", poll=7))
    assert [event.data for event in islice(following, 4)] == [0, 1, 2, 3]
    assert pauses == [7, 7, 7]


def test_an_empty_page_of_a_filter_is_no_end(node: Node, through: Through, store: Store) -> None:
    store.append("Late", "l", [NewEvent("E", n) for n in range(3)])
    begin = store.read_all(stream_type="Late", limit=1)
    assert len(list(begin)) == 1
    config = httpx.get(f"{node.url}/v1/stores/plain").json()
    client, transport = through("GET", say(200, config), say(200, {"events": [], "next": begin.position}))
    assert [event.data for event in client.store("plain").read_all(stream_type="Late")] == [1, 2]
    assert transport.requests[2].url.params["after"] == begin.position


def test_a_table_whose_stream_changed_meanwhile_is_no_result(through: Through, store: Store) -> None:
    fill(store, "changed", 5)

    def without_a_row(request: httpx.Request, serve: Callable[[], httpx.Response]) -> httpx.Response:
        return with_rows(serve(), [0, 1, 3, 4])

    client, _ = through("GET", served, without_a_row)
    with pytest.raises(Interrupted, match="changed while it was read"):
        client.store("plain").read("Read", "changed").to_arrow()


def test_a_scan_gives_each_event_once_in_every_form(store: Store) -> None:
    store.ingest(("Scanned", f"s-{n}", NewEvent("E", {"n": n, "text": "a\u2028\x85b\n"})) for n in range(3_000))
    assert sorted(event.data["n"] for event in store.scan(stream_type="Scanned")) == list(range(3_000))
    assert sum(batch.num_rows for batch in store.scan(stream_type="Scanned").batches()) == 3_000
    assert store.scan(stream_type="Scanned").to_pandas().shape[0] == 3_000
    assert store.scan(stream_type="Nothing").to_arrow().num_rows == 0
    # a reader may stop early, and the client goes on
    assert next(iter(store.scan(stream_type="Scanned"))).stream_type == "Scanned"
    assert store.head("Scanned", "s-1").last_seq == 1


def test_a_scan_that_breaks_off_is_no_end(node: Node, through: Through) -> None:
    line = b"".join(httpx.get(f"{node.url}/v1/stores/plain/scan").read().splitlines(keepends=True)[:1])

    class Broken(httpx.SyncByteStream):
        def __iter__(self) -> Any:
            yield line
            raise httpx.RemoteProtocolError("cut by the test")

    class Half(httpx.SyncByteStream):
        def __iter__(self) -> Any:
            yield line + line[:10]

    config = say(200, httpx.get(f"{node.url}/v1/stores/plain").json())
    for stream in (Broken(), Half()):
        client, _ = through("GET", config, lambda request, serve, stream=stream: httpx.Response(200, stream=stream))
        got: list[Event] = []
        with pytest.raises(Interrupted):
            got.extend(client.store("plain").scan())


def test_a_scan_that_ends_early_raises_what_its_last_line_says(node: Node, through: Through) -> None:
    line = b"".join(httpx.get(f"{node.url}/v1/stores/plain/scan").read().splitlines(keepends=True)[:1])
    last = b'{"code":"integrity_error","details":{},"error":"a.parquet is damaged"}\n'

    class Told(httpx.SyncByteStream):
        def __iter__(self) -> Any:
            yield line + last
            raise httpx.RemoteProtocolError("cut by the test")

    config = say(200, httpx.get(f"{node.url}/v1/stores/plain").json())
    client, _ = through("GET", config, lambda request, serve: httpx.Response(200, stream=Told()))
    got: list[Event] = []
    with pytest.raises(Damaged, match=r"a\.parquet is damaged"):
        got.extend(client.store("plain").scan())


def test_operators_see_what_moves(client: Client) -> None:
    store = client.store("commands")
    store.append("Moved", "m", [NewEvent("E")] * 10)
    assert any(job.stream_type == "Moved" for job in store.admin.plan().jobs)
    assert {job.stream_type for job in store.admin.plan("Moved").jobs} == {"Moved"}
    waiting = {row.stream_type: row.events_waiting for row in store.admin.compaction().stream_types}
    assert waiting["Moved"] == 10
    ended = store.admin.compact("Moved", wait=True).ended
    assert [(job.kind, job.error, job.end is not None and job.end.rows) for job in ended] == [("compact", None, 10)]
    assert ended[0].asked_at is not None and ended[0].started_at is not None
    assert ended[0].asked_at <= ended[0].started_at
    assert sum(file.rows for file in store.admin.files() if file.stream_type == "Moved") == 10
    by_now = store.read("Moved", "m", as_of=datetime.now(UTC))
    assert [event.seq for event in by_now] == list(range(1, 11))
    with pytest.raises(NotFound, match="the oldest one that is kept was committed at"):
        list(store.read("Moved", "m", as_of=datetime(2001, 1, 1, tzinfo=UTC)))
    with pytest.raises(ValueError, match="has no time zone"):
        store.read("Moved", "m", as_of=datetime(2001, 1, 1))  # noqa: DTZ001
    tiers = store.admin.tiers()
    assert tiers.durable.events >= 10 and tiers.wal is not None and tiers.inmemory is not None
    store.admin.pause()
    assert store.admin.compaction().paused
    store.admin.resume()
    assert not store.admin.compaction().paused
    assert store.admin.cancel() == 0
    assert len(store.admin.compact().jobs) >= 1


@pytest.mark.parametrize(("told", "wanted"), [(12.5, 12.5), (12, 12.0), (None, None)])
def test_a_running_job_says_what_its_phase_still_takes(told: float | None, wanted: float | None) -> None:
    begun = "2026-11-23T10:00:00Z"
    row: dict[str, Any] = {"id": "0a", "kind": "compact", "stream_type": "Call", "bucket": 0, "partition": None}
    row |= {"trigger": "size", "started_at": begun, "phase": "writing", "rows_done": 75, "rows_total": 100}
    row["eta_s"] = told
    job = Job.of(row)
    assert (job.phase, job.rows_done, job.rows_total, job.eta_s, job.end) == ("writing", 75, 100, wanted, None)
    assert (job.asked_at, job.started_at) == (None, datetime(2026, 11, 23, 10, tzinfo=UTC))
    waits = Job.of({**row, "asked_at": begun, "started_at": None, "phase": "waiting"})
    assert (waits.asked_at, waits.started_at) == (job.started_at, None)


def test_a_job_that_was_cancelled_says_where_and_a_plan_says_what_follows() -> None:
    begun, ended = "2026-11-23T10:00:00Z", "2026-11-23T10:00:01Z"
    row: dict[str, Any] = {"id": "0a", "kind": "compact", "stream_type": "Call", "bucket": 0, "partition": None}
    row |= {"trigger": "hand", "started_at": begun, "phase": "cancelled", "rows_done": 75, "rows_total": 100}
    row |= {"ended_at": ended, "duration_ms": 1000, "inputs": 0, "input_bytes": 0, "output_bytes": 0, "rows": 0}
    row |= {"files": 0, "error": None, "cancelled": True, "ended_in": "writing"}
    job = Job.of(row)
    assert job.end is not None
    assert (job.phase, job.error, job.end.cancelled, job.end.ended_in) == ("cancelled", None, True, "writing")
    merge = {"stream_type": "Call", "bucket": 0, "partition": {"dt": None}, "files": ["a"], "bytes": 7, "events": 2}
    plan = Plan.of({"jobs": [], "merges": [], "following": [merge]})
    assert (plan.jobs, plan.merges) == ([], [])
    assert [(one.partition, one.files, one.events) for one in plan.following] == [({"dt": None}, ("a",), 2)]
