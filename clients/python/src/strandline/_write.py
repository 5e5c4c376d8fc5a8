"""Appends: one stream, a bulk body, a load in chunks."""

import itertools
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import _json as j
from ._steps import JSON, NDJSON, Answer, Operation, Repeat, Request, Wait, ask, path, query
from ._store import Facts, StoreState
from .errors import IngestStopped, PartlyStored, Refused, StrandlineError
from .models import Appended, BulkResult, ExpectedSeq, Loaded, NewEvent, OnError, Rejected

# one event of a bulk body: stream type, stream id, event; or its line of NDJSON, with the store's field names
Addressed = tuple[str, str, NewEvent] | bytes | str

CHUNK_BYTES_MAX = 4 << 20
CHUNK_LINES_MAX = 10_000
# codes that say nothing of the lines: what failed is to be sent again
MAY_PASS = frozenset({"overloaded", "unavailable", "not_leader", "disk_full", "io_error"})
PAUSE_S = 1.0


def many(events: object) -> Iterable[Any]:
    """Several events, in whatever gives them one after another."""
    if isinstance(events, str | bytes | Mapping) or not isinstance(events, Iterable):
        kind = type(events).__name__
        raise TypeError(f"events is one {kind}: give the events in a list, such as [NewEvent(...)]")
    return events


def listed(events: object) -> list[NewEvent]:
    """The events of an append."""
    given = list(many(events))
    for at, event in enumerate(given):
        if not isinstance(event, NewEvent):
            kind = type(event).__name__
            raise TypeError(f'events[{at}] is a {kind}: give NewEvent("Paid", {{"by": "card"}})')
    return given


def append(
    state: StoreState,
    place: tuple[str, str],
    events: Sequence[NewEvent],
    *,
    expected_seq: ExpectedSeq,
    command_id: str | None,
    inspect: bool,
) -> Operation[Appended]:
    """Appends to one stream."""
    facts = yield from state.facts()
    body: dict[str, object] = {"events": [event.row(facts.names) for event in events], "expected_seq": expected_seq}
    if command_id is not None:
        body["command_id"] = command_id
    has_command = command_id is not None or any(event.command_id is not None for event in events)
    known = inspect or (has_command and facts.knows_commands)
    answer = yield from ask(
        Request(
            "POST",
            path("v1", "stores", facts.name, "streams", *place),
            Repeat.KNOWN if known else Repeat.NEVER,
            query(inspect=True) if inspect else {},
            {"content-type": JSON},
            j.dump(body),
        ),
        state.patience,
    )
    return Appended.of(j.parse(answer.body), facts.names)


@dataclass(frozen=True, slots=True)
class Body:
    """A bulk body and whether every line of it has a command id."""

    ndjson: bytes
    lines: int
    commands: bool


def _addressed(item: object) -> None:
    if isinstance(item, bytes | str):
        return
    if not isinstance(item, tuple) or len(item) != 3 or not isinstance(item[2], NewEvent):
        form = '("Order", "1001", NewEvent("Paid")) or a line of NDJSON'
        raise TypeError(f"an event of bulk and ingest is {form}, and not a {type(item).__name__}: {item!r:.120}")


def _line(item: Addressed, facts: Facts) -> tuple[bytes, bool]:
    _addressed(item)
    if isinstance(item, tuple):
        stream_type, stream_id, event = item
        return j.dump(event.row(facts.names, (stream_type, stream_id))), event.command_id is not None
    line = item.encode() if isinstance(item, str) else item
    line = line.rstrip(b"\r\n")
    if b"\n" in line:
        raise ValueError("an event given as a text is one line of NDJSON: take the line breaks between its tokens out")
    return line, False


def _cut(events: Iterable[Addressed], facts: Facts, lines_max: int, bytes_max: int) -> Iterator[Body]:
    """Bodies of at most so many lines and bytes, the same ones each time for the same events."""
    held: list[bytes] = []
    size, commands = 0, True
    for item in events:
        line, has_command = _line(item, facts)
        if held and (len(held) >= lines_max or size + len(line) >= bytes_max):
            yield Body(b"\n".join(held), len(held), commands)
            held, size, commands = [], 0, True
        held.append(line)
        size += len(line) + 1
        commands = commands and has_command
    if held:
        yield Body(b"\n".join(held), len(held), commands)


