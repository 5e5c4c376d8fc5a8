"""The admin routes of a store."""

from typing import Any

from . import _json as j
from ._steps import Operation, Repeat, Request, ask, path, query
from ._store import StoreState


def look(state: StoreState, *segments: str) -> Operation[j.Object]:
    """The JSON of a GET."""
    return (yield from _ask(state, "GET", segments, Repeat.SAFE))


def do(state: StoreState, *segments: str, patient: bool = False, **given: Any) -> Operation[j.Object]:
    """The JSON of a POST; what these do may be done twice."""
    return (yield from _ask(state, "POST", segments, Repeat.SAFE, patient, **given))


def _ask(
    state: StoreState, method: str, segments: tuple[str, ...], repeat: Repeat, patient: bool = False, **given: Any
) -> Operation[j.Object]:
    facts = yield from state.facts()
    route = path("admin", "v1", "stores", facts.name, *segments)
    body = None if method == "GET" else b""
    answer = yield from ask(Request(method, route, repeat, query(**given), body=body, patient=patient), state.patience)
    return j.parse(answer.body)
