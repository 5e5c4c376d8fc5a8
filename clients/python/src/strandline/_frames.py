"""Tables and data frames. The libraries are extras: who asks for a frame without its own is told which to install."""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

# what the extras bring, as pip takes it: a package that came as a file is not found again by its name
EXTRAS = {
    "arrow": ("pyarrow>=15",),
    "pandas": ("pyarrow>=15", "pandas>=2"),
    "polars": ("pyarrow>=15", "polars>=1"),
}


def _library(name: str, extra: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        wanted = " ".join(f"'{one}'" for one in EXTRAS[extra])
        raise ImportError(f"this result needs {name}: pip install {wanted}") from error


def table_of(body: bytes) -> pa.Table:
    """An Arrow IPC stream as a table."""
    return cast("pa.Table", _library("pyarrow.ipc", "arrow").open_stream(body).read_all())


def concat(tables: list[pa.Table]) -> pa.Table:
    """Tables of one schema in a row."""
    if not tables:
        raise ValueError("this reading is at its end: begin another one")
    return cast("pa.Table", _library("pyarrow", "arrow").concat_tables(tables))


def pandas_of(table: pa.Table) -> pd.DataFrame:
    """A table for pandas."""
    _library("pandas", "pandas")
    return table.to_pandas()


def polars_of(table: pa.Table) -> pl.DataFrame:
    """A table for Polars."""
    return cast("pl.DataFrame", _library("polars", "polars").from_arrow(table))


class _Pieces(io.RawIOBase):
    """Pieces of an answer as a file, as they come."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._held = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._held:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._held = piece
        n = min(len(buffer), len(self._held))
        buffer[:n], self._held = self._held[:n], self._held[n:]
        return n


def batches_of(pieces: Iterator[bytes]) -> Iterator[pa.RecordBatch]:
    """An Arrow IPC stream, batch by batch, as its bytes come."""
    yield from _library("pyarrow.ipc", "arrow").open_stream(io.BufferedReader(_Pieces(pieces)))


class Lines:
    """Bytes cut at line feeds, and nowhere else: texts of events may hold other line breaks of Unicode."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that end in this piece."""
        first, *others = piece.split(b"\n")
        self._rest.append(first)
        if not others:
            return []
        lines = [b"".join(self._rest), *others[:-1]]
        self._rest = [others[-1]]
        return lines

    def is_whole(self) -> bool:
        """Whether no line has begun that did not end."""
        return not any(self._rest)