def bulk(state: StoreState, events: Iterable[Addressed], *, on_error: OnError) -> Operation[BulkResult]:
    """One body."""
    many(events)
    facts = yield from state.facts()
    whole = next(_cut(events, facts, lines_max=2**63, bytes_max=2**63), Body(b"", 0, False))
    known = facts.knows_commands and whole.commands
    request = _request(facts, whole, on_error, Repeat.KNOWN if known else Repeat.NEVER)
    result = yield from _send(state, facts, request)
    if result.streams:
        stored = sum(stream.stored is True for stream in result.streams)
        unknown = sum(stream.stored is None for stream in result.streams)
        others = f"of {unknown} nobody knows, any others are not" if unknown else "the others are not"
        raise PartlyStored(f"{stored} of {len(result.streams)} streams of the body are stored, {others}", result)
    return result


def _request(facts: Facts, body: Body, on_error: OnError, repeat: Repeat) -> Request:
    headers = {"content-type": NDJSON}
    return Request(
        "POST", path("v1", "stores", facts.name, "events"), repeat, query(on_error=on_error), headers, body.ndjson
    )


def _send(state: StoreState, facts: Facts, request: Request) -> Operation[BulkResult]:
    """Sends a body; once more where owners could not do their part now, and the others know theirs again."""
    waited = 0.0
    while True:
        answer: Answer = yield from ask(request, state.patience)
        result = BulkResult.of(j.parse(answer.body), facts.names)
        codes = {row.code for row in result.rejected} | {stream.code for stream in result.streams}
        if request.repeat is Repeat.NEVER or not codes & MAY_PASS or waited >= state.patience:
            return result
        yield Wait(PAUSE_S)
        waited += PAUSE_S


def ingest(state: StoreState, events: Iterable[Addressed], *, on_error: OnError, mark: str | None) -> Operation[Loaded]:
    """Chunks, one after another: one is sent when the one before is answered, or its number would say too much."""
    many(events)
    facts = yield from state.facts()
    mark = secrets.token_hex(16) if mark is None else _checked(mark)
    loaded, lines = Loaded(mark, 0, 0, 0, ()), 0
    chunks = _cut(events, facts, CHUNK_LINES_MAX, CHUNK_BYTES_MAX)
    for number in itertools.count(1):
        # what the events' own iterator raises is its caller's
        chunk = next(chunks, None)
        if chunk is None:
            return loaded
        request = _request(facts, chunk, on_error, Repeat.KNOWN)
        marked = {"x-strandline-chunk-digest": mark, "x-strandline-chunk-number": str(number)}
        request = replace(request, headers={**request.headers, **marked})
        try:
            result = yield from _send(state, facts, request)
            _whole(result, on_error)
        except StrandlineError as error:
            raise _stopped(error, mark, lines, number) from error
        loaded = _added(loaded, result, lines)
        lines += chunk.lines
    raise AssertionError("numbers do not end")


def _checked(mark: str) -> str:
    if len(mark) != 32 or not set(mark) <= set("0123456789abcdef"):
        raise ValueError(f"mark {mark!r} is no mark: it is 32 hex digits, the `mark` of a load that stopped")
    return mark


def _whole(result: BulkResult, on_error: OnError) -> None:
    undone = [stream for stream in result.streams if not stream.stored]
    if undone or any(row.code in MAY_PASS for row in result.rejected):
        why = undone[0].error if undone else result.rejected[0].error
        raise PartlyStored(f"a part of a chunk is stored, the other part is not ({on_error=}): {why}", result)


def _stopped(error: StrandlineError, mark: str, lines: int, number: int) -> IngestStopped:
    line = error.details.get("line") if isinstance(error, Refused) else None
    where = (
        f"event {lines + line}, in chunk {number},"
        if isinstance(line, int)
        else f"chunk {number}, from event {lines + 1} on,"
    )
    sentence = f"{where} was not taken: {error.sentence} (the {lines} events before the chunk are stored)"
    return IngestStopped(sentence, mark=mark, lines=lines, chunk=number)


def _added(loaded: Loaded, result: BulkResult, lines: int) -> Loaded:
    rejected = (*loaded.rejected, *(Rejected(lines + row.line, row.code, row.error) for row in result.rejected))
    appended, duplicates = loaded.appended + result.appended, loaded.duplicates + result.duplicates
    return Loaded(loaded.mark, loaded.chunks + 1, appended, duplicates, rejected)
