"""What a program gives, held to its type: a sentence says what it should be, where Python's own would be a riddle."""

from datetime import datetime


def _said(name: str, value: object, wanted: str) -> TypeError:
    return TypeError(f"{name}={value!r} is a {type(value).__name__}: give {wanted}")


def whole(**given: object) -> None:
    """Whole numbers, or None."""
    for name, value in given.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise _said(name, value, "a whole number")


def as_of(value: object) -> None:
    """A version of the manifest, a moment, or None."""
    if value is not None and (not isinstance(value, int | datetime) or isinstance(value, bool)):
        wanted = "a version of the manifest, or a datetime with a time zone"
        raise _said("as_of", value, wanted)


def moment(**given: object) -> None:
    """Moments, or None."""
    for name, value in given.items():
        if value is not None and not isinstance(value, datetime):
            raise _said(name, value, "a datetime with a time zone, e.g. datetime.now(UTC)")


def name(value: object) -> str:
    """A name in a path: of a store, a stream type, a stream, a subscription."""
    if not isinstance(value, str):
        kind = type(value).__name__
        raise TypeError(f"{value!r} is a {kind}, and names and ids are texts: give a text, such as {str(value)!r}")
    return value
