"""The admin routes of a store."""

from collections.abc import Mapping
from typing import Any

from . import _json as j
from ._steps import JSON, Operation, Repeat, Request, ask, path, query
from ._store import StoreState


def look(state: StoreState, *segments: str, **given: Any) -> Operation[j.Object]:
    """The JSON of a GET."""
    return (yield from _ask(state, "GET", segments, **given))


def do(state: StoreState, *segments: str, patient: bool = False, **given: Any) -> Operation[j.Object]:
    """The JSON of a POST; what these do may be done twice."""
    return (yield from _ask(state, "POST", segments, b"", patient, **given))


def say(state: StoreState, *segments: str, wish: Mapping[str, object]) -> Operation[j.Object]:
    """The same of a POST that says something; what is None is left out."""
    given = {name: value for name, value in wish.items() if value is not None}
    return (yield from _ask(state, "POST", segments, j.dump(given)))


def _ask(
    state: StoreState,
    method: str,
    segments: tuple[str, ...],
    body: bytes | None = None,
    patient: bool = False,
    **given: Any,
) -> Operation[j.Object]:
    facts = yield from state.facts()
    route = path("admin", "v1", "stores", facts.name, *segments)
    headers = {"content-type": JSON} if body else {}
    request = Request(method, route, Repeat.SAFE, query(**given), headers, body, patient)
    return j.parse((yield from ask(request, state.patience)).body)
