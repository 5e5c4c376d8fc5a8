"""Typed looks into answers: what is not as the contract says is an `UnexpectedAnswer` that names the field."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar, cast
from uuid import UUID

from .errors import UnexpectedAnswer

T = TypeVar("T")
Object = dict[str, Any]


def parse(body: bytes) -> Object:
    """The JSON object of an answer."""
    try:
        value = json.loads(body)
    except ValueError as error:
        raise UnexpectedAnswer(f"an answer is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise UnexpectedAnswer(f"an answer is a JSON {type(value).__name__}, not an object")
    return value


def dump(value: object) -> bytes:
    """JSON as the store takes it: UTF-8, no spaces, no NaN."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"half a surrogate pair is no character: {error.reason}; take it out of the text") from error
    except ValueError as error:
        told = "JSON has no NaN and no infinity (give None, or a text), and nothing that holds itself"
        raise ValueError(f"{error}; {told}") from error
    except TypeError as error:
        raise TypeError(f"{error}; data and metadata hold what JSON can hold: convert it first") from error


def _get(row: Object, key: str, kind: type[T]) -> T:
    value = row.get(key)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        shown = json.dumps(value)[:80]
        raise UnexpectedAnswer(f"`{key}` of an answer should be a {kind.__name__}, and is {shown}")
    return value


def text(row: Object, key: str) -> str:
    """A text."""
    return _get(row, key, str)


def whole(row: Object, key: str) -> int:
    """A whole number."""
    return _get(row, key, int)


def number(row: Object, key: str) -> float:
    """A number, whole or not."""
    return float(whole(row, key)) if isinstance(row.get(key), int) else _get(row, key, float)


def flag(row: Object, key: str) -> bool:
    """True or false."""
    return _get(row, key, bool)


def child(row: Object, key: str) -> Object:
    """An object."""
    return cast(Object, _get(row, key, dict))


def rows(row: Object, key: str) -> list[Object]:
    """A list of objects."""
    listed = cast(list[object], _get(row, key, list))
    return [one if isinstance(one, dict) else _get({key: one}, key, dict) for one in listed]


def texts(row: Object, key: str) -> list[str]:
    """A list of texts."""
    return [text({key: one}, key) for one in cast(list[object], _get(row, key, list))]


def moment(row: Object, key: str) -> datetime:
    """A moment, with its time zone."""
    try:
        return datetime.fromisoformat(text(row, key))
    except ValueError as error:
        raise UnexpectedAnswer(f"`{key}` of an answer is no timestamp: {error}") from error


def uuid(row: Object, key: str) -> UUID:
    """A UUID."""
    try:
        return UUID(text(row, key))
    except ValueError as error:
        raise UnexpectedAnswer(f"`{key}` of an answer is no UUID: {error}") from error


def maybe(look: Callable[[Object, str], T], row: Object, key: str) -> T | None:
    """What `look` finds, or None where there is null or nothing."""
    return None if row.get(key) is None else look(row, key)
